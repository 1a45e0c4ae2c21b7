"""Kernels of thick and mixed objects: slices, states, and detector pixels split in sub-pixels.

The model is ``I = sum_states sum_modes |FFT(exit wave)|^2 + background``, an exit wave being the
probe times the first slice, carried on to the next slice, times it, and so on. With one slice, one
state and whole pixels it is that of `engine_kernels`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from rocket_fft import c2c

from .engine_kernels import HOW, constrain, move_of
from .propagation_kernels import carry


@njit(**HOW)
def _times(wave, other, out):
    """Fill ``out = wave * other``, all (h, w) complex64."""
    for y in range(wave.shape[0]):
        for x in range(wave.shape[1]):
            a, b = wave[y, x], other[y, x]
            out[y, x] = complex(
                a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real
            )


@njit(**HOW)
def thick_waves(obj, probe, propagator, entering, waves):
    """Fill the waves that enter each slice and those that leave the last.

    Parameters
    ----------
    obj : (states, slices, h, w) complex64
        Under the probe.
    probe : (modes, h, w) complex64
    propagator : (h, w) complex64
    entering : (states, slices, modes, h, w) complex64, filled
    waves : (states * modes, h, w) complex64, filled
    """
    states, slices, modes = obj.shape[0], obj.shape[1], probe.shape[0]
    for k in range(states):
        for m in range(modes):
            wave = waves[k * modes + m]
            wave[:] = probe[m]
            for s in range(slices):
                if s > 0:
                    carry(wave, propagator, False)
                entering[k, s, m] = wave
                _times(entering[k, s, m], obj[k, s], wave)


@njit(**HOW)
def _sum_of(waves, top, left, side):
    """Return the intensity (float32) on a square of sub-pixels, which may wrap."""
    modes, tall, wide = waves.shape
    total = np.float32(0)
    for j in range(side):
        for i in range(side):
            for m in range(modes):
                z = waves[m, (top + j) % tall, (left + i) % wide]
                total += z.real * z.real + z.imag * z.imag
    return total


@njit(**HOW)
def _multiply(waves, top, left, side, factor):
    """Multiply the waves on a square of sub-pixels, which may wrap."""
    modes, tall, wide = waves.shape
    for j in range(side):
        for i in range(side):
            for m in range(modes):
                waves[m, (top + j) % tall, (left + i) % wide] *= factor


@njit(**HOW)
def constrain_sums(waves, counts, good, background, scale, floor, poisson, offset):
    """As `engine_kernels.constrain`, where a pixel counts what falls on several sub-pixels.

    All waves of a pixel's sub-pixels get the same factor (Batey et al., Phys. Rev. A 89, 043812
    (2014)). Pixel j covers the frequencies ``v j - v // 2`` to ``v j - v // 2 + v - 1``.

    Parameters
    ----------
    waves : (modes, v h, v w) complex64, in place
    counts, good, background : (h, w)
    """
    h, w = counts.shape
    v = waves.shape[1] // h
    one, half = np.float32(1), np.float32(0.5)
    misfit = 0.0
    for y in range(h):
        for x in range(w):
            top, left = v * y - v // 2, v * x - v // 2
            total = background[y, x] + np.float32(1e-12) + _sum_of(waves, top, left, v)
            n = np.float32(counts[y, x])
            d = np.sqrt(total + offset) - np.sqrt(n + offset)
            misfit += good[y, x] * d * d
            if poisson:
                change = half * ((n + floor) / (total + floor) - one)
            else:
                change = np.sqrt(n / total) - one
            _multiply(waves, top, left, v, scale * (one + good[y, x] * change))
    return misfit


@njit(**HOW)
def _constrained(waves, counts, good, background, scale, floor, poisson, offset):
    if waves.shape[1] == counts.shape[0]:
        return constrain(waves, counts, good, background, scale, floor, poisson, offset)
    return constrain_sums(waves, counts, good, background, scale, floor, poisson, offset)


@njit(**HOW)
def _update_slice(obj, entering, waves, alpha, share, first, before):
    """Update a slice (h, w) from the changes of the waves that leave it.

    `waves` comes in as the changes (modes, h, w) and goes out as those that `entering` is asked
    for, ``conj(obj) * change / max |obj|^2``, with the object as it was, which `before` keeps. For
    the first slice they are the probe's gradient, which is divided only when it is complete.
    """
    modes, h, w = waves.shape
    power = np.zeros((h, w), np.float32)
    most = np.float32(0)
    brightest = np.float32(0)
    for y in range(h):
        for x in range(w):
            o = obj[y, x]
            before[y, x] = o
            brightest = max(brightest, o.real * o.real + o.imag * o.imag)
            for m in range(modes):
                e = entering[m, y, x]
                power[y, x] += e.real * e.real + e.imag * e.imag
            most = max(most, power[y, x])
    one = np.float32(1)
    back = one if first else one / max(brightest, one)
    for y in range(h):
        for x in range(w):
            b = before[y, x]
            step = share / ((one - alpha) * power[y, x] + alpha * most)
            o = obj[y, x]
            real, imag = o.real, o.imag
            for m in range(modes):
                e, d = entering[m, y, x], waves[m, y, x]
                real += step * (e.real * d.real + e.imag * d.imag)
                imag += step * (e.real * d.imag - e.imag * d.real)
                waves[m, y, x] = complex(
                    back * (b.real * d.real + b.imag * d.imag),
                    back * (b.real * d.imag - b.imag * d.real),
                )
            obj[y, x] = complex(real, imag)


@njit(**HOW)
def _changes(waves, leaving):
    """Turn far fields (n, h, w) into what they ask of the waves that left, in place."""
    axes = np.array([0, 1])
    for m in range(waves.shape[0]):
        c2c(waves[m], waves[m], axes, False, 1.0, 1)
        for y in range(waves.shape[1]):
            for x in range(waves.shape[2]):
                waves[m, y, x] -= leaving[m, y, x]


@njit(**HOW)
def _back_through(slices, entering, change, propagator, alpha, share, before):
    """Update slices (n, h, w) from the last to the first; the change ends as the probe's."""
    for j in range(slices.shape[0]):
        s = slices.shape[0] - 1 - j
        _update_slice(slices[s], entering[s], change, alpha, share, s == 0, before)
        if s > 0:
            for m in range(change.shape[0]):
                carry(change[m], propagator, True)


