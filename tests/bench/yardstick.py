"""What the machine can do right now, to quote every figure as a ratio."""

import time
from functools import cache

import numpy as np
import scipy.fft


def cpu_seconds(work, repeats=3):
    """Return the least CPU seconds of all threads of this process, over some repeats."""
    times = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return min(times)


@cache
def copy_gb_per_cpu_s() -> float:
    """Read plus written bytes of a numpy copy of 256 MiB, in GB per CPU second."""
    source = np.ones(1 << 25, np.uint64)
    target = np.empty_like(source)
    return 2 * source.nbytes / cpu_seconds(lambda: np.copyto(target, source)) / 1e9


@cache
def fft_per_cpu_s(n: int = 128) -> float:
    """scipy transforms of (n, n) complex64 per CPU second, one thread."""
    rng = np.random.default_rng(0)
    frames = (rng.normal(size=(128, n, n)) + 1j * rng.normal(size=(128, n, n))).astype(np.complex64)
    return len(frames) / cpu_seconds(lambda: scipy.fft.fft2(frames, workers=1))


def record(benchmark, **figures):
    """Put figures beside the yardsticks into a benchmark's record, and print them."""
    figures |= {
        "copy_gb_per_cpu_s": round(copy_gb_per_cpu_s(), 1),
        "fft128_per_cpu_s": round(fft_per_cpu_s()),
    }
    benchmark.extra_info.update(figures)
    print("\n    " + "  ".join(f"{key}={value:,.4g}" for key, value in figures.items()))
