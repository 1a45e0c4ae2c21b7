"""Kernel of the background's estimate: what all frames have too much or too little of."""

from __future__ import annotations

import numpy as np
from numba import njit
from rocket_fft import c2c

from .thick_kernels import thick_waves

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_light(waves, background, intensity):
    """Fill `intensity` (h', w') with the far field of waves (n, h, w), in place, and background."""
    v = waves.shape[1] // intensity.shape[0]
    axes = np.array([0, 1])
    intensity[:] = background
    for m in range(waves.shape[0]):
        c2c(waves[m], waves[m], axes, True, 1.0, 1)
        for y in range(waves.shape[1]):
            row = ((y + v // 2) % waves.shape[1]) // v
            for x in range(waves.shape[2]):
                z = waves[m, y, x]
                column = ((x + v // 2) % waves.shape[2]) // v
                intensity[row, column] += z.real * z.real + z.imag * z.imag


@njit(nogil=True, cache=True, fastmath=_FAST)
def residual_sums(
    obj, probe, propagator, counts, background, floor, order, corners, residual, weight
):
    """Add frames' weighted residuals, per detector pixel.

    ``residual += (n - I) / (I + floor)`` and ``weight += 1 / (I + floor)``, the background being
    part of I: what all frames have too much or too little of.

    Parameters
    ----------
    obj : (states, slices, H, W) complex64
    probe : (modes, h, w) complex64
    propagator : (h, w) complex64
    counts : (n, h', w') uint16 or float32
    background : (h', w') float32
    floor : float32
    order : (k,) int64
    corners : (n, 2) int64
    residual, weight : (h', w') float64, in place
    """
    states, slices = obj.shape[0], obj.shape[1]
    modes, h, w = probe.shape
    waves = np.empty((states * modes, h, w), np.complex64)
    entering = np.empty((states, slices, modes, h, w), np.complex64)
    intensity = np.empty(background.shape, np.float32)
    for f in order:
        cy, cx = corners[f, 0], corners[f, 1]
        thick_waves(obj[:, :, cy : cy + h, cx : cx + w], probe, propagator, entering, waves)
        _add_light(waves, background, intensity)
        for y in range(background.shape[0]):
            for x in range(background.shape[1]):
                here = intensity[y, x] + floor
                residual[y, x] += (np.float32(counts[f, y, x]) - intensity[y, x]) / here
                weight[y, x] += np.float32(1) / here


def warm() -> None:
    """Compile the kernel for the usual types."""
    obj, wave = np.ones((1, 1, 4, 4), np.complex64), np.ones((1, 4, 4), np.complex64)
    real, order, corner = np.ones((4, 4), np.float32), np.zeros(1, np.int64), np.zeros((1, 2), int)
    for counts in (np.ones((1, 4, 4), np.uint16), np.ones((1, 4, 4), np.float32)):
        residual_sums(
            obj, wave, wave[0], counts, real, np.float32(1), order, corner, np.zeros((4, 4)),
            np.zeros((4, 4)),
        )  # fmt: skip
