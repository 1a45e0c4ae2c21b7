"""Which patterns of a scan to label next, so that few labels tell most.

A strategy says how much a label of each pattern would tell; the labels of one round are then drawn
from the best so that they differ from each other and from those that are labelled already. Where
domains meet, a pattern is a mixture and neighbours disagree: `walls` looks there, after
arXiv:2510.00693, which chose training images from the regions of domain walls. Nearness to a wall
alone does worse than chance (`docs/labelling.md`), so it is multiplied by the uncertainty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.spatial import Delaunay, QhullError

from .steering import edges

_CANDIDATES = 8  # for each that is wanted
_LEAST_SHARE = 0.05  # of the patterns are candidates
_FAR = 2.3  # median steps; a longer side spans a gap in the scan


@dataclass(frozen=True, eq=False)
class Pool:
    """What is known of a scan's patterns when the next are chosen.

    Parameters
    ----------
    features : (n, d) float64
        Near where patterns are alike, see `pattern_features`.
    labelled : (n,) bool
    open : (n,) bool
        Which may be chosen; none of them is labelled.
    probability : (n, k) float64 or None
        Of each class; None while nothing is labelled.
    positions : (n, 2) float64, yx, any unit, or None
        Rows that are not finite have no neighbours.
    """

    features: np.ndarray
    labelled: np.ndarray
    open: np.ndarray
    probability: np.ndarray | None = None
    positions: np.ndarray | None = None


Strategy = Callable[[Pool, int, np.random.Generator], np.ndarray]
"""``strategy(pool, n, rng)`` returns up to n indices of patterns that are open, best first."""


def choose(
    strategy: str | Strategy,
    features: np.ndarray,
    labelled: np.ndarray,
    n: int,
    *,
    probability: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    skipped: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose the patterns to label next.

    Parameters
    ----------
    strategy : str or Strategy
        One of `STRATEGIES` or a callable like them.
    features : (n_patterns, d) float
    labelled : (n_patterns,) bool
        Which have a label already.
    n : int
        How many are wanted.
    probability : (n_patterns, k) float or None
        Of each class, by the classifier so far; rows with NaN are certain of nothing.
    positions : (n_patterns, 2) float, yx, any unit, or None
    skipped : (n_patterns,) bool or None
        Which are not to be asked about although they have no label.
    seed : int
        The same seed, the same choice.

    Returns
    -------
    (m,) int64, m <= n
        Different patterns without a label, best first; fewer where there are no more.

    Raises
    ------
    ValueError
        For an unknown strategy, shapes that do not fit, `walls` without positions, or a strategy
        that chooses what it must not.
    """
    pool = _checked(features, labelled, skipped, probability, positions)
    if n < 1:
        raise ValueError(f"n must be 1 or more patterns, got {n}")
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise ValueError(
                f"there is no strategy {strategy!r} (known: {', '.join(STRATEGIES)}); give one of"
                " these or a callable"
            )
        strategy = STRATEGIES[strategy]
    wanted = min(n, int(np.count_nonzero(pool.open)))
    if wanted == 0:
        return np.zeros(0, np.int64)
    chosen = np.asarray(strategy(pool, wanted, np.random.default_rng(seed)))
    if not _fits(chosen, wanted, pool.open):
        raise ValueError(
            f"a strategy must choose 1 to {wanted} different patterns of those that are open, got"
            f" {chosen}"
        )
    return chosen.astype(np.int64)


def _fits(chosen: np.ndarray, most: int, may: np.ndarray) -> bool:
    if chosen.ndim != 1 or chosen.dtype.kind not in "ui" or not 1 <= len(chosen) <= most:
        return False
    if chosen.min() < 0 or chosen.max() >= len(may):
        return False
    return len(np.unique(chosen)) == len(chosen) and bool(may[chosen].all())


