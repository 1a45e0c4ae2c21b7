"""A powder pattern as a sum of phases and a background, with parameters laid out for the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .fit_kernels import CONVERGED, fit_pattern
from .lattice import volume_a3
from .pattern_axis import Axis
from .powder import PowderPhase
from .profile_kernels import SHAPE, fill_columns, fill_slopes

KINDS = ("cell", "size", "strain", "mixing", "zero")
"""What may be fitted besides amounts and background."""
MARGIN = 0.05
WEAKEST_LINE = 1e-3
_CELL_PRIOR, _ANGLE_PRIOR_DEG = 0.01, 0.5
_STRAIN_PRIOR, _MOST_STRAIN = 0.01, 0.06
_MIXING = 0.5


@dataclass(frozen=True)
class Fit:
    """What one fit found.

    Parameters
    ----------
    theta : (n,) float64
        Parameters of the phases, then the shift of the zero.
    x : (p + k,) float64
        Amounts and the background's coefficients.
    chi2 : float
    degrees : int
        Bins that count less parameters.
    covariance : (p + k + f, p + k + f) float64
        Of x and the free parameters, for the stated sigmas.
    free : (f,) int64
    pull, residual, calculated, rows
        Of `fit_kernels.fit_pattern`.
    steps : int
    converged : bool
    """

    theta: np.ndarray
    x: np.ndarray
    chi2: float
    degrees: int
    covariance: np.ndarray
    free: np.ndarray
    pull: np.ndarray
    residual: np.ndarray
    calculated: np.ndarray
    rows: np.ndarray
    steps: int
    converged: bool

    @property
    def reduced_chi2(self) -> float:
        """chi^2 for one degree of freedom."""
        return self.chi2 / max(self.degrees, 1)

    @property
    def inflation(self) -> float:
        """By how much sigmas grow because the model does not describe all: 1 where it does."""
        expected = 1 + 3 * np.sqrt(2 / max(self.degrees, 1))
        return float(np.sqrt(self.reduced_chi2)) if self.reduced_chi2 > expected else 1.0


@dataclass(eq=False)
class PatternModel:
    """Phases and a background over one axis.

    Parameters
    ----------
    phases : sequence of PowderPhase
    axis : Axis
    background_terms : int
        Chebyshev polynomials.
    width_per_a : float, 1/angstrom
        Width of a line to start from, at half maximum.
    instrument_width_per_a : float, 1/angstrom
        What the instrument adds to each width; not fitted.
    cell_range : float
        Lengths may leave those of the CIF by this part.
    second_line : (float, float), optional
        A second wavelength over the first, and its intensity over the first's, as of K alpha 2.

    Raises
    ------
    ValueError
        When a phase has no line in the range, or there are more parameters than bins.
    """

    phases: Sequence[PowderPhase]
    axis: Axis
    background_terms: int = 10
    width_per_a: float = 0.02
    instrument_width_per_a: float = 0.0
    cell_range: float = 0.03
    second_line: tuple[float, float] | None = None
    lines: Any = field(init=False)
    layout: Any = field(init=False)

    def __post_init__(self) -> None:
        q = np.ascontiguousarray(self.axis.q_per_a, float)
        self.q = q
        if q.ndim != 1 or len(q) < 8 or not np.all(np.diff(q) > 0) or q[0] <= 0:
            raise ValueError("the axis must ascend, be above zero and have at least 8 bins")
        each = [(np.empty((0, 6)), *np.empty((4, 0))), *(self._lines_of(p) for p in self.phases)]
        self.lines = tuple(np.concatenate(values) for values in zip(*each, strict=True))
        counts = [len(lines[0]) for lines in each]
        sizes = [len(phase.lattice.free) + SHAPE for phase in self.phases]
        tie = np.zeros((len(self.phases), 6, 6))
        pick = np.zeros((len(self.phases), 6), np.int64)
        for p, phase in enumerate(self.phases):
            f = len(phase.lattice.free)
            tie[p, :, :f] = phase.lattice.tie
            pick[p, :f] = phase.lattice.picked
        base = np.array([phase.cell for phase in self.phases]).reshape(-1, 6)
        self.layout = (
            np.cumsum(counts).astype(np.int64),
            np.cumsum([0, *sizes]).astype(np.int64),
            tie,
            base,
            pick,
        )
        if len(q) <= self.n_parameters + self.background_terms:
            raise ValueError(
                f"{len(q)} bins cannot fix {self.n_parameters} parameters of {len(self.phases)}"
                " phases; track fewer"
            )
        self._begin()

    @property
    def n_parameters(self) -> int:
        """Parameters that do not enter linearly: those of the phases and the zero."""
        return int(self.layout[1][-1]) + 1

    @cached_property
    def fixed_width2(self) -> float:
        """Square of what instrument, pixels and bins add to the width of a line, 1/angstrom^2."""
        return float(np.median(self.lines[3])) if len(self.lines[3]) else 0.0

    @cached_property
    def background(self) -> np.ndarray:
        """Chebyshev polynomials over the axis, (k, m)."""
        q = self.q
        along = 2 * (q - q[0]) / (q[-1] - q[0]) - 1
        terms = np.polynomial.chebyshev.chebvander(along, self.background_terms - 1)
        return np.ascontiguousarray(terms.T)

    def cell_rows(self, phase: int) -> slice:
        """Where the cell's free parameters of a phase lie in theta."""
        first = self.layout[1]
        return slice(int(first[phase]), int(first[phase + 1]) - SHAPE)

    def shape_row(self, phase: int) -> int:
        """Where size^2 of a phase lies; strain^2 and mixing follow."""
        return int(self.layout[1][phase + 1]) - SHAPE

    def cell(self, theta: np.ndarray, phase: int) -> np.ndarray:
        """Return the cell (6,) of a phase."""
        it = self.phases[phase]
        return it.lattice.cell_of(theta[self.cell_rows(phase)], it.cell)

    def volume_of_amount(self, theta: np.ndarray, phase: int) -> float:
        """Return the volume of a unit amount of a phase.

        Amounts are of lines as strong as those of the CIF's cell. Those of another are weaker by
        the square of the cell's volume, and stronger by the Lorentz factor of where they lie.
        """
        it, cell = self.phases[phase], self.cell(theta, phase)
        inside, was = self._in_range[phase]
        now = it.intensity[inside] @ self.axis.strength(it.q_at(cell)[inside])
        return float((volume_a3(cell) / it.volume_a3) ** 2 * was / now)

    @cached_property
    def _in_range(self) -> list[tuple[np.ndarray, float]]:
        """Which lines of each phase lie in the range, and how strong these are together."""
        low, high = self.q[0], self.q[-1]
        lines = [(it.q_per_a, it.intensity) for it in self.phases]
        each = [((q >= low) & (q <= high), q, strength) for q, strength in lines]
        return [(at, float(strength[at] @ self.axis.strength(q[at]))) for at, q, strength in each]

    def free(self, fitted: Sequence[int], kinds: Sequence[str] = KINDS) -> np.ndarray:
        """Return the rows of theta that a fit of these phases may change."""
        rows: list[int] = []
        for phase in fitted:
            if "cell" in kinds:
                cell = self.cell_rows(phase)
                rows += range(cell.start, cell.stop)
            first = self.shape_row(phase)
            rows += [first + k for k, kind in enumerate(KINDS[1:4]) if kind in kinds]
        if "zero" in kinds and fitted:
            rows.append(self.n_parameters - 1)
        return np.array(sorted(rows), np.int64)

    def fit(
        self,
        intensity: np.ndarray,
        weight: np.ndarray,
        theta: np.ndarray,
        free: np.ndarray,
        *,
        tolerance: float = 0.02,
        steps: int = 25,
        present: Sequence[int] | None = None,
    ) -> Fit:
        """Fit a pattern.

        Parameters
        ----------
        intensity, weight : (m,) float64
            `weight` is one over sigma, 0 where a bin does not count.
        theta : (n,) float64
            Where to start.
        free : (f,) int64
            See `free`.
        tolerance : float
            See `fit_kernels.fit_pattern`.
        steps : int
        present : sequence of int, optional
            Phases that take part; by default all.
        """
        depth = np.full(len(self.phases), -1, np.int64)
        shifts = int(self.n_parameters - 1 in free)
        depth[list(range(len(self.phases)) if present is None else present)] = shifts
        owners = np.searchsorted(self.layout[1], free, side="right") - 1
        depth[owners[owners < len(self.phases)]] = 2
        found = fit_pattern(
            np.ascontiguousarray(intensity, float),
            np.ascontiguousarray(weight, float),
            theta,
            free,
            self.prior,
            self.bounds,
            self.q,
            self.lines,
            self.layout,
            depth,
            self.background,
            tolerance,
            steps,
        )
        at, x, chi2, covariance, pull, residual, calculated, taken, status, rows = found
        degrees = int(np.count_nonzero(weight)) - len(x) - len(free)
        return Fit(
            at, x, chi2, degrees, covariance, free, pull, residual, calculated, rows, taken,
            status == CONVERGED,
        )  # fmt: skip

    def columns(self, theta: np.ndarray, phases: Sequence[int] | None = None) -> np.ndarray:
        """Return the pattern of a unit amount of each phase, (p, m), or of some, the rest zero."""
        out = np.empty((len(self.phases), len(self.q)))
        depth = np.full(len(self.phases), 0 if phases is None else -1, np.int64)
        if phases is not None:
            depth[list(phases)] = 0
        fill_columns(theta, self.q, self.lines, self.layout, depth, out)
        return out

    def line_columns(self, theta: np.ndarray, phase: int) -> np.ndarray:
        """Return the patterns of a phase's lines one by one, (lines, m), of a unit amount."""
        first, offsets, tie, base, pick = self.layout
        rows = range(int(first[phase]), int(first[phase + 1]))
        own = theta[int(offsets[phase]) : int(offsets[phase + 1])]
        whole = np.append(own, theta[-1])
        layout = (
            np.array([0, 1]),
            np.array([0, len(own)]),
            tie[phase : phase + 1],
            base[phase : phase + 1],
            pick[phase : phase + 1],
        )
        out = np.empty((len(rows), len(self.q)))
        for at, row in enumerate(rows):
            line = tuple(values[row : row + 1] for values in self.lines)
            fill_columns(whole, self.q, line, layout, np.zeros(1, np.int64), out[at : at + 1])
        return out

    def slopes(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how the columns follow theta, (n - 1, m), and the zero, (p, m)."""
        slopes = np.zeros((self.n_parameters - 1, len(self.q)))
        by_zero = np.zeros((len(self.phases), len(self.q)))
        depth = np.full(len(self.phases), 2)
        fill_slopes(theta, self.q, self.lines, self.layout, depth, slopes, by_zero)
        return slopes, by_zero

    def _lines_of(self, phase: PowderPhase) -> tuple[np.ndarray, ...]:
        """Return what `profile_kernels.fill_columns` asks of the lines of a phase."""
        q = phase.q_per_a
        near = (q > self.q[0] * (1 - MARGIN)) & (q < self.q[-1] * (1 + MARGIN))
        if not ((q >= self.q[0]) & (q <= self.q[-1])).any():
            raise ValueError(
                f"{phase.name} has no line between {self.q[0]:.3g} and {self.q[-1]:.3g}"
                " 1/angstrom; leave it out or measure farther"
            )
        strength = phase.intensity * self.axis.strength(q) / phase.volume_a3**2
        near &= strength > WEAKEST_LINE * strength[near].max()
        form = np.zeros((int(near.sum()), 6))
        form[:, : len(phase.lattice.free)] = phase.lattice.forms(phase.hkl[near])
        q, strength = q[near], strength[near]
        if self.second_line is not None:
            ratio, part = self.second_line
            form = np.concatenate([form, form * ratio**2])
            strength = np.concatenate([strength, part * strength])
            q = np.concatenate([q, q])
        fixed2, flat = np.full(len(q), self.instrument_width_per_a**2), np.zeros(len(q))
        if self.axis.blunting is not None:
            fixed2, flat = (
                fixed2 + self.axis.blunting.width2_at(q),
                self.axis.blunting.flatness_at(q),
            )
        return form, strength, self.axis.q_over_zero(q), fixed2, flat

    def _begin(self) -> None:
        """Lay out where the parameters begin, what is believed of them and how far they may go."""
        n = self.n_parameters
        start, width = np.zeros(n), np.full(n, np.inf)
        lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
        narrow = 0.7 * float(np.median(np.diff(self.q)))
        square = max(self.width_per_a**2 - self.fixed_width2, narrow**2)
        for p, phase in enumerate(self.phases):
            rows, first = self.cell_rows(p), self.shape_row(p)
            cell = phase.lattice.free_of(phase.cell)
            angle = np.array([name not in "abc" for name in phase.lattice.free])
            start[rows] = cell
            width[rows] = np.where(angle, _ANGLE_PRIOR_DEG, _CELL_PRIOR * cell)
            reach = np.where(angle, 100 * self.cell_range, self.cell_range * cell)
            lower[rows], upper[rows] = cell - reach, cell + reach
            start[first : first + 3] = square, 0.0, _MIXING
            width[first : first + 3] = 4 * square, _STRAIN_PRIOR**2, 0.3
            lower[first : first + 3] = narrow**2, 0.0, 0.0
            upper[first : first + 3] = 100 * square, _MOST_STRAIN**2, 1.0
        unit = 1.0
        if self.axis.zero_in == "two_theta":
            unit = 1 / float(np.median(self.axis.q_over_zero(self.q)))
        width[-1] = 2e-3 * unit
        lower[-1], upper[-1] = -2e-2 * unit, 2e-2 * unit
        self.start = start
        self.prior = (start.copy(), 1 / width**2)
        self.bounds = (lower, upper)
