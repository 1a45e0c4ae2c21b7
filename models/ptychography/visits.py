"""What is odd about a measurement: places visited twice or far apart, noise alone."""

from __future__ import annotations

import numpy as np
import scipy.spatial

TWICE = 0.05
MISSING = 0.05
APART = 10.0
NOISE = 2.0


def visit_reasons(
    scan_index: np.ndarray, positions: np.ndarray, passes: np.ndarray | None = None
) -> list[str]:
    """Return what is wrong with frames' scan indices and positions, in words.

    Parameters
    ----------
    scan_index : (n,) int64
    positions : (n, 2) float64, yx
    passes : (n_points,) int64 or None
        Pass of each scan index; a scan of several passes comes back to a place on purpose.
    """
    n, out = len(scan_index), []
    if n == 0:
        return out
    indices = np.unique(scan_index)
    if len(indices) < n:
        out.append(f"duplicate frames: {n - len(indices)} of {n} repeat a scan index")
    gone = int(indices[-1] - indices[0]) + 1 - len(indices)
    if gone > MISSING * (gone + len(indices)):
        out.append(
            f"missing frames: {gone} of {gone + len(indices)} scan indices have none, more than"
            f" {MISSING:.0%}"
        )
    places = np.unique(positions, axis=0)
    again = n - len(places)
    if again > TWICE * n and passes is None:
        out.append(
            f"duplicate positions: {again} of {n} frames lie on an earlier one; correct the"
            " positions unless the beam stood still"
        )
    apart = _apart(places)
    if apart:
        out.append(
            f"positions outside: {apart} of {n} frames lie more than {APART:g} times the usual"
            " distance from any other; correct their positions or leave them out"
        )
    return out


def _apart(places: np.ndarray) -> int:
    """Return how many places (n, 2) lie far from all others."""
    if len(places) < 3:
        return 0
    nearest = np.asarray(scipy.spatial.KDTree(places).query(places, k=2)[0])[:, 1]
    return int(np.count_nonzero(nearest > APART * np.median(nearest)))


def noise_reasons(error: float, super_pixels: int) -> list[str]:
    """Return whether a direct reconstruction is mostly noise, in words.

    Noise that is white over K super-pixels has 1 / K of its power in any one pattern of them, so
    that a phase which explains 2 / K of the data has no more signal than noise.

    Parameters
    ----------
    error : float
        Share of the data's power that the phase does not explain.
    super_pixels : int
        K.
    """
    if 1 - error >= NOISE / super_pixels:
        return []
    return [
        f"noise: the phase explains {1 - error:.2g} of the data, and noise alone would explain"
        f" {1 / super_pixels:.2g}; take more dose, or bins_across fewer"
    ]


def field_reasons(positions_px: np.ndarray, diameter_px: float) -> list[str]:
    """Return whether the scan is smaller than the probe, in words.

    Parameters
    ----------
    positions_px : (n, 2) float64, object pixels
    diameter_px : float, object pixels
        Of the probe.
    """
    span = float(np.ptp(positions_px, axis=0).max()) if len(positions_px) else 0.0
    if span >= diameter_px or len(np.unique(positions_px, axis=0)) < 2:
        return []
    return [
        f"field: the scan spans {span:.2g} px, less than the probe's diameter of {diameter_px:.2g}"
        " px; check energy_kev, angular_sampling_mrad and the unit of the positions"
    ]
