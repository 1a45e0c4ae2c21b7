"""How far a reconstruction can be believed: the Fourier ring correlation of two halves."""

from __future__ import annotations

import numpy as np
import scipy.fft

MIN_SIDE = 8


def side_of(size_px: np.ndarray) -> int:
    """Return the side of the square, in pixels, that fits into a field of (h, w) pixels."""
    return int(min(np.floor(size_px)))


def denoised(obj: np.ndarray, frc: np.ndarray, side_px: int) -> np.ndarray:
    """Return an object without what two halves of its frames do not share.

    The Wiener filter that a Fourier ring correlation makes: ``2 frc / (1 + frc)`` is the share of
    signal in the power of the whole (Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)). Rings
    are smoothed over their neighbours.

    Parameters
    ----------
    obj : (..., H, W) complex64
    frc : (rings,) float64
        Of `ring_correlation`; one without values leaves the object as it is.
    side_px : int
        Of the square whose rings those are.
    """
    if side_px < MIN_SIDE or not np.any(np.isfinite(frc)):
        return obj
    shared = np.clip(np.nan_to_num(frc), 0, 1)
    shared = np.pad(2 * shared / (1 + shared), 1, mode="edge")
    shared = np.convolve(shared, [0.25, 0.5, 0.25], mode="valid")
    frequencies = (scipy.fft.fftfreq(n) for n in obj.shape[-2:])
    ring = np.hypot(*np.meshgrid(*frequencies, indexing="ij")) * side_px
    passed = np.interp(ring, np.arange(len(shared)), shared)
    mean = obj.mean(axis=(-2, -1), keepdims=True)
    spectrum = np.asarray(scipy.fft.fft2(obj - mean)) * passed
    return (np.asarray(scipy.fft.ifft2(spectrum)) + mean).astype(np.complex64)


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
    side = side_of(size_px)
    if side < MIN_SIDE:
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
