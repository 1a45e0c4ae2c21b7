"""Projections on sparse columns, and non-negative least squares from the normal equations.

A column of a spectrum's model (the lines of an element, an edge) covers few channels, so that
the scalar products with it are taken over the channels where it is not zero. What is left of a
spectrum is one number a column and its weighted square; the constrained fit needs no more.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "arcp", "nsz"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def project(frames, first, weights, column, start, stop, offset, values, scalar, square):
    """Return the scalar products of spectra with weighted columns.

    Parameters
    ----------
    frames : (n, channels), any real dtype
    first : int
        Channel at which the columns begin.
    weights : (m,) float64
        Of the channels first ... first + m.
    column, start, stop, offset : (pieces,) int64
        Piece p belongs to a column and covers the channels first + start ... first + stop; its
        values begin at the offset.
    values : (size,) float64
        Weight times column.
    scalar : (n, k) float64
        Is overwritten: sum over channels of weight * column * spectrum.
    square : (n,) float64
        Is overwritten: sum over channels of weight * spectrum**2.
    """
    m = len(weights)
    spectrum = np.empty(m)
    for n in range(frames.shape[0]):
        for c in range(m):
            spectrum[c] = np.float64(frames[n, first + c])
        # apart from the conversion: the order of a vectorised sum must not depend on the dtype,
        # in which equal spectra may be kept differently from batch to batch
        total = 0.0
        for c in range(m):
            total += weights[c] * spectrum[c] * spectrum[c]
        square[n] = total
        scalar[n, :] = 0.0
        for p in range(len(column)):
            piece = spectrum[start[p] : stop[p]]
            shape = values[offset[p] : offset[p] + len(piece)]
            product = 0.0
            for c in range(len(piece)):
                product += piece[c] * shape[c]
            scalar[n, column[p]] += product


@njit(nogil=True, cache=True)
def _factor(gram, passive, m, lower):
    """Put the Cholesky factor of gram[passive][:, passive] into `lower`."""
    for i in range(m):
        row = passive[i]
        for j in range(i + 1):
            total = gram[row, passive[j]]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                lower[i, i] = np.sqrt(max(total, 1e-14))
            else:
                lower[i, j] = total / lower[j, j]


@njit(nogil=True, cache=True)
def _solve(lower, right, passive, m, z):
    for i in range(m):
        total = right[passive[i]]
        for k in range(i):
            total -= lower[i, k] * z[k]
        z[i] = total / lower[i, i]
    for i in range(m - 1, -1, -1):
        total = z[i]
        for k in range(i + 1, m):
            total -= lower[k, i] * z[k]
        z[i] = total / lower[i, i]


@njit(nogil=True, cache=True)
def _unconstrained(inverse, right, free, x, inside):
    """Put the free solution into x and its positive part into `inside`; return whether it holds."""
    holds = True
    for i in range(len(right)):
        total = 0.0
        for j in range(len(right)):
            total += inverse[i, j] * right[j]
        x[i] = total
        inside[i] = total > 0.0 or free[i]
        holds = holds and inside[i]
    return holds


@njit(nogil=True, cache=True)
def _collect(inside, before, passive):
    """List the columns inside and remember them; return how many, -1 where they are as before."""
    same, m = True, 0
    for i in range(len(inside)):
        if inside[i] != before[i]:
            same = False
            before[i] = inside[i]
        if inside[i]:
            passive[m] = i
            m += 1
    return -1 if same else m


@njit(nogil=True, cache=True)
def _judge(gram, right, free, inside, passive, m, x, least, breaks):
    """Mark the columns that break the optimality conditions; return how many, and the last."""
    wrong, last = 0, -1
    for i in range(len(right)):
        if inside[i]:
            breaks[i] = x[i] < 0.0 and not free[i]
        else:
            total = right[i]
            for j in range(m):
                total -= gram[i, passive[j]] * x[passive[j]]
            breaks[i] = total > least
        if breaks[i]:
            wrong, last = wrong + 1, i
    return wrong, last


@njit(nogil=True, cache=True)
def _exchange(inside, breaks, patience, last):
    """Let the columns that break the conditions change sides: all, or the last one."""
    if patience < 0:
        inside[last] = not inside[last]
        return
    for i in range(len(inside)):
        if breaks[i]:
            inside[i] = not inside[i]


@njit(nogil=True, cache=True)
def nnls(gram, inverse, scalar, free, coefficients):
    """Minimise |A x - y| with x >= 0 for many y, given A'A and A'y.

    Block principal pivoting (Portugal, Judice & Vicente, Math. Comp. 63, 625 (1994)): all columns
    that break the optimality conditions change sides at once, and single ones by Murty's rule
    where that does not help. Where the free solution is positive it is the answer, and spectra
    with the same columns at zero share one factorisation.

    Parameters
    ----------
    gram : (k, k) float64
        Of columns of length 1.
    inverse : (k, k) float64
        Of `gram`.
    scalar : (n, k) float64
        Products of spectra and columns.
    free : (k,) bool
        Columns whose coefficient may be negative.
    coefficients : (n, k) float64
        Is overwritten.
    """
    k = len(gram)
    inside, before = np.empty(k, np.bool_), np.zeros(k, np.bool_)
    breaks, passive = np.empty(k, np.bool_), np.empty(k, np.int64)
    lower, z = np.empty((k, k)), np.empty(k)
    m = 0
    for n in range(len(scalar)):
        right, x = scalar[n], coefficients[n]
        if _unconstrained(inverse, right, free, x, inside):
            continue
        least = 1e-11 * np.max(np.abs(right))
        fewest, patience = k + 1, 3
        for _ in range(10 * k + 20):
            found = _collect(inside, before, passive)
            if found >= 0:
                m = found
                _factor(gram, passive, m, lower)
            _solve(lower, right, passive, m, z)
            x[:] = 0.0
            for i in range(m):
                x[passive[i]] = z[i]
            wrong, last = _judge(gram, right, free, inside, passive, m, x, least, breaks)
            if wrong == 0:
                break
            patience = 3 if wrong < fewest else patience - 1
            fewest = min(fewest, wrong)
            _exchange(inside, breaks, patience, last)
        for i in range(k):
            if x[i] < 0.0 and not free[i]:
                x[i] = 0.0
