"""Flyback on the inputs on which other programs are timed, one line of JSON a task.

    python -m flyback.tests.bench.peers DATA [virtual] [direct] [iterative]

DATA holds ``raster128.npy`` and ``.h5``, ``spiral128.h5``, ``ptycho64.h5`` and ``ptycho64p.h5``:
simulated frames of 128 x 128 at 200 keV and 20 mrad, with their truth. CPU seconds are those of
all threads; each task prints the yardstick of its own minute.
"""

import json
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import scipy.fft

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.models.virtual_images import VirtualImages
from flyback.tests.bench import yardstick

N, BLOCK, REPEATS = 16384, 256, 3
BANDS = (2.0, 1.5, 1.0)
# the iterative set's object: where its central scanned window of 140 pixels lies
MIDDLE, WINDOW = 40 + 64 + 85, 140
# method, passes at most, and whether halves are reconstructed too (the default)
TRIED = (("rpie", 5, False), ("rpie", 10, False), ("rpie", 20, True), ("lsqml", 10, False))


def say(task, **figures):
    yardstick.copy_gb_per_cpu_s.cache_clear()
    yardstick.fft_per_cpu_s.cache_clear()
    figures |= {
        "copy_gb_per_cpu_s": round(yardstick.copy_gb_per_cpu_s(), 1),
        "fft128_per_cpu_s": round(yardstick.fft_per_cpu_s()),
    }
    print(json.dumps({"program": "flyback", "task": task, **figures}), flush=True)


def experiment(attributes, **trajectory):
    return Experiment.from_metadata(
        {
            "radiation": "electron",
            "energy_kev": 200,
            "semi_convergence_angle_mrad": 20,
            "angular_sampling_mrad": float(attributes["mrad_per_px"]),
            "defocus_nm": -0.1 * float(attributes.get("defocus_A", 0.0)),
            "scan_rotation_deg": 0.0,
            "trajectory": {"units": "nm", **trajectory},
        }
    )


def batches(frames, positions_m):
    for first in range(0, len(frames), BLOCK):
        rows = slice(first, first + BLOCK)
        yield Batch(
            frames[rows],
            np.arange(first, first + len(frames[rows])),
            {"positions_m": positions_m[rows]},
        )


def fed(model, frames, positions_m):
    for batch in batches(frames, positions_m):
        model.partial_fit(batch)
    return model


def raster(folder):
    with h5py.File(folder / "raster128.h5") as file:
        attributes, truth = dict(file.attrs), file["phase"][()]
        positions = file["positions_A"][()] * 1e-10
    frames = np.load(folder / "raster128.npy").reshape(-1, 128, 128)
    return frames, positions, truth, attributes


def spiral(folder):
    with h5py.File(folder / "spiral128.h5") as file:
        positions = file["positions_A"][()] * 1e-10
        return file["frames"][()], positions, file["phase"][()], dict(file.attrs)


def virtual(folder):
    frames, positions, _, attributes = raster(folder)
    known = experiment(attributes, grid_shape=[128, 128], scan_order="raster", step=0.03)
    rings = {"bf": (0.0, 20.2), "adf": (22.2, 39.2)}
    seconds = yardstick.cpu_seconds(
        lambda: fed(VirtualImages(known, detectors=rings, com_outer=20.2), frames, positions),
        REPEATS + 1,
    )
    say(
        "two rings and centre of mass in one pass",
        frames_per_cpu_s=round(N / seconds),
        gb_per_cpu_s=round(frames.nbytes / seconds / 1e9, 2),
    )


def direct(folder):
    for name, load in (("raster", raster), ("spiral", spiral)):
        frames, positions, truth, attributes = load(folder)
        known = experiment(attributes, step=0.03, extent=[[0, 0], [3.81, 3.81]], n_points=N)
        fed(SingleSideband(known), frames[:BLOCK], positions)
        seconds = yardstick.cpu_seconds(lambda: fed(SingleSideband(known), frames, positions))  # noqa: B023
        model = fed(SingleSideband(known), frames, positions)
        model.phase()
        refresh = yardstick.cpu_seconds(model.phase)
        begun = time.perf_counter()
        phase, _ = model.phase()
        say(
            f"single side band, {name}",
            ingest_per_cpu_s=round(N / seconds),
            refresh_cpu_ms=round(refresh * 1e3, 1),
            refresh_wall_ms=round((time.perf_counter() - begun) * 1e3, 1),
            correlations=on_the_truth(model, phase, truth, attributes, whole=name == "raster"),
        )


