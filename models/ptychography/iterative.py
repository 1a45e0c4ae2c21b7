"""Iterative ptychography at arbitrary, sub-pixel positions, with probe modes.

While frames arrive, `partial_fit` runs a preview over the new frames and some recent ones.
`converge` forgets the preview, starts again from the stated seed, an empty object and the initial
probe, and sweeps over all frames in order of scan index: its answer does not depend on how the
frames were batched, nor on the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Self

import numpy as np
import scipy.fft

from ..base import Batch, Quantity
from ..experiment import Experiment
from .engine_kernels import totals
from .geometry import Canvas
from .measured import Measured
from .merit import ring_correlation
from .pie import Pie
from .probe import initial_probe, more_modes, probe_diameter_px
from .problem import Problem
from .results import iterative_result
from .solve import METHODS, Plan, alphas_for, floor_for, solve

LIKELIHOODS = ("poisson", "amplitude")


class IterativePtychography:
    """Reconstruct object and probe by an iterative engine.

    Parameters
    ----------
    experiment : Experiment
        Electrons: wavelength, angular sampling and semi-convergence angle (or a probe) are
        needed. X-rays with positions in pixels: nothing, though a probe helps much.
    method : {"rpie", "epie", "lsqml", "dm"}
        Previews are rPIE's (ePIE's) whatever the method. "dm" takes the amplitude likelihood.
    iterations : int
        Passes over all frames in `converge`, at most; see `solve.solve` for when it stops.
    rpie_alpha : float or (first, last) or None
        Regularisation between 0 (fast, fits the noise) and 1 (ePIE); two numbers are the first
        and the last pass's, geometric in between; None chooses from the dose, `solve.alphas_for`.
    likelihood : {"poisson", "amplitude"}
        See `engine_kernels.constrain`: the amplitude's contrast is too low where counts are few.
    probe_modes : int
        1 to 4 mutually incoherent modes.
    update_probe : bool
    aberrations : mapping or None
        Of the initial probe, as `probe.chi` takes them.
    position_bound_px : float, object pixels
        How far a position may be moved by rPIE and ePIE; 0 leaves positions as they are.
    held_out : float
        Fraction of frames, 0 to 0.5, that `converge` does not learn from and is measured on.
    frc : bool
        Whether `converge` also reconstructs odd and even frames apart, at twice the cost.
    preview : bool
        Whether `partial_fit` sweeps at all.
    preview_recent : float
        How many earlier frames a preview sweeps over, as a fraction of the new ones.
    seed : int
        Seed of the order of the frames.
    workers : int
        Threads; the result is the same with any number.

    Raises
    ------
    ValueError
        When a setting is out of range.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        method: str = "rpie",
        iterations: int = 20,
        rpie_alpha: float | tuple[float, float] | None = None,
        likelihood: str = "poisson",
        probe_modes: int = 1,
        update_probe: bool = True,
        aberrations: Mapping[str, float] | None = None,
        position_bound_px: float = 0.0,
        held_out: float = 0.0,
        frc: bool = False,
        preview: bool = True,
        preview_recent: float = 0.5,
        seed: int = 0,
        workers: int = 2,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {LIKELIHOODS}, got {likelihood!r}")
        for name, value, low, high in (
            ("iterations", iterations, 1, 100_000),
            ("probe_modes", probe_modes, 1, 4),
            ("position_bound_px", position_bound_px, 0, 16),
            ("held_out", held_out, 0, 0.5),
            ("workers", workers, 1, 256),
            ("preview_recent", preview_recent, 0, 10),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
        if position_bound_px and method not in ("rpie", "epie"):
            raise ValueError(f"position_bound_px is for rpie and epie, method is {method!r}")
        alphas = None
        if rpie_alpha is not None:
            first, last = np.broadcast_to(np.asarray(rpie_alpha, float), (2,)).tolist()
            alphas = (first, last)
            if not all(0 < alpha <= 1 for alpha in alphas):
                raise ValueError(f"rpie_alpha must lie above 0 and up to 1, got {rpie_alpha}")
        alphas = (1.0, 1.0) if method == "epie" else alphas
        self.experiment = experiment
        self.method = method
        self.plan = Plan(method, iterations, alphas, update_probe, position_bound_px)
        self.poisson = likelihood == "poisson"
        self.probe_modes = probe_modes
        self.aberrations = dict(aberrations or {})
        self.held_out = held_out
        self.frc = frc
        self.preview = preview
        self.preview_recent = preview_recent
        self.seed = seed
        self.workers = workers
        self.measured = Measured(experiment)
        self._preview_rng = np.random.default_rng(seed)
        self.canvas_: Canvas | None = None
        self.obj_: np.ndarray | None = None
        self.probe_: np.ndarray | None = None
        self.errors_: list[float] = []
        self.fourier_error_ = self.held_out_error_ = float("nan")
        self.frc_ = np.full(1, np.nan)
        self.moves_px_: np.ndarray | None = None
        self.converged_ = self.settled_ = False

    @property
    def n_frames(self) -> int:
        """How many frames have been taken in."""
        return len(self.measured)

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames and improve the preview with them.

        Parameters
        ----------
        batch : Batch
            With ``positions_m``, or ``positions_px`` where the scale is unknown.

        Raises
        ------
        MissingMetadata
            When a needed quantity is unknown.
        ValueError
            When frames or positions do not fit.
        """
        if len(batch) == 0:
            return self
        self.measured.take(batch)
        self.converged_, self.moves_px_ = False, None
        if not self.preview:
            return self
        counts, positions = self.measured.last()
        recent = int(self.preview_recent * len(counts))
        if recent and self.measured.batches > 1:
            old_counts, old_positions = self.measured.last(2)
            rows = np.sort(self._preview_rng.permutation(len(old_counts))[:recent])
            counts = np.concatenate([old_counts[rows], counts])
            positions = np.concatenate([old_positions[rows], positions])
        self._extend_canvas(positions)
        frame_total, pixel_total = self._totals(counts)
        if self.probe_ is None:
            self.probe_ = self._first_probe(pixel_total / len(counts))
        assert self.canvas_ is not None  # noqa: S101  (for the type checker)
        assert self.obj_ is not None  # noqa: S101
        problem = self._problem(
            counts, positions, frame_total, self.canvas_, self.obj_, self.probe_
        )
        alpha = (self.plan.alphas or alphas_for(float(frame_total.mean())))[0]
        with self._threads() as problem.pool:
            Pie(problem, self._preview_rng, self.plan.update_probe).run_pass(alpha)
            self.fourier_error_ = problem.fourier_error(problem.rows)
        self.obj_, self.probe_ = problem.obj, problem.probe
        return self

    def merge(self, other: Self) -> Self:
        """Take in the frames of `other`; the answer is the next `converge`'s.

        Raises
        ------
        ValueError
            When the frames of the two differ in shape.
        """
        if other.measured.shape is None:
            return self
        self.measured.merge(other.measured)
        if self.obj_ is None:
            self.probe_ = other.probe_
        if self.probe_ is not None:
            self._extend_canvas(self.measured.all_positions())
        self.converged_, self.moves_px_ = False, None
        return self

    def align(self, experiment: Experiment, positions: np.ndarray) -> Self:
        """Say what has been learnt of the measurement; the answer is the next `converge`'s.

        Parameters
        ----------
        experiment : Experiment
        positions : (n, 2) float64, yx
            Of all frames so far, in order of scan index and in the experiment's units.

        Raises
        ------
        ValueError
            When there are not as many positions as frames.
        """
        if positions.shape != (self.n_frames, 2):
            raise ValueError(f"positions must be ({self.n_frames}, 2), got {positions.shape}")
        self.experiment = experiment
        self.measured.align(experiment, positions)
        self.canvas_, self.obj_, self.probe_ = None, None, None
        self.converged_, self.moves_px_ = False, None
        return self

    def converge(self) -> Self:
        """Reconstruct from all frames, from the stated seed and an empty object.

        Raises
        ------
        ValueError
            When there are no frames, or none that holds counts.
        """
        if not len(self.measured):
            raise ValueError("there are no frames to reconstruct; call partial_fit first")
        counts, positions = self.measured.in_order()
        frame_total, pixel_total = self._totals(counts)
        if not np.any(frame_total):
            raise ValueError("the frames hold no counts; check the beam, the dark and bad_pixels")
        learn, test = self._split(len(counts))
        margin = 2 + int(np.ceil(self.plan.position_bound_px))
        canvas = Canvas.around(positions, counts.shape[1:], margin)
        first = self._first_probe(pixel_total / len(counts))

        def attempt(rows: np.ndarray) -> tuple[Problem, tuple[list[float], bool]]:
            obj = np.ones(canvas.shape, np.complex64)
            problem = self._problem(counts, positions, frame_total, canvas, obj, first.copy(), rows)
            problem.pool = pool
            return problem, solve(problem, self.plan, np.random.default_rng(self.seed))

        with self._threads() as pool:
            problem, (self.errors_, self.settled_) = attempt(learn)
            self.fourier_error_ = problem.fourier_error(learn)
            self.held_out_error_ = problem.fourier_error(test)
            self.frc_ = np.full(1, np.nan)
            if self.frc and len(learn) > 1:
                odd, even = (attempt(learn[k::2])[0].obj for k in range(2))
                low, high = positions.min(axis=0), positions.max(axis=0)
                self.frc_ = ring_correlation(odd, even, low - canvas.origin_px, high - low)
        self.canvas_, self.obj_, self.probe_ = canvas, problem.obj, problem.probe
        self.moves_px_ = problem.positions + canvas.origin_px - positions
        self.converged_ = True
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; see `results.iterative_result` for the keys."""
        if self.obj_ is None:
            return {}
        return iterative_result(self)

    # -- inside ------------------------------------------------------------------------------

    def _threads(self) -> ThreadPoolExecutor | nullcontext[None]:
        return nullcontext() if self.workers == 1 else ThreadPoolExecutor(self.workers)

    def _split(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames to learn from and those held out, both in order."""
        order = np.random.default_rng([self.seed, n]).permutation(n)
        out = round(self.held_out * n)
        return np.sort(order[out:]), np.sort(order[:out])

    def _problem(
        self,
        counts: np.ndarray,
        positions: np.ndarray,
        frame_total: np.ndarray,
        canvas: Canvas,
        obj: np.ndarray,
        probe: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> Problem:
        rows = np.arange(len(counts)) if rows is None else rows
        return Problem(
            counts,
            self.measured.good(),
            positions - canvas.origin_px,
            obj,
            probe,
            np.zeros(counts.shape[1:], np.float32),
            floor_for(float(frame_total.mean())),
            self.poisson,
            rows,
            probe_diameter_px(probe),
            frame_total,
        )

    def _extend_canvas(self, positions: np.ndarray) -> None:
        """Make room for positions, keeping what has been reconstructed."""
        corners = [positions.min(axis=0), positions.max(axis=0)]
        shape = self.measured.shape
        assert shape is not None  # noqa: S101  (for the type checker)
        old = self.canvas_
        if old is not None:
            low = old.origin_px + np.array([shape[0] // 2, shape[1] // 2]) + 2
            corners += [low, low + np.array(old.shape) - np.array(shape) - 4]
        new = Canvas.around(np.array(corners), shape)
        if old is not None and self.obj_ is not None:
            if new.shape == old.shape and np.all(new.origin_px == old.origin_px):
                return
            obj = np.ones(new.shape, np.complex64)
            y, x = (old.origin_px - new.origin_px).astype(int)
            obj[y : y + old.shape[0], x : x + old.shape[1]] = self.obj_
            self.obj_ = obj
        else:
            self.obj_ = np.ones(new.shape, np.complex64)
        self.canvas_ = new

    def _totals(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of counts over good pixels (n,) and over frames (h, w), float64."""
        frame_total, pixel_total = np.empty(len(counts)), np.empty(counts.shape[1:])
        totals(counts, self.measured.good(), frame_total, pixel_total)
        return frame_total, pixel_total

    def _first_probe(self, mean: np.ndarray) -> np.ndarray:
        shape = self.measured.shape
        assert shape is not None  # noqa: S101  (for the type checker)
        mean = scipy.fft.fftshift(mean)
        probe = initial_probe(self.experiment, shape, mean, self.aberrations)
        probe = more_modes(probe, self.probe_modes).astype(np.complex128)
        power = (np.abs(probe) ** 2).sum() * probe[0].size
        return (probe * np.sqrt(mean.sum() / power)).astype(np.complex64)
