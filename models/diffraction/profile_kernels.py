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


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _add_profile(q, at, width, mixing, flat, strength, out):
    """Add one line to a row."""
    inverse = 1 / width
    edge = 1 / (1 + 4 * _FAR * _FAR)
    scale = strength * mixing * _LORENTZ * inverse
    lo, hi = _first_at_least(q, at - _FAR * width), _first_at_least(q, at + _FAR * width)
    for i in range(lo, hi):
        t = (q[i] - at) * inverse
        out[i] += scale * (1 / (1 + 4 * t * t) - edge)
    scale = strength * (1 - mixing) * _GAUSS * inverse
    steeper = flat * inverse**4
    lo, hi = _first_at_least(q, at - _NEAR * width), _first_at_least(q, at + _NEAR * width)
    for i in range(lo, hi):
        t = (q[i] - at) * inverse
        u = 2 * _L4 * t * t
        out[i] += scale * math.exp(-0.5 * u) * (1 + steeper * (u * u - 6 * u + 3))


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _profile_slopes(q, at, width, mixing, flat, strength, out, by_q, by_width, by_mixing):
    """Add one line to `out`; fill its slopes by place, width and mixing; return their range."""
    inverse = 1 / width
    edge = 1 / (1 + 4 * _FAR * _FAR)
    unit = strength * _LORENTZ * inverse
    scale = unit * mixing
    lo, hi = _first_at_least(q, at - _FAR * width), _first_at_least(q, at + _FAR * width)
    for i in range(lo, hi):
        t = (q[i] - at) * inverse
        d = 1 / (1 + 4 * t * t)
        steep = 8 * t * d * d * scale * inverse
        out[i] += scale * (d - edge)
        by_q[i] = steep
        by_width[i] = steep * t - scale * inverse * (d - edge)
        by_mixing[i] = unit * (d - edge)
    unit = strength * _GAUSS * inverse
    scale = unit * (1 - mixing)
    steeper = flat * inverse**4
    near, end = _first_at_least(q, at - _NEAR * width), _first_at_least(q, at + _NEAR * width)
    for i in range(near, end):
        t = (q[i] - at) * inverse
        u = 2 * _L4 * t * t
        e = math.exp(-0.5 * u)
        fourth = steeper * (u * u - 6 * u + 3)  # Hermite's polynomial of that order, and the fifth
        steep = 2 * _L4 * t * e * (1 + steeper * (u * u - 10 * u + 15)) * scale * inverse
        out[i] += scale * e * (1 + fourth)
        by_q[i] += steep
        by_width[i] += steep * t - scale * inverse * e * (1 + 5 * fourth)
        by_mixing[i] -= unit * e * (1 + fourth)
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


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _accumulate(row, lo, hi, a, by_a):
    for i in range(lo, hi):
        row[i] += a * by_a[i]


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _accumulate_both(row, lo, hi, a, by_a, b, by_b):
    for i in range(lo, hi):
        row[i] += a * by_a[i] + b * by_b[i]


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _accumulate_shape(rows, lo, hi, by_size, by_strain, by_width, by_mixing):
    for i in range(lo, hi):
        rows[0, i] += by_size * by_width[i]
        rows[1, i] += by_strain * by_width[i]
        rows[2, i] += by_mixing[i]


@nb.njit(nogil=True, cache=True)
def fill_slopes(  # noqa: C901  (one loop nest, as numba likes it)
    theta, q, lines, layout, depth, columns, slopes, zero_slopes
):
    """Fill the columns and how each follows the parameters.

    Parameters
    ----------
    theta, q, lines, layout, columns
        As of `fill_columns`.
    depth : (p,) int64
        -1: the phase is left out; 0: no slopes are wanted; 1: that by the zero; 2: all.
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
        columns[p] = 0.0
        if depth[p] < 0:
            continue
        start = first_parameter[p]
        shape = first_parameter[p + 1] - SHAPE
        f = shape - start
        cell_metric(theta[start:shape], tie[p], base[p], pick[p], metric, slope)
        size2, strain2, mixing = theta[shape], theta[shape + 1], theta[shape + 2]
        if depth[p] > 0:
            zero_slopes[p] = 0.0
        if depth[p] > 1:
            slopes[start : shape + SHAPE] = 0.0
        for k in range(first_line[p], first_line[p + 1]):
            bare = line_place(form[k], metric, f)
            width = math.sqrt(fixed2[k] + size2 + strain2 * bare * bare)
            at = bare + zero * by_zero[k]
            if depth[p] == 0:
                _add_profile(q, at, width, mixing, flat[k], strength[k], columns[p])
                continue
            lo, hi = _profile_slopes(
                q, at, width, mixing, flat[k], strength[k], columns[p], by_q, by_width, by_mixing
            )
            _accumulate(zero_slopes[p], lo, hi, by_zero[k], by_q)
            if depth[p] == 1:
                continue
            widening = strain2 * bare / width
            for m in range(f):
                moved = 0.0
                for j in range(f):
                    moved += form[k, j] * slope[j, m]
                moved *= 2 * math.pi * math.pi / bare
                if widening > 0:
                    _accumulate_both(
                        slopes[start + m], lo, hi, moved, by_q, moved * widening, by_width
                    )
                else:
                    _accumulate(slopes[start + m], lo, hi, moved, by_q)
            _accumulate_shape(
                slopes[shape : shape + SHAPE], lo, hi, 0.5 / width, 0.5 * bare * bare / width,
                by_width, by_mixing,
            )  # fmt: skip
