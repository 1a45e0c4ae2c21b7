"""Where to measure next, so that domain walls are placed with few electrons.

A wall is known to lie between two neighbouring positions of different domains, and no better than
their distance allows. Measuring between them halves that: along each wall the scan becomes a
bisection, while the inside of domains stays as sparse as the coarse scan left it. A part of each
round goes to the largest gaps, for domains that the coarse scan has missed.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import Delaunay, KDTree, QhullError

_EXPLORE = 0.1
_CROSSES = 0.05
_APART = 0.5
_UNIFORM_SIGMA = 1 / math.sqrt(12)


def next_positions(
    positions: np.ndarray,
    probability: np.ndarray,
    extent: np.ndarray,
    n_points: int,
    *,
    min_distance: float,
    explore: float = _EXPLORE,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Return the positions that should tell most of the walls, and how well those are known.

    The gain of a position between two neighbours is the probability that their domains differ
    times the square of their distance: the variance of a wall that may lie anywhere between them.
    Positions of one round keep apart by half of the distance that they divide.

    Parameters
    ----------
    positions : (n, 2) float64, yx, any unit
        Where was measured.
    probability : (n, k) float64
        Of each domain there. Rows need not be certain: an unclear frame has a wall everywhere
        about it, by this reckoning, and its neighbourhood is looked at again.
    extent : (2, 2) float64
        [[y0, x0], [y1, x1]] of the field; nothing outside is proposed.
    n_points : int
    min_distance : float
        Neighbours closer than twice this are not divided: about half the width of the probe.
    explore : float
        So large a part of the positions goes to the largest gaps, whatever is on their rims.
    seed : int
        Breaks ties between equal gains, as on a raster.

    Returns
    -------
    positions : (m, 2) float64, m <= n_points
        Best first. Fewer where every wall is known to `min_distance` and every gap is smaller
        than twice that.
    error : float
        Root mean square uncertainty of the walls' places, in the unit of positions: along each
        wall, the distance of the neighbours that it separates over the square root of 12. Zero
        where there is no wall.

    Raises
    ------
    ValueError
        When shapes do not fit or a number is out of range.
    """
    places, chance = np.asarray(positions, float), np.asarray(probability, float)
    field = np.asarray(extent, float)
    if places.ndim != 2 or places.shape[1] != 2 or chance.shape[:1] != places.shape[:1]:
        raise ValueError(
            f"positions must be (n, 2) and probability (n, k), got {places.shape} and"
            f" {chance.shape}"
        )
    if not min_distance > 0:
        raise ValueError(f"min_distance must be positive, got {min_distance}")
    if not 0 <= explore <= 1:
        raise ValueError(f"explore must lie between 0 and 1, got {explore}")
    known = np.isfinite(places).all(axis=1) & np.isfinite(chance).all(axis=1)
    places, chance = places[known], chance[known]
    try:
        mesh = Delaunay(places)
    except (QhullError, ValueError) as error:
        raise ValueError(
            f"at least 4 frames that do not lie on one line are needed, got {len(places)}"
        ) from error
    pairs = edges(mesh)
    length = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    differ = 1 - (chance[pairs[:, 0]] * chance[pairs[:, 1]]).sum(axis=1)
    # long sides along the rim of the field join what are no neighbours
    near = length <= 3 * np.median(length)
    rng = np.random.default_rng(seed)
    to_divide = near & (length >= 2 * min_distance) & (differ > _CROSSES)
    middles = places[pairs[to_divide]].mean(axis=1)
    gains = (differ * length**2)[to_divide]
    gaps, radius = _gaps(mesh, field)
    wide = radius >= 2 * min_distance
    gaps, radius = gaps[wide], radius[wide]
    n_gaps = round(explore * n_points)
    chosen = _apart(middles, gains, _APART * length[to_divide], n_points - n_gaps, [], rng)
    chosen = _apart(gaps, radius, radius, n_points, chosen, rng)
    return np.array(chosen).reshape(-1, 2), _error(length[near], differ[near])


def edges(mesh: Delaunay) -> np.ndarray:
    """Return the sides (e, 2) of a triangulation, each once, smaller index first, sorted."""
    corners = mesh.simplices
    sides = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    return np.unique(np.sort(sides, axis=1), axis=0)


def _error(length: np.ndarray, differ: np.ndarray) -> float:
    """Return the uncertainty of walls; sides count by their length, since short ones are many."""
    crossed = differ > 0.5
    weight = (differ * length)[crossed]
    if not len(weight):
        return 0.0
    variance = (length[crossed] * _UNIFORM_SIGMA) ** 2
    return math.sqrt(float((weight * variance).sum() / weight.sum()))


def _gaps(mesh: Delaunay, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (g, 2) and radii (g,) of empty circles within the field."""
    a, b, c = (mesh.points[mesh.simplices[:, i]] for i in range(3))
    ab, ac = b - a, c - a
    twice = 2 * (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        b2, c2 = (ab**2).sum(axis=1), (ac**2).sum(axis=1)
        offset = np.stack(
            [(ac[:, 1] * b2 - ab[:, 1] * c2), (ab[:, 0] * c2 - ac[:, 0] * b2)], axis=1
        )
        offset /= twice[:, None]
    centre, radius = a + offset, np.linalg.norm(offset, axis=1)
    inside = np.isfinite(radius) & ((centre >= field[0]) & (centre <= field[1])).all(axis=1)
    return centre[inside], radius[inside]


def _apart(
    places: np.ndarray,
    gains: np.ndarray,
    distance: np.ndarray,
    n_points: int,
    chosen: list[np.ndarray],
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Add the places of largest gain to those chosen, each at its distance from the others."""
    order = rng.permutation(len(places))
    # equal gains, as of all sides of a raster, in random order: no corner of the field is first
    order = order[
        np.argsort(-np.round(gains[order] / max(gains.max(initial=0), 1e-300), 9), kind="stable")
    ]
    free = np.ones(len(places), bool)
    tree = KDTree(places) if len(places) else None
    for place in chosen:
        free &= np.linalg.norm(places - place, axis=1) >= distance
    out = list(chosen)
    for i in order:
        if len(out) >= n_points or tree is None:
            break
        if free[i]:
            out.append(places[i])
            near = tree.query_ball_point(places[i], distance[i])
            free[near] = False
    return out
