"""How fast the kernels are, as ratios to a yardstick that is measured in the same run.

    pytest tests/bench/bench_models.py --benchmark-only -s

`copy` is a numpy memory copy, bytes read and written per CPU second; `fft` is scipy.fft of
128 x 128 complex64 per CPU second, one thread.
"""

import time

import numpy as np
import pytest
import scipy.fft

from flyback.models.base import Batch, Corrections
from flyback.models.experiment import Experiment
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.models.virtual_images import VirtualImages

N, BOX, BLOCK = 4096, 128, 512
PIXEL_NM = 0.03
SAMPLING_RAD = 2.507934e-12 / (BOX * PIXEL_NM * 1e-9)


def cpu_seconds(work, repeats=4):
    """Least process time of several runs: steadier than wall time on a shared machine."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.fixture(scope="module")
def yardstick():
    source = np.ones(2**25, np.uint64)
    target = np.empty_like(source)
    waves = np.ones((128, BOX, BOX), np.complex64)
    return {
        "copy_gb_s": 2 * source.nbytes / cpu_seconds(lambda: np.copyto(target, source)) / 1e9,
        "fft_s": len(waves) / cpu_seconds(lambda: scipy.fft.fft2(waves)),
    }


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(3, (N, BOX, BOX)).astype(np.uint16)


@pytest.fixture(scope="module")
def experiment():
    side = int(N**0.5)
    return Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 20,
            "angular_sampling_mrad": SAMPLING_RAD * 1e3,
            "trajectory": {
                "units": "nm",
                "step": PIXEL_NM,
                "grid_shape": [side, side],
                "scan_order": "raster",
                "extent": [[0, 0], [(side - 1) * PIXEL_NM] * 2],
                "n_points": N,
            },
        }
    )


def feed(model, frames, corrections=None, scale=1.0):
    side = int(N**0.5)
    positions = np.stack(np.divmod(np.arange(len(frames)), side), 1) * PIXEL_NM * 1e-9 * scale
    for start in range(0, len(frames), BLOCK):
        rows = slice(start, start + BLOCK)
        model.partial_fit(
            Batch(
                frames[rows],
                np.arange(len(frames))[rows],
                {"positions_m": positions[rows]},
                corrections or Corrections(),
            )
        )
    return model


def report(benchmark, work, items, yard, **figures):
    benchmark.pedantic(work, rounds=3, warmup_rounds=1)
    per_s = items / cpu_seconds(work)
    figures = {"per_cpu_s": per_s} | {name: rule(per_s) for name, rule in figures.items()} | yard
    benchmark.extra_info.update({name: round(value, 4) for name, value in figures.items()})
    print({name: round(value, 3) for name, value in figures.items()})


def test_virtual_images(benchmark, counts, experiment, yardstick):
    frame_gb = counts[0].nbytes / 1e9
    plain = cpu_seconds(lambda: naive_virtual(counts))
    report(
        benchmark,
        lambda: feed(VirtualImages(experiment), counts),
        N,
        yardstick,
        of_copy=lambda rate: rate * frame_gb / yardstick["copy_gb_s"],
        times_numpy=lambda rate: rate * plain / N,
    )


def test_virtual_images_corrected(benchmark, counts, experiment, yardstick):
    rng = np.random.default_rng(0)
    corrections = Corrections(
        np.full((BOX, BOX), 0.5, np.float32),
        np.ones((BOX, BOX), np.float32),
        rng.random((BOX, BOX)) < 0.01,
    )
    plain = cpu_seconds(lambda: feed(VirtualImages(experiment), counts))
    report(
        benchmark,
        lambda: feed(VirtualImages(experiment), counts, corrections),
        N,
        yardstick,
        times_the_cost=lambda rate: N / rate / plain,
    )


def naive_virtual(frames):
    y, x = (np.indices((BOX, BOX)) - BOX // 2) * SAMPLING_RAD * 1e3
    radius = np.hypot(y, x)
    total = frames.sum(axis=(1, 2))
    rings = [(frames * m).sum(axis=(1, 2)) for m in (radius < 20, radius >= 22)]
    return rings, [(frames * axis).sum(axis=(1, 2)) / total for axis in (y, x)]


@pytest.mark.parametrize("bins", [16, 8])
def test_single_sideband_ingest(benchmark, counts, experiment, yardstick, bins):
    report(
        benchmark,
        lambda: feed(SingleSideband(experiment, bins_across=bins), counts),
        N,
        yardstick,
    )


@pytest.mark.parametrize("bins", [16, 8])
def test_single_sideband_refresh(benchmark, counts, experiment, bins):
    side = 128
    extent = ((0.0, 0.0), ((side - 1) * PIXEL_NM * 1e-9,) * 2)
    model = SingleSideband(experiment, bins_across=bins)
    positions = np.random.default_rng(0).uniform(*extent, (N, 2))
    model.partial_fit(Batch(counts, np.arange(N), {"positions_m": positions}))
    model.phase()
    benchmark.pedantic(model.phase, rounds=5, warmup_rounds=1)
    benchmark.extra_info["canvas"] = list(model.phase()[0].shape)
    print({"refresh_ms": round(benchmark.stats.stats.min * 1e3, 1)})


@pytest.mark.parametrize(
    ("box", "side", "modes"),
    [(64, 32, 1), (128, 32, 1), (128, 64, 1), (128, 32, 2), (256, 16, 1), (48, 32, 1)],
)
def test_rpie(benchmark, yardstick, box, side, modes):
    """Whole reconstructions of 5 passes: all fixed costs, and the misfit of the answer."""
    n = side**2
    rng = np.random.default_rng(0)
    frames = rng.poisson(2 * (128 / box) ** 2, (n, box, box)).astype(np.uint16)
    angle = 2.507934e-9 / (box * PIXEL_NM * 1e-9)
    experiment = Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 20,
            "angular_sampling_mrad": angle,
            "trajectory": {"units": "nm", "n_points": n},
        }
    )
    model = IterativePtychography(
        experiment, iterations=5, probe_modes=modes, preview=False, rpie_alpha=0.1
    )
    places = np.stack(np.divmod(np.arange(n), side), 1) + rng.uniform(-0.2, 0.2, (n, 2))
    model.partial_fit(Batch(frames, np.arange(n), {"positions_m": places * 3 * PIXEL_NM * 1e-9}))
    waves = np.ones((128, box, box), np.complex64)
    ffts = len(waves) / cpu_seconds(lambda: scipy.fft.fft2(waves))
    report(
        benchmark,
        model.converge,
        5 * n,
        yardstick | {"box": box, "frames": n, "modes": modes},
        of_fft=lambda rate: rate / yardstick["fft_s"],
        of_fft_of_its_size=lambda rate: rate / ffts,
    )


def test_simulated_frames(benchmark, yardstick):
    rng = np.random.default_rng(0)
    obj = np.exp(0.1j * rng.normal(size=(300, 300))).astype(np.complex64)
    probe = aberrated_probe((BOX, BOX), 2.507934e-12, (SAMPLING_RAD, SAMPLING_RAD), 0.02, 5e-9)
    positions = rng.uniform(70, 220, (512, 2))
    report(
        benchmark,
        lambda: simulate_frames(obj, probe, positions, 2e4),
        512,
        yardstick,
        of_fft=lambda rate: rate / yardstick["fft_s"],
    )
