"""The difference map: all exit waves at once, reflected between what overlaps and what was seen."""

from __future__ import annotations

import numpy as np
import scipy.fft

from .difference_kernels import reflect
from .engine_kernels import exit_waves
from .problem import Problem, moved, orthogonal, ramp
from .stripes import run

MOST_BYTES = 8e9
SHARES = 4
PROBE_FROM = 2
LEAST_FLOOR = 1.0


class DifferenceMap:
    """Thibault et al., Ultramicroscopy 109, 338 (2009), with beta = 1.

    Keeps one exit wave a frame, ``8 n modes h w`` bytes. With the amplitude likelihood far fields
    are projected on what was measured: with noise there is no point that all projections share,
    waves wander, and contrast is lost. With the Poisson likelihood they go half the way, see
    `difference_kernels.approach`, and come to rest.

    Parameters
    ----------
    problem : Problem
    rng : numpy.random.Generator
        Not drawn from; the method has no order.
    update_probe : bool
        From the third pass on, every other pass.

    Raises
    ------
    ValueError
        When the exit waves take more than 8 GB.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, update_probe: bool) -> None:
        size = 8.0 * len(problem.counts) * problem.probe.size
        if size > MOST_BYTES:
            raise ValueError(
                f"method dm keeps an exit wave for each frame, {size / 1e9:.1f} GB here; it must"
                f" be at most {MOST_BYTES / 1e9:.0f} GB: use rpie or lsqml"
            )
        self.problem = problem
        self.update_probe = update_probe
        self.passes = 0
        self.waves = np.zeros((len(problem.counts), *problem.probe.shape), np.complex64)
        corners, kinds = problem.places()
        h, w = problem.probe.shape[1:]
        spectrum = np.asarray(scipy.fft.fft2(problem.probe))
        for kind, members in problem.shares(kinds, problem.rows):
            probe = moved(spectrum, kind)
            for frame in members.tolist():
                y, x = corners[frame].tolist()
                exit_waves(problem.obj[y : y + h, x : x + w], probe, self.waves[frame])

    def run_pass(self, alpha: float) -> float:
        """Reflect all frames once; return the misfit of the reflected waves.

        Parameters
        ----------
        alpha : float
            Not used.
        """
        del alpha
        problem = self.problem
        corners, kinds = problem.places()
        spectrum = np.asarray(scipy.fft.fft2(problem.probe))
        shape = problem.probe.shape
        obj_sum = np.zeros(problem.obj.shape, np.complex64)
        obj_weight = np.zeros(problem.obj.shape, np.float32)
        probe_sum, probe_weight = np.zeros(shape, np.complex64), 0.0
        misfit = 0.0
        # below one count the steps in dim pixels are as uneven as a projection's
        floor = np.float32(max(problem.floor, LEAST_FLOOR))
        for kind, members in problem.shares(kinds, problem.rows):
            probe = moved(spectrum, kind)

            def work(part: np.ndarray, probe: np.ndarray = probe) -> tuple:
                sums = (
                    np.zeros_like(problem.obj),
                    np.zeros(problem.obj.shape, np.float32),
                    np.zeros_like(probe),
                    np.zeros(shape[1:], np.float32),
                )
                given = problem.obj, probe, problem.counts, problem.good, problem.background
                place = part, corners, self.waves
                error = reflect(*given, floor, problem.poisson, *place, *sums)
                return *sums, error

            parts = [part for part in np.array_split(members, SHARES) if len(part)]
            for done in run(problem.pool, work, parts):
                obj_sum += done[0]
                obj_weight += done[1]
                back = ramp(shape[1:], kind).conj()
                probe_sum += np.asarray(scipy.fft.ifft2(scipy.fft.fft2(done[2]) * back))
                weight = np.asarray(scipy.fft.ifft2(scipy.fft.fft2(done[3]) * back))
                probe_weight = probe_weight + np.real(weight)
                misfit += done[4]
        self.passes += 1
        # both at once would correct the same fault twice
        if self.update_probe and self.passes > PROBE_FROM and self.passes % 2:
            weight = np.maximum(probe_weight, 0.05 * float(np.max(probe_weight)))
            problem.probe = orthogonal((probe_sum / weight).astype(np.complex64))
        else:
            lit = obj_weight > 1e-3 * float(obj_weight.max())
            problem.obj = np.where(lit, obj_sum / np.maximum(obj_weight, 1e-30), problem.obj)
        return misfit
