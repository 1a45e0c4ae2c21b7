"""The X-ray Siemens star and simulated MoS2, as shown by Flyback and by their references.

    python -m pytest tests/bench/bench_reference.py -q -s

Each row is a whole reconstruction after the frames have been taken in, with CPU seconds of all
threads. Halves are odd and even frames, each from the file's own probe, both cut to the same
central 240 x 240 pixels; rings are those of the reference: ``floor(|k|)`` of the crop under a Hann
window. ``ring`` is the first whose correlation is below a half, dips before ring 10 apart: there
the star has little power. `test_reference_data` says how objects are compared.
"""

import time

import numpy as np
import pytest

from flyback.models.experiment import Experiment
from flyback.models.ptychography.choose import Ptychography
from flyback.models.virtual_images import VirtualImages
from flyback.tests.bench.yardstick import fft_per_cpu_s, record
from flyback.tests.models.test_reference_data import (
    aligned,
    corr,
    double_angle,
    fed,
    focused_probe,
    mos2,  # noqa: F401  (a fixture)
    seen,
)

SIDE = 240
# ptypy's difference map, one mode: 492-559 updates where scipy transforms 8 300-9 600 frames of
# 128 x 128, both a CPU second and in a run of their own; its reference took 80 + 30 passes
PTYPY_OF_FFT, PTYPY_PASSES = 0.059, 110
STAR = {
    "default": {},
    "amplitude": {"likelihood": "amplitude"},
    "2 modes": {"probe_modes": 2},
    "amplitude, 2 modes": {"likelihood": "amplitude", "probe_modes": 2},
    "positions to 2 px": {"position_bound_px": 2},
    "40 passes": {"iterations": 40},
    "amplitude, 40 passes": {"likelihood": "amplitude", "iterations": 40},
    "positions to 2 px, amplitude": {"likelihood": "amplitude", "position_bound_px": 2},
    "10 passes": {"iterations": 10},
    "LSQ-ML": {"method": "lsqml"},
}


@pytest.fixture(scope="module")
def star(data_folder):
    import hdf5plugin  # noqa: F401  (the file is compressed)

    h5py = pytest.importorskip("h5py")
    with h5py.File(data_folder / "ptycho" / "siemens_star.h5") as file:
        frames, positions = file["frames"][:], file["positions_px"][:]
        probe = file["probe"][:]
    with np.load(data_folder / "ptycho" / "siemens_star_reference.npz") as file:
        reference = dict(file)
    metadata = {"radiation": "xray", "trajectory": {"units": "px"}}
    return Experiment.from_metadata(metadata, probe=probe), frames, positions, reference


def central(result, positions):
    """The middle of the scan, the same pixels whichever frames were used."""
    origin = result["object_origin_px"].value
    middle = np.rint((positions.min(axis=0) + positions.max(axis=0)) / 2 - origin).astype(int)
    window = tuple(slice(c - SIDE // 2, c + SIDE // 2) for c in middle)
    return result["object"].value[window]


def rings(one, other):
    """Fourier ring correlation of two crops, (120,)."""
    window = np.hanning(SIDE)
    a, b = (np.fft.fft2((part - part.mean()) * np.outer(window, window)) for part in (one, other))
    k = np.fft.fftfreq(SIDE, 1 / SIDE)
    ring = np.hypot(k[:, None], k[None]).astype(int).ravel()
    cross, left, right = (
        np.bincount(ring, values.ravel())[: SIDE // 2]
        for values in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    return cross / np.sqrt(left * right)


def falls_below(frc):
    return 10 + int(np.flatnonzero(~(np.append(frc[10:], 0) >= 0.5))[0])


def reconstructed(star, rows=slice(None), **settings):
    """The result, and the CPU seconds of `converge`."""
    experiment, frames, positions, _ = star
    settings = {"method": "auto", "frc": False} | settings  # the halves are made here
    model = Ptychography(experiment, **settings)
    fed(model, frames[rows], positions[rows], "positions_px")
    before = time.process_time()
    model.converge()
    return model, time.process_time() - before


@pytest.mark.parametrize("name", list(STAR))
def bench_siemens_star(benchmark, star, name):
    settings = STAR[name]
    _, frames, positions, reference = star
    reconstructed(star, slice(0, 64), **settings)  # compiled
    out = {}

    def once():
        out["model"], out["cpu_s"] = reconstructed(star, **settings)

    benchmark.pedantic(once, rounds=1)
    halves = [
        central(reconstructed(star, slice(k, None, 2), **settings)[0].result_, positions)
        for k in (0, 1)
    ]
    held_out, _ = reconstructed(star, held_out=0.1, **settings)
    frc, result = rings(*halves), out["model"].result_
    ptypy_s = PTYPY_PASSES * len(frames) / (PTYPY_OF_FFT * fft_per_cpu_s())
    ours = central(result, positions)
    record(
        benchmark,
        correlation=aligned(ours, reference["object_central240"]),
        correlation_of_halves=aligned(*halves),
        frc_ring=falls_below(frc),
        reference_frc_ring=falls_below(reference["frc_even_odd"]),
        fourier_error=result["fourier_error"].value,
        held_out_error=held_out.result_["held_out_error"].value,
        cpu_s=out["cpu_s"],
        ptypy_times=ptypy_s / out["cpu_s"],
        passes=len(out["model"].iterative.errors_),
    )
    print("    frc", *(f"{ring}:{frc[ring]:.2f}" for ring in (3, 4, 5, 6, 10, *range(20, 36))))


@pytest.mark.parametrize("method", ["single_sideband", "rpie"])
def bench_mos2(benchmark, mos2, method):  # noqa: F811
    experiment, frames, positions, truth = mos2
    images = fed(VirtualImages(experiment), frames, positions).result_
    com = truth["noise_free_com_mrad"].reshape(-1, 2)
    out = {}

    def once():
        model = fed(Ptychography(experiment, method), frames, positions)
        before = time.process_time()
        out["result"] = model.converge().result_
        out["cpu_s"] = time.process_time() - before

    benchmark.pedantic(once, rounds=1, warmup_rounds=1)
    phase, pixel, origin = (
        out["result"][name].value for name in ("object_phase", "object_pixel_m", "object_origin_m")
    )
    points = np.stack(np.indices(phase.shape), -1) * pixel + origin
    low, high = (
        np.rint((edge - origin) / pixel).astype(int)
        for edge in (positions.min(axis=0), positions.max(axis=0))
    )
    scanned = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    expected = seen(truth, experiment, points, double_angle)
    record(
        benchmark,
        com=corr(images["com_mrad"].value, com - com.mean(axis=0)),
        idpc=corr(images["idpc"].value, seen(truth, experiment, positions, focused_probe)),
        phase=corr(phase[scanned], expected[scanned]),
        cpu_s=out["cpu_s"],
    )
