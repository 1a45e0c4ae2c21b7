"""Azimuthal integration beside pyFAI, single-threaded, the same frames in the same run.

OMP_NUM_THREADS=1 python -m pytest tests/bench/bench_integration.py -q -s
"""

import time

import numpy as np
import pytest

from flyback.models.diffraction.geometry import geometry_from_poni
from flyback.models.diffraction.integrator import Integrator
from flyback.tests.bench.yardstick import record

BINS, FRAMES, REPEATS = 2000, 4, 5
DETECTORS = {
    "pilatus 1M": ((1043, 981), 172e-6, np.int32),
    "eiger 4M": ((2167, 2070), 75e-6, np.uint32),
    "eiger 4M, 16 bit": ((2167, 2070), 75e-6, np.uint16),
}
PONI = """Distance: 0.2
Poni1: {y}
Poni2: {x}
Rot1: 0.01
Rot2: -0.004
Rot3: 0
PixelSize1: {pixel}
PixelSize2: {pixel}
Wavelength: 6.888e-11
"""


def cpu_s(function, frames):
    """Least CPU seconds a frame over some repeats: the machine is noisy."""
    function(frames[0])
    best = np.inf
    for _ in range(REPEATS):
        before = time.process_time()
        for frame in frames:
            function(frame)
        best = min(best, (time.process_time() - before) / len(frames))
    return best


@pytest.mark.parametrize("split", ["no", "bbox"])
@pytest.mark.parametrize("name", DETECTORS)
def bench_integration(benchmark, tmp_path, name, split):
    import pyFAI

    shape, pixel, dtype = DETECTORS[name]
    y, x = (0.5 * n * pixel for n in shape)
    path = tmp_path / "a.poni"
    path.write_text(PONI.format(y=y, x=x, pixel=pixel), encoding="utf-8")
    rng = np.random.default_rng(0)
    frames = [rng.poisson(30, shape).astype(dtype) for _ in range(FRAMES)]
    mask = np.zeros(shape, bool)
    mask[195:212] = True
    geometry = geometry_from_poni(path, shape, polarisation_factor=0.95)
    ours = Integrator(geometry, bins=BINS, split=split, mask=mask)
    integrator = pyFAI.load(str(path))
    csc = (split, "csc", "cython")

    def theirs(frame, error_model=None):
        return integrator.integrate1d_ng(
            frame,
            BINS,
            unit="q_A^-1",
            mask=mask,
            method=csc,
            polarization_factor=0.95,
            error_model=error_model,
            safe=False,
        )

    benchmark.pedantic(lambda: ours(frames[0]), rounds=20, warmup_rounds=2)
    mine, plain = cpu_s(ours, frames), cpu_s(theirs, frames)
    with_sigma = cpu_s(lambda frame: theirs(frame, "poisson"), frames)
    record(
        benchmark,
        frames_per_cpu_s=1 / mine,
        pyfai_csc_frames_per_cpu_s=1 / plain,
        over_pyfai=plain / mine,
        over_pyfai_with_sigma=with_sigma / mine,
    )
