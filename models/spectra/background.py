"""What lies under the lines: the smooth part of a mean spectrum, in terms that may vary."""

from __future__ import annotations

import numpy as np


def snip(spectrum: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the background of a spectrum by statistics-sensitive iterative peak clipping.

    Ryan et al., Nucl. Instrum. Methods B 34, 396 (1988), on the doubly logarithmic spectrum, with
    a window that follows the detector's width and shrinks at the end.

    Parameters
    ----------
    spectrum : (channels,) float64, counts
    widths : (channels,) float64, channels
        Half the widest window: about the full width at half maximum of a line.

    Returns
    -------
    (channels,) float64, counts
        Never above the smoothed spectrum.
    """
    n = len(spectrum)
    smooth = _smoothed(np.maximum(spectrum, 0.0), widths)
    level = np.log(np.log(np.sqrt(smooth + 1) + 1) + 1)
    channel = np.arange(n)
    for factor in (*np.linspace(1, 0.5, 3), *np.linspace(1, 0.1, 24)):
        step = np.maximum(np.rint(2 * widths * factor).astype(int), 1)
        low, high = np.maximum(channel - step, 0), np.minimum(channel + step, n - 1)
        level = np.minimum(level, 0.5 * (level[low] + level[high]))
    return np.minimum((np.exp(np.exp(level) - 1) - 1) ** 2 - 1, smooth).clip(0.0)


def _smoothed(spectrum: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return a spectrum averaged over a third of a line's width."""
    half = np.maximum(np.rint(widths / 6).astype(int), 1)
    total = np.concatenate([[0.0], np.cumsum(spectrum)])
    channel = np.arange(len(spectrum))
    low = np.maximum(channel - half, 0)
    high = np.minimum(channel + half + 1, len(spectrum))
    return (total[high] - total[low]) / (high - low)


def hats(channels: int, terms: int) -> np.ndarray:
    """Return tent functions that sum to 1, (channels, terms) float64."""
    if terms < 2:
        return np.ones((channels, 1))
    at = np.linspace(0, terms - 1, channels)
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(terms)))
