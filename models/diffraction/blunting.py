"""What pixels and bins make of the shape of a powder's lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_GAUSS_FWHM2 = 8 * np.log(2.0)
"""Square of a Gaussian's full width at half maximum over its variance."""


@dataclass(frozen=True)
class Blunting:
    """By what lines are widened, and flattened, along an axis.

    A pixel averages over itself, and a bin over what it holds. Lines are folded with both, which
    are flatter than a Gaussian: to its variance comes a fourth cumulant below zero, as in the
    series of C. V. L. Charlier (Ark. Mat. Astr. Fys. 2, 20 (1905)).

    Parameters
    ----------
    q_per_a : (m,) float64, 1/angstrom, ascending
    variance : (m,) float64, 1/angstrom^2
        Of what lines are folded with.
    fourth : (m,) float64, 1/angstrom^4
        Its fourth cumulant.
    """

    q_per_a: np.ndarray
    variance: np.ndarray
    fourth: np.ndarray

    def width2_at(self, q: np.ndarray) -> np.ndarray:
        """Return what is added to the square of a width at half maximum at q, 1/angstrom^2."""
        return _GAUSS_FWHM2 * np.interp(q, self.q_per_a, self.variance)

    def flatness_at(self, q: np.ndarray) -> np.ndarray:
        """Return a 24th of the fourth cumulant at q, in the units of widths at half maximum."""
        return _GAUSS_FWHM2**2 / 24 * np.interp(q, self.q_per_a, self.fourth)


def box_cumulants(*widths: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return variance and fourth cumulant of boxes of these full widths, folded with each other."""
    squares = [np.square(width) for width in widths]
    return np.asarray(sum(squares) / 12), -np.asarray(sum(s**2 for s in squares) / 120)
