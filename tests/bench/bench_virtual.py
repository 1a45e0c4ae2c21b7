"""Virtual detectors and centre of mass: the kernel and the model, plain and corrected.

pytest tests/bench/bench_virtual.py -q -s

`of_copy` is bytes of frames read per CPU second over bytes moved by a numpy copy in the same run;
all are measured turn by turn, so that a busy machine slows all of them.
"""

import time

import numpy as np

from flyback.models.base import Batch, Corrections
from flyback.models.experiment import Experiment
from flyback.models.virtual_images import VirtualImages
from flyback.tests.bench.yardstick import record

N, BOX = 2048, 128
EXPERIMENT = Experiment.from_metadata(
    {
        "radiation": "electron",
        "energy_kev": 200,
        "semi_convergence_angle_mrad": 20,
        "angular_sampling_mrad": 0.65,
        "scan_rotation_deg": 0,
        "trajectory": {
            "units": "nm",
            "step": 0.03,
            "grid_shape": [32, 64],
            "scan_order": "raster",
            "extent": [[0, 0], [0.93, 1.89]],
            "n_points": N,
        },
    }
)


def bench_one_pass(benchmark):
    rng = np.random.default_rng(0)
    frames = rng.poisson(3, (N, BOX, BOX)).astype(np.uint16)
    source = np.ones(1 << 24, np.uint64)
    target = np.empty_like(source)
    bad = rng.random((BOX, BOX)) < 0.01
    dark, gain = np.full((BOX, BOX), 0.5, np.float32), np.ones((BOX, BOX), np.float32)

    def fed(corrections, block):
        model = VirtualImages(EXPERIMENT)
        for start in range(0, N, block):
            rows = slice(start, start + block)
            index = np.arange(N)[rows]
            model.partial_fit(Batch(frames[rows], index, {}, corrections))

    cases = {
        "copy": lambda: np.copyto(target, source),
        "plain_256": lambda: fed(plain, 256),
        "plain_64": lambda: fed(plain, 64),
        "bad_256": lambda: fed(masked, 256),
        "corrected_256": lambda: fed(full, 256),
    }
    plain, masked, full = (
        Corrections(),
        Corrections(bad_pixels=bad),
        Corrections(dark, gain, bad),
    )
    best = dict.fromkeys(cases, np.inf)
    for turn in range(11):
        for name, work in cases.items():
            start = time.process_time()
            work()
            if turn:
                best[name] = min(best[name], time.process_time() - start)
    benchmark.pedantic(cases["plain_256"], rounds=3)
    copy = 2 * source.nbytes / best.pop("copy")
    figures = {f"{name}_of_copy": frames.nbytes / s / copy for name, s in best.items()}
    figures["times_the_cost_corrected"] = best["corrected_256"] / best["plain_256"]
    record(benchmark, frames_per_cpu_s=N / best["plain_256"], **figures)
