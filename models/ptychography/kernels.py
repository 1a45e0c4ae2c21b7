"""Kernels of direct ptychography: numba and numpy, single-threaded, without the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _sum_along(row, size, out):
    """Sum neighbours; the usual sizes are written out, loops of unknown length are slow here."""
    if size == 4:
        for i in range(out.shape[0]):
            q = 4 * i
            out[i] = (row[q] + row[q + 1]) + (row[q + 2] + row[q + 3])
    elif size == 8:
        for i in range(out.shape[0]):
            q = 8 * i
            out[i] = ((row[q] + row[q + 1]) + (row[q + 2] + row[q + 3])) + (
                (row[q + 4] + row[q + 5]) + (row[q + 6] + row[q + 7])
            )
    else:
        for i in range(out.shape[0]):
            total = np.float32(0)
            for r in range(size):
                total += row[i * size + r]
            out[i] = total


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _four_lines(frame, y, x0, row, more):
    """Sum four lines at once, so that the sums stay in registers."""
    width = row.shape[0]
    one = frame[y, x0 : x0 + width]
    two = frame[y + 1, x0 : x0 + width]
    three = frame[y + 2, x0 : x0 + width]
    four = frame[y + 3, x0 : x0 + width]
    if more:
        for x in range(width):
            row[x] += (np.float32(one[x]) + np.float32(two[x])) + (
                np.float32(three[x]) + np.float32(four[x])
            )
    else:
        for x in range(width):
            row[x] = (np.float32(one[x]) + np.float32(two[x])) + (
                np.float32(three[x]) + np.float32(four[x])
            )


@njit(nogil=True, cache=True, fastmath=_FAST)
def bin_box(frame, y0, x0, size, grid, row, top):
    """Sum a box of a frame into super-pixels.

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
    top : (nx * size,) float32
        Raised to the largest sum of `size` pixels down a column; a pixel at the format's top
        lifts it there.
    """
    ny, nx = grid.shape
    width = nx * size
    for j in range(ny):
        y = y0 + j * size
        if size % 4 == 0:
            _four_lines(frame, y, x0, row, False)
            for r in range(4, size, 4):
                _four_lines(frame, y + r, x0, row, True)
        else:
            row[:] = 0
            for r in range(size):
                line = frame[y + r, x0 : x0 + width]
                for x in range(width):
                    row[x] += np.float32(line[x])
        for x in range(width):  # lane by lane: a single running maximum would not vectorise
            top[x] = row[x] if row[x] > top[x] else top[x]
        _sum_along(row, size, grid[j])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _any_reaches(sums, ceiling):
    found = 0
    for x in range(sums.shape[0]):
        found += sums[x] >= ceiling
    return found > 0


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
    top = np.empty(box[1] * size, np.float32)
    flat = grid.reshape(-1)
    vector = np.empty(keep.shape[0], np.float32)
    clipped = 0
    for f in range(frames.shape[0]):
        top[:] = 0
        bin_box(frames[f], y0, x0, size, grid, row, top)
        if _any_reaches(top, ceiling):
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


@njit(nogil=True, cache=True, fastmath=_FAST)
def project(spectrum, overlap, weight, numerator, power, total):
    """Add up the data's projection on G: sums of ``w conj(G) F``, ``w |G|^2``, ``w |F|^2``.

    Parameters
    ----------
    spectrum : (Y, X, K) complex64
    overlap : (Y, X, K) complex64 or float32
    weight : (K,) float32
    numerator : (Y, X) complex64, in place
    power, total : (Y, X) float32, in place
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
            numerator[y, x] += np.complex64(complex(re, im))
            power[y, x] += p
            total[y, x] += t


def warm() -> None:
    """Compile the kernels for the usual types."""
    one = np.zeros((1, 2), np.int64)
    box, keep = np.array([2, 2]), np.arange(4)
    weight, canvas = np.zeros((2, 2), np.float32), np.zeros((2, 2, 4), np.float32)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        frames = np.ones((1, 4, 4), dtype)
        splat(frames, 0, 0, 2, box, keep, one, 1e9, canvas, weight)
    mean = np.ones(4, np.float32)
    # a chunk of super-pixels of a larger canvas is the usual, strided, argument
    normalise(canvas[:, :, 1:3], weight, mean[1:3], canvas[..., :2].copy())
    for dtype in (np.float32, np.complex64):
        overlap, spectrum = np.ones((4, 4, 1), dtype), np.ones((4, 4, 1), np.complex64)
        sums = np.zeros((2, 4, 4), np.float32)
        project(spectrum, overlap, mean[:1], np.zeros((4, 4), np.complex64), sums[0], sums[1])
