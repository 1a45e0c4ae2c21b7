"""How much of each template is left when what was fitted is projected out, and how it scores."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .profile_kernels import FAST

_LEAST = 1e-10


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _along(a, b):
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _less(a, part, b):
    for i in range(a.size):
        a[i] -= part * b[i]


@nb.njit(nogil=True, cache=True)
def _orthonormal(rows):
    """Return an orthonormal basis of rows, which need not be independent, and its size."""
    m = rows.shape[1]
    basis = np.empty(rows.shape)
    n = 0
    for r in range(rows.shape[0]):
        size = math.sqrt(_along(rows[r], rows[r]))
        if not size > 0:
            continue
        for i in range(m):
            basis[n, i] = rows[r, i] / size
        for _ in range(2):  # once more, for rows that are nearly dependent
            for k in range(n):
                _less(basis[n], _along(basis[n], basis[k]), basis[k])
        left = _along(basis[n], basis[n])
        if left > _LEAST:
            left = 1 / math.sqrt(left)
            for i in range(m):
                basis[n, i] *= left
            n += 1
    return basis, n


@nb.njit(nogil=True, cache=True)
def score_templates(templates, weight, rows, residual):
    """Project templates and compare them with a residual.

    Parameters
    ----------
    templates : (e, m) float64
    weight : (m,) float64
        One over sigma.
    rows : (r, m) float64
        What was fitted, over sigma; need not be independent.
    residual : (m,) float64, sigmas

    Returns
    -------
    overlap : (e,) float64
        Projected templates along the residual.
    length : (e,) float64
        Of the projected templates.
    full : (e,) float64
        Of the templates before.
    cosine : (e - 1,) float64
        Between neighbouring projected templates.
    """
    e, m = templates.shape
    basis, n = _orthonormal(rows)
    overlap, length, full = np.empty(e), np.empty(e), np.empty(e)
    cosine = np.ones(max(e - 1, 0))
    before, seen = np.empty(m), np.empty(m)
    for t in range(e):
        for i in range(m):
            seen[i] = templates[t, i] * weight[i]
        full[t] = math.sqrt(_along(seen, seen))
        for k in range(n):
            _less(seen, _along(seen, basis[k]), basis[k])
        length[t] = math.sqrt(max(_along(seen, seen), 0.0))
        overlap[t] = _along(seen, residual)
        if t > 0 and length[t] > 0 and length[t - 1] > 0:
            cosine[t - 1] = _along(seen, before) / (length[t] * length[t - 1])
        before[:] = seen
    return overlap, length, full, cosine


@nb.njit(nogil=True, cache=True)
def gram_of_path(templates, weight, rows, weighted):
    """Return products of templates with each other and with a pattern, `rows` projected out.

    Parameters
    ----------
    templates : (e, m) float64
    weight : (m,) float64
        One over sigma.
    rows : (r, m) float64
        What is solved for besides, over sigma.
    weighted : (m,) float64
        The pattern over sigma.

    Returns
    -------
    gram : (e, e) float64
    target : (e,) float64
    left : float
        Sum of squares of the pattern without templates.
    """
    e, m = templates.shape
    basis, n = _orthonormal(rows)
    rest = weighted.copy()
    for k in range(n):
        _less(rest, _along(rest, basis[k]), basis[k])
    seen = np.empty((e, m))
    target = np.empty(e)
    gram = np.empty((e, e))
    for t in range(e):
        for i in range(m):
            seen[t, i] = templates[t, i] * weight[i]
        for k in range(n):
            _less(seen[t], _along(seen[t], basis[k]), basis[k])
        target[t] = _along(seen[t], rest)
        for s in range(t + 1):
            gram[t, s] = _along(seen[t], seen[s])
            gram[s, t] = gram[t, s]
    return gram, target, _along(rest, rest)
