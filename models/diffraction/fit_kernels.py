"""Least squares of a powder pattern by variable projection.

What enters linearly (amounts of phases, not below zero, and the background) is solved for exactly
wherever the other parameters stand, so that only these are searched (G. H. Golub & V. Pereyra,
SIAM J. Numer. Anal. 10, 413 (1973); the projected Jacobian is that of L. Kaufman, BIT 15, 49
(1975)). Steps are Levenberg's and Marquardt's.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .dense_kernels import cholesky_solve, inverse, non_negative
from .profile_kernels import FAST, fill_columns, fill_slopes

CONVERGED, EXHAUSTED = 0, 1
_LAST = 1.0
"""A step that promised less, in units of chi^2 for one degree of freedom, is the last."""


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _dot(a, b):
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@nb.njit(nogil=True, cache=True, fastmath=FAST)
def _times(a, b, scale, out):
    for i in range(a.size):
        out[i] = scale * a[i] * b[i]


@nb.njit(nogil=True, cache=True)
def _linear(weight, weighted, columns, rows, n_phases, gram, x, residual):
    """Solve for amounts and background; return the sum of squares. `rows` become weighted."""
    n, m = gram.shape[0], weighted.size
    for p in range(n_phases):
        _times(columns[p], weight, 1.0, rows[p])
    target = np.empty(n)
    for a in range(n):
        for b in range(min(a + 1, n)):
            if a >= n_phases and b >= n_phases:
                continue  # the background's part does not change
            gram[a, b] = _dot(rows[a], rows[b])
            gram[b, a] = gram[a, b]
        target[a] = _dot(rows[a], weighted)
    if not non_negative(gram, target, n_phases, x):
        return math.inf
    residual[:] = weighted
    for a in range(n):
        if x[a] != 0.0:
            for i in range(m):
                residual[i] -= x[a] * rows[a, i]
    return _dot(residual, residual)


@nb.njit(nogil=True, cache=True)
def _prior(theta, centre, stiffness):
    total = 0.0
    for j in range(theta.size):
        total += stiffness[j] * (theta[j] - centre[j]) ** 2
    return total


@nb.njit(nogil=True, cache=True)
def fit_pattern(  # noqa: C901, PLR0912, PLR0915  (in one piece, its buffers are made once)
    intensity,
    weight,
    theta0,
    free,
    prior,
    bounds,
    q,
    lines,
    layout,
    depth,
    background,
    tolerance,
    most,
):
    """Fit one pattern.

    Parameters
    ----------
    intensity : (m,) float64
    weight : (m,) float64
        One over sigma; 0 where a bin does not count.
    theta0 : (n,) float64
        Where to start; see `profile_kernels.fill_columns`.
    free : (f,) int64
        Which parameters may change.
    prior : tuple of (n,) float64
        Centres, and one over the squares of their widths.
    bounds : tuple of (n,) float64
        Lower and upper.
    q, lines, layout, depth
        Of `profile_kernels.fill_columns` and `fill_slopes`.
    background : (k, m) float64
    tolerance : float
        A step that would lower chi^2 by less, in units of its value for one degree of freedom,
        is not taken.
    most : int
        Steps at most.

    Returns
    -------
    theta : (n,) float64
    x : (p + k,) float64
        Amounts and the background's coefficients.
    chi2 : float
        Without the prior.
    covariance : (p + k + f, p + k + f) float64
        Of x and the free parameters, for the stated sigmas.
    pull : (p + k,) float64
        Weighted residual along each column: how much more of it the pattern asks for.
    residual : (m,) float64
        Observed less calculated, in sigmas.
    calculated : (m,) float64
    steps : int
    status : int
        `CONVERGED` or `EXHAUSTED`.
    rows : (p + k + f, m) float64
        Columns and slopes over sigma: what the residual is orthogonal to.
    """
    centre, stiffness = prior
    lower, upper = bounds
    m, k, p, f = q.size, background.shape[0], depth.size, free.size
    n = p + k
    rows = np.empty((n + f, m))
    columns = np.empty((p, m))
    trial_columns = np.empty((p, m))
    slopes = np.empty((theta0.size - 1, m))
    zero_slopes = np.empty((p, m))
    gram = np.empty((n, n))
    x, trial_x = np.zeros(n), np.zeros(n)
    weighted = np.empty(m)
    residual, trial_residual = np.empty(m), np.empty(m)
    _times(intensity, weight, 1.0, weighted)
    used = 0
    for i in range(m):
        if weight[i] > 0:
            used += 1
    for a in range(k):
        _times(background[a], weight, 1.0, rows[p + a])
    for a in range(k):
        for b in range(k):
            gram[p + a, p + b] = _dot(rows[p + a], rows[p + b])
    theta = theta0.copy()
    owner = np.empty(theta.size, np.int64)
    owner[:] = -1
    for phase in range(p):
        owner[layout[1][phase] : layout[1][phase + 1]] = phase
    fill_columns(theta, q, lines, layout, depth, columns)
    chi2 = _linear(weight, weighted, columns, rows, p, gram, x, residual)
    total = chi2 + _prior(theta, centre, stiffness)
    damping, steps, status = 1e-4, 0, EXHAUSTED
    covariance = np.zeros((n + f, n + f))
    cross = np.empty((n, f))
    curve = np.empty((f, f))
    force = np.empty(f)
    while True:
        fill_slopes(theta, q, lines, layout, depth, slopes, zero_slopes)
        for phase in range(p):
            _times(columns[phase], weight, 1.0, rows[phase])
        for j in range(f):
            at = free[j]
            if owner[at] >= 0:
                _times(slopes[at], weight, x[owner[at]], rows[n + j])
            else:
                rows[n + j] = 0.0
                for phase in range(p):
                    if depth[phase] > 0 and x[phase] > 0:
                        for i in range(m):
                            rows[n + j, i] += x[phase] * zero_slopes[phase, i] * weight[i]
        for j in range(f):
            for a in range(n):
                cross[a, j] = _dot(rows[a], rows[n + j])
            for i in range(j + 1):
                curve[j, i] = _dot(rows[n + i], rows[n + j])
                curve[i, j] = curve[j, i]
            force[j] = _dot(rows[n + j], residual)
            force[j] -= stiffness[free[j]] * (theta[free[j]] - centre[free[j]])
            curve[j, j] += stiffness[free[j]]
        if f == 0 or steps >= most:
            covariance[:n, :n] = gram
            status = CONVERGED if f == 0 else EXHAUSTED
            break
        projected = _project(gram, cross, curve, x, p)
        covariance[:n, :n] = gram
        scale = max(total / max(used - n - f, 1), 1e-12)
        tried, better = False, False
        for _ in range(10):
            step = _step(projected, force, theta, free, lower, upper, damping)
            promised = 0.0
            for j in range(f):
                promised += step[j] * force[j]
            if not promised > tolerance * scale:
                break
            tried = True
            trial = theta.copy()
            for j in range(f):
                at = free[j]
                trial[at] = min(max(theta[at] + step[j], lower[at]), upper[at])
            fill_columns(trial, q, lines, layout, depth, trial_columns)
            trial_chi2 = _linear(
                weight, weighted, trial_columns, rows, p, gram, trial_x, trial_residual
            )
            trial_total = trial_chi2 + _prior(trial, centre, stiffness)
            if trial_total < total:
                better = True
                break
            damping = max(damping, 1e-4) * 8
        if not better:
            status = CONVERGED
            if tried:  # the rows are those of a trial, not of where it stands
                chi2 = _linear(weight, weighted, columns, rows, p, gram, x, residual)
            break
        theta, chi2, total = trial, trial_chi2, trial_total
        columns, trial_columns = trial_columns, columns
        x[:] = trial_x
        residual[:] = trial_residual
        damping = max(damping * 0.2, 1e-7)
        steps += 1
        if promised < _LAST * scale:
            # so near the minimum the slopes are those of the minimum
            status = CONVERGED
            break
    covariance[:n, n:] = cross
    covariance[n:, :n] = cross.T
    covariance[n:, n:] = curve
    pull = np.empty(n)
    for a in range(n):
        pull[a] = _dot(rows[a], residual)
    covariance = inverse(covariance)
    calculated = np.zeros(m)
    for a in range(p):
        calculated += x[a] * columns[a]
    for a in range(k):
        calculated += x[p + a] * background[a]
    return theta, x, chi2, covariance, pull, residual, calculated, steps, status, rows


@nb.njit(nogil=True, cache=True)
def _project(gram, cross, curve, x, n_positive):
    """Return the curvature of chi^2 with the linear unknowns solved for."""
    n, f = cross.shape
    used = np.empty(n, np.bool_)
    for a in range(n):
        used[a] = (a >= n_positive or x[a] > 0) and gram[a, a] > 0
    index = np.flatnonzero(used)
    part = np.empty((index.size, index.size))
    right = np.empty((index.size, f))
    for i in range(index.size):
        size = math.sqrt(gram[index[i], index[i]])
        for j in range(index.size):
            part[i, j] = gram[index[i], index[j]] / (size * math.sqrt(gram[index[j], index[j]]))
        part[i, i] += 1e-10
        for j in range(f):
            right[i, j] = cross[index[i], j] / size
    keep = right.copy()
    out = curve.copy()
    if cholesky_solve(part, right):
        for i in range(f):
            for j in range(f):
                for a in range(index.size):
                    out[i, j] -= keep[a, i] * right[a, j]
    return out


@nb.njit(nogil=True, cache=True)
def _step(projected, force, theta, free, lower, upper, damping):
    """Return the damped step; parameters that push against a bound stand still."""
    f = force.size
    size = np.empty(f)
    stuck = np.empty(f, np.bool_)
    for j in range(f):
        size[j] = math.sqrt(max(projected[j, j], 1e-300))
        at = free[j]
        stuck[j] = (theta[at] <= lower[at] and force[j] < 0) or (
            theta[at] >= upper[at] and force[j] > 0
        )
    system = np.empty((f, f))
    right = np.zeros((f, 1))
    for i in range(f):
        for j in range(f):
            coupled = i == j or not (stuck[i] or stuck[j])
            system[i, j] = projected[i, j] / (size[i] * size[j]) if coupled else 0.0
        system[i, i] = max(system[i, i], 1e-12) * (1 + damping) + 1e-12
        right[i, 0] = 0.0 if stuck[i] else force[i] / size[i]
    step = np.zeros(f)
    if cholesky_solve(system, right):
        for j in range(f):
            step[j] = right[j, 0] / size[j]
    else:
        for j in range(f):
            step[j] = 0.0 if stuck[j] else 0.1 * force[j] / (size[j] * size[j])
    return step
