"""The reciprocal cell and how it follows the cell's free parameters."""

from __future__ import annotations

import math

import numba as nb
import numpy as np


@nb.njit(nogil=True, cache=True)
def cell_metric(free, tie, base, pick, metric, slope):  # noqa: C901, PLR0912  (one loop nest, as numba likes it)
    """Fill the numbers of the reciprocal cell and how they follow the cell's free parameters.

    Parameters
    ----------
    free : (f,) float64, angstrom or degrees
    tie : (6, >= f) float64
        Which parameters of the cell follow which free one.
    base : (6,) float64
        The cell's parameters that are not free.
    pick : (>= f,) int64
        Which of g00, g11, g22, 2 g12, 2 g02, 2 g01 of the reciprocal metric count.
    metric : (>= f,) float64, out
    slope : (>= f, >= f) float64, out
        ``d metric[j] / d free[m]``.
    """
    f = free.size
    cell = base.copy()
    for i in range(6):
        tied = False
        total = 0.0
        for j in range(f):
            if tie[i, j] != 0.0:
                tied = True
                total += tie[i, j] * free[j]
        if tied:
            cell[i] = total
    cosine = np.empty(3)
    sine = np.empty(3)
    for i in range(3):
        angle = cell[3 + i] * math.pi / 180
        cosine[i] = math.cos(angle) if abs(cell[3 + i] - 90.0) > 1e-12 else 0.0
        sine[i] = math.sin(angle)
    g = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            g[i, j] = cell[i] * cell[j] * (1.0 if i == j else cosine[3 - i - j])
    inverse = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a, b, c, d = (i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3
            inverse[j, i] = g[a, c] * g[b, d] - g[a, d] * g[b, c]
    volume2 = g[0, 0] * inverse[0, 0] + g[0, 1] * inverse[1, 0] + g[0, 2] * inverse[2, 0]
    inverse /= volume2
    first = np.array([0, 1, 2, 1, 0, 0])
    second = np.array([0, 1, 2, 2, 2, 1])
    for j in range(f):
        k = pick[j]
        metric[j] = inverse[first[k], second[k]] * (1.0 if k < 3 else 2.0)
    slope[:f, :f] = 0.0
    change = np.empty((3, 3))
    for i in range(6):
        for r in range(3):
            for s in range(3):
                change[r, s] = 0.0
                if i < 3:
                    if r == i:
                        change[r, s] += g[r, s] / cell[i]
                    if s == i:
                        change[r, s] += g[r, s] / cell[i]
                elif r != s and 3 - r - s == i - 3:
                    change[r, s] = -cell[r] * cell[s] * sine[i - 3] * math.pi / 180
        moved = inverse @ change @ inverse
        for m in range(f):
            if tie[i, m] != 0.0:
                for j in range(f):
                    k = pick[j]
                    factor = 1.0 if k < 3 else 2.0
                    slope[j, m] -= tie[i, m] * factor * moved[first[k], second[k]]
