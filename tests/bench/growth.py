"""How the cost grows with the number of scan points and with the size of a frame.

    python -m flyback.tests.bench.growth [scans] [frames]

Prints rows of Markdown tables: single side band (frames taken in per CPU second, a refresh, its
memory) and rPIE of 3 passes without halves (updates per CPU second of all threads, memory). The
object repeats every 32 x 32 points, so a scan of any size is made of 1024 frames; what the models
keep of them is theirs. Each row is the best of several, in a process of its own; the memory is by
how much the process grew at most (Linux). Beside them the yardstick of the same minute.
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.physics import wavelength_m
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.iterative import IterativePtychography
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.ptychography.single_sideband import SingleSideband
from flyback.tests.bench import yardstick
from flyback.tests.models.scenes import atoms

CELL, BATCH, PASSES = 32, 512, 3
ALPHA_RAD, PIXEL_M, PEAK_RAD, COUNTS = 0.02, 0.03e-9, 0.25, 2e4
WAVELENGTH_M = wavelength_m("electron", 200.0)
SCANS, BOXES = (32, 64, 128, 256, 512), (64, 96, 128, 192, 256)
# object pixels from point to point, and defocus: in focus, and with a probe of 4 nm / 10
IN_FOCUS, DEFOCUSED = (1, 0.0), (3, 10e-9)


class Scan:
    """A raster of side x side frames of box x box counts."""

    def __init__(self, side, box, step_px, defocus_m):
        self.side, self.box, self.step_m = side, box, step_px * PIXEL_M
        self.defocus_m = defocus_m
        sampling = WAVELENGTH_M / (box * PIXEL_M)
        self.sampling_rad = sampling
        period = CELL * step_px
        copies = box // period + 3
        obj = np.exp(1j * np.tile(atoms((period, period), PEAK_RAD), (copies, copies)))
        probe = aberrated_probe((box, box), WAVELENGTH_M, (sampling,) * 2, ALPHA_RAD, defocus_m)
        points = np.stack(np.indices((CELL, CELL)), -1).reshape(-1, 2) * float(step_px)
        frames = simulate_frames(obj.astype(np.complex64), probe, points + box // 2, COUNTS)
        self.cell = frames.reshape(CELL, CELL, box, box)

    def experiment(self):
        last = (self.side - 1) * self.step_m * 1e9
        return Experiment.from_metadata(
            {
                "radiation": "electron",
                "energy_kev": 200.0,
                "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
                "angular_sampling_mrad": self.sampling_rad * 1e3,
                "defocus_nm": self.defocus_m * 1e9,
                "scan_rotation_deg": 0.0,
                "trajectory": {
                    "units": "nm",
                    "step": self.step_m * 1e9,
                    "grid_shape": [self.side, self.side],
                    "scan_order": "raster",
                    "extent": [[0, 0], [last, last]],
                    "n_points": self.side**2,
                },
            }
        )

    def feed(self, model):
        """Return the CPU seconds in which the model takes in all frames."""
        seconds = 0.0
        for first in range(0, self.side**2, BATCH):
            index = np.arange(first, min(first + BATCH, self.side**2))
            y, x = np.divmod(index, self.side)
            positions = np.stack([y, x], 1) * self.step_m
            batch = Batch(self.cell[y % CELL, x % CELL], index, {"positions_m": positions})
            before = time.process_time()
            model.partial_fit(batch)
            seconds += time.process_time() - before
        return seconds


def resident_gb(name="VmRSS"):
    """This process's memory now; "VmHWM" is the most since `forget_most`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e6


def forget_most():
    Path("/proc/self/clear_refs").write_text("5")
    return resident_gb()


def yardsticks():
    yardstick.fft_per_cpu_s.cache_clear()
    return yardstick.fft_per_cpu_s()


def direct(side, box, repeats):
    compiled = Scan(CELL, box, *IN_FOCUS)
    model = SingleSideband(compiled.experiment())
    compiled.feed(model)
    model.phase()
    scan, ffts, before = Scan(side, box, *IN_FOCUS), yardsticks(), forget_most()
    ingest = []
    for _ in range(repeats):
        model = SingleSideband(scan.experiment())
        ingest.append(scan.feed(model))
    first = yardstick.cpu_seconds(model.phase, 1)
    again = yardstick.cpu_seconds(model.phase, repeats)
    memory = resident_gb("VmHWM") - before
    return [
        f"{model.bins_across}",
        f"{side**2 / min(ingest):,.0f}",
        f"{first:.3g} / {again:.3g}",
        f"{memory:.2f}",
        f"{ffts:,.0f}",
    ]


def iterative(side, box, repeats):
    def model_of(scan):
        settings = {"iterations": PASSES, "preview": False, "frc": False}
        return IterativePtychography(scan.experiment(), **settings)

    compiled = Scan(CELL, box, *DEFOCUSED)
    model = model_of(compiled)
    compiled.feed(model)
    model.converge()
    scan, ffts, before = Scan(side, box, *DEFOCUSED), yardsticks(), forget_most()
    model = model_of(scan)
    scan.feed(model)
    seconds = yardstick.cpu_seconds(model.converge, repeats)
    rate = PASSES * side**2 / seconds
    memory = resident_gb("VmHWM") - before
    return [f"{rate:,.0f}", f"{rate / ffts:.2f}", f"{memory:.2f}", f"{ffts:,.0f}"]


def alone(work, *arguments):
    """Run in a fresh process, whose most memory is then that of this work."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def row(name, side, box, repeats):
    cells = alone(direct, side, box, repeats) + alone(iterative, side, box, repeats)
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def scans():
    for side in SCANS:
        row(f"{side} x {side}", side, 64, 3 if side < 256 else 1)


def frames():
    for box in BOXES:
        row(f"{box} x {box}", CELL, box, 4)


TABLES = {"scans": scans, "frames": frames}


if __name__ == "__main__":
    for table in sys.argv[1:] or TABLES:
        print(f"\n{table}", flush=True)
        TABLES[table]()
