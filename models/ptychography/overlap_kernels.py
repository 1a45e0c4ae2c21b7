"""The overlap function of direct ptychography: a kernel, single-threaded, without the GIL."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _cis(cycles):
    """Return cos and sin of 2 pi times a float32, to 1e-6: faster than the library's by far."""
    t = cycles - np.float32(math.floor(cycles + np.float32(0.5)))
    # in quarter turns round the nearest, where two short polynomials suffice
    quarter = math.floor(np.float32(4) * t + np.float32(0.5))
    x = np.float32(2 * math.pi) * (t - np.float32(0.25) * np.float32(quarter))
    x2 = x * x
    s = x * (
        np.float32(1)
        + x2 * (np.float32(-1 / 6) + x2 * (np.float32(1 / 120) - x2 * np.float32(1 / 5040)))
    )
    c = np.float32(1) + x2 * (
        np.float32(-0.5)
        + x2 * (np.float32(1 / 24) + x2 * (np.float32(-1 / 720) + x2 * np.float32(1 / 40320)))
    )
    turns = int(quarter) & 3
    if turns == 0:
        return c, s
    if turns == 1:
        return -s, c
    if turns == 2:
        return -c, -s
    return s, -c


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _look_up(table, y, x):
    """Interpolate amplitude and phase bilinearly; zero outside the table."""
    iy, ix = math.floor(y), math.floor(x)
    if iy < 0 or ix < 0 or iy >= table.shape[0] - 1 or ix >= table.shape[1] - 1:
        return np.float32(0), np.float32(0)
    fy, fx = np.float32(y - iy), np.float32(x - ix)
    a = table[iy, ix, 0] + fx * (table[iy, ix + 1, 0] - table[iy, ix, 0])
    b = table[iy + 1, ix, 0] + fx * (table[iy + 1, ix + 1, 0] - table[iy + 1, ix, 0])
    amplitude = a + fy * (b - a)
    if amplitude == 0:
        return amplitude, amplitude
    a = table[iy, ix, 1] + fx * (table[iy, ix + 1, 1] - table[iy, ix, 1])
    b = table[iy + 1, ix, 1] + fx * (table[iy + 1, ix + 1, 1] - table[iy + 1, ix, 1])
    return amplitude, a + fy * (b - a)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _real(table, origin, ky, kx, light, qy, qx):
    total = np.float32(0)
    for c in range(light.shape[0]):
        if light[c] != 0:
            y, x = ky[c] + origin[0], kx[c] + origin[1]
            minus = _look_up(table, y - qy, x - qx)[0]
            plus = _look_up(table, y + qy, x + qx)[0]
            total += light[c] * (minus - plus)
    return total


@njit(nogil=True, cache=True, fastmath=_FAST)
def _complex(table, origin, ky, kx, light, phase, qy, qx):
    re, im = np.float32(0), np.float32(0)
    for c in range(light.shape[0]):
        if light[c] == 0:
            continue
        y, x = ky[c] + origin[0], kx[c] + origin[1]
        minus, chi = _look_up(table, y - qy, x - qx)
        if minus != 0:
            cos, sin = _cis(phase[c] - chi)
            re += light[c] * minus * cos
            im += light[c] * minus * sin
        plus, chi = _look_up(table, y + qy, x + qx)
        if plus != 0:
            cos, sin = _cis(phase[c] - chi)
            re -= light[c] * plus * cos
            im += light[c] * plus * sin
    return re, im


@njit(nogil=True, cache=True, fastmath=_FAST)
def overlap_function(table, origin, radius, cells, light, phase, reach, middle, shifts, out):
    """Fill G, the interference of the two side bands with the central disk, for every Q.

    ``G_Q(k) = conj(A(k)) A(k - Q) - A(k) conj(A(k + Q))`` (Rodenburg, McCallum & Nellist,
    Ultramicroscopy 48, 304 (1993)), summed over the cells of each super-pixel.

    Parameters
    ----------
    table : (ty, tx, 2) float32
        The aperture round `origin`: its amplitude, averaged over a cell, with a border of zeros,
        and its aberration function in cycles.
    origin : (2,) float64
        Table index of the optic axis.
    radius : (2,) float64, table samples
        Of the aperture.
    cells : (K, c, 2) float64, table samples from the optic axis
        Middles of the cells of each super-pixel.
    light : (K, c) float32
        Amplitude summed over the good pixels of each cell.
    phase : (K, c) float32, cycles
        The aberration function in the middle of each cell.
    reach : float
        How far the aperture's edge reaches over a super-pixel's middle, in parts of the radius.
    middle : (K, 2) float64, table samples from the optic axis
    shifts : (Y, X, 2) float64, table samples
        Q in the detector's frame; NaN where it is beyond the transfer.
    out : (Y, X, K, 2) float32, or (Y, X, K, 1) where there are no aberrations
        Real and imaginary part.
    """
    outer, inner = (1 + reach) ** 2, max(0.0, 1 - reach) ** 2
    real = out.shape[3] == 1
    for y in range(shifts.shape[0]):
        for x in range(shifts.shape[1]):
            qy, qx = shifts[y, x, 0], shifts[y, x, 1]
            if math.isnan(qy):
                out[y, x, :] = 0
                continue
            for k in range(cells.shape[0]):
                below = ((middle[k, 0] - qy) / radius[0]) ** 2 + (
                    (middle[k, 1] - qx) / radius[1]
                ) ** 2
                above = ((middle[k, 0] + qy) / radius[0]) ** 2 + (
                    (middle[k, 1] + qx) / radius[1]
                ) ** 2
                if below > outer and above > outer:
                    out[y, x, k, :] = 0
                    continue
                if real and below < inner and above < inner:  # the two side bands cancel
                    out[y, x, k, :] = 0
                    continue
                ky, kx = cells[k, :, 0], cells[k, :, 1]
                if real:
                    out[y, x, k, 0] = _real(table, origin, ky, kx, light[k], qy, qx)
                else:
                    re, im = _complex(table, origin, ky, kx, light[k], phase[k], qy, qx)
                    out[y, x, k, 0] = re
                    out[y, x, k, 1] = im


def warm() -> None:
    """Compile the kernel."""
    table, ones = np.ones((4, 4, 2), np.float32), np.ones((1, 1), np.float32)
    two, cells, shifts = np.ones(2), np.zeros((1, 1, 2)), np.zeros((2, 2, 2))
    out = np.empty((2, 2, 1, 2), np.float32)
    overlap_function(table, two, two, cells, ones, ones, 0.1, cells[:, 0].copy(), shifts, out)
