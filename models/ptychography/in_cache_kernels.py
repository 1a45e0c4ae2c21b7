"""rPIE for frames of the sizes that `in_cache_fft` transforms: twice as fast as `engine_kernels`.

A far field comes out turned over. Counts stay as they are; object, probe, corners and slopes are
handed in turned over instead, (x, y), so that the far field is (y, x).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .engine_kernels import brighten, factors, line_misfit, move_of, take
from .in_cache_fft import PAD, backward, forward, tables

_HOW = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "nsz", "arcp", "reassoc"},
    "error_model": "numpy",
}
_PAD, _2 = np.uint64(PAD), np.uint64(2)


@njit(**_HOW)
def _expose(patch, probe, m, near, far, table, places):
    """Fill `far` (modes, room) with the far fields of a patch of the object."""
    n = np.uint64(patch.shape[0])
    line, row = n + _PAD, _2 * (n + _PAD)
    for y in range(n):
        re, im = y * row, y * row + line
        for x in range(n):
            p, o = probe[m, y, x], patch[y, x]
            near[re + x] = p.real * o.real - p.imag * o.imag
            near[im + x] = p.real * o.imag + p.imag * o.real
    forward(near, far[m], table, places)


@njit(**_HOW)
def _constrain(far, rows, counts, good, background, scale, floor, poisson, offset):
    """Do to far fields (modes, room) what `engine_kernels.constrain` does, and return as much."""
    n = np.uint64(counts.shape[0])
    line, row = n + _PAD, _2 * (n + _PAD)
    modelled, measured = np.empty(n, np.float32), np.empty(n, np.float32)
    tiny = np.float32(1e-12)
    misfit = 0.0
    for r in range(n):
        y, re, im = rows[r], r * row, r * row + line
        for x in range(n):
            modelled[x] = background[y, x] + tiny
        for x in range(n):
            measured[x] = np.float32(counts[y, x])
        for m in range(np.uint64(far.shape[0])):
            for x in range(n):
                a, b = far[m, re + x], far[m, im + x]
                modelled[x] += a * a + b * b
        misfit += line_misfit(modelled, measured, good[y], offset)
        factors(modelled, measured, good[y], scale, floor, poisson)
        for m in range(np.uint64(far.shape[0])):
            for x in range(n):
                far[m, re + x] *= modelled[x]
            for x in range(n):
                far[m, im + x] *= modelled[x]
    return misfit


@njit(**_HOW)
def _update(obj, y0, x0, patch, probe, m, step, near, gradient):
    """Update the object under one mode of the probe; gather that mode's gradient."""
    n = np.uint64(patch.shape[0])
    line, row = n + _PAD, _2 * (n + _PAD)
    change = np.empty(n, np.complex64)
    for y in range(n):
        re, im = y * row, y * row + line
        for x in range(n):
            p, o = probe[m, y, x], patch[y, x]
            change[x] = complex(
                near[re + x] - (p.real * o.real - p.imag * o.imag),
                near[im + x] - (p.real * o.imag + p.imag * o.real),
            )
        for x in range(n):
            d, o, g = change[x], patch[y, x], gradient[m, y, x]
            gradient[m, y, x] = complex(
                g.real + o.real * d.real + o.imag * d.imag,
                g.imag + o.real * d.imag - o.imag * d.real,
            )
        for x in range(n):
            p, d, o, s = probe[m, y, x], change[x], obj[y0 + y, x0 + x], step[y, x]
            obj[y0 + y, x0 + x] = complex(
                o.real + s * (p.real * d.real + p.imag * d.imag),
                o.imag + s * (p.real * d.imag - p.imag * d.real),
            )


@njit(**_HOW)
def _interleave(near, wave):
    n = np.uint64(wave.shape[0])
    line, row = n + _PAD, _2 * (n + _PAD)
    for y in range(n):
        for x in range(n):
            wave[y, x] = complex(near[y * row + x], near[y * row + line + x])


@njit(**_HOW)
def sweep_in_cache(
    obj, probe, slopes, step, counts, good, background, floor, poisson, order, corners,
    gradient, density, moves, table, rows, places,
):  # fmt: skip
    """Do what `engine_kernels.sweep` does.

    Parameters
    ----------
    obj : (W, H) complex64, in place
    probe, gradient : (modes, w, h) complex64
    slopes : (2, modes, w, h) complex64, or (0, modes, w, h)
        Along x and y, as the array has them.
    step, density : (w, h) float32
    counts, good, background, floor, poisson, order
        As `engine_kernels.sweep` has them.
    corners : (n, 2) int64
        Along x and y.
    moves : (n, 2) float64, filled
        Along x and y.
    table, rows, places
        Of `in_cache_fft.tables`.

    Returns
    -------
    float
        Sum over frames of the misfit, offset by the floor.
    """
    n = counts.shape[1]
    near = np.zeros(2 * n * (n + PAD), np.float32)
    far = np.zeros((len(probe), near.size), np.float32)
    patch, waves = np.empty_like(probe[0]), np.empty_like(probe)
    scale = np.float32(1.0 / (n * n))
    misfit = 0.0
    for f in order:
        y0, x0 = np.uint64(corners[f, 0]), np.uint64(corners[f, 1])
        take(obj, y0, x0, patch)
        for m in range(len(probe)):
            _expose(patch, probe, m, near, far, table, places)
        misfit += _constrain(
            far, rows, counts[f], good, background, scale, floor, poisson, floor
        )  # fmt: skip
        for m in range(len(probe)):
            backward(far[m], near, table, places)
            if slopes.shape[0] > 0:
                _interleave(near, waves[m])
            _update(obj, y0, x0, patch, probe, m, step, near, gradient)
        if slopes.shape[0] > 0:
            move_of(patch, probe, slopes, waves, moves[f])
        brighten(patch, density)
    return misfit


@njit(**_HOW)
def measure_in_cache(
    obj, probe, counts, good, background, order, corners, errors, table, rows, places
):
    """Fill `errors` (n,) float64 with each frame's ``sum (sqrt(I) - sqrt(n))^2``; no update.

    Parameters are those of `sweep_in_cache`.
    """
    n = counts.shape[1]
    near = np.zeros(2 * n * (n + PAD), np.float32)
    far = np.zeros((len(probe), near.size), np.float32)
    patch = np.empty_like(probe[0])
    one, nothing = np.float32(1), np.float32(0)
    for f in order:
        take(obj, np.uint64(corners[f, 0]), np.uint64(corners[f, 1]), patch)
        for m in range(len(probe)):
            _expose(patch, probe, m, near, far, table, places)
        errors[f] = _constrain(
            far, rows, counts[f], good, background, one, one, True, nothing
        )  # fmt: skip


def warm() -> None:
    """Compile the kernels for the usual types."""
    one, order = np.zeros((1, 2), np.int64), np.zeros(1, np.int64)
    wave, real = np.ones((1, 32, 32), np.complex64), np.ones((32, 32), np.float32)
    slopes, moves = np.zeros((0, 1, 32, 32), np.complex64), np.zeros((1, 2))
    for counts in (np.ones((1, 32, 32), np.uint16), np.ones((1, 32, 32), np.float32)):
        sweep_in_cache(
            wave[0].copy(), wave, slopes, real, counts, real, real, np.float32(1), True, order,
            one, wave.copy(), real.copy(), moves, *tables(32),
        )  # fmt: skip
        measure_in_cache(
            wave[0], wave, counts, real, real, order, one, np.zeros(1), *tables(32)
        )  # fmt: skip
