"""Kernels of direct ptychography: numba and numpy, single-threaded, without the GIL."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def bin_box(frame, y0, x0, size, grid, row):
    """Sum a box of a frame into super-pixels; return its largest count.

    Parameters
    ----------
    frame : (h, w) any real dtype
    y0, x0 : int
        Corner of the box.
    size : int
        Detector pixels along a super-pixel.
    grid : (ny, nx) float32
        Filled.
    row : (nx * size,) float32
        Work space.
    """
    ny, nx = grid.shape
    width = nx * size
    top = np.float32(0)
    for j in range(ny):
        row[:] = 0
        for r in range(size):
            line = frame[y0 + j * size + r, x0 : x0 + width]
            for x in range(width):
                row[x] += np.float32(line[x])
        grid[j, :] = 0
        for r in range(size):
            for i in range(nx):
                grid[j, i] += row[i * size + r]
        for x in range(width):  # a pixel at the format's top lifts its column's sum to it
            top = max(top, row[x])
    return top


@njit(nogil=True, cache=True, fastmath=_FAST)
def _reaches(frame, ceiling):
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            if frame[y, x] >= ceiling:
                return True
    return False


@njit(nogil=True, cache=True, fastmath=_FAST)
def splat(frames, y0, x0, size, box, keep, sixteenths, ceiling, canvas, weight):
    """Bin the bright field of each frame and spread it over the four nearest canvas pixels.

    Positions are whole sixteenths of a pixel: the weights are then multiples of 1/256, sums of
    counts are exact in float32, and the order in which frames arrive cannot matter.

    Parameters
    ----------
    frames : (n, h, w) any real dtype
    y0, x0, size : int
        Corner of the box and detector pixels along a super-pixel.
    box : (2,) int64
        Super-pixels along y and x.
    keep : (K,) int64
        Flat indices of the super-pixels in the bright field.
    sixteenths : (n, 2) int64
        Positions in 1/16 of a canvas pixel.
    ceiling : float
        Count at which a pixel is clipped.
    canvas : (Y, X, K) float32, in place
    weight : (Y, X) float32, in place

    Returns
    -------
    int
        How many frames have a clipped pixel in the box's columns.
    """
    grid = np.empty((box[0], box[1]), np.float32)
    row = np.empty(box[1] * size, np.float32)
    flat = grid.reshape(-1)
    vector = np.empty(keep.shape[0], np.float32)
    clipped = 0
    for f in range(frames.shape[0]):
        if bin_box(frames[f], y0, x0, size, grid, row) >= ceiling:
            clipped += _reaches(frames[f], ceiling)
        for k in range(keep.shape[0]):
            vector[k] = flat[keep[k]]
        sy, sx = sixteenths[f, 0], sixteenths[f, 1]
        for corner in range(4):
            dy, dx = corner >> 1, corner & 1
            wy = sy & 15 if dy else 16 - (sy & 15)
            wx = sx & 15 if dx else 16 - (sx & 15)
            if wy * wx == 0:
                continue
            w = np.float32(wy * wx) / np.float32(256)
            target = canvas[(sy >> 4) + dy, (sx >> 4) + dx]
            weight[(sy >> 4) + dy, (sx >> 4) + dx] += w
            for k in range(target.shape[0]):
                target[k] += w * vector[k]
    return clipped


@njit(nogil=True, cache=True, fastmath=_FAST)
def normalise(canvas, weight, mean, out):
    """Fill `out` with the canvas per unit of weight, less the mean; zero where nothing is.

    Parameters
    ----------
    canvas, out : (Y, X, K) float32
    weight : (Y, X) float32
    mean : (K,) float32
    """
    for y in range(canvas.shape[0]):
        for x in range(canvas.shape[1]):
            if weight[y, x] > np.float32(1e-3):
                scale = np.float32(1) / weight[y, x]
                for k in range(canvas.shape[2]):
                    out[y, x, k] = canvas[y, x, k] * scale - mean[k]
            else:
                out[y, x, :] = 0


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _look_up(table, y, x):
    """Interpolate a table bilinearly; zero outside."""
    iy, ix = math.floor(y), math.floor(x)
    zero = table[0, 0]
    if iy < 0 or ix < 0 or iy >= table.shape[0] - 1 or ix >= table.shape[1] - 1:
        return zero
    fy, fx = np.float32(y - iy), np.float32(x - ix)
    top = table[iy, ix] + fx * (table[iy, ix + 1] - table[iy, ix])
    bottom = table[iy + 1, ix] + fx * (table[iy + 1, ix + 1] - table[iy + 1, ix])
    return top + fy * (bottom - top)


@njit(nogil=True, cache=True, fastmath=_FAST)
def overlap_function(table, origin, oversampling, centres, size, good, shifts, out):
    """Fill G, the interference of the two side bands with the central disk, for every Q.

    ``G_Q(k) = conj(A(k)) A(k - Q) - A(k) conj(A(k + Q))`` (Rodenburg, McCallum & Nellist,
    Ultramicroscopy 48, 304 (1993)), summed over the good pixels of each super-pixel.

    Parameters
    ----------
    table : (ty, tx) complex64 or float32
        The aperture, `oversampling` samples a detector pixel; its border is zero.
    origin : (2,) float64
        Table index of the optic axis.
    oversampling : float
    centres : (K, 2) float64, detector pixels from the optic axis
        First pixel of each super-pixel.
    size : int
        Pixels along a super-pixel.
    good : (K, size, size) bool
    shifts : (Y, X, 2) float64, detector pixels
        Q in the detector's frame; NaN where it is beyond the transfer.
    out : (Y, X, K) of the table's dtype
    """
    for y in range(shifts.shape[0]):
        for x in range(shifts.shape[1]):
            qy, qx = shifts[y, x, 0] * oversampling, shifts[y, x, 1] * oversampling
            if math.isnan(qy):
                out[y, x, :] = 0
                continue
            for k in range(centres.shape[0]):
                total = table[0, 0] * np.float32(0)
                for r in range(size):
                    ky = (centres[k, 0] + r) * oversampling + origin[0]
                    for c in range(size):
                        if not good[k, r, c]:
                            continue
                        kx = (centres[k, 1] + c) * oversampling + origin[1]
                        here = _look_up(table, ky, kx)
                        minus = _look_up(table, ky - qy, kx - qx)
                        plus = _look_up(table, ky + qy, kx + qx)
                        total += np.conj(here) * minus - here * np.conj(plus)
                out[y, x, k] = total


@njit(nogil=True, cache=True, fastmath=_FAST)
def project(spectrum, overlap, weight, numerator, power, total):
    """Project data on the overlap function: sums of ``w conj(G) F``, ``w |G|^2``, ``w |F|^2``.

    Parameters
    ----------
    spectrum : (Y, X, K) complex64
    overlap : (Y, X, K) complex64 or float32
    weight : (K,) float32
    numerator : (Y, X) complex64, filled
    power, total : (Y, X) float32, filled
    """
    for y in range(spectrum.shape[0]):
        for x in range(spectrum.shape[1]):
            re, im = np.float32(0), np.float32(0)
            p, t = np.float32(0), np.float32(0)
            for k in range(spectrum.shape[2]):
                g, f = overlap[y, x, k], spectrum[y, x, k]
                re += weight[k] * (g.real * f.real + g.imag * f.imag)
                im += weight[k] * (g.real * f.imag - g.imag * f.real)
                p += weight[k] * (g.real * g.real + g.imag * g.imag)
                t += weight[k] * (f.real * f.real + f.imag * f.imag)
            numerator[y, x] = complex(re, im)
            power[y, x] = p
            total[y, x] = t


def warm() -> None:
    """Compile the kernels for the usual types."""
    one, wave = np.zeros((1, 2), np.int64), np.ones((1, 4, 4), np.complex64)
    real = np.ones((4, 4), np.float32)
    box, keep = np.array([2, 2]), np.arange(4)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        frames = np.ones((1, 4, 4), dtype)
        canvas = np.zeros((2, 2, 4), np.float32)
        splat(frames, 0, 0, 2, box, keep, one, 1e9, canvas, np.zeros((2, 2), np.float32))
    normalise(canvas, real[:2, :2], np.ones(4, np.float32), canvas.copy())
    shifts, good = np.zeros((4, 4, 2)), np.ones((1, 2, 2), bool)
    for table in (real, wave[0]):
        overlap = np.empty((4, 4, 1), table.dtype)
        overlap_function(table, np.ones(2), 4.0, np.zeros((1, 2)), 2, good, shifts, overlap)
        spectrum, sums = np.ones((4, 4, 1), np.complex64), real.copy()
        project(spectrum, overlap, np.ones(1, np.float32), wave[0].copy(), sums, sums.copy())
