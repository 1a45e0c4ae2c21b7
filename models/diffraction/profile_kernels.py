"""Lines of a powder pattern and their derivatives: pseudo-Voigts wherever the cells put them.

Parameters of a phase lie one after the other: the free numbers of its cell (see `lattice`), the
square of the width by size, the square of the strain, and the Lorentzian part. One shift of the
zero is common to all. Widths are full widths at half maximum, w^2 = instrument^2 + size^2 +
strain^2 q^2 (G. K. Williamson & W. H. Hall, Acta Metall. 1, 22 (1953), with squares added). What is
folded with pixels is flatter than a Gaussian: this gets the next term of its Gram-Charlier series.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .cell_kernels import cell_metric

FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}  # NaN stays NaN
SHAPE = 3
"""Parameters of a phase after those of its cell: size^2, strain^2, mixing."""
_L4 = 4 * math.log(2.0)
_GAUSS = 2 * math.sqrt(math.log(2.0) / math.pi)
_LORENTZ = 2 / math.pi
_FAR, _NEAR = 30.0, 2.6
"""Widths from a line at which its Lorentzian and its Gaussian end."""
_EDGE = 1 / (1 + 4 * _FAR * _FAR)
_WIDE = {"nogil": True, "cache": True, "fastmath": FAST, "error_model": "numpy"}
"""Compiled so, and over whole slices, a loop takes as many bins at once as a register holds: a
division that may raise, or an index that may be negative, would take them one by one."""


@nb.njit(nogil=True, cache=True)
def _first_at_least(q, value):
    low, high = 0, q.size
    while low < high:
        middle = (low + high) // 2
        if q[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@nb.njit(**_WIDE)
def _bell(u):
    """Return exp(-u / 2), 0 <= u < 40, to 1e-12; unlike a call of exp it is taken many at once."""
    x = u * (-1 / 256)
    e = 1 / 40320 + x / 362880
    e = 1 / 720 + x * (1 / 5040 + x * e)
    e = 1 / 24 + x * (1 / 120 + x * e)
    e = 0.5 + x * (1 / 6 + x * e)
    e = 1 + x * (1 + x * e)
    e *= e  # seven times: the 128th power
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    return e * e


@nb.njit(**_WIDE)
def _range(q, at, reach):
    return _first_at_least(q, at - reach), _first_at_least(q, at + reach)


@nb.njit(**_WIDE)
def _add_lorentzian(q, at, inverse, scale, out):
    for i in range(q.size):
        t = (q[i] - at) * inverse
        out[i] += scale * (1 / (1 + 4 * t * t) - _EDGE)


@nb.njit(**_WIDE)
def _add_gaussian(q, at, inverse, scale, steeper, out):
    for i in range(q.size):
        t = (q[i] - at) * inverse
        u = 2 * _L4 * t * t
        out[i] += scale * _bell(u) * (1 + steeper * (u * u - 6 * u + 3))


@nb.njit(**_WIDE)
def _add_profile(q, at, width, mixing, flat, strength, out):
    """Add one line to a row."""
    inverse = 1 / width
    lo, hi = _range(q, at, _FAR * width)
    _add_lorentzian(q[lo:hi], at, inverse, strength * mixing * _LORENTZ * inverse, out[lo:hi])
    lo, hi = _range(q, at, _NEAR * width)
    scale = strength * (1 - mixing) * _GAUSS * inverse
    _add_gaussian(q[lo:hi], at, inverse, scale, flat * inverse**4, out[lo:hi])


@nb.njit(**_WIDE)
def _lorentzian_slopes(q, at, inverse, mixing, unit, by_q, by_width, by_mixing):
    for i in range(q.size):
        t = (q[i] - at) * inverse
        d = 1 / (1 + 4 * t * t)
        steep = 8 * t * d * d * (unit * mixing * inverse)
        d = unit * (d - _EDGE)
        by_q[i] = steep
        by_width[i] = steep * t - d * (mixing * inverse)
        by_mixing[i] = d


@nb.njit(**_WIDE)
def _add_gaussian_slopes(q, at, inverse, mixing, unit, steeper, by_q, by_width, by_mixing):
    for i in range(q.size):
        t = (q[i] - at) * inverse
        u = 2 * _L4 * t * t
        e = unit * _bell(u)
        fourth = steeper * (u * u - 6 * u + 3)  # Hermite's polynomial of that order, and the fifth
        fifth = steeper * (u * u - 10 * u + 15)
        steep = 2 * _L4 * t * e * (1 + fifth) * ((1 - mixing) * inverse)
        by_q[i] += steep
        by_width[i] += steep * t - e * (1 + 5 * fourth) * ((1 - mixing) * inverse)
        by_mixing[i] -= e * (1 + fourth)


@nb.njit(**_WIDE)
def _profile_slopes(q, at, width, mixing, flat, strength, by_q, by_width, by_mixing):
    """Fill how one line follows its place, width and mixing; return the range."""
    inverse = 1 / width
    lo, hi = _range(q, at, _FAR * width)
    _lorentzian_slopes(
        q[lo:hi], at, inverse, mixing, strength * _LORENTZ * inverse,
        by_q[lo:hi], by_width[lo:hi], by_mixing[lo:hi],
    )  # fmt: skip
    near, end = _range(q, at, _NEAR * width)
    _add_gaussian_slopes(
        q[near:end], at, inverse, mixing, strength * _GAUSS * inverse, flat * inverse**4,
        by_q[near:end], by_width[near:end], by_mixing[near:end],
    )  # fmt: skip
    return lo, hi


@nb.njit(nogil=True, cache=True)
def line_place(form, metric, f):
    """Return q of a line, 1/angstrom."""
    total = 0.0
    for j in range(f):
        total += form[j] * metric[j]
    return 2 * math.pi * math.sqrt(max(total, 1e-12))


@nb.njit(nogil=True, cache=True)
def fill_columns(theta, q, lines, layout, depth, columns):
    """Fill the pattern that a unit amount of each phase gives.

    Parameters
    ----------
    theta : (n,) float64
        Parameters of all phases, then the shift of the zero.
    q : (m,) float64, 1/angstrom, ascending
    lines : tuple
        ``form`` (l, 6), ``strength`` (l,), ``by_zero`` (l,): dq over d zero, ``fixed2`` (l,):
        square of the width that is not fitted, 1/angstrom^2, and ``flat`` (l,), of
        `blunting.Blunting.flatness_at`.
    layout : tuple
        ``first_line`` (p + 1,), ``first_parameter`` (p + 1,), ``tie`` (p, 6, 6), ``base`` (p, 6),
        ``pick`` (p, 6).
    depth : (p,) int64
        Below 0 a phase is left out: its column is zero.
    columns : (>= p, m) float64, out
    """
    form, strength, by_zero, fixed2, flat = lines
    first_line, first_parameter, tie, base, pick = layout
    metric = np.empty(6)
    slope = np.empty((6, 6))
    zero = theta[-1]
    for p in range(first_line.size - 1):
        columns[p] = 0.0
        if depth[p] < 0:
            continue
        start = first_parameter[p]
        f = first_parameter[p + 1] - SHAPE - start
        cell_metric(theta[start : start + f], tie[p], base[p], pick[p], metric, slope)
        size2, strain2 = theta[start + f], theta[start + f + 1]
        mixing = theta[start + f + 2]
        for k in range(first_line[p], first_line[p + 1]):
            at = line_place(form[k], metric, f)
            width = math.sqrt(fixed2[k] + size2 + strain2 * at * at)
            at += zero * by_zero[k]
            _add_profile(q, at, width, mixing, flat[k], strength[k], columns[p])


@nb.njit(**_WIDE)
def _accumulate(a, by_a, row):
    for i in range(row.size):
        row[i] += a * by_a[i]


@nb.njit(**_WIDE)
def _accumulate_both(a, by_a, b, by_b, row):
    for i in range(row.size):
        row[i] += a * by_a[i] + b * by_b[i]


@nb.njit(nogil=True, cache=True)
def fill_slopes(theta, q, lines, layout, depth, slopes, zero_slopes):
    """Fill how the columns of `fill_columns` follow the parameters.

    Parameters
    ----------
    theta, q, lines, layout
        As of `fill_columns`.
    depth : (p,) int64
        Below 1 no slopes of a phase are wanted; 1: that by the zero; 2: all.
    slopes : (n - 1, m) float64, out
        Of a unit amount, by each parameter of the phase that the parameter belongs to.
    zero_slopes : (p, m) float64, out
        Of a unit amount of each phase by the shift of the zero.
    """
    form, strength, by_zero, fixed2, flat = lines
    first_line, first_parameter, tie, base, pick = layout
    metric = np.empty(6)
    slope = np.empty((6, 6))
    by_q, by_width, by_mixing = np.empty(q.size), np.empty(q.size), np.empty(q.size)
    zero = theta[-1]
    for p in range(first_line.size - 1):
        if depth[p] < 1:
            continue
        start = first_parameter[p]
        shape = first_parameter[p + 1] - SHAPE
        f = shape - start
        cell_metric(theta[start:shape], tie[p], base[p], pick[p], metric, slope)
        size2, strain2, mixing = theta[shape], theta[shape + 1], theta[shape + 2]
        zero_slopes[p] = 0.0
        if depth[p] > 1:
            slopes[start : shape + SHAPE] = 0.0
        for k in range(first_line[p], first_line[p + 1]):
            bare = line_place(form[k], metric, f)
            width = math.sqrt(fixed2[k] + size2 + strain2 * bare * bare)
            at = bare + zero * by_zero[k]
            lo, hi = _profile_slopes(
                q, at, width, mixing, flat[k], strength[k], by_q, by_width, by_mixing
            )
            along, across = by_q[lo:hi], by_width[lo:hi]
            _accumulate(by_zero[k], along, zero_slopes[p, lo:hi])
            if depth[p] == 1:
                continue
            widening = strain2 * bare / width
            for m in range(f):
                moved = 0.0
                for j in range(f):
                    moved += form[k, j] * slope[j, m]
                moved *= 2 * math.pi * math.pi / bare
                _accumulate_both(moved, along, moved * widening, across, slopes[start + m, lo:hi])
            _accumulate(0.5 / width, across, slopes[shape, lo:hi])
            _accumulate(0.5 * bare * bare / width, across, slopes[shape + 1, lo:hi])
            _accumulate(1.0, by_mixing[lo:hi], slopes[shape + 2, lo:hi])
