"""Kernels of diffraction by a perfect crystal: multislice on one cell, and disks on a detector."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from rocket_fft import c2c

from ..ptychography.forward_kernels import poisson

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def _times(wave, other):
    for y in range(wave.shape[0]):
        for x in range(wave.shape[1]):
            a, b = wave[y, x], other[y, x]
            wave[y, x] = complex(
                a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real
            )


@njit(nogil=True, cache=True)
def propagate(transmission, inside, gy, gx, incident, flight, beams, out, total):
    """Fill the intensities of diffracted beams after each whole cell, for each incident wave.

    Multislice of a plane wave (Cowley & Moodie, Acta Cryst. 10, 609 (1957)): the wave is
    ``exp(2 pi i k0 . r)`` times something with the crystal's period, which alone is kept, so that
    one cell is enough; flight multiplies the beam g by
    ``exp(-i pi lambda d (|k0 + g|^2 - |k0|^2))``.

    Parameters
    ----------
    transmission : (slices, h, w) complex64 or complex128
        Of the slices of one cell, from where the beam comes in.
    inside : (h, w) float64
        1 for beams that are kept, 0 beyond the band limit; zero frequency at [0, 0].
    gy, gx : (h,), (w,) float64, 1/m
        The beams' frequencies.
    incident : (m, 2) float64, 1/m, yx
        Transverse part k0 of each incident wave.
    flight : float, m^2
        Wavelength times the distance from one slice to the next.
    beams : (b, 2) int64
        Rows and columns of the grid whose intensity is wanted.
    out : (cells + 1, b, m) float32, filled
        The first is at the entrance surface.
    total : (cells + 1, m) float64, filled
        Sum over all beams.
    """
    slices, h, w = transmission.shape
    cells = out.shape[0] - 1
    axes = np.array([0, 1])
    wave, flown = np.empty_like(transmission[0]), np.empty_like(transmission[0])
    for m in range(incident.shape[0]):
        ky, kx = incident[m, 0], incident[m, 1]
        for y in range(h):
            for x in range(w):
                square = gy[y] * (gy[y] + 2.0 * ky) + gx[x] * (gx[x] + 2.0 * kx)
                angle = -math.pi * flight * square
                flown[y, x] = inside[y, x] * complex(math.cos(angle), math.sin(angle))
        wave[:] = 0
        wave[0, 0] = 1.0
        _record(wave, beams, out[0, :, m], total[0], m)
        for cell in range(cells):
            for s in range(slices):
                c2c(wave, wave, axes, False, 1.0, 1)
                _times(wave, transmission[s])
                c2c(wave, wave, axes, True, 1.0 / (h * w), 1)
                _times(wave, flown)
            _record(wave, beams, out[cell + 1, :, m], total[cell + 1], m)


@njit(nogil=True, cache=True)
def _record(wave, beams, out, total, m):
    for b in range(beams.shape[0]):
        z = wave[beams[b, 0], beams[b, 1]]
        out[b] = z.real * z.real + z.imag * z.imag
    whole = 0.0
    for y in range(wave.shape[0]):
        for x in range(wave.shape[1]):
            z = wave[y, x]
            whole += z.real * z.real + z.imag * z.imag
    total[m] = whole


@njit(nogil=True, cache=True)
def _cubic(place, size, weights):
    """Fill the weights of Lagrange's cubic through four grid points; return the first's index."""
    first = min(max(math.floor(place) - 1, 0), size - 4)
    t = place - first
    weights[0] = -(t - 1.0) * (t - 2.0) * (t - 3.0) / 6.0
    weights[1] = t * (t - 2.0) * (t - 3.0) / 2.0
    weights[2] = -t * (t - 1.0) * (t - 3.0) / 2.0
    weights[3] = t * (t - 1.0) * (t - 2.0) / 6.0
    return first


@njit(nogil=True, cache=True, fastmath=_FAST)
def _look_up(table, first_t, wt, first_y, wy, first_x, wx):
    """Return the value between the points of a (cells, ky, kx) table."""
    value = 0.0
    for i in range(4):
        plane = 0.0
        for j in range(4):
            row = 0.0
            for k in range(4):
                row += wx[k] * table[first_t + i, first_y + j, first_x + k]
            plane += wy[j] * row
        value += wt[i] * plane
    return max(value, 0.0)


@njit(nogil=True, cache=True)
def paint(
    table, g_mrad, step_mrad, cell_nm, quarters, weight, thickness_nm, tilt_mrad, rotation_rad,
    centre_px, radius_mrad, sampling_mrad, out,
):  # fmt: skip
    """Add the disks of one variant to patterns.

    The disk of beam g holds at offset d from its centre the intensity of g for the incident
    direction tilt + d. Disks add as intensities, which is right where they do not overlap.

    Parameters
    ----------
    table : (b, cells, k, k) float32
        Intensity of each beam over thickness and over the incident direction, y and x, on a
        square grid whose middle is the zone axis.
    g_mrad : (b, 2) float64, mrad, yx
    step_mrad, cell_nm : float
        Steps of the table.
    quarters : int
        Turns the table's crystal from +x towards +y, in quarters.
    weight : (n,) float64
        Share of this variant in each pattern; nothing is done where it is 0.
    thickness_nm : (n,) float64
    tilt_mrad : (n, 2) float64, yx
    rotation_rad : (n,) float64
        Turns the whole crystal from +x towards +y; tilts stay as they are on the detector.
    centre_px : (n, 2) float64, yx
        Where the undiffracted beam lies on the detector.
    radius_mrad, sampling_mrad : (n,) float64
    out : (n, h, w) float32, added to
    """
    cells, side = table.shape[1], table.shape[2]
    wt, wy, wx = np.empty(4), np.empty(4), np.empty(4)
    for n in range(out.shape[0]):
        if weight[n] <= 0.0:
            continue
        angle = rotation_rad[n] + 0.5 * math.pi * quarters
        cos, sin = math.cos(angle), math.sin(angle)
        first_t = _cubic(thickness_nm[n] / cell_nm, cells, wt)
        for b in range(g_mrad.shape[0]):
            gy = g_mrad[b, 0] * cos + g_mrad[b, 1] * sin
            gx = g_mrad[b, 1] * cos - g_mrad[b, 0] * sin
            _paint_disk(
                table[b], first_t, wt, wy, wx, cos, sin, step_mrad, side, weight[n],
                tilt_mrad[n, 0], tilt_mrad[n, 1],
                centre_px[n, 0] + gy / sampling_mrad[n], centre_px[n, 1] + gx / sampling_mrad[n],
                radius_mrad[n], sampling_mrad[n], out[n],
            )  # fmt: skip


@njit(nogil=True, cache=True)
def _paint_disk(
    table, first_t, wt, wy, wx, cos, sin, step, side, weight, tilt_y, tilt_x, cy, cx, radius,
    sampling, out,
):  # fmt: skip
    h, w = out.shape
    reach = radius / sampling + 0.5
    top, bottom = math.ceil(cy - reach), math.floor(cy + reach)
    left, right = math.ceil(cx - reach), math.floor(cx + reach)
    if bottom < 0 or right < 0 or top >= h or left >= w:
        return
    covered = 0.0
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            covered += min(max(reach - math.hypot(y - cy, x - cx), 0.0), 1.0)
    if covered <= 0.0:
        return
    middle = 0.5 * (side - 1)
    for y in range(max(top, 0), min(bottom + 1, h)):
        for x in range(max(left, 0), min(right + 1, w)):
            cover = min(max(reach - math.hypot(y - cy, x - cx), 0.0), 1.0)
            if cover <= 0.0:
                continue
            ky = tilt_y + (y - cy) * sampling
            kx = tilt_x + (x - cx) * sampling
            # into the frame of the table's crystal
            first_y = _cubic((ky * cos - kx * sin) / step + middle, side, wy)
            first_x = _cubic((kx * cos + ky * sin) / step + middle, side, wx)
            value = _look_up(table, first_t, wt, first_y, wy, first_x, wx)
            out[y, x] += weight * value * cover / covered


@njit(nogil=True, cache=True)
def _blurred(pattern, sigma, taps, work, out):
    """Fill `out` with the pattern convolved with a Gaussian; what leaves the detector is lost."""
    h, w = pattern.shape
    reach = min(math.ceil(4.0 * sigma), taps.shape[0] - 1)
    whole = 0.0
    for k in range(reach + 1):
        taps[k] = math.exp(-0.5 * (k / sigma) ** 2)
        whole += taps[k] if k == 0 else 2.0 * taps[k]
    work[:] = 0
    out[:] = 0
    for y in range(h):
        for k in range(-reach, reach + 1):
            if 0 <= y + k < h:
                share = taps[abs(k)] / whole
                for x in range(w):
                    work[y + k, x] += share * pattern[y, x]
    for y in range(h):
        for x in range(w):
            total = 0.0
            for k in range(-reach, reach + 1):
                if 0 <= x + k < w:
                    total += taps[abs(k)] * work[y, x + k]
            out[y, x] = total / whole


@njit(nogil=True, cache=True)
def count(
    patterns, dose, blur_px, background, width_mrad, centre_px, sampling_mrad, starts, noise,
    ceiling, out,
):  # fmt: skip
    """Fill `out` with what a camera counts of ideal patterns.

    Parameters
    ----------
    patterns : (n, h, w) float32
        Share of the electrons in each pixel; overwritten.
    dose : (n,) float64
        Electrons that come in.
    blur_px : (n,) float64
        Standard deviation of the camera's point spread.
    background : (n,) float64
        Share of the electrons that are scattered diffusely, in a broad Gaussian.
    width_mrad : float
        Standard deviation of that Gaussian.
    centre_px : (n, 2) float64, yx
    sampling_mrad : (n,) float64
    starts : (n,) uint64
        States of the random numbers.
    noise : bool
    ceiling : float
        Largest number that `out` holds.
    out : (n, h, w) uint16 or float32, filled
    """
    n, h, w = patterns.shape
    work, spread = np.empty((h, w)), np.empty((h, w))
    taps = np.empty(max(h, w))
    state = np.empty(1, np.uint64)
    for i in range(n):
        state[0] = starts[i]
        if blur_px[i] > 0.0:
            _blurred(patterns[i], blur_px[i], taps, work, spread)
        else:
            spread[:] = patterns[i]
        scale = 0.5 * (sampling_mrad[i] / width_mrad) ** 2
        peak = background[i] * scale / math.pi
        for y in range(h):
            for x in range(w):
                away = (y - centre_px[i, 0]) ** 2 + (x - centre_px[i, 1]) ** 2
                value = (1.0 - background[i]) * spread[y, x]
                if peak > 0.0:
                    value += peak * math.exp(-scale * away)
                value *= dose[i]
                if noise:
                    value = poisson(value, state)
                elif out.itemsize < 4:
                    value = math.floor(value + 0.5)
                out[i, y, x] = min(value, ceiling)
