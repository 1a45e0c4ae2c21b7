"""rPIE and ePIE for objects of several slices or states, and for split detector pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.fft
import scipy.ndimage

from .problem import CLASSES, Problem, learn_probe, moved, orthogonal, slopes_of
from .stripes import Seams, in_turns, run
from .thick_kernels import measure_thick, sweep_thick

HASTE = 1.0
FIRST_POWER, FIRST_SMOOTH_PX = 0.02, 2.0


@dataclass(eq=False)
class ThickProblem(Problem):
    """A reconstruction whose object is (states, slices, H, W) complex64.

    Parameters
    ----------
    propagator : (h, w) complex64
        From one slice to the next, zero frequency at [0, 0].
    """

    propagator: np.ndarray = field(default_factory=lambda: np.ones((1, 1), np.complex64))

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the corner (n, 2) int64 of each frame's box and its class (n,) int64."""
        half = np.array(self.probe.shape[1:]) // 2
        quarter = np.floor(self.positions * CLASSES + 0.5).astype(np.int64)
        corners = np.clip(
            quarter // CLASSES - half, 0, np.array(self.obj.shape[2:]) - self.probe.shape[1:]
        )
        return corners, (quarter[:, 0] % CLASSES) * CLASSES + quarter[:, 1] % CLASSES

    def misfits(self, rows: np.ndarray) -> np.ndarray:
        """Return ``sum (sqrt(I) - sqrt(n))^2`` of each frame of rows, (k,) float64."""
        corners, kinds = self.places()
        spectrum = np.asarray(scipy.fft.fft2(self.probe))
        errors = np.zeros(len(self.positions))

        def work(share: tuple[int, np.ndarray]) -> None:
            kind, order = share
            measure_thick(
                self.obj, moved(spectrum, kind), self.propagator, self.counts, self.good,
                self.background, order, corners, errors,
            )  # fmt: skip

        run(self.pool, work, list(self.shares(kinds, rows)))
        return errors[rows]


class ThickPie:
    """Maiden, Humphry & Rodenburg, J. Opt. Soc. Am. A 29, 1606 (2012), in stripes as `pie.Pie`.

    Parameters
    ----------
    problem : ThickProblem
    rng : numpy.random.Generator
        Of the order of frames.
    update_probe : bool
    """

    def __init__(self, problem: Problem, rng: np.random.Generator, update_probe: bool) -> None:
        assert isinstance(problem, ThickProblem)  # noqa: S101  (for the type checker)
        self.problem = problem
        self.rng = rng
        self.update_probe = update_probe
        self.moves = np.zeros((len(problem.positions), 2))
        # each slice alone could explain all of a change in the far field
        self.share = np.float32(HASTE / problem.obj.shape[1])

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
        corners, kinds = problem.places()
        spectrum = np.asarray(scipy.fft.fft2(problem.probe))
        seams = self._seams(corners)
        misfit = 0.0
        for kind in rng.permutation(CLASSES * CLASSES).tolist():
            members = problem.members(kinds, kind)
            parts = [(stripe, rng.permutation(part)) for stripe, part in members]
            if not parts:
                continue
            probe = moved(spectrum, kind)
            slopes = slopes_of(spectrum, kind) if refine else np.zeros((0, *probe.shape), "c8")

            def work(
                part: tuple[int, np.ndarray],
                probe: np.ndarray = probe,
                slopes: np.ndarray = slopes,
            ) -> tuple:
                stripe, order = part
                obj, start = problem.obj, np.zeros(2, np.int64)
                if seams is not None:
                    window = seams.windows[stripe]
                    obj = obj[:, :, window[0], window[1]].copy()
                    start = np.array([side.start for side in window])
                gradient = np.zeros_like(probe)
                density = np.zeros(probe.shape[1:], np.float32)
                error = sweep_thick(
                    obj, probe, slopes, problem.propagator, np.float32(alpha), self.share,
                    problem.counts, problem.good, problem.background, np.float32(problem.floor),
                    problem.poisson, order, corners - start, gradient, density, self.moves,
                )  # fmt: skip
                return stripe, obj, gradient, density, error

            done = []
            for turn in in_turns(parts):
                made = run(problem.pool, work, turn)
                if seams is not None:
                    for k, s in np.ndindex(problem.obj.shape[:2]):
                        seams.join(problem.obj[k, s], [(part[0], part[1][k, s]) for part in made])
                done += made
            misfit += sum(part[4] for part in done)
            if self.update_probe:
                learn_probe(spectrum, [part[2] for part in done], [part[3] for part in done], kind)
        problem.probe = orthogonal(np.asarray(scipy.fft.ifft2(spectrum)))
        return misfit

    def move_to(self, positions: np.ndarray) -> None:
        """Go on with other positions (n, 2), pixels of the object's array."""
        self.problem.positions = positions

    def _seams(self, corners: np.ndarray) -> Seams | None:
        """Return how stripes join, None where there is one stripe alone."""
        problem = self.problem
        stripes = problem.stripes[problem.rows]
        count = int(stripes.max(initial=0)) + 1
        if count == 1:
            return None
        power = (np.abs(problem.probe) ** 2).sum(axis=0)
        parts = [problem.rows[stripes == stripe] for stripe in range(count)]
        return Seams(problem.obj.shape[2:], power, corners, parts)


def states_of(obj: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Return the same mixed object with orthogonal states, strongest first.

    What states are is known up to a unitary mixture; here they are orthogonal where the beam has
    been.

    Parameters
    ----------
    obj : (states, H, W) complex64
    lit : (H, W) bool
    """
    flat = obj[:, lit] if lit.any() else obj.reshape(len(obj), -1)
    _, vectors = np.linalg.eigh((flat.conj() @ flat.T).astype(np.complex128))
    return np.einsum("ks,khw->shw", vectors[:, ::-1], obj).astype(np.complex64)


def empty_object(states: int, slices: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Return an object (states, slices, H, W) complex64 through which all light passes.

    Further states start weak, smooth and at random: equal states would stay equal, and what is
    rough scatters to where no light is.
    """
    obj = np.ones((states, slices, *shape), np.complex64)
    if states > 1:
        field = np.random.default_rng(seed).normal(size=(states - 1, slices, *shape))
        field = scipy.ndimage.gaussian_filter(field, (0, 0, FIRST_SMOOTH_PX, FIRST_SMOOTH_PX))
        obj[0] *= np.sqrt(1 - FIRST_POWER)
        obj[1:] = 1j * np.sqrt(FIRST_POWER / (states - 1)) * field / field.std()
    return obj


def projected(obj: np.ndarray) -> np.ndarray:
    """Return what a thick or mixed object is in one plane, (H, W) complex64.

    The product of its slices; of several states, the strongest.

    Parameters
    ----------
    obj : (H, W) or (states, slices, H, W) complex64
    """
    if obj.ndim == 2:
        return obj
    if len(obj) > 1:
        return states_of(obj[:, 0], np.ones(obj.shape[2:], bool))[0]
    return np.asarray(np.prod(obj[0], axis=0), np.complex64)