@njit(**HOW)
def _gather(change, before, gradient, wanted, density):
    """Add the probe's change (modes, h, w) to two sums, and the light that `before` lets on."""
    for m in range(change.shape[0]):
        for y in range(change.shape[1]):
            for x in range(change.shape[2]):
                gradient[m, y, x] += change[m, y, x]
                wanted[m, y, x] += change[m, y, x]
    for y in range(before.shape[0]):
        for x in range(before.shape[1]):
            b = before[y, x]
            density[y, x] += b.real * b.real + b.imag * b.imag


@njit(**HOW)
def sweep_thick(
    obj, probe, slopes, propagator, alpha, share, counts, good, background, floor, poisson, order,
    corners, gradient, density, moves,
):  # fmt: skip
    """Run frames that share one sub-pixel shift through the multislice engine.

    Maiden, Humphry & Rodenburg, J. Opt. Soc. Am. A 29, 1606 (2012), with rPIE's step in each
    slice; the probe's gradient is gathered for one update afterwards.

    Parameters
    ----------
    obj : (states, slices, H, W) complex64, in place
    probe : (modes, h, w) complex64
        Already shifted by the sub-pixel part.
    slopes : (2, modes, h, w) complex64, or (0, modes, h, w)
        The probe's derivatives along y and x, where positions are refined.
    propagator : (h, w) complex64
        From one slice to the next.
    alpha : float32
        rPIE's regularisation.
    share : float32
        What the step of each slice is multiplied by.
    counts : (n, h', w') uint16 or float32
        Zero frequency at [0, 0]; h' is h or a divisor of it.
    good, background : (h', w') float32
    floor, poisson
        As `engine_kernels.constrain` has them.
    order : (k,) int64
    corners : (n, 2) int64
    gradient : (modes, h, w) complex64, in place
    density : (h, w) float32, in place
        Sum of ``|first slice|^2`` under the probe.
    moves : (n, 2) float64, filled where there are slopes

    Returns
    -------
    float
        Sum over frames of the misfit, offset by the floor.
    """
    states, slices = obj.shape[0], obj.shape[1]
    modes, h, w = probe.shape
    axes = np.array([0, 1])
    scale = np.float32(1.0 / (h * w))
    waves = np.empty((states * modes, h, w), np.complex64)
    leaving = np.empty_like(waves)
    entering = np.empty((states, slices, modes, h, w), np.complex64)
    before = np.empty((h, w), np.complex64)
    wanted = np.empty_like(probe)
    empty = np.ones((h, w), np.complex64)
    misfit = 0.0
    for f in order:
        cy, cx = corners[f, 0], corners[f, 1]
        patch = obj[:, :, cy : cy + h, cx : cx + w]
        thick_waves(patch, probe, propagator, entering, waves)
        for m in range(states * modes):
            leaving[m] = waves[m]
            c2c(waves[m], waves[m], axes, True, 1.0, 1)
        misfit += _constrained(
            waves, counts[f], good, background, scale, floor, poisson, floor
        )  # fmt: skip
        _changes(waves, leaving)
        wanted[:] = probe
        for k in range(states):
            change = waves[k * modes : (k + 1) * modes]
            _back_through(patch[k], entering[k], change, propagator, alpha, share, before)
            _gather(change, before, gradient, wanted, density)
        if slopes.shape[0] > 0:
            move_of(empty, probe, slopes, wanted, moves[f])
    return misfit


@njit(**HOW)
def measure_thick(obj, probe, propagator, counts, good, background, order, corners, errors):
    """Fill `errors` (n,) float64 with each frame's ``sum (sqrt(I) - sqrt(n))^2``; no update."""
    states, slices = obj.shape[0], obj.shape[1]
    modes, h, w = probe.shape
    axes = np.array([0, 1])
    waves = np.empty((states * modes, h, w), np.complex64)
    entering = np.empty((states, slices, modes, h, w), np.complex64)
    one, nothing = np.float32(1), np.float32(0)
    for f in order:
        cy, cx = corners[f, 0], corners[f, 1]
        thick_waves(obj[:, :, cy : cy + h, cx : cx + w], probe, propagator, entering, waves)
        for m in range(states * modes):
            c2c(waves[m], waves[m], axes, True, 1.0, 1)
        errors[f] = _constrained(
            waves, counts[f], good, background, one, one, True, nothing
        )  # fmt: skip


def warm() -> None:
    """Compile the kernels for the usual types."""
    obj, wave = np.ones((1, 1, 4, 4), np.complex64), np.ones((1, 4, 4), np.complex64)
    real, one = np.ones((4, 4), np.float32), np.float32(1)
    order, corner = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
    slopes = np.zeros((0, 1, 4, 4), np.complex64)
    for counts in (np.ones((1, 4, 4), np.uint16), np.ones((1, 4, 4), np.float32)):
        sweep_thick(
            obj.copy(), wave, slopes, wave[0], one, one, counts, real, real, one, True, order,
            corner, wave.copy(), real.copy(), np.zeros((1, 2)),
        )  # fmt: skip
        measure_thick(obj, wave, wave[0], counts, real, real, order, corner, np.zeros(1))
