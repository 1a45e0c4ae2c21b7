"""By how much chi^2 falls with two patterns at once whose amounts are not negative."""

from __future__ import annotations

import numba as nb
import numpy as np

_NODES = 4
_ALIKE = 1e-9
"""Of two patterns that are nearly the same only one is taken."""


@nb.njit(nogil=True, cache=True)
def pair_gain(size_a, size_b, cross, target_a, target_b):
    """Return by how much the better of one pattern or two lowers chi^2."""
    size_a, size_b = max(size_a, 1e-300), max(size_b, 1e-300)
    best = max(max(target_a, 0.0) ** 2 / size_a, max(target_b, 0.0) ** 2 / size_b)
    determinant = size_a * size_b - cross * cross
    if determinant > _ALIKE * size_a * size_b:
        a = (target_a * size_b - target_b * cross) / determinant
        b = (target_b * size_a - target_a * cross) / determinant
        if a > 0 and b > 0:
            best = max(best, a * target_a + b * target_b)
    return best


@nb.njit(nogil=True, cache=True)
def pair_gains(gram, target):
    """Return the gain of each pair of patterns.

    Parameters
    ----------
    gram : (n, n) float64
    target : (n,) float64

    Returns
    -------
    (n, n) float64
    """
    n = target.size
    gains = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            gains[i, j] = gains[j, i] = pair_gain(
                gram[i, i], gram[j, j], gram[i, j], target[i], target[j]
            )
    return gains


@nb.njit(nogil=True, cache=True)
def _nodes(places, n):
    """Return the first of four steps about each place, and what each counts (Lagrange's cubic)."""
    first = np.empty(places.size, np.int64)
    part = np.empty((places.size, _NODES))
    for k in range(places.size):
        first[k] = min(max(int(places[k]) - 1, 0), n - _NODES)
        for c in range(_NODES):
            part[k, c] = 1.0
            for other in range(_NODES):
                if other != c:
                    part[k, c] *= (places[k] - first[k] - other) / (c - other)
    return first, part


@nb.njit(nogil=True, cache=True)
def _between(gram, i, part_i, j, part_j):
    total = 0.0
    for c in range(_NODES):
        for d in range(_NODES):
            total += part_i[c] * part_j[d] * gram[i + c, j + d]
    return total


@nb.njit(nogil=True, cache=True)
def pair_gains_between(first, second, grams, targets):
    """Return the gain, summed over patterns, of each pair of places between steps.

    Parameters
    ----------
    first, second : (a,) and (b,) float64, steps
    grams : (t, n, n) float64
        At least four steps.
    targets : (t, n) float64

    Returns
    -------
    (a, b) float64
    """
    t, n = targets.shape
    places = np.concatenate((first, second))
    nodes, parts = _nodes(places, n)
    gains = np.zeros((first.size, second.size))
    size, target = np.empty(places.size), np.empty(places.size)
    for k in range(t):
        for p in range(places.size):
            size[p] = _between(grams[k], nodes[p], parts[p], nodes[p], parts[p])
            target[p] = 0.0
            for c in range(_NODES):
                target[p] += parts[p, c] * targets[k, nodes[p] + c]
        for i in range(first.size):
            for j in range(second.size):
                q = first.size + j
                cross = _between(grams[k], nodes[i], parts[i], nodes[q], parts[q])
                gains[i, j] += pair_gain(size[i], size[q], cross, target[i], target[q])
    return gains
