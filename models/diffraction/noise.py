"""How far each bin of a pattern may be off: from its counts, what was stated, or its scatter."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

_SMOOTHED = 5
_LIKE_COUNTS = (0.6, 1.6)
_MANY = 1000.0


def gain_of(pattern: np.ndarray) -> float:
    """Return the variance of bins over their values, from how much neighbours differ.

    1 for counts; patterns that were divided by a monitor, or summed over many pixels and averaged,
    have another. Second differences leave out what is straight; their median leaves out lines.

    Parameters
    ----------
    pattern : (m,) float
    """
    y = np.asarray(pattern, float)
    y = y[np.isfinite(y)]
    if len(y) < 16:
        return 1.0
    rough = y[:-2] - 2 * y[1:-1] + y[2:]
    level = uniform_filter1d(y, 9)[1:-1]
    usable = level > 0
    if not usable.any():
        return 1.0
    ratio = rough[usable] ** 2 / (6 * level[usable])
    gain = float(np.median(ratio)) / 0.4549  # the median of chi^2 with one degree of freedom
    if gain <= 0 or _LIKE_COUNTS[0] < gain < _LIKE_COUNTS[1]:
        return 1.0
    return gain


def weights(
    pattern: np.ndarray, sigma: np.ndarray | None = None, gain: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a pattern without gaps and one over sigma of each bin, 0 where a bin is missing.

    Without stated sigmas the variance is `gain` times the mean of five neighbours: a bin's own
    count would give low counts the larger weight and so lower every sum.

    Parameters
    ----------
    pattern : (m,) float
    sigma : (m,) float or None
        Not finite, or not above zero, where a bin is to be left out.
    gain : float

    Returns
    -------
    intensity : (m,) float64
    weight : (m,) float64
    """
    y = np.asarray(pattern, float)
    good = np.isfinite(y)
    intensity = np.where(good, y, 0.0)
    if sigma is not None:
        stated = np.asarray(sigma, float)
        good &= np.isfinite(stated) & (stated > 0)
        return intensity, np.where(good, 1 / np.where(good, stated, 1.0), 0.0)
    share = uniform_filter1d(good.astype(float), _SMOOTHED)
    level = uniform_filter1d(intensity, _SMOOTHED) / np.maximum(share, 1e-9)
    return intensity, np.where(good, 1 / np.sqrt(gain * np.maximum(level, gain)), 0.0)


def steadied(sigma: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Return sigmas of counts, those of few from five neighbours.

    A bin's own count would give low counts the larger weight, and so lower every sum; a bin without
    counts would have none or, where its sigma is next to nothing, all. From about a thousand counts
    on its own says more than those of the neighbours, of which some may lie on a line's flank.

    Parameters
    ----------
    sigma : (m,) float
        Of an integrated pattern; not finite in a bin without pixels.
    norm : (m,) float
        Of `integrator.Integrator`: a pattern times it is counts.

    Returns
    -------
    (m,) float64
        NaN in a bin without pixels. Five bins in which nothing was counted are taken as if one
        count had been.
    """
    good = np.isfinite(sigma) & (norm > 0)
    pixels = np.where(good, norm, 0.0)
    own = np.where(good, sigma * norm, 0.0) ** 2
    counts = np.maximum(uniform_filter1d(own, _SMOOTHED) * _SMOOTHED, 1.0)
    around = np.maximum(uniform_filter1d(pixels, _SMOOTHED) * _SMOOTHED, pixels)
    near = counts * pixels / np.where(good, around, 1.0)
    variance = (own**2 + _MANY * near) / (own + _MANY)
    return np.where(good, np.sqrt(variance) / np.where(good, norm, 1.0), np.nan)
