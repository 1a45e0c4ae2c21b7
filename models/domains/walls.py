"""Walls between domains, on any positions: where two neighbours belong to different domains.

Positions are joined to triangles (Delaunay). On an edge between two domains the wall is where the
two probabilities cross, by linear interpolation, so that a wall is found between positions; in a
triangle it is the line from crossing to crossing (marching triangles), and where three domains
meet, from each crossing to their middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.spatial

KINDS = ("180°", "90°", "other")
NEIGHBOURS = 1.5  # steps, or where those are uneven, usual distances of neighbours
_LONGEST = 2.3  # of those; a longer edge spans a gap in the scan
_NEAR_DEG = 20.0


@dataclass(frozen=True)
class Walls:
    """The walls of a map.

    Parameters
    ----------
    wall : (n,) bool
        Whether a frame lies at a wall: a neighbour within 1.5 steps is of another domain.
    points : (m, 2) float64, yx
        Crossings on the edges between neighbours, in the positions' unit.
    kind : (m,) int64
        Of each point, index into `KINDS`.
    length : (3,) float64
        Of the walls, by kind, in the positions' unit.
    area : float
        Of the triangles that were looked at.
    """

    wall: np.ndarray
    points: np.ndarray
    kind: np.ndarray
    length: np.ndarray
    area: float


def kind_of(classes: Sequence[str], directions_deg: Mapping[str, float] | None) -> np.ndarray:
    """Return the kind (k, k) int64 of wall between every two classes, index into `KINDS`.

    By the angle between their polarisations in the plane: 180° or 90° to within 20°; "other" for
    other angles and where a class has none in the plane.
    """
    angle = np.array([(directions_deg or {}).get(name, np.nan) for name in classes], float)
    between = np.abs((angle[:, None] - angle + 180) % 360 - 180)
    kind = np.full(between.shape, KINDS.index("other"))
    kind[np.abs(between - 180) <= _NEAR_DEG] = KINDS.index("180°")
    kind[np.abs(between - 90) <= _NEAR_DEG] = KINDS.index("90°")
    return kind


def find_walls(
    positions: np.ndarray,
    step: float,
    domain: np.ndarray,
    probability: np.ndarray,
    kinds: np.ndarray,
    *,
    uneven: bool = False,
) -> Walls:
    """Find the walls of a map.

    Parameters
    ----------
    positions : (n, 2) float64, yx
        A row that is not finite is no neighbour of any.
    step : float
        Distance of neighbouring positions.
    domain : (n,) int64
        Class of each frame; -1 is unknown, and makes no wall.
    probability : (n, k) float
    kinds : (k, k) int64
        Of `kind_of`.
    uneven : bool
        Where positions are denser in places than `step` says, a frame lies at a wall when it
        shares an edge of a triangle with another domain.

    Returns
    -------
    Walls
    """
    wall = np.zeros(len(domain), bool)
    nothing = Walls(wall, np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(len(KINDS)), 0.0)
    use = np.flatnonzero(np.isfinite(positions).all(axis=1) & (domain >= 0))
    if len(use) < 2 or not step > 0:
        return nothing
    place = (positions[use] - positions[use].mean(axis=0)) / step
    own, likely = domain[use], probability[use].astype(np.float64)
    triangles, spacing = _triangles(place)
    pairs = scipy.spatial.KDTree(place).query_pairs(NEIGHBOURS * spacing, output_type="ndarray")
    pairs = pairs[own[pairs[:, 0]] != own[pairs[:, 1]]]
    corners = place[triangles]
    area = 0.5 * np.abs(_cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])).sum()
    length = _length(place, own, likely, triangles, kinds)
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    # all on one line, there are no triangles, but there are neighbours
    edges = np.unique(np.sort(sides if len(sides) else pairs, axis=1), axis=0)
    edges = edges[own[edges[:, 0]] != own[edges[:, 1]]]
    wall[use[(edges if uneven else pairs).ravel()]] = True
    a, b = edges[:, 0], edges[:, 1]
    points = _crossing(place, own, likely, a, b) * step + positions[use].mean(axis=0)
    return Walls(wall, points, kinds[own[a], own[b]], length * step, float(area) * step**2)


def _triangles(place: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the triangles (t, 3) between neighbours, and the median of their sides.

    None spans a gap in the scan: positions may be dense in one place and sparse in another, so a
    gap is measured by what nine in ten triangles have as their shortest side.
    """
    try:
        triangles = scipy.spatial.Delaunay(place).simplices
    except scipy.spatial.QhullError:  # fewer than three positions, or all on one line
        return np.zeros((0, 3), np.int64), 1.0
    corners = place[triangles]
    pairs = ((0, 1), (1, 2), (2, 0))
    sides = np.stack([np.hypot(*(corners[:, a] - corners[:, b]).T) for a, b in pairs])
    usual = max(1.0, float(np.percentile(sides.min(axis=0), 90)))
    return triangles[sides.max(axis=0) <= _LONGEST * usual], max(1.0, float(np.median(sides)))


def _crossing(
    place: np.ndarray, own: np.ndarray, likely: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Return where on the edges from a to b the probabilities of their two domains are equal."""
    at_a = likely[a, own[a]] - likely[a, own[b]]
    at_b = likely[b, own[a]] - likely[b, own[b]]
    part = np.clip(at_a / np.maximum(at_a - at_b, 1e-12), 0, 1)
    return place[a] + part[:, None] * (place[b] - place[a])


def _length(
    place: np.ndarray,
    own: np.ndarray,
    likely: np.ndarray,
    triangles: np.ndarray,
    kinds: np.ndarray,
) -> np.ndarray:
    """Return the length of the walls by kind."""
    length = np.zeros(len(KINDS))
    of = own[triangles]
    differs = np.stack([of[:, k] != of[:, (k + 1) % 3] for k in range(3)], axis=1)
    two, three = triangles[differs.sum(axis=1) == 2], triangles[differs.all(axis=1)]
    if len(two):
        # put the corner that is alone first
        of = own[two]
        alone = np.where(of[:, 1] == of[:, 2], 0, np.where(of[:, 0] == of[:, 2], 1, 2))
        rows = np.arange(len(two))
        first, second, third = (two[rows, (alone + k) % 3] for k in range(3))
        start = _crossing(place, own, likely, first, second)
        end = _crossing(place, own, likely, first, third)
        np.add.at(length, kinds[own[first], own[second]], np.hypot(*(end - start).T))
    if len(three):
        sides = [(three[:, k], three[:, (k + 1) % 3]) for k in range(3)]
        crossings = [_crossing(place, own, likely, a, b) for a, b in sides]
        middle = sum(crossings) / 3
        for (a, b), crossing in zip(sides, crossings, strict=True):
            np.add.at(length, kinds[own[a], own[b]], np.hypot(*(middle - crossing).T))
    return length


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