def at_random(pool: Pool, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose evenly: what the others are held against."""
    return rng.permutation(np.flatnonzero(pool.open))[:n]


def by_diversity(pool: Pool, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose patterns unlike each other and unlike those labelled, whatever they are taken for."""
    return diverse(pool, np.ones(len(pool.labelled)), n, rng, share=1.0)


def by_uncertainty(pool: Pool, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose where the two likeliest classes are closest; diversity alone before any label."""
    if pool.probability is None:
        return by_diversity(pool, n, rng)
    return diverse(pool, 1 - margin(pool.probability), n, rng)


def by_walls(pool: Pool, n: int, rng: np.random.Generator) -> np.ndarray:
    """Choose where neighbours probably differ and the class is unsure.

    The gain is `wall_proximity` times the uncertainty, one less the `margin`: a clear pattern
    beside a wall tells no more than one far from it. Before any label, diversity alone.

    Raises
    ------
    ValueError
        Without positions.
    """
    if pool.positions is None:
        raise ValueError(
            "the strategy 'walls' needs positions; scan with a trajectory or take 'uncertainty'"
        )
    if pool.probability is None:
        return by_diversity(pool, n, rng)
    unsure = 1 - margin(pool.probability)
    return diverse(pool, wall_proximity(pool.positions, pool.probability) * unsure, n, rng)


STRATEGIES: MappingProxyType[str, Strategy] = MappingProxyType(
    {
        "random": at_random,
        "diverse": by_diversity,
        "uncertainty": by_uncertainty,
        "walls": by_walls,
    }
)


def margin(probability: np.ndarray) -> np.ndarray:
    """Return how far the likeliest class of each row is ahead of the next, (n,), 0 to 1."""
    ordered = np.sort(probability, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def wall_proximity(positions: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the probability that a pattern's most different neighbour is of another class.

    Parameters
    ----------
    positions : (n, 2) float64, yx, any unit
        Of any trajectory; neighbours are those joined by Delaunay's triangles, not across gaps.
    probability : (n, k) float64

    Returns
    -------
    (n,) float64
        0 for a pattern without neighbours.
    """
    near = np.zeros(len(positions))
    known: np.ndarray = np.asarray(np.isfinite(positions).all(axis=1))
    use = np.flatnonzero(known)
    pairs = use[_neighbours(positions[use])]
    a, b = pairs[:, 0], pairs[:, 1]
    differ = 1 - (probability[a] * probability[b]).sum(axis=1)
    np.maximum.at(near, a, differ)
    np.maximum.at(near, b, differ)
    return near


def _neighbours(places: np.ndarray) -> np.ndarray:
    """Return pairs (e, 2) of neighbours; along a line, of those that follow each other."""
    try:
        pairs = edges(Delaunay(places))
    except (QhullError, ValueError):
        if len(places) < 2:
            return np.zeros((0, 2), np.int64)
        along = places[:, np.argmax(np.ptp(places, axis=0))]
        order = np.argsort(along, kind="stable")
        pairs = np.stack([order[:-1], order[1:]], axis=1)
    length = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    return pairs[length <= _FAR * np.median(length)]


def diverse(
    pool: Pool, gain: np.ndarray, n: int, rng: np.random.Generator, *, share: float = _LEAST_SHARE
) -> np.ndarray:
    """Draw patterns of large gain that differ from each other: for strategies to use.

    Candidates are the patterns of largest gain: eight for each that is wanted, and no less than
    a share of all. Each is drawn with a chance of its gain times its squared distance, in feature
    space, from the nearest that is labelled or drawn (k-means++: Arthur & Vassilvitskii, 2007).

    Parameters
    ----------
    pool : Pool
    gain : (n_patterns,) float
        How much a label would tell; not negative.
    n : int
        At most as many as are open.
    rng : numpy Generator
    share : float
        Of all patterns that are candidates at least.

    Returns
    -------
    (n,) int64
    """
    free = rng.permutation(np.flatnonzero(pool.open))  # equal gains in random order
    count = max(n, _CANDIDATES * n, round(share * len(pool.labelled)))
    order = np.argsort(-gain[free], kind="stable")[:count]
    candidates = free[order]
    worth = np.maximum(gain[candidates], 0) + 1e-12
    place = pool.features[candidates]
    away = np.full(len(candidates), np.inf)
    for known in np.flatnonzero(pool.labelled):
        away = np.minimum(away, ((place - pool.features[known]) ** 2).sum(axis=1))
    chosen: list[int] = []
    left = np.ones(len(candidates), bool)
    for _ in range(min(n, len(candidates))):
        weight = np.where(left, worth * (np.where(np.isfinite(away), away, 1) + 1e-12), 0)
        pick = int(rng.choice(len(candidates), p=weight / weight.sum()))
        chosen.append(int(candidates[pick]))
        left[pick] = False
        away = np.minimum(away, ((place - place[pick]) ** 2).sum(axis=1))
    return np.array(chosen, np.int64)


def _checked(
    features: np.ndarray,
    labelled: np.ndarray,
    skipped: np.ndarray | None,
    probability: np.ndarray | None,
    positions: np.ndarray | None,
) -> Pool:
    features, mask = np.asarray(features, np.float64), np.asarray(labelled)
    n = len(features)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features must be finite and (n, d), got shape {features.shape}")
    if mask.shape != (n,) or mask.dtype != bool:
        raise ValueError(f"labelled must be {n} booleans, one a pattern, got {mask.shape}")
    left_out = np.zeros(n, bool) if skipped is None else np.asarray(skipped)
    if left_out.shape != (n,) or left_out.dtype != bool:
        raise ValueError(f"skipped must be {n} booleans, one a pattern, got {left_out.shape}")
    chance = place = None
    if probability is not None:
        chance = np.asarray(probability, np.float64)
        if chance.ndim != 2 or len(chance) != n or chance.shape[1] < 2:
            raise ValueError(f"probability must be ({n}, k), k of 2 or more, got {chance.shape}")
        silent = np.isnan(chance.sum(axis=1, keepdims=True))
        chance = np.where(silent, 1 / chance.shape[1], chance)
    if positions is not None:
        place = np.asarray(positions, np.float64)
        if place.shape != (n, 2):
            raise ValueError(f"positions must be ({n}, 2) yx, got {place.shape}")
    return Pool(features, mask, ~mask & ~left_out, chance, place)
