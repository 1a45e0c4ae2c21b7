"""Is there a phase that was not there before? A score test on what is left of a pattern.

A phase that is absent is not fitted: its pattern, its cell stretched by each of a few strains, is
compared with the residual. What the fitted parameters could have taken up is projected out, so
that without the phase the score is normally distributed with variance 1. The chance that the
best of correlated scores exceeds a level is that of S. O. Rice, Bell Syst. Tech. J. 24, 46
(1945); from frame to frame evidence is added as by E. S. Page, Biometrika 41, 100 (1954).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri_exp

from .pattern_model import Fit, PatternModel
from .score_kernels import score_templates

DRIFT = 1.0
"""Evidence that a frame must bring, in sigmas, before it counts."""
_OVERSHOOT = 1.166
_MOST_STRAINS = 81
_SEEN, _EXPECTED, _AGREE = 0.4, 3.0, 0.6


@dataclass(frozen=True)
class Score:
    """How much a residual looks like a phase.

    Parameters
    ----------
    z : float
        Evidence: a normal deviate that allows for how many strains were tried.
    strain : float
        Of the best.
    amount, sigma : float
        Of the phase with the cell that was last known.
    """

    z: float
    strain: float
    amount: float
    sigma: float


class TemplateBank:
    """A phase's pattern for several strains of its cell.

    Parameters
    ----------
    model : PatternModel
    phase : int
    theta : (n,) float64
        The parameters to start from.
    reach : float
        Largest strain, up or down.
    """

    def __init__(
        self, model: PatternModel, phase: int, theta: np.ndarray, reach: float = 0.01
    ) -> None:
        rows, shape = model.cell_rows(phase), model.shape_row(phase)
        width = np.sqrt(theta[shape] + model.fixed_width2)
        middle = float(np.median(model.q))
        step = max(0.35 * width / middle, 2 * reach / (_MOST_STRAINS - 1))
        half = int(np.ceil(reach / step)) if reach > 0 else 0
        self.strains = step * np.arange(-half, half + 1)
        self.nominal = half
        self.templates = np.empty((len(self.strains), len(model.q)))
        length = np.array([name in "abc" for name in model.phases[phase].lattice.free])
        moved = theta.copy()
        moved[shape] = max(theta[shape], (1.2 * step * middle) ** 2)
        for row, strain in zip(self.templates, self.strains, strict=True):
            moved[rows] = theta[rows] * np.where(length, 1 + strain, 1.0)
            row[:] = model.columns(moved, [phase])[phase]

    def score(self, fit: Fit, weight: np.ndarray, noise: float) -> Score:
        """Compare with what a fit left over.

        Parameters
        ----------
        fit : Fit
        weight : (m,) float64
            One over sigma.
        noise : float
            The residual's scatter in sigmas, 1 where the model describes all.
        """
        overlap, length, full, cosine = score_templates(
            self.templates, weight, fit.rows, fit.residual
        )
        usable = (length > 0.05 * full) & (full > 0)
        if not usable.any():
            return Score(0.0, 0.0, 0.0, np.inf)
        z = np.where(usable, overlap / np.where(usable, length, 1.0), 0.0) / noise
        best = int(np.argmax(z))
        cosine = np.where(usable[:-1] & usable[1:], cosine, 1.0)
        ways = np.arccos(np.clip(cosine, -1, 1)).sum() / (2 * np.pi)
        size = max(length[self.nominal], 0.05 * full[self.nominal], 1e-300)
        at = z[self.nominal] * noise / size
        return Score(
            evidence(float(z[best]), float(ways)), float(self.strains[best]), at, noise / size
        )


def evidence(z: float, ways: float) -> float:
    """Return the normal deviate as rare as the largest of correlated scores.

    Parameters
    ----------
    z : float
        The largest.
    ways : float
        Sum of the angles between neighbouring templates over 2 pi.
    """
    log_p = np.logaddexp(log_ndtr(-z), np.log(max(ways, 1e-300)) - z * z / 2)
    return float(-ndtri_exp(min(log_p, -1e-12)))


def alarm_level(rate: float, drift: float = DRIFT) -> float:
    """Return the sum of evidence at which a phase counts as there.

    Parameters
    ----------
    rate : float
        False alarms a frame and phase, between 1e-12 and 0.1.
    drift : float

    Returns
    -------
    float
        From D. Siegmund's mean run length between false alarms (Sequential Analysis, 1985).

    Raises
    ------
    ValueError
        When the rate is out of range.
    """
    if not 1e-12 <= rate <= 0.1:
        raise ValueError(f"false_alarm_rate must lie between 1e-12 and 0.1, got {rate:g}")

    def excess(b: float) -> float:
        return (np.exp(2 * drift * b) - 2 * drift * b - 1) / (2 * drift**2) - 1 / rate

    level = float(brentq(excess, 1e-6, 20 / drift))  # type: ignore[arg-type]
    return max(level - _OVERSHOOT, 0.0)


@dataclass
class Evidence:
    """Adds evidence from frame to frame, never below nothing."""

    level: float
    total: float = 0.0

    def add(self, z: float, drift: float = DRIFT) -> bool:
        """Take in one frame; whether the level is passed."""
        self.total = max(0.0, self.total + z - drift)
        return self.total > self.level


def lines_agree(
    model: PatternModel, fit: Fit, phase: int, weight: np.ndarray, noise: float
) -> bool:
    """Whether a fitted phase's own lines are there, each for itself, not just the sum of them.

    A phase that lends one of its lines to a stranger's fails: others that it should have are
    missing. A part of the lines may be weak, as grains are seldom turned all ways alike.

    Parameters
    ----------
    model : PatternModel
    fit : Fit
    phase : int
    weight : (m,) float64
    noise : float
    """
    amount = fit.x[phase]
    if amount <= 0:
        return False
    seen = model.line_columns(fit.theta, phase) * weight
    length2 = np.einsum("ij,ij->i", seen, seen)
    usable = length2 > 0
    expected = amount * np.sqrt(length2) / noise
    part = 1 + seen @ fit.residual / np.where(usable, length2, 1.0) / amount
    strong = usable & (expected > _EXPECTED)
    if not strong.any():
        return True  # too faint to tell its lines apart
    votes = np.minimum(expected[strong], 20.0)
    return bool(votes @ (part[strong] > _SEEN) >= _AGREE * votes.sum())


def noise_of(residual: np.ndarray, weight: np.ndarray) -> float:
    """Return the scatter of a residual in sigmas, at least 1, that few strong lines leave alone."""
    used = residual[weight > 0]
    if len(used) < 8:
        return 1.0
    return max(1.0, float(1.4826 * _middle(np.abs(used - _middle(used)))))


def _middle(values: np.ndarray) -> float:
    """Return the upper median: for each frame, where `numpy.median` takes thrice as long."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])
