"""The axis of a series of patterns, however it was recorded: q, 2 theta, or just bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .blunting import Blunting

_UNITS = {"q_per_a": "1/angstrom", "two_theta_deg": "deg"}


@dataclass(frozen=True)
class Axis:
    """Where the bins of a pattern lie.

    Parameters
    ----------
    q_per_a : (m,) float64, 1/angstrom, ascending
    wavelength_a : float, angstrom, or None
        Needed where the pattern was measured over 2 theta.
    zero_in : "q" or "two_theta"
        What a shift of the zero is added to: 1/angstrom or degrees.
    polarised : bool
        Whether the polarisation still lowers the intensity, as of an unpolarised source.
    blunting : Blunting, optional
        What pixels and bins made of the lines, where it is known.
    """

    q_per_a: np.ndarray
    wavelength_a: float | None = None
    zero_in: str = "q"
    polarised: bool = False
    blunting: Blunting | None = None

    def cosine(self, q: np.ndarray, factor: float = 1.0) -> np.ndarray:
        """Return cos(factor * theta) at q, 1 where the wavelength is unknown."""
        if self.wavelength_a is None:
            return np.ones_like(q)
        sine = np.clip(np.asarray(q) * self.wavelength_a / (4 * np.pi), 0, 1)
        return np.cos(factor * np.arcsin(sine))

    def q_over_zero(self, q: np.ndarray) -> np.ndarray:
        """Return how q follows the shift of the zero."""
        if self.zero_in == "q" or self.wavelength_a is None:
            return np.ones_like(q)
        return 2 * np.pi / self.wavelength_a * self.cosine(q) * np.pi / 180

    def strength(self, q: np.ndarray) -> np.ndarray:
        """Return the Lorentz factor, and polarisation, of lines that have unit area over q.

        Over 2 theta the Lorentz factor of a ring is 1 / (sin^2 theta cos theta); over q the
        cosine goes into the width of a bin and 1 / sin^2 theta is left, here in units of 1/q^2.
        """
        factor = 1.0 / np.square(q)
        if self.polarised:
            factor = factor * (1 + self.cosine(q, 2.0) ** 2) / 2
        return factor


@dataclass(frozen=True)
class PatternAxis:
    """Where the bins of patterns lie, as recorded and in q.

    Parameters
    ----------
    name : "q_per_a", "two_theta_deg" or "bin"
    units : str
    order : (m,) int64
        Bins that are used, in ascending order of the axis.
    recorded : (m,) float64
        The axis itself, in `units`; of bins, counted from one.
    axis : Axis or None
        In q; None where it cannot be known.
    """

    name: str
    units: str
    order: np.ndarray
    recorded: np.ndarray
    axis: Axis | None

    def in_q(self) -> np.ndarray | None:
        """Return the axis in 1/angstrom, or None."""
        return None if self.axis is None else self.axis.q_per_a


def pattern_axis(
    axes: Mapping[str, np.ndarray],
    bins: int,
    *,
    wavelength_a: float | None = None,
    polarised: bool = False,
    q_min_per_a: float | None = None,
    q_max_per_a: float | None = None,
    blunting: Blunting | None = None,
) -> PatternAxis:
    """Return the axis of patterns with so many bins.

    Parameters
    ----------
    axes : mapping
        ``q_per_a`` or ``two_theta_deg``, (bins,), as a `Batch` has them.
    bins : int
    wavelength_a : float, angstrom, optional
    polarised : bool
        See `Axis`.
    q_min_per_a, q_max_per_a : float, 1/angstrom, optional
        Bins outside are left out.
    blunting : Blunting, optional
        Of `Axis`.

    Raises
    ------
    ValueError
        When an axis does not fit the patterns or no bin is left.
    """
    name = next((each for each in _UNITS if each in axes), None)
    if name is None:
        recorded = np.arange(1.0, bins + 1)
        return PatternAxis("bin", "", np.arange(bins), recorded, None)
    recorded = np.asarray(axes[name], float)
    if recorded.shape != (bins,):
        raise ValueError(f"{name} has shape {recorded.shape}, but patterns have {bins} bins")
    q, zero_in = recorded, "q"
    if name == "two_theta_deg":
        zero_in = "two_theta"
        sine = np.sin(np.radians(recorded) / 2)
        q = np.full(bins, np.nan) if wavelength_a is None else 4 * np.pi * sine / wavelength_a
    known = q if np.isfinite(q).any() else recorded
    usable = (
        np.isfinite(recorded) & (recorded > 0) & (recorded < 175 if q is not recorded else True)
    )
    if q is known:
        usable &= q >= (q_min_per_a or 0.0)
        usable &= q <= (q_max_per_a or np.inf)
    order = np.argsort(known, kind="stable")
    order = order[usable[order]]
    order = order[np.append(True, np.diff(known[order]) > 0)] if len(order) else order
    if len(order) < 16:
        raise ValueError(
            f"{len(order)} bins lie between q_min_per_a and q_max_per_a; at least 16 are needed"
        )
    axis = None
    if q is known:
        axis = Axis(np.ascontiguousarray(q[order]), wavelength_a, zero_in, polarised, blunting)
    return PatternAxis(name, _UNITS[name], order, recorded[order], axis)
