"""How near the tracker is to what the counts can tell at all: the bound of Cramer and Rao.

The series of `bench_phases`, followed by the tracker with all it fits (cells, size, strain, mixing,
zero, amounts, ten background terms). The bound is that of the same parameters, from the true means
and with the fit's own weak priors (H. L. Van Trees, Detection, Estimation, and Modulation Theory I,
sec. 2.4): no unbiased fit of these parameters can do better.

    python -m pytest tests/bench/bench_phase_bound.py -q -s
"""

import numpy as np

from flyback.models.diffraction.pattern_axis import Axis
from flyback.models.diffraction.pattern_model import KINDS, PatternModel
from flyback.models.diffraction.tracker import PhaseTracker

from .bench_phases import FRAMES, Q, phases, series  # noqa: F401  fixtures
from .yardstick import record

NAMES = ("Pt", "Li2Pt", "LiPt")
STRONG, LEAST_TOLD = 0.15, 0.02
_STEP = 1e-6


def bounds(model, tracked, theta):
    """Return standard deviations (volumes (3,), lengths relative (3,)) that counts allow."""
    present = [int(p) for p in np.flatnonzero(tracked.present)]
    rows = model.free(present, KINDS)
    amount = np.nan_to_num(tracked.amount)
    under = tracked.background

    def mean(at):
        return amount @ model.columns(at) + under @ model.background

    def volumes(x, at):
        part = np.array([x[p] * model.volume_of_amount(at, p) for p in range(3)])
        return part / part.sum()

    def moved(row, sign):
        at = theta.copy()
        at[row] += sign * _STEP * max(abs(theta[row]), 1e-3)
        return at

    def by_theta(of):
        return [
            (of(moved(row, 1)) - of(moved(row, -1))) / (2 * _STEP * max(abs(theta[row]), 1e-3))
            for row in rows
        ]

    columns = [model.columns(theta)[p] for p in present] + list(model.background)
    jacobian = np.array([*columns, *by_theta(mean)])
    fisher = (jacobian / np.maximum(mean(theta), 1.0)) @ jacobian.T
    k = len(columns)
    fisher[range(k, len(fisher)), range(k, len(fisher))] += model.prior[1][rows]
    covariance = np.linalg.pinv(fisher, hermitian=True)
    unit = np.eye(len(amount)) * _STEP * amount.sum()
    gradient = np.zeros((len(fisher), 3))
    for j, p in enumerate(present):
        change = volumes(amount + unit[p], theta) - volumes(amount - unit[p], theta)
        gradient[j] = change / (2 * unit[p, p])
    gradient[k:] = by_theta(lambda at: volumes(amount, at))
    of_volume = np.sqrt(np.einsum("ij,ik,kj->j", gradient, covariance, gradient))
    of_length = np.full(3, np.nan)
    for p in range(3):
        row = model.cell_rows(p).start
        if row in rows:
            at = k + int(np.flatnonzero(rows == row)[0])
            of_length[p] = np.sqrt(covariance[at, at]) / theta[row]
    return of_volume, of_length


def bench_the_bound(benchmark, phases, series):  # noqa: F811
    """Volumes within 0.004, lengths within 100 ppm, where the counts allow it."""
    patterns, truth, cells = series
    tracker = PhaseTracker(phases, Axis(Q), window=[3])
    found, theta = [], []

    def follow():
        for pattern in patterns:
            found.append(tracker.add(pattern))
            theta.append(tracker.theta.copy())

    benchmark.pedantic(follow, rounds=1)
    assert isinstance(tracker.model, PatternModel)
    least = [bounds(tracker.model, *each) for each in zip(found, theta, strict=True)]
    volume = np.nan_to_num(np.array([f.volume[:3] for f in found]))
    sigma = np.array([f.volume_sigma[:3] for f in found])
    present = np.array([f.present[:3] for f in found])
    # before its onset is told a phase counts as absent, and its volume as the others'
    told = (present | (truth < LEAST_TOLD)).all(axis=1)
    figures = {"frames": FRAMES, "frames_with_all_told": int(told.sum())}
    for p, name in enumerate(NAMES):
        seen = told & present[:, p]
        off = (volume - truth)[seen, p]
        figures[f"{name}_volume_rms"] = rms(off)
        figures[f"{name}_volume_bound"] = rms(np.array([v[p] for v, _ in least])[seen])
        figures[f"{name}_volume_pull"] = rms(off / sigma[seen, p])
        strong = truth[:, p] > STRONG
        length = np.array([f.cell[p, 0] for f in found])[strong]
        figures[f"{name}_a_ppm"] = 1e6 * rms(length / cells[strong, p, 0] - 1)
        figures[f"{name}_a_bound_ppm"] = 1e6 * rms(np.array([c[p] for _, c in least])[strong])
    assert len(found) == FRAMES
    record(benchmark, **figures)


def rms(values):
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2)))
