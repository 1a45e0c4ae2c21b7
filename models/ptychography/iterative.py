"""Iterative ptychography at arbitrary, sub-pixel positions, of thin and of thick objects.

While frames arrive, `partial_fit` runs a preview over the new frames and some recent ones.
`converge` forgets the preview, starts again from the stated seed, an empty object and the initial
probe, and sweeps over all frames in order of scan index: its answer does not depend on how the
frames were batched, nor on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Self

import numpy as np

from ..base import Batch, Quantity
from ..experiment import Experiment
from .constraints import constraints_for
from .engine_kernels import totals
from .geometry import Canvas
from .measured import Measured
from .merit import ring_correlation, side_of
from .pie import Pie
from .probe import probe_diameter_px
from .problem import Problem
from .propagation import fresnel
from .results import iterative_result
from .sampling import Sampling
from .settings import LIKELIHOODS, Settings
from .solve import Plan, alphas_for, floor_for, solve
from .start import first_probe, new_object, with_room
from .thick import ThickPie, ThickProblem, projected

__all__ = ["LIKELIHOODS", "IterativePtychography"]


class IterativePtychography:
    """Reconstruct object and probe by an iterative engine.

    Parameters
    ----------
    experiment : Experiment
        Electrons: wavelength, angular sampling and semi-convergence angle (or a probe) are
        needed. X-rays with positions in pixels: nothing, though a probe helps much. Several
        slices need wavelength and angular sampling.
    **settings
        As `settings.Settings` lists them.

    Raises
    ------
    TypeError
        When a setting is unknown.
    ValueError
        When a setting is out of range or does not go with another.
    """

    def __init__(self, experiment: Experiment, **settings: Any) -> None:
        self.experiment = experiment
        self.settings = given = Settings(**settings).for_radiation(experiment.radiation)
        self.plan = Plan(
            given.method,
            given.iterations,
            given.alphas,
            given.update_probe,
            given.position_bound_px,
            settles=not (given.position_bound_px or given.background),
        )
        self.preview = given.preview
        self.measured = Measured(experiment)
        self._preview_rng = np.random.default_rng(given.seed)
        self.canvas_: Canvas | None = None
        self.obj_: np.ndarray | None = None
        self.probe_: np.ndarray | None = None
        self.background_: np.ndarray | None = None
        self.errors_: list[float] = []
        self.fourier_error_ = self.held_out_error_ = float("nan")
        self.frc_, self.frc_side_px_ = np.full(1, np.nan), 0
        self.moves_px_: np.ndarray | None = None
        self.converged_ = self.settled_ = False

    @property
    def sampling(self) -> Sampling:
        """How object and probe are sampled; known from the first frame on."""
        shape, given = self.measured.shape, self.settings
        assert shape is not None  # noqa: S101  (for the type checker)
        return Sampling(shape, given.object_upsampling, given.detector_upsampling)

    @property
    def pixel_m(self) -> np.ndarray:
        """Size of an object pixel yx, m; NaN where unknown."""
        return self.measured.pixel_m / self.settings.object_upsampling

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
        given = self.settings
        counts, positions = self.measured.last()
        recent = int(given.preview_recent * len(counts))
        if recent and self.measured.batches > 1:
            old_counts, old_positions = self.measured.last(2)
            rows = np.sort(self._preview_rng.permutation(len(old_counts))[:recent])
            counts = np.concatenate([old_counts[rows], counts])
            positions = np.concatenate([old_positions[rows], positions])
        frame_total, pixel_total = self._totals(counts)
        if not np.any(frame_total):
            return self  # a blanked beam tells nothing of the probe
        positions = positions * given.object_upsampling
        self.canvas_, self.obj_ = with_room(
            given, positions, self.sampling.box, self.canvas_, self.obj_
        )
        if self.probe_ is None:
            self.probe_ = self._first_probe(pixel_total / len(counts))
        problem = self._problem(
            self._padded(counts), positions, frame_total, self.canvas_, self.obj_, self.probe_
        )
        alpha = (self.plan.alphas or alphas_for(float(frame_total.mean())))[0]
        engine = ThickPie if given.thick else Pie
        with self._threads() as problem.pool:
            engine(problem, self._preview_rng, self.plan.update_probe).run_pass(alpha)
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
            positions = self.measured.all_positions() * self.settings.object_upsampling
            self.canvas_, self.obj_ = with_room(
                self.settings, positions, self.sampling.box, self.canvas_, self.obj_
            )
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
        given, box = self.settings, self.sampling.box
        positions = positions * given.object_upsampling
        margin = 2 + int(np.ceil(self.plan.position_bound_px))
        canvas = Canvas.around(positions, box, margin)
        mean = pixel_total / len(counts)
        first = self._first_probe(mean)
        counts = self._padded(counts)
        between = constraints_for(
            given, self.experiment, self.sampling, self.pixel_m, float(mean.sum()), canvas.shape
        ).apply

        def attempt(rows: np.ndarray) -> tuple[Problem, tuple[list[float], bool]]:
            obj = new_object(given, canvas.shape)
            problem = self._problem(counts, positions, frame_total, canvas, obj, first.copy(), rows)
            problem.pool = pool
            return problem, solve(problem, self.plan, np.random.default_rng(given.seed), between)

        with self._threads() as pool:
            problem, (self.errors_, self.settled_) = attempt(learn)
            self.fourier_error_ = problem.fourier_error(learn)
            self.held_out_error_ = problem.fourier_error(test)
            self.frc_, self.frc_side_px_ = np.full(1, np.nan), 0
            if given.frc and len(learn) > 1:
                odd, even = (projected(attempt(learn[k::2])[0].obj) for k in range(2))
                low, high = positions.min(axis=0), positions.max(axis=0)
                self.frc_ = ring_correlation(odd, even, low - canvas.origin_px, high - low)
                self.frc_side_px_ = side_of(high - low)
        self.canvas_, self.obj_, self.probe_ = canvas, problem.obj, problem.probe
        self.background_ = problem.background
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
        workers = self.settings.workers
        return nullcontext() if workers == 1 else ThreadPoolExecutor(workers)

    def _split(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames to learn from and those held out, both in order."""
        order = np.random.default_rng([self.settings.seed, n]).permutation(n)
        out = round(self.settings.held_out * n)
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
        careful = self.settings.background or self.plan.method in ("lsqml", "dm")
        everything: dict[str, Any] = {
            "counts": counts,
            "good": self.sampling.padded(self.measured.good()),
            "positions": positions - canvas.origin_px,
            "obj": obj,
            "probe": probe,
            "background": np.zeros(counts.shape[1:], np.float32),
            "floor": floor_for(float(frame_total.mean()), careful),
            "poisson": self.settings.likelihood == "poisson",
            "rows": np.arange(len(counts)) if rows is None else rows,
            "diameter_px": probe_diameter_px(probe),
            "frame_total": frame_total,
        }
        if not self.settings.thick:
            return Problem(**everything)
        return ThickProblem(**everything, propagator=self._propagator())

    def _propagator(self) -> np.ndarray:
        box = self.sampling.box
        if self.settings.slices == 1:
            return np.ones(box, np.complex64)
        wavelength = self.experiment.need("wavelength_m")
        self.experiment.need("angular_sampling_rad")
        pixel = (float(self.pixel_m[0]), float(self.pixel_m[1]))
        return fresnel(box, pixel, wavelength, self.settings.slice_thickness_nm * 1e-9)

    def _padded(self, counts: np.ndarray) -> np.ndarray:
        self.sampling.check(len(counts), counts.itemsize)
        return self.sampling.padded(counts)

    def _totals(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of counts over good pixels (n,) and over frames (h, w), float64."""
        frame_total, pixel_total = np.empty(len(counts)), np.empty(counts.shape[1:])
        totals(counts, self.measured.good(), frame_total, pixel_total)
        return frame_total, pixel_total

    def _first_probe(self, mean: np.ndarray) -> np.ndarray:
        return first_probe(self.experiment, self.settings, self.sampling, mean, self.pixel_m)
