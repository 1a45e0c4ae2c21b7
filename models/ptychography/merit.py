"""How far a reconstruction can be believed: the Fourier ring correlation of two halves."""

from __future__ import annotations

import numpy as np
import scipy.fft


def ring_correlation(
    one: np.ndarray, other: np.ndarray, corner_px: np.ndarray, size_px: np.ndarray
) -> np.ndarray:
    """Return the Fourier ring correlation of two independent objects.

    Both are cut to the square that the beam has scanned, their means are taken away, and a Hann
    window keeps the edges out (van Heel & Schatz, J. Struct. Biol. 151, 250 (2005)).

    Parameters
    ----------
    one, other : (H, W) complex64
    corner_px, size_px : (2,) float64
        The scanned field.

    Returns
    -------
    (rings,) float64
        Ring r holds ``r - 1/2 <= |k| < r + 1/2`` in steps of 1 / side; NaN where the field is
        smaller than 8 pixels.
    """
    side = int(min(np.floor(size_px)))
    if side < 8:
        return np.full(1, np.nan)
    y, x = np.rint(corner_px + (size_px - side) / 2).astype(int)
    window = np.hanning(side + 2)[1:-1]
    taper = np.outer(window, window)
    parts = []
    for obj in (one, other):
        part = obj[y : y + side, x : x + side].astype(np.complex128)
        part = part * np.exp(-1j * np.angle(part.mean()))
        parts.append(scipy.fft.fft2((part - part.mean()) * taper))
    k = scipy.fft.fftfreq(side, 1 / side)
    rings = np.rint(np.hypot(k[:, None], k[None])).astype(int)
    inside = rings <= side // 2
    count = side // 2 + 1

    def over_rings(values: np.ndarray) -> np.ndarray:
        return np.bincount(rings[inside], values[inside], count)

    cross = over_rings((parts[0] * parts[1].conj()).real)
    power = over_rings(np.abs(parts[0]) ** 2) * over_rings(np.abs(parts[1]) ** 2)
    return cross / np.sqrt(np.maximum(power, 1e-300))
