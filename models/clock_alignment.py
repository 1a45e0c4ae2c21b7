"""Offset and drift between two clocks, from a pattern of pulses that both have seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGEST_DRIFT = 1e-3
_MOST_EDGES = 200


class ClockError(ValueError):
    """The pulses do not tell how the clocks stand to each other."""


@dataclass(frozen=True)
class Alignment:
    """How one clock's times become the other's.

    Parameters
    ----------
    offset_s : float, s
        Other minus own time at `reference_s`.
    drift : float
        Seconds that the other clock gains a second, such as 50e-6.
    reference_s : float, s
        Own time about which the drift turns.
    offset_sigma_s, drift_sigma : float
        Standard deviations, from the scatter of the pulses; NaN with fewer than three.
    pulses : int
        How many were matched.
    """

    offset_s: float
    drift: float
    reference_s: float
    offset_sigma_s: float
    drift_sigma: float
    pulses: int

    def __call__(self, own_s: np.ndarray) -> np.ndarray:
        """Return the other clock's times for times of the own one."""
        own = np.asarray(own_s, float)
        return own + self.offset_s + self.drift * (own - self.reference_s)


def edges_of(time_s: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Return when a signal steps up or down through the middle of its range.

    Between the two samples of a step the crossing of the straight line is taken.

    Parameters
    ----------
    time_s, signal : (n,) float64
        In order of time; samples that are not finite are left out.

    Returns
    -------
    (edges,) float64, s
    """
    use = np.isfinite(time_s) & np.isfinite(signal)
    t, y = np.asarray(time_s, float)[use], np.asarray(signal, float)[use]
    if len(t) < 2 or np.ptp(y) == 0:
        return np.empty(0)
    middle = 0.5 * (y.min() + y.max())  # pulses are short: a percentile would see their noise
    above = y > middle
    at = np.flatnonzero(above[1:] != above[:-1])
    part = (middle - y[at]) / (y[at + 1] - y[at])
    return t[at] + part * (t[at + 1] - t[at])


def align(
    own_s: np.ndarray,
    other_s: np.ndarray,
    *,
    largest_offset_s: float = 3600.0,
    tolerance_s: float = 1.0,
) -> Alignment:
    """Find offset and drift from the times of the same pulses by two clocks.

    Every pair of edges proposes an offset; the one that most pairs share within the tolerance is
    taken, and a straight line is fitted to the pairs that it matches. Pulses that one side missed
    do no harm as long as the distances between the others are not all alike.

    Parameters
    ----------
    own_s, other_s : (n,), (m,) float64, s
    largest_offset_s : float, s
    tolerance_s : float, s
        How far apart matched edges may lie before the drift is known.

    Raises
    ------
    ClockError
        When fewer than two edges match, or two offsets fit as well.
    """
    own, other = np.sort(np.asarray(own_s, float)), np.sort(np.asarray(other_s, float))
    if len(own) < 2 or len(other) < 2:
        raise ClockError(
            f"two clocks need at least two edges of pulses each, got {len(own)} and {len(other)}"
        )
    if max(len(own), len(other)) > _MOST_EDGES:
        raise ClockError(
            f"{max(len(own), len(other))} edges are no pattern of pulses but noise; at most "
            f"{_MOST_EDGES} are compared"
        )
    differences = (other[None] - own[:, None]).ravel()
    proposed = differences[np.abs(differences) <= largest_offset_s]
    if not len(proposed):
        raise ClockError(f"no offset up to {largest_offset_s:g} s brings the pulses together")
    scores = np.array([len(_matched(own, other, each, tolerance_s)[0]) for each in proposed])
    best = int(np.argmax(scores))
    rivals = scores == scores[best]
    if np.ptp(proposed[rivals]) > 4 * tolerance_s:
        raise ClockError(
            "several offsets between the clocks fit the pulses as well; use pulses at unequal "
            "distances"
        )
    a, b = _matched(own, other, float(np.median(proposed[rivals])), tolerance_s)
    if len(a) < 2:
        raise ClockError("fewer than two pulses were seen by both clocks")
    reference = float(a.mean())
    centred, gap = a - reference, b - a
    spread = float(centred @ centred)
    drift = float(centred @ gap) / spread if spread > 0 else 0.0
    if abs(drift) > _LARGEST_DRIFT:
        raise ClockError(f"a drift of {drift * 1e6:.0f} ppm is more than clocks have")
    offset = float(gap.mean())
    scatter, offset_sigma, drift_sigma = gap - offset - drift * centred, np.nan, np.nan
    if len(a) > 2:
        noise = float(np.sqrt(scatter @ scatter / (len(a) - 2)))
        offset_sigma, drift_sigma = noise / np.sqrt(len(a)), noise / np.sqrt(spread)
    return Alignment(offset, drift, reference, offset_sigma, drift_sigma, len(a))


def _matched(
    own: np.ndarray, other: np.ndarray, offset_s: float, tolerance_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of both that an offset brings together, each used once."""
    wanted = own + offset_s
    right = np.clip(np.searchsorted(other, wanted), 0, len(other) - 1)
    left = np.clip(right - 1, 0, None)
    nearer = np.abs(other[left] - wanted) <= np.abs(other[right] - wanted)
    which = np.where(nearer, left, right)
    close = np.abs(other[which] - wanted) <= tolerance_s
    _, first = np.unique(which[close], return_index=True)
    return own[close][first], other[which[close]][first]
