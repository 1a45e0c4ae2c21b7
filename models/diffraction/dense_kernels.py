"""Small dense systems: Cholesky, least squares above zero, an inverse."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

_RIDGE = 1e-12


@nb.njit(nogil=True, cache=True)
def cholesky_solve(matrix, right):  # noqa: C901  (one loop nest, as numba likes it)
    """Solve ``matrix x = right`` for a positive definite matrix, in place; whether it was.

    Parameters
    ----------
    matrix : (n, n) float64
        Holds its factor afterwards.
    right : (n, k) float64
        Holds the solution afterwards.
    """
    n = matrix.shape[0]
    for j in range(n):
        total = matrix[j, j]
        for k in range(j):
            total -= matrix[j, k] * matrix[j, k]
        if not total > 0.0:
            return False
        pivot = math.sqrt(total)
        matrix[j, j] = pivot
        for i in range(j + 1, n):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / pivot
    for c in range(right.shape[1]):
        for i in range(n):
            total = right[i, c]
            for k in range(i):
                total -= matrix[i, k] * right[k, c]
            right[i, c] = total / matrix[i, i]
        for i in range(n - 1, -1, -1):
            total = right[i, c]
            for k in range(i + 1, n):
                total -= matrix[k, i] * right[k, c]
            right[i, c] = total / matrix[i, i]
    return True


@nb.njit(nogil=True, cache=True)
def non_negative(gram, target, n_positive, x):  # noqa: C901, PLR0912  (one loop nest, as numba likes it)
    """Solve the normal equations with the first `n_positive` unknowns at or above zero.

    An active set: the most negative unknown is taken out until none is; one that then pulls
    upwards comes back (C. L. Lawson & R. J. Hanson, Solving Least Squares Problems, 1974).

    Parameters
    ----------
    gram : (n, n) float64
    target : (n,) float64
    n_positive : int
    x : (n,) float64, out
    """
    n = target.size
    size = np.empty(n)
    for i in range(n):
        size[i] = math.sqrt(gram[i, i]) if gram[i, i] > 0 else 1.0
    used = np.ones(n, np.bool_)
    for i in range(n):
        used[i] = gram[i, i] > 0
    x[:] = 0.0
    for _ in range(4 * n_positive + 4):
        index = np.flatnonzero(used)
        m = index.size
        part = np.empty((m, m))
        right = np.empty((m, 1))
        for i in range(m):
            a = index[i]
            right[i, 0] = target[a] / size[a]
            for j in range(m):
                b = index[j]
                part[i, j] = gram[a, b] / (size[a] * size[b])
            part[i, i] += _RIDGE
        if not cholesky_solve(part, right):
            x[:] = 0.0
            return False
        worst, least = -1, 0.0
        for i in range(m):
            if index[i] < n_positive and right[i, 0] < least:
                worst, least = index[i], right[i, 0]
        if worst >= 0:
            used[worst] = False
            continue
        x[:] = 0.0
        for i in range(m):
            x[index[i]] = right[i, 0] / size[index[i]]
        back, most = -1, 1e-9
        for a in range(n_positive):
            if not used[a] and gram[a, a] > 0:
                pull = target[a]
                for b in range(n):
                    pull -= gram[a, b] * x[b]
                pull /= size[a] * (abs(target[a]) / size[a] + 1e-300)
                if pull > most:
                    back, most = a, pull
        if back < 0:
            return True
        used[back] = True
    return True


@nb.njit(nogil=True, cache=True)
def inverse(matrix):
    """Return the inverse of a positive definite matrix; what is not determined gets infinity."""
    n = matrix.shape[0]
    size = np.empty(n)
    for i in range(n):
        size[i] = math.sqrt(matrix[i, i]) if matrix[i, i] > 0 else 0.0
    out = np.eye(n)
    for attempt in range(5):  # a matrix that is nearly singular becomes definite
        scaled = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                if size[i] > 0 and size[j] > 0:
                    scaled[i, j] = matrix[i, j] / (size[i] * size[j])
            scaled[i, i] = 1.0 + 1e-11 * 100.0**attempt
        out = np.eye(n)
        if cholesky_solve(scaled, out):
            break
        out[:] = np.nan
    for i in range(n):
        for j in range(n):
            if size[i] > 0 and size[j] > 0:
                out[i, j] /= size[i] * size[j]
            else:
                out[i, j] = math.inf if i == j else 0.0
    return out
