"""One time axis: another clock's offset and drift, from a current pulse that both recorded.

A log of samples says of an edge only between which two samples it came. So the clocks are known
within bounds, not with a sigma: every pair of edges narrows them, and pulses whose edges fall
between the samples at different places narrow them far below the sampling interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LARGEST_DRIFT = 1e-3
FEWEST_EDGES = 4


class ClockError(ValueError):
    """The pulses do not say how two clocks lie."""


@dataclass(frozen=True)
class Edges:
    """Edges of current pulses in one log.

    Parameters
    ----------
    after_s, before_s : (n,) float64, s
        Each edge came after the first and no later than the second.
    rising : (n,) bool
    """

    after_s: np.ndarray
    before_s: np.ndarray
    rising: np.ndarray

    def __len__(self) -> int:
        return len(self.rising)


@dataclass(frozen=True)
class Clock:
    """Where another clock lies: ``time_s(t) = t + offset_s + drift (t - reference_s)``.

    Parameters
    ----------
    offset_s : float, s
        To be added to the other clock's reading at `reference_s`.
    drift : float
        By how much the other clock is slow: 5e-5 is 50 ppm.
    reference_s : float, s
        In the middle of the pulses, by the other clock.
    offset_bound_s, drift_bound : float
        Neither can be farther off than that, if the edges are what they were taken for.
    """

    offset_s: float
    drift: float
    reference_s: float
    offset_bound_s: float
    drift_bound: float

    def time_s(self, other_s: np.ndarray | float) -> np.ndarray:
        """Return readings of the other clock on ours."""
        other = np.asarray(other_s, float)
        return other + self.offset_s + self.drift * (other - self.reference_s)


def pulse_edges(time_s: np.ndarray, current: np.ndarray) -> Edges:
    """Find the edges of pulses in a log of a current, or of anything that shows it.

    Parameters
    ----------
    time_s : (n,) float, s
        Increasing.
    current : (n,) float, any unit
        Two levels and noise; a sample between the levels belongs to the edge.

    Raises
    ------
    ClockError
        When the time does not increase, or there are no two levels.
    """
    time_s, current = np.asarray(time_s, float), np.asarray(current, float)
    if time_s.ndim != 1 or time_s.shape != current.shape or len(time_s) < 4:
        raise ClockError(
            "time_s and current must be lines of the same length of at least 4 samples, "
            f"not of shapes {time_s.shape} and {current.shape}"
        )
    if not (np.isfinite(time_s).all() and (np.diff(time_s) > 0).all()):
        raise ClockError("time_s must be finite and increase from sample to sample")
    low, high = np.nanmin(current), np.nanmax(current)
    middle = current > (low + high) / 2
    if not np.isfinite(high - low) or middle.all() or not middle.any():
        raise ClockError("the current shows no pulses: it stays on one level")
    low, high = np.nanmedian(current[~middle]), np.nanmedian(current[middle])
    level = np.full(len(current), -1)
    level[np.abs(current - low) < 0.25 * (high - low)] = 0
    level[np.abs(current - high) < 0.25 * (high - low)] = 1
    sure = np.flatnonzero(level >= 0)
    change = np.flatnonzero(np.diff(level[sure]) != 0)
    return Edges(time_s[sure[change]], time_s[sure[change + 1]], level[sure[change + 1]] == 1)


def joined_edges(parts: Sequence[Edges]) -> Edges:
    """Return the edges of pieces of a log, which follow each other, as one."""
    return Edges(
        np.concatenate([part.after_s for part in parts]),
        np.concatenate([part.before_s for part in parts]),
        np.concatenate([part.rising for part in parts]),
    )


def fit_clock(ours: Edges, others: Edges) -> Clock:
    """Find how another clock lies from edges of the same pulses in both logs.

    Either log may hold further edges before and after. Which belong together is found by trying:
    the times between pulses should therefore differ.

    Parameters
    ----------
    ours, others : Edges
        As of `pulse_edges`.

    Raises
    ------
    ClockError
        When fewer than four edges fit, or they fit in more than one way.
    """
    fits: list[tuple[int, Clock]] = []
    for shift in range(1 - len(others), len(ours)):
        a = slice(max(shift, 0), min(len(ours), len(others) + shift))
        b = slice(a.start - shift, a.stop - shift)
        count = a.stop - a.start
        if count < FEWEST_EDGES or (ours.rising[a] != others.rising[b]).any():
            continue
        clock = _bounded(_part(ours, a), _part(others, b))
        if clock is not None:
            fits.append((count, clock))
    if not fits:
        raise ClockError(
            f"no {FEWEST_EDGES} edges of the pulses fit between the logs; they are to hold the same"
            f" pulses, and the clocks to run alike within {LARGEST_DRIFT:g}"
        )
    most = max(count for count, _ in fits)
    best = [clock for count, clock in fits if count == most]
    if len(best) > 1:
        raise ClockError(
            f"the pulses fit in {len(best)} ways, seconds apart; let the times between them differ"
        )
    return best[0]


def _part(edges: Edges, rows: slice) -> Edges:
    return Edges(edges.after_s[rows], edges.before_s[rows], edges.rising[rows])


def _bounded(ours: Edges, others: Edges) -> Clock | None:
    """Return the clock in the middle of all that the edges allow; None if they allow none."""
    from scipy.optimize import linprog

    middle = 0.5 * float(others.after_s[0] + others.before_s[-1])
    first = float(ours.after_s[0] - others.after_s[0])
    # unknown: offset - first, drift, slack. Our edge lies in (after, before], and so does what
    # the clock makes of the other's interval: they overlap, by as much as can be
    after, before = others.after_s - middle, others.before_s - middle
    ones = np.ones(len(after))
    limits = np.concatenate(
        [
            np.stack([ones, after, ones], 1),
            np.stack([-ones, -before, ones], 1),
        ]
    )
    room = np.concatenate(
        [ours.before_s - others.after_s - first, -(ours.after_s - others.before_s - first)]
    )
    drifts = (-LARGEST_DRIFT, LARGEST_DRIFT)
    bounds = [(None, None), drifts, (0, None)]
    best = linprog([0, 0, -1], limits, room, bounds=bounds)
    if not best.success:
        return None
    bounds[2] = (0, 0)
    ends = [
        linprog(cost, limits, room, bounds=bounds).x
        for cost in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0])
    ]
    offset, drift = 0.5 * (ends[0][0] + ends[1][0]), 0.5 * (ends[2][1] + ends[3][1])
    return Clock(
        offset_s=first + float(offset),
        drift=float(drift),
        reference_s=middle,
        offset_bound_s=0.5 * float(ends[1][0] - ends[0][0]),
        drift_bound=0.5 * float(ends[3][1] - ends[2][1]),
    )
