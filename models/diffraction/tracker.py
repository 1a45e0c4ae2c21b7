"""Phases of powder patterns followed frame by frame, each fit started from the last.

A phase is present or absent. What is present is fitted; what is absent is looked for in what the
fit leaves over, and becomes present when the evidence passes a level set by a stated rate of false
alarms and its lines are there one by one. When a fit is suddenly much worse than before, all
phases are looked for anew from their CIFs: a lock that was lost is found again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .detection import Evidence, TemplateBank, alarm_level, lines_agree, noise_of
from .noise import gain_of, weights
from .pattern_axis import Axis
from .pattern_model import KINDS, Fit, PatternModel
from .peaks import typical_width
from .powder import PowderPhase
from .tracked import Tracked, summed_up

FALSE_ALARM_RATE = 2e-4
# a width that is not fitted with a faint phase's cell takes too little or too much of its lines
_SHAPE_FROM, _SURE_FROM = 4.0, 12.0
"""Amounts over their sigma from which cells and widths are fitted; and from which the zero is, and
values are remembered for when a phase comes back."""
_GONE_DRIFT, _GONE_LEVEL = 2.0, 4.0
_WORSE, _MEMORY = 1.5, 0.2
_LONGEST_REST, _CLEARER = 15, 1.0
_LIKELY_STRAIN = 0.02
_BELIEVED, _IMPERFECT = 3.0, 1.5
_SHAPE_KNOWN_AFTER, _MIXING_SPREAD = 3, 0.1


class PhaseTracker:
    """Follow phases from pattern to pattern.

    Parameters
    ----------
    phases : sequence of PowderPhase
    axis : Axis
    window : sequence of int
        Phases, such as of a cell's window, that do not count among the volumes.
    false_alarm_rate : float
        Onsets a frame and phase that are none.
    fit : sequence of str
        Which of `pattern_model.KINDS` are fitted.
    background_terms, instrument_width_per_a, cell_range, second_line
        Of `PatternModel`.
    width_per_a : float, 1/angstrom, optional
        Width of a line to start from; by default that of the first frame's lines.

    Attributes
    ----------
    model : PatternModel or None
        Made with the first frame.
    gain : float
        Of `noise.weights`, from the first frame.
    onset, gone : (p,) int64
        Frame at which each phase was first declared present, and last declared gone; -1 never.
    """

    def __init__(
        self,
        phases: Sequence[PowderPhase],
        axis: Axis,
        *,
        window: Sequence[int] = (),
        false_alarm_rate: float = FALSE_ALARM_RATE,
        fit: Sequence[str] = KINDS,
        background_terms: int = 10,
        instrument_width_per_a: float = 0.0,
        width_per_a: float | None = None,
        cell_range: float = 0.03,
        second_line: tuple[float, float] | None = None,
    ) -> None:
        unknown = [kind for kind in fit if kind not in KINDS]
        if unknown:
            raise ValueError(f"fit may hold {', '.join(KINDS)}, not {unknown[0]!r}")
        self.phases, self.axis = list(phases), axis
        self.counted = np.array([p not in set(window) for p in range(len(phases))])
        self.kinds = tuple(fit)
        self.rate = false_alarm_rate
        self.level = alarm_level(false_alarm_rate)
        self.model: PatternModel | None = None
        self.onset = np.full(len(phases), -1)
        self.gone = np.full(len(phases), -1)
        self.n_frames = 0
        self._options = {
            "background_terms": background_terms,
            "instrument_width_per_a": instrument_width_per_a,
            "cell_range": cell_range,
            "second_line": second_line,
        }
        self._width = width_per_a
        self.gain = 1.0
        self._reference = np.inf
        self._present: list[int] = []

    def add(self, pattern: np.ndarray, sigma: np.ndarray | None = None) -> Tracked:
        """Take in one pattern.

        Parameters
        ----------
        pattern : (m,) float
        sigma : (m,) float, optional
            As of `noise.weights`.
        """
        if self.model is None:
            self._begin(pattern, sigma)
        intensity, weight = weights(pattern, sigma, self.gain)
        restarted = False
        if self._present:
            fit = self._fit(intensity, weight, self._theta, self._present)
            fit = self._look(intensity, weight, fit)
            if fit.reduced_chi2 > _WORSE * self._reference + 0.2:
                fit, restarted = self._again(intensity, weight, fit)
        else:
            fit = self._acquire(intensity, weight)
        self._reference = (
            fit.reduced_chi2
            if not np.isfinite(self._reference)
            else self._reference + _MEMORY * (fit.reduced_chi2 - self._reference)
        )
        self._theta = fit.theta.copy()
        tracked = summed_up(
            self._it(), fit, intensity, weight, self._present, self._scores, self.counted,
            self.rate, restarted,
        )  # fmt: skip
        self._leave(tracked)
        self.n_frames += 1
        return tracked

    def _begin(self, pattern: np.ndarray, sigma: np.ndarray | None) -> None:
        self.gain = 1.0 if sigma is not None else gain_of(pattern)
        intensity, weight = weights(pattern, sigma, self.gain)
        width = self._width or typical_width(self.axis.q_per_a, intensity, weight)
        self.model = PatternModel(self.phases, self.axis, width_per_a=width, **self._options)  # type: ignore[arg-type]
        p = len(self.phases)
        self._theta = self.model.start.copy()
        self._last_good = self._theta.copy()
        self._rising = [Evidence(self.level) for _ in range(p)]
        self._falling = [Evidence(_GONE_LEVEL) for _ in range(p)]
        self._strength = np.zeros(p)
        self._resting, self._tired = np.zeros(p, int), np.zeros(p, int)
        self._refused = np.full(p, np.inf)
        self._seen = np.zeros(p, int)
        self._banks: dict[int, TemplateBank] = {}
        self._scores: dict[int, tuple[float, float, float]] = {}

    @property
    def theta(self) -> np.ndarray:
        """Parameters of the last fit."""
        return self._theta

    def _it(self) -> PatternModel:
        assert self.model is not None  # noqa: S101  `add` makes it first
        return self.model

    def _free(self, present: Sequence[int], strength: np.ndarray) -> np.ndarray:
        """Return what a fit may change: of faint phases the amount alone, then the cell too."""
        model = self._it()
        rows: list[int] = []
        for phase in present:
            if strength[phase] >= _SHAPE_FROM:
                allowed = [k for k in self.kinds if k != "zero"]
                rows += model.free([phase], allowed).tolist()
        if "zero" in self.kinds and any(strength[p] >= _SURE_FROM for p in present):
            rows.append(model.n_parameters - 1)
        return np.array(sorted(rows), np.int64)

    def _fit(
        self, intensity: np.ndarray, weight: np.ndarray, theta: np.ndarray, present: Sequence[int]
    ) -> Fit:
        return self._it().fit(
            intensity, weight, theta, self._free(present, self._strength), present=present
        )

    def _strengths(self, fit: Fit) -> np.ndarray:
        """Return amounts over sigma of what was fitted."""
        p = len(self.phases)
        sigma = np.sqrt(np.diag(fit.covariance)[:p])
        return np.where(np.isfinite(sigma) & (sigma > 0), fit.x[:p] / sigma, 0.0)

    def _look(self, intensity: np.ndarray, weight: np.ndarray, fit: Fit) -> Fit:
        """Look for absent phases in what a fit leaves over; fit those that are there."""
        noise = noise_of(fit.residual, weight)
        self._scores.clear()
        for phase in range(len(self.phases)):
            if phase in self._present:
                continue
            if phase not in self._banks:
                self._banks[phase] = TemplateBank(self._it(), phase, self._last_good)
            score = self._banks[phase].score(fit, weight, noise)
            self._scores[phase] = (score.z, score.amount, score.sigma)
            self._resting[phase] -= 1
            rested = self._resting[phase] < 0 or score.z > self._refused[phase] + _CLEARER
            if self._rising[phase].add(score.z) and rested:
                better = self._try(intensity, weight, fit, phase, score.strain)
                if better is None:
                    # misfit that stays gives the same evidence frame after frame
                    self._tired[phase] = min(2 * self._tired[phase] + 1, _LONGEST_REST)
                    self._resting[phase] = self._tired[phase]
                    self._refused[phase] = score.z
                else:
                    fit = better
                self._rising[phase].total = 0.0
        return fit

    def _try(
        self, intensity: np.ndarray, weight: np.ndarray, fit: Fit, phase: int, strain: float,
        wider: float = 1.0,
    ) -> Fit | None:  # fmt: skip
        """Fit with one more phase, or return None where its lines are not there."""
        model = self._it()
        theta = fit.theta.copy()
        rows, shape = model.cell_rows(phase), model.shape_row(phase)
        theta[rows] = self._last_good[rows]
        length = np.array([name in "abc" for name in self.phases[phase].lattice.free])
        theta[rows] *= np.where(length, 1 + strain, 1.0)
        theta[shape : shape + 3] = self._last_good[shape : shape + 3]
        theta[shape] *= wider**2
        present = sorted([*self._present, phase])
        strength = self._strength.copy()
        strength[phase] = _SHAPE_FROM
        first = model.fit(intensity, weight, theta, self._free(present, strength), present=present)
        strength = np.where(np.isin(np.arange(len(strength)), present), self._strengths(first), 0)
        better = model.fit(
            intensity, weight, first.theta, self._free(present, strength), present=present
        )
        noise = noise_of(better.residual, weight)
        inflation = better.inflation
        z = self._strengths(better)[phase] / max(noise, inflation)
        # what the model leaves over of strong lines looks like a faint phase, in every frame alike
        needed = _BELIEVED * (1 + min((inflation - 1) / (_IMPERFECT - 1), 1.0))
        if z < needed or not lines_agree(model, better, phase, weight, noise):
            return None
        self._present = present
        self._strength = self._strengths(better)
        self._falling[phase].total = 0.0
        self._resting[phase] = self._tired[phase] = 0
        if self.onset[phase] < 0:
            self.onset[phase] = self.n_frames
        return better

    def _acquire(self, intensity: np.ndarray, weight: np.ndarray) -> Fit:
        """Look for all phases from their CIFs, the most evident first."""
        model = self._it()
        self._present = []
        self._strength = np.zeros(len(self.phases))
        self._scores.clear()
        fit = model.fit(intensity, weight, self._theta, self._free([], self._strength), present=[])
        rejected: set[int] = set()
        reach = float(self._options["cell_range"])  # type: ignore[arg-type]
        banks = {}
        for phase in range(len(self.phases)):
            for wider in (1.0, 3.0):
                theta = model.start.copy()
                theta[model.shape_row(phase)] *= wider**2
                banks[phase, wider] = TemplateBank(model, phase, theta, reach)
        while True:
            noise = noise_of(fit.residual, weight)
            best: tuple[float, int, float, float] | None = None
            for (phase, wider), bank in banks.items():
                if phase in self._present or phase in rejected:
                    continue
                score = bank.score(fit, weight, noise)
                self._scores[phase] = (score.z, score.amount, score.sigma)
                # aluminium stretched by 3 % has the lines of platinum: the nearer cell comes first
                likely = score.z * math.exp(-0.5 * (score.strain / _LIKELY_STRAIN) ** 2)
                if score.z > self.level + 1 and (best is None or likely > best[0]):
                    best = (likely, phase, score.strain, wider)
            if best is None:
                return fit
            rows = model.cell_rows(best[1])
            self._last_good[rows] = model.start[rows]
            better = self._try(intensity, weight, fit, *best[1:])
            if better is None:
                rejected.add(best[1])
            else:
                fit = better
                rejected.clear()

    def _again(self, intensity: np.ndarray, weight: np.ndarray, fit: Fit) -> tuple[Fit, bool]:
        """Look for all phases anew; keep what fits better."""
        kept = (list(self._present), self._strength.copy(), self._last_good.copy())
        onset, scores = self.onset.copy(), dict(self._scores)
        fresh = self._acquire(intensity, weight)
        if fresh.chi2 < fit.chi2 - 10 * fit.inflation**2:
            self._banks.clear()
            return fresh, True
        self._present, self._strength, self._last_good = kept
        self.onset, self._scores = onset, scores
        return fit, False

    def _leave(self, tracked: Tracked) -> None:
        """Declare gone what has shown too little for too long."""
        model = self._it()
        self._strength = np.where(tracked.present, tracked.evidence, 0.0)
        for phase in list(self._present):
            rows = slice(model.cell_rows(phase).start, model.shape_row(phase) + 3)
            if tracked.evidence[phase] >= _SURE_FROM:
                self._last_good[rows] = self._theta[rows]
                self._learn_mixing(phase)
            falling = self._falling[phase]
            falling.total = max(0.0, falling.total + _GONE_DRIFT - tracked.evidence[phase])
            if falling.total > falling.level:
                self._present.remove(phase)
                self._theta[rows] = self._last_good[rows]
                self._rising[phase].total = falling.total = 0.0
                self._banks.pop(phase, None)
                self.gone[phase] = self.n_frames

    def _learn_mixing(self, phase: int) -> None:
        """Believe more and more that a phase's lines keep their shape."""
        row = self._it().shape_row(phase) + 2
        centre, stiffness = self._it().prior
        self._seen[phase] += 1
        share = max(1 / (1 + self._seen[phase]), _MEMORY)
        centre[row] += share * (self._theta[row] - centre[row])
        if self._seen[phase] > _SHAPE_KNOWN_AFTER:
            stiffness[row] = 1 / _MIXING_SPREAD**2
