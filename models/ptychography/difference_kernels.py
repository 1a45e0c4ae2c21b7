"""Kernels of the difference map for Poisson counts."""

from __future__ import annotations

import numpy as np
from numba import njit
from rocket_fft import c2c

from .batch_kernels import gather
from .engine_kernels import HOW, constrain, exit_waves


@njit(**HOW)
def approach(waves, counts, good, background, scale, floor):
    """Bring the far field nearer to what was counted; return the squared misfit of amplitudes.

    The amplitude a takes the place of A that makes ``(a^2 + floor) - (n + floor) log(a^2 + floor) +
    (a - A)^2`` least: the proximal operator of the Poisson likelihood (Chang, Enfedaque &
    Marchesini, SIAM J. Imaging Sci. 12, 153 (2019)), with a floor, as dim pixels say little. It is
    the root of ``2 a^3 - A a^2 + (floor - n) a - A floor``, by Newton's method from above.

    Parameters
    ----------
    waves : (modes, h, w) complex64, in place
        Far field; comes out times `scale`.
    counts : (h, w) uint16 or float32
    good, background : (h, w) float32
    scale, floor : float32

    Returns
    -------
    float
        ``sum (sqrt(I + floor) - sqrt(n + floor))^2``.
    """
    h, w = counts.shape
    row, factor = np.empty(w, np.float32), np.empty(w, np.float32)
    one, two, three = np.float32(1), np.float32(2), np.float32(3)
    misfit = 0.0
    for y in range(h):
        for x in range(w):
            row[x] = background[y, x] + np.float32(1e-12)
        for m in range(waves.shape[0]):
            for x in range(w):
                z = waves[m, y, x]
                row[x] += z.real * z.real + z.imag * z.imag
        line = np.float32(0)
        for x in range(w):
            n = np.float32(counts[y, x])
            d = np.sqrt(row[x] + floor) - np.sqrt(n + floor)
            line += good[y, x] * d * d
            was = np.sqrt(row[x])
            a = max(was, np.sqrt(n))
            for _ in range(6):
                value = ((two * a - was) * a + (floor - n)) * a - was * floor
                slope = (two * three * a - two * was) * a + (floor - n)
                a -= value / slope
            factor[x] = scale * (one + good[y, x] * (a / was - one))
        misfit += line
        for m in range(waves.shape[0]):
            for x in range(w):
                z = waves[m, y, x]
                waves[m, y, x] = complex(z.real * factor[x], z.imag * factor[x])
    return misfit


@njit(**HOW)
def reflect(
    obj, probe, counts, good, background, floor, poisson, order, corners, waves,
    obj_sum, obj_weight, probe_sum, probe_weight,
):  # fmt: skip
    """Take the difference map's step for each frame, and gather the exit waves.

    ``waves += F(2 P O - waves) - P O`` (Thibault et al., Ultramicroscopy 109, 338 (2009)), where F
    is `approach` for the Poisson likelihood, and else gives the far field its measured amplitude.

    Parameters
    ----------
    obj, obj_sum : (H, W) complex64
    probe, probe_sum : (modes, h, w) complex64
    counts, good, background, poisson
        As `engine_kernels.constrain` has them.
    floor : float32, counts
        Of `approach`.
    order : (k,) int64
    corners : (n, 2) int64
    waves : (n, modes, h, w) complex64, in place
    obj_weight : (H, W) float32, in place
    probe_weight : (h, w) float32, in place

    Returns
    -------
    float
        Sum of the reflected waves' misfits.
    """
    modes, h, w = probe.shape
    axes = np.array([0, 1])
    overlap, mirror = np.empty_like(probe), np.empty_like(probe)
    scale, two, nothing = np.float32(1.0 / (h * w)), np.float32(2), np.float32(0)
    misfit = 0.0
    for f in order:
        cy, cx = corners[f, 0], corners[f, 1]
        patch = obj[cy : cy + h, cx : cx + w]
        wave = waves[f]
        exit_waves(patch, probe, overlap)
        for m in range(modes):
            for y in range(h):
                for x in range(w):
                    mirror[m, y, x] = two * overlap[m, y, x] - wave[m, y, x]
            c2c(mirror[m], mirror[m], axes, True, 1.0, 1)
        if poisson:
            misfit += approach(mirror, counts[f], good, background, scale, floor)
        else:
            misfit += constrain(
                mirror, counts[f], good, background, scale, nothing, False, nothing
            )  # fmt: skip
        for m in range(modes):
            c2c(mirror[m], mirror[m], axes, False, 1.0, 1)
            for y in range(h):
                for x in range(w):
                    wave[m, y, x] += mirror[m, y, x] - overlap[m, y, x]
        gather(
            patch, probe, wave, obj_sum[cy : cy + h, cx : cx + w],
            obj_weight[cy : cy + h, cx : cx + w], probe_sum, probe_weight,
        )  # fmt: skip
    return misfit


def warm() -> None:
    """Compile the kernels for the usual types."""
    order, one = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
    wave, real = np.ones((1, 4, 4), np.complex64), np.ones((4, 4), np.float32)
    sums = (wave[0].copy(), real.copy(), wave.copy(), real.copy())
    for counts in (np.ones((1, 4, 4), np.uint16), np.ones((1, 4, 4), np.float32)):
        place = (order, one, wave[None].copy())
        reflect(wave[0], wave, counts, real, real, np.float32(1), True, *place, *sums)