def on_the_truth(model, phase, truth, attributes, *, whole):
    """Correlations with the periodic truth, both band-limited, over the field that was scanned."""
    pixel = 0.3
    origin = np.rint(model.result_["object_origin_m"].value / (pixel * 1e-10)).astype(int)
    ours = np.zeros(truth.shape)
    rows, columns = (
        (np.arange(n) + o) % m for n, o, m in zip(phase.shape, origin, truth.shape, strict=True)
    )
    ours[np.ix_(rows, columns)] = phase
    y, x = np.indices(truth.shape) - 64
    field = np.ones(truth.shape, bool) if whole else np.hypot(y, x) < 54
    largest = attributes["alpha_mrad"] * 1e-3 / attributes["wavelength_A"]
    q = np.hypot(*np.meshgrid(*(scipy.fft.fftfreq(n, pixel) for n in truth.shape), indexing="ij"))
    out = []
    for band in BANDS:
        keep = (q < band * largest) & (q > 0)
        one, other = (
            scipy.fft.ifft2(scipy.fft.fft2(picture) * keep).real[field] for picture in (ours, truth)
        )
        out.append(round(float(np.corrcoef(one, other)[0, 1]), 4))
    return out


def iterative(folder):
    for name in ("ptycho64", "ptycho64p"):
        with h5py.File(folder / f"{name}.h5") as file:
            frames = file["frames"][()].reshape(-1, 128, 128)
            positions, attributes = file["positions_A"][()] * 1e-10, dict(file.attrs)
            truth = file["object"][()] if "object" in file else None
        if truth is None:
            with h5py.File(folder / "ptycho64.h5") as file:
                truth = file["object"][()]
        known = experiment(attributes)
        for method, passes, halves in TRIED:
            model = IterativePtychography(
                known, method=method, iterations=passes, preview=False, workers=2, frc=halves
            )
            fed(model, frames, positions)
            if (method, passes, halves) == TRIED[0]:
                model.converge()  # compiled
            before, begun = time.process_time(), time.perf_counter()
            model.converge()
            wall, cpu = time.perf_counter() - begun, time.process_time() - before
            # the halves are as many updates again, which others do not make
            updates = len(frames) * len(model.errors_)
            say(
                f"{method}, {name}, {len(model.errors_)} passes" + ", halves" * halves,
                updates_per_cpu_s=round(updates / cpu),
                updates_per_s=round(updates / wall),
                nrmse=round(nrmse(model, truth, positions), 4),
            )


def nrmse(model, truth, positions):
    """Error of the complex object in the middle of the scan, relative to the truth's contrast."""
    result = model.result_
    ours, pixel = result["object"].value, 0.3e-10
    origin = result["object_origin_m"].value / pixel
    # the kit's position 0 is the middle of a box whose corner is pixel 40
    corner = np.array([MIDDLE, MIDDLE]) - WINDOW // 2
    best = np.inf
    t = truth[corner[0] : corner[0] + WINDOW, corner[1] : corner[1] + WINDOW]
    first = np.rint(corner - 104 - origin).astype(int)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            y, x = first + np.array([dy, dx])
            o = ours[y - 8 : y + WINDOW + 8, x - 8 : x + WINDOW + 8]
            best = min(best, *(_left(o, t, sy, sx) for sy in _PARTS for sx in _PARTS))
    return best


_PARTS = np.arange(-4, 5) / 8


def _left(ours, truth, dy, dx):
    fy, fx = (scipy.fft.fftfreq(n) for n in ours.shape)
    ramp = np.exp(2j * np.pi * (fy[:, None] * dy + fx[None] * dx))
    moved = scipy.fft.ifft2(scipy.fft.fft2(ours) * ramp)[8:-8, 8:-8]
    for _ in range(3):  # a ramp of the phase is the probe's place in its box
        ratio = moved.conj() * truth
        gy = np.angle((ratio[1:] * ratio[:-1].conj()).sum())
        gx = np.angle((ratio[:, 1:] * ratio[:, :-1].conj()).sum())
        y, x = np.indices(truth.shape)
        moved = moved * np.exp(1j * (gy * y + gx * x))
    scale = (moved.conj() * truth).sum() / (np.abs(moved) ** 2).sum()
    apart = np.abs(scale * moved - truth) ** 2
    return float(np.sqrt(apart.sum() / (np.abs(truth - truth.mean()) ** 2).sum()))


TASKS = {"virtual": virtual, "direct": direct, "iterative": iterative}


if __name__ == "__main__":
    data, *wanted = sys.argv[1:]
    for task in wanted or TASKS:
        TASKS[task](Path(data))
