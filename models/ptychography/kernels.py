"""Kernels of both reconstructions: numba, numpy and an FFT, single-threaded, without the GIL."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from rocket_fft import c2c

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


@njit(nogil=True, cache=True, fastmath=_FAST)
def _constrain(waves, amplitude, scale):
    """Give the far field its measured amplitude; return the squared misfit.

    A negative amplitude marks a pixel that was not measured; it keeps what the model says.
    """
    h, w = amplitude.shape
    row = np.empty(w, np.float32)
    misfit = 0.0
    for y in range(h):
        row[:] = np.float32(1e-12)
        for m in range(waves.shape[0]):
            for x in range(w):
                z = waves[m, y, x]
                row[x] += z.real * z.real + z.imag * z.imag
        line = np.float32(0)
        for x in range(w):
            modelled = np.sqrt(row[x])
            target = amplitude[y, x] if amplitude[y, x] >= 0 else modelled
            line += (modelled - target) * (modelled - target)
            row[x] = scale * target / modelled
        misfit += line
        for m in range(waves.shape[0]):
            for x in range(w):
                z = waves[m, y, x]
                waves[m, y, x] = complex(z.real * row[x], z.imag * row[x])
    return misfit


@njit(nogil=True, cache=True, fastmath=_FAST)
def sweep(obj, probe, step, amplitudes, order, corners, gradient, density):
    """Run frames that share one sub-pixel shift through the ptychographic iterative engine.

    rPIE's object update (Maiden, Johnson & Li, Optica 4, 736 (2017)) for mixed states (Thibault &
    Menzel, Nature 494, 68 (2013)); the probe's gradient is gathered for one update afterwards.

    Parameters
    ----------
    obj : (H, W) complex64, in place
    probe : (modes, h, w) complex64
        Already shifted by the sub-pixel part.
    step : (h, w) float32
        Weight of the object's update.
    amplitudes : (n, h, w) float32
        Square roots of counts, zero frequency at [0, 0]; negative where not measured.
    order : (k,) int64
        Which frames, in which order.
    corners : (n, 2) int64
    gradient : (modes, h, w) complex64, in place
    density : (h, w) float32, in place
        Sum of ``|obj|^2`` under the probe.

    Returns
    -------
    float
        Sum of squared differences of modelled and measured amplitudes.
    """
    modes, h, w = probe.shape
    axes = np.array([0, 1])
    waves = np.empty((modes, h, w), np.complex64)
    scale = np.float32(1.0 / (h * w))
    misfit = 0.0
    for f in order:
        cy, cx = corners[f, 0], corners[f, 1]
        for m in range(modes):
            for y in range(h):
                for x in range(w):
                    p, o = probe[m, y, x], obj[cy + y, cx + x]
                    waves[m, y, x] = complex(
                        p.real * o.real - p.imag * o.imag, p.real * o.imag + p.imag * o.real
                    )
            c2c(waves[m], waves[m], axes, True, 1.0, 1)
        misfit += _constrain(waves, amplitudes[f], scale)
        for m in range(modes):
            c2c(waves[m], waves[m], axes, False, 1.0, 1)
        _update(obj[cy : cy + h, cx : cx + w], probe, step, waves, gradient, density)
    return misfit


@njit(nogil=True, cache=True, fastmath=_FAST)
def _update(obj, probe, step, waves, gradient, density):
    """Update the object under the probe; gather what the probe's update needs.

    Each loop touches few arrays, else the compiler gives up proving that they do not overlap and
    the loop stays scalar.
    """
    h, w = step.shape
    before = np.empty(w, np.complex64)
    for y in range(h):
        before[:] = obj[y]
        for m in range(probe.shape[0]):
            for x in range(w):
                p, z, o = probe[m, y, x], waves[m, y, x], before[x]
                waves[m, y, x] = complex(
                    z.real - (p.real * o.real - p.imag * o.imag),
                    z.imag - (p.real * o.imag + p.imag * o.real),
                )
            for x in range(w):
                d, o, g = waves[m, y, x], before[x], gradient[m, y, x]
                gradient[m, y, x] = complex(
                    g.real + o.real * d.real + o.imag * d.imag,
                    g.imag + o.real * d.imag - o.imag * d.real,
                )
            for x in range(w):
                p, d, o, s = probe[m, y, x], waves[m, y, x], obj[y, x], step[y, x]
                obj[y, x] = complex(
                    o.real + s * (p.real * d.real + p.imag * d.imag),
                    o.imag + s * (p.real * d.imag - p.imag * d.real),
                )
        for x in range(w):
            density[y, x] += before[x].real * before[x].real + before[x].imag * before[x].imag


@njit(nogil=True, cache=True, fastmath=_FAST)
def to_amplitude(frames, good, out):
    """Fill `out` with square roots of counts, zero frequency moved to [0, 0].

    Parameters
    ----------
    frames : (n, h, w) any real dtype
    good : (h, w) bool
    out : (n, h, w) float32
        -1 where a pixel is not good; negative counts become 0.
    """
    n, h, w = frames.shape
    for f in range(n):
        for y in range(h):
            source = (y + h // 2) % h
            for x in range(w):
                column = (x + w // 2) % w
                value = np.float32(frames[f, source, column])
                root = np.sqrt(value) if value > 0 else np.float32(0)
                out[f, y, x] = root if good[source, column] else np.float32(-1)


def warm() -> None:
    """Compile the kernels for the usual types."""
    one, wave = np.zeros((1, 2), np.int64), np.ones((1, 4, 4), np.complex64)
    real = np.ones((4, 4), np.float32)
    box, keep = np.array([2, 2]), np.arange(4)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        frames = np.ones((1, 4, 4), dtype)
        canvas = np.zeros((2, 2, 4), np.float32)
        splat(frames, 0, 0, 2, box, keep, one, 1e9, canvas, np.zeros((2, 2), np.float32))
        to_amplitude(frames, real > 0, np.empty((1, 4, 4), np.float32))
    normalise(canvas, real[:2, :2], np.ones(4, np.float32), canvas.copy())
    shifts, good = np.zeros((4, 4, 2)), np.ones((1, 2, 2), bool)
    for table in (real, wave[0]):
        overlap = np.empty((4, 4, 1), table.dtype)
        overlap_function(table, np.ones(2), 4.0, np.zeros((1, 2)), 2, good, shifts, overlap)
        spectrum, sums = np.ones((4, 4, 1), np.complex64), real.copy()
        project(spectrum, overlap, np.ones(1, np.float32), wave[0].copy(), sums, sums.copy())
    order = np.zeros(1, np.int64)
    sweep(wave[0].copy(), wave, real, real[None], order, one, wave.copy(), real.copy())
