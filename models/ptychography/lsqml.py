"""LSQ-ML: mini-batches, preconditioned directions and least-squares step sizes."""

from __future__ import annotations

import numpy as np
import scipy.fft

from .batch_kernels import directions, step_sizes
from .lsqml_kernels import moves_of
from .problem import CLASSES, Problem, moved, orthogonal, ramp, slopes_of
from .stripes import run

BATCH = 64
SHARES = 4
DAMPING = 0.1


class LeastSquares:
    """Odstrcil, Menzel & Guizar-Sicairos, Opt. Express 26, 3108 (2018).

    A mini-batch is up to 64 frames of one sub-pixel class, drawn over the whole field. Its frames
    are shared out in 4 fixed parts whose sums are added in order, so that threads do not matter.
    Directions are divided by the light on each pixel plus a tenth of the most.

    Parameters
    ----------
    problem : Problem
    rng : numpy.random.Generator
        Of the order of frames.
    update_probe : bool
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, update_probe: bool) -> None:
        self.problem = problem
        self.rng = rng
        self.update_probe = update_probe
        self.moves = np.zeros((len(problem.positions), 2))

    def run_pass(self, alpha: float, *, refine: bool = False) -> float:
        """Go once over the frames; return the misfit, each batch taken just before its update.

        Parameters
        ----------
        alpha : float
            rPIE's regularisation; here steps are multiplied by ``1 / (1 + alpha)``.
        refine : bool
            Fill `moves` with what each position should be moved by, (n, 2) float64, pixels.
        """
        problem, rng = self.problem, self.rng
        corners, kinds = problem.places()
        spectrum = np.asarray(scipy.fft.fft2(problem.probe))
        misfit = 0.0
        for kind in rng.permutation(CLASSES * CLASSES).tolist():
            members = rng.permutation(problem.rows[kinds[problem.rows] == kind])
            for start in range(0, len(members), BATCH):
                probe = moved(spectrum, kind)
                batch = members[start : start + BATCH]
                slopes = slopes_of(spectrum, kind) if refine else None
                error, way = self._step(probe, batch, corners, 1 / (1 + alpha), slopes)
                misfit += error
                if self.update_probe:
                    back = ramp(probe.shape[1:], kind).conj()
                    spectrum = spectrum + np.asarray(scipy.fft.fft2(way)) * back
        problem.probe = orthogonal(np.asarray(scipy.fft.ifft2(spectrum), np.complex64))
        return misfit

    def move_to(self, positions: np.ndarray) -> None:
        """Go on with other positions (n, 2), pixels of the object's array."""
        self.problem.positions = positions

    def _step(
        self,
        probe: np.ndarray,
        batch: np.ndarray,
        corners: np.ndarray,
        scale: float,
        slopes: np.ndarray | None,
    ) -> tuple[float, np.ndarray]:
        """Update the object from one mini-batch; return the misfit and the probe's update."""
        problem = self.problem
        parts = [part for part in np.array_split(batch, SHARES) if len(part)]

        def gathered(part: np.ndarray) -> tuple:
            sums = (
                np.zeros_like(problem.obj),
                np.zeros(problem.obj.shape, np.float32),
                np.zeros_like(probe),
                np.zeros(probe.shape[1:], np.float32),
            )
            changes = np.empty((len(part), *probe.shape), np.complex64)
            error = directions(
                problem.obj, probe, problem.counts, problem.good, problem.background,
                np.float32(problem.floor), problem.poisson, part, corners, changes, *sums,
            )  # fmt: skip
            if slopes is not None:
                moves_of(problem.obj, slopes, part, corners, changes, self.moves)
            return part, changes, sums, error

        done = run(problem.pool, gathered, parts)
        obj_sum, obj_weight, probe_sum, probe_weight = (
            np.sum([part[2][k] for part in done], axis=0) for k in range(4)
        )
        obj_way = obj_sum / (obj_weight + DAMPING * max(float(obj_weight.max()), 1e-30))
        probe_way = probe_sum / (probe_weight + DAMPING * max(float(probe_weight.max()), 1e-30))
        if not self.update_probe:
            probe_way = np.zeros_like(probe_way)

        def sized(part: tuple) -> np.ndarray:
            sizes = np.empty((len(part[0]), 2))
            step_sizes(problem.obj, probe, obj_way, probe_way, part[0], corners, part[1], sizes)
            return sizes

        sizes = np.concatenate(run(problem.pool, sized, done))
        obj_step, probe_step = np.clip(sizes.mean(axis=0), 0, 2) * scale
        problem.obj += np.float32(obj_step) * obj_way
        return sum(part[3] for part in done), np.float32(probe_step) * probe_way
