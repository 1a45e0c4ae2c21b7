"""Kernels of the forward model: one exposure after another, without the GIL."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from rocket_fft import c2c

from .propagation_kernels import carry

_FAST = {"contract", "nsz", "arcp", "reassoc"}
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)


@njit(nogil=True, cache=True, inline="always")
def _mix(z):
    """splitmix64 (Steele, Lea & Flood, OOPSLA 2014): a bijection that scrambles 64 bits."""
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(nogil=True, cache=True, inline="always")
def _uniform(state):
    """Advance ``state[0]`` and return a number in [0, 1)."""
    state[0] = state[0] + _GOLDEN
    return np.float64(_mix(state[0]) >> _S11) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True)
def _poisson_large(mean, state):
    """Draw by transformed rejection (Hoermann, Insurance: Math. & Econ. 12, 39 (1993))."""
    root, log_mean = math.sqrt(mean), math.log(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    while True:
        u = _uniform(state) - 0.5
        v = _uniform(state)
        us = 0.5 - abs(u)
        if us <= 0:
            continue
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        bound = -mean + k * log_mean - math.lgamma(k + 1.0)
        if v > 0 and math.log(v * inverse_alpha / (a / (us * us) + b)) <= bound:
            return k


@njit(nogil=True, cache=True)
def poisson(mean, state):
    """Draw a Poisson number; inversion below a mean of 12, rejection above."""
    if mean >= 12.0:
        return _poisson_large(mean, state)
    u = _uniform(state)
    if u <= 1.0 - mean:  # exp(-m) >= 1 - m: most dark pixels need no exponential
        return 0.0
    p = math.exp(-mean)
    k = 0.0
    while u > p and k < 200.0:
        u -= p
        k += 1.0
        p *= mean / k
    return k


@njit(nogil=True, cache=True)
def _ramp(offset, out):
    """Fill the phase ramp that moves a wave by `offset` pixels, in order of FFT frequency."""
    size = out.shape[0]
    for k in range(size):
        frequency = (k if 2 * k < size else k - size) / size
        angle = -2.0 * math.pi * frequency * offset
        out[k] = complex(math.cos(angle), math.sin(angle))


@njit(nogil=True, cache=True)
def _tilt(shift, out):
    """Fill the wave that moves a far field by `shift` detector pixels."""
    size = out.shape[0]
    for k in range(size):
        angle = 2.0 * math.pi * shift * k / size
        out[k] = complex(math.cos(angle), math.sin(angle))


@njit(nogil=True, cache=True, fastmath=_FAST)
def _times(wave, other, out):
    """Fill ``out = wave * other``, all (h, w) complex64; `out` may be `wave`."""
    for y in range(wave.shape[0]):
        for x in range(wave.shape[1]):
            a, b = wave[y, x], other[y, x]
            out[y, x] = complex(
                a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real
            )


@njit(nogil=True, cache=True, fastmath=_FAST)
def _times_ramps(wave, along_y, along_x, row, out):
    """Fill ``out = wave * along_y[:, None] * along_x``; `row` (w,) complex64 is work space."""
    for y in range(wave.shape[0]):
        p = along_y[y]
        for x in range(wave.shape[1]):
            q = along_x[x]
            row[x] = complex(p.real * q.real - p.imag * q.imag, p.real * q.imag + p.imag * q.real)
        for x in range(wave.shape[1]):
            a, b = wave[y, x], row[x]
            out[y, x] = complex(
                a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real
            )


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_intensity(wave, intensity):
    for y in range(wave.shape[0]):
        for x in range(wave.shape[1]):
            z = wave[y, x]
            intensity[y, x] += z.real * z.real + z.imag * z.imag


@njit(nogil=True, cache=True)
def expose(
    obj, spectrum, propagator, corners, offsets, descan, seed, first, noise, ceiling, out
):  # fmt: skip
    """Fill `out` with the frames of a scan.

    Parameters
    ----------
    obj : (slices, H, W) complex64
    spectrum : (modes, h, w) complex64
        Transform of the probe, its summed intensity the mean counts of a frame.
    propagator : (h, w) complex64
        From one slice to the next, zero frequency at [0, 0]; not looked at for one slice.
    corners : (n, 2) int64
        Corner of the probe's box on the object.
    offsets : (n, 2) float64, pixels
        Sub-pixel part of the position.
    descan : (n, 2) float64, detector pixels
    seed : uint64
    first : int
        Index of the first frame.
    noise : bool
    ceiling : float
        Counts at which the detector saturates.
    out : (n, h, w) uint16 or float32
    """
    modes, h, w = spectrum.shape
    axes = np.array([0, 1])
    wave = np.empty((h, w), np.complex64)
    intensity = np.empty((h, w), np.float32)
    ramp_y, ramp_x = np.empty(h, np.complex64), np.empty(w, np.complex64)
    tilt_y, tilt_x = np.empty(h, np.complex64), np.empty(w, np.complex64)
    state = np.empty(1, np.uint64)
    row = np.empty(w, np.complex64)
    for f in range(corners.shape[0]):
        cy, cx = corners[f, 0], corners[f, 1]
        _ramp(offsets[f, 0], ramp_y)
        _ramp(offsets[f, 1], ramp_x)
        tilted = descan[f, 0] != 0.0 or descan[f, 1] != 0.0
        if tilted:
            _tilt(descan[f, 0], tilt_y)
            _tilt(descan[f, 1], tilt_x)
        intensity[:] = 0
        for m in range(modes):
            _times_ramps(spectrum[m], ramp_y, ramp_x, row, wave)
            c2c(wave, wave, axes, False, 1.0 / (h * w), 1)
            for s in range(obj.shape[0]):
                if s > 0:
                    carry(wave, propagator, False)
                _times(wave, obj[s, cy : cy + h, cx : cx + w], wave)
            if tilted:
                _times_ramps(wave, tilt_y, tilt_x, row, wave)
            c2c(wave, wave, axes, True, 1.0, 1)
            _add_intensity(wave, intensity)
        state[0] = _mix(seed + _GOLDEN) ^ _mix(np.uint64(first + f) * _GOLDEN + _MIX_1)
        _count(intensity, noise, ceiling, state, out[f])


@njit(nogil=True, cache=True)
def _count(intensity, noise, ceiling, state, out):
    """Turn expected counts in FFT order into counts with zero frequency in the middle."""
    h, w = intensity.shape
    for y in range(h):
        row = (y + h // 2) % h
        for x in range(w):
            value = np.float64(intensity[y, x])
            if noise:
                value = poisson(value, state)
            else:
                value = value if out.itemsize == 4 else math.floor(value + 0.5)
            out[row, (x + w // 2) % w] = min(value, ceiling)


def ceiling_of(dtype: np.dtype) -> float:
    """Return the largest count that a number format holds."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else np.inf


def warm() -> None:
    """Compile the kernels for the usual types."""
    obj, spectrum = np.ones((1, 8, 8), np.complex64), np.ones((1, 4, 4), np.complex64)
    corners, zero = np.zeros((1, 2), np.int64), np.zeros((1, 2))
    for dtype in (np.uint16, np.float32):
        out = np.zeros((1, 4, 4), dtype)
        expose(
            obj, spectrum, spectrum[0], corners, zero, zero, np.uint64(0), 0, True,
            ceiling_of(out.dtype), out,
        )  # fmt: skip
