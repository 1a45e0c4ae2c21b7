"""By how much chi^2 falls with patterns at places along a line: one, two, or all between two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .gain_kernels import pair_gains, pair_gains_between

_BETWEEN, _FINEST_STEP = 13, 0.02
_LEAST = 1e-300


def gains_of(gram: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by how much chi^2 falls: with each place, each pair, each even spread."""
    own = np.maximum(target, 0) ** 2 / np.maximum(np.diag(gram), 1e-300)
    two = pair_gains(gram, target)
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


def best_pair(two: np.ndarray, products: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return by how much chi^2 falls with the best pair of places, between the steps too.

    A parabola will not do here: pure patterns pull at one end only.
    """
    n = len(two)
    grams, targets = (np.array(each) for each in zip(*products, strict=True))
    best = float(np.max(two))
    ends = np.array(np.unravel_index(int(np.argmax(two)), two.shape), float)
    reach = 3.0
    while reach > _FINEST_STEP:
        moves = np.linspace(-reach, reach, _BETWEEN)
        between = [np.unique(np.clip(end + moves, 0, n - 1)) for end in ends]
        across = pair_gains_between(*between, grams, targets)
        i, j = np.unravel_index(int(np.argmax(across)), across.shape)
        best = max(best, float(across[i, j]))
        ends = np.array([between[0][i], between[1][j]])
        reach *= 0.35
    return best


def summits(values: np.ndarray) -> np.ndarray:
    """Return the heights of the tops of lines, between their points too.

    By parabolas of the logarithm: gains fall off as a Gaussian does, and by a parabola of their
    own those of many counts would be off by more than chi^2 scatters.

    Parameters
    ----------
    values : (..., n) float64, not below zero
        Smooth on the scale of the points.

    Returns
    -------
    (...) float64
    """
    at = np.argmax(values, axis=-1, keepdims=True)
    inner = (at > 0) & (at < values.shape[-1] - 1)
    near = np.clip(at, 1, values.shape[-1] - 2)
    logs = np.log(np.maximum(values, _LEAST))
    below, middle, above = (np.take_along_axis(logs, near + k, -1) for k in (-1, 0, 1))
    slope, curve = (above - below) / 2, above + below - 2 * middle
    inner &= (curve < 0) & (np.abs(slope) <= -curve)
    higher = np.where(inner, slope**2 / np.where(inner, -2 * curve, 1.0), 0.0)
    return (np.take_along_axis(values, at, -1) * np.exp(higher))[..., 0]


def summit(values: np.ndarray) -> float:
    """Return the height of the top between the points of a grid, as `summits` do.

    Parameters
    ----------
    values : (n, n) float64, not below zero
        Smooth on the scale of the points.
    """
    at = np.unravel_index(int(np.argmax(values)), values.shape)
    top = float(values[at])
    if any(k in (0, n - 1) for k, n in zip(at, values.shape, strict=True)):
        return top
    near = np.log(np.maximum(values[tuple(slice(k - 1, k + 2) for k in at)], _LEAST))
    slope = np.array([near[2, 1] - near[0, 1], near[1, 2] - near[1, 0]]) / 2
    mixed = (near[2, 2] - near[2, 0] - near[0, 2] + near[0, 0]) / 4
    curve = np.array(
        [
            [near[0, 1] + near[2, 1] - 2 * near[1, 1], mixed],
            [mixed, near[1, 0] + near[1, 2] - 2 * near[1, 1]],
        ]
    )
    if not np.linalg.eigvalsh(curve)[-1] < 0:
        return top
    step = -np.linalg.solve(curve, slope)
    if np.abs(step).max() > 1:
        return top
    return top * float(np.exp(slope @ step / 2))
