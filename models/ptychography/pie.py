"""rPIE and ePIE: frame after frame, the object at once, the probe once a sub-pixel class."""

from __future__ import annotations

import numpy as np
import scipy.fft

from .engine_kernels import sweep
from .in_cache_kernels import sweep_in_cache
from .problem import CLASSES, Problem, Scene, learn_probe, moved, orthogonal, slopes_of, transposed
from .stripes import Seams, in_turns, run


class Pie:
    """Maiden, Johnson & Li, Optica 4, 736 (2017), in stripes; see `stripes`.

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
        self._seams: Seams | None = None

    def run_pass(self, alpha: float, *, refine: bool = False) -> float:
        """Go once over the frames; return the misfit, each frame taken just before its update.

        Parameters
        ----------
        alpha : float
            Between 0 (fast, fits the noise) and 1 (ePIE).
        refine : bool
            Fill `moves` with what each position should be moved by, (n, 2) float64, pixels.
        """
        problem, rng = self.problem, self.rng
        scene = problem.scene()
        obj, spectrum, corners, tables = scene.obj, scene.spectrum, scene.corners, scene.tables
        shape = spectrum.shape[1:]
        moves = np.zeros_like(self.moves)
        misfit = 0.0
        for drawn in rng.permutation(CLASSES * CLASSES).tolist():
            # the same order whether turned over or not
            kind = drawn if tables is None else transposed(drawn)
            members = problem.members(scene.kinds, kind)
            parts = [(stripe, rng.permutation(part)) for stripe, part in members]
            if not parts:
                continue
            probe = moved(spectrum, kind)
            power = (np.abs(probe) ** 2).sum(axis=0)
            step = (1 / ((1 - alpha) * power + alpha * power.max())).astype(np.float32)
            slopes = slopes_of(spectrum, kind) if refine else np.zeros((0, *probe.shape), "c8")
            seams = self._seams_of(scene)

            def work(
                part: tuple[int, np.ndarray],
                probe: np.ndarray = probe,
                step: np.ndarray = step,
                slopes: np.ndarray = slopes,
                seams: Seams | None = seams,
            ) -> tuple:
                stripe, order = part
                copy, start = obj, 0
                if seams is not None:
                    window = seams.windows[stripe]
                    copy = obj[window].copy()
                    start = np.array([side.start for side in window])
                gradient, density = np.zeros_like(probe), np.zeros(shape, np.float32)
                given = (
                    copy, probe, slopes, step, problem.counts, problem.good, problem.background,
                    np.float32(problem.floor), problem.poisson, order, corners - start,
                    gradient, density, moves,
                )  # fmt: skip
                error = sweep(*given) if tables is None else sweep_in_cache(*given, *tables)
                return stripe, copy, gradient, density, error

            done = []
            for turn in in_turns(parts):
                made = run(problem.pool, work, turn)
                if seams is not None:
                    seams.join(obj, [part[:2] for part in made])
                done += made
            misfit += sum(part[4] for part in done)
            if self.update_probe:
                learn_probe(spectrum, [part[2] for part in done], [part[3] for part in done], kind)
        probe = np.asarray(scipy.fft.ifft2(spectrum))
        if tables is not None:  # turn everything over again
            problem.obj[:] = obj.T
            probe, moves = np.ascontiguousarray(probe.transpose(0, 2, 1)), moves[:, ::-1]
        problem.probe = orthogonal(probe)
        if refine:
            self.moves = moves
        return misfit

    def move_to(self, positions: np.ndarray) -> None:
        """Go on with other positions (n, 2), pixels of the object's array."""
        self.problem.positions = positions
        self._seams = None

    def _seams_of(self, scene: Scene) -> Seams | None:
        """Return how stripes join, None where there is one stripe alone; made once."""
        problem = self.problem
        stripes = problem.stripes[problem.rows]
        count = int(stripes.max(initial=0)) + 1
        if self._seams is None and count > 1:
            power = (np.abs(moved(scene.spectrum, 0)) ** 2).sum(axis=0)
            parts = [problem.rows[stripes == stripe] for stripe in range(count)]
            self._seams = Seams(scene.obj.shape, power, scene.corners, parts)
        return self._seams
