"""By how much chi^2 falls with patterns at places along a line: one, two, or all between two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BETWEEN, _FINEST_STEP = 13, 0.02


def gains_of(gram: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by how much chi^2 falls: with each place, each pair, each even spread."""
    own, two = _own(gram, target), _pairs(gram, target)
    # of all places from i to j, the first and the last by half
    sums = np.zeros((len(target), len(target)))
    sums[1:, 1:] = (
        ((gram[1:, 1:] + gram[:-1, 1:] + gram[1:, :-1] + gram[:-1, :-1]) / 4).cumsum(0).cumsum(1)
    )
    along = np.append(0.0, ((target[1:] + target[:-1]) / 2).cumsum())
    corner = np.diag(sums)
    area = corner[:, None] + corner[None] - 2 * sums
    part = along[None] - along[:, None]
    spread = np.where(part > 0, part**2 / np.where(area > 0, area, np.inf), 0.0)
    spread = np.triu(spread, 1)
    return own, two, spread + spread.T + np.diag(own)


def _own(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.maximum(target, 0) ** 2 / np.maximum(np.diag(gram), 1e-300)


def _pairs(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return by how much chi^2 falls with two places at once, neither amount below zero."""
    size = np.maximum(np.diag(gram), 1e-300)
    own = _own(gram, target)
    det = np.outer(size, size) - gram**2
    a = (target[:, None] * size[None] - target[None] * gram) / np.where(det > 0, det, 1)
    b = a.T
    both = (a > 0) & (b > 0) & (det > 1e-9 * np.outer(size, size))
    two = np.where(both, a * target[:, None] + b * target[None], -np.inf)
    return np.maximum(two, np.maximum(own[:, None], own[None]))


def best_pair(two: np.ndarray, products: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return by how much chi^2 falls with the best pair of places, between the steps too.

    A parabola will not do here: pure patterns pull at one end only.
    """
    n = len(two)
    best = float(np.max(two))
    ends = np.array(np.unravel_index(int(np.argmax(two)), two.shape), float)
    reach = 3.0
    while reach > _FINEST_STEP:
        moves = np.linspace(-reach, reach, _BETWEEN)
        between = [np.unique(np.clip(end + moves, 0, n - 1)) for end in ends]
        blend = _blend(np.concatenate(between), n)
        gains = sum(_pairs(blend @ gram @ blend.T, blend @ target) for gram, target in products)
        across = np.asarray(gains)[: len(between[0]), len(between[0]) :]
        i, j = np.unravel_index(int(np.argmax(across)), across.shape)
        best = max(best, float(across[i, j]))
        ends = np.array([between[0][i], between[1][j]])
        reach *= 0.35
    return best


def _blend(places: np.ndarray, n: int) -> np.ndarray:
    """Return the matrix that interpolates between `n` steps, by Lagrange's cubic."""
    first = np.clip(places.astype(int) - 1, 0, n - 4)
    nodes = first[:, None] + np.arange(4)
    blend = np.zeros((len(places), n))
    for c in range(4):
        others = [k for k in range(4) if k != c]
        blend[np.arange(len(places)), nodes[:, c]] = np.prod(
            [(places - nodes[:, k]) / (nodes[:, c] - nodes[:, k]) for k in others], axis=0
        )
    return blend


def summit(values: np.ndarray) -> float:
    """Return the height of the top between the points of a line or a grid, by a parabola.

    Parameters
    ----------
    values : (n,) or (n, n) float64
        Smooth on the scale of the points.
    """
    at = np.unravel_index(int(np.argmax(values)), values.shape)
    top = float(values[at])
    if any(k in (0, n - 1) for k, n in zip(at, values.shape, strict=True)):
        return top
    near = values[tuple(slice(k - 1, k + 2) for k in at)]
    if near.ndim == 1:
        slope, curve = (
            np.array([(near[2] - near[0]) / 2]),
            np.array([[near[0] + near[2] - 2 * top]]),
        )
    else:
        slope = np.array([near[2, 1] - near[0, 1], near[1, 2] - near[1, 0]]) / 2
        mixed = (near[2, 2] - near[2, 0] - near[0, 2] + near[0, 0]) / 4
        curve = np.array(
            [
                [near[0, 1] + near[2, 1] - 2 * top, mixed],
                [mixed, near[1, 0] + near[1, 2] - 2 * top],
            ]
        )
    bend = np.linalg.eigvalsh(curve)
    if not bend[-1] < 0:
        return top
    step = -np.linalg.solve(curve, slope)
    if np.abs(step).max() > 1:
        return top
    return top + float(slope @ step) / 2
