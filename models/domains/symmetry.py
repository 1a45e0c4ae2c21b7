"""Mirrors and quarter turns of patterns, with what they make of the classes.

Classes named ``+x``, ``-x``, ``+y``, ``-y`` are senses of one vector in the plane, so that a
mirrored or turned pattern is a pattern of another class, taken at a mirrored or turned tilt of the
crystal: eight times as many tilts from the same patterns. Any other name (``c``) is taken for a
class that mirrors and turns leave as it is. Which way the named axes lie on the detector the names
do not say: it is stated, or found from the patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IN_PLANE = {"+x": (1, 0), "-x": (-1, 0), "+y": (0, 1), "-y": (0, -1)}
AXES = {  # (row, column) direction of +x, of +y
    "x along rows": ((1, 0), (0, 1)),
    "x along rows, y reversed": ((1, 0), (0, -1)),
    "x along columns": ((0, 1), (1, 0)),
    "x along columns, y reversed": ((0, 1), (-1, 0)),
}
_CLEAR, _MARGIN = 0.85, 0.1
_BINS, _MOST = 16, 2048


@dataclass(frozen=True)
class Operation:
    """One mirror or turn about the zero frequency.

    Parameters
    ----------
    transpose, flip_rows, flip_columns : bool
        In this order.
    classes : tuple of int
        The class that each class becomes.
    """

    transpose: bool
    flip_rows: bool
    flip_columns: bool
    classes: tuple[int, ...]

    def __call__(self, patterns: np.ndarray) -> np.ndarray:
        """Return patterns (n, h, w) as seen in the mirror."""
        if self.transpose:
            patterns = patterns.swapaxes(1, 2)
        for axis, flip in ((1, self.flip_rows), (2, self.flip_columns)):
            if flip:  # about [h // 2], which a plain flip of an even length would move
                even = patterns.shape[axis] % 2 == 0
                patterns = np.roll(np.flip(patterns, axis), 1 if even else 0, axis)
        return patterns


def operations(classes: Sequence[str], axes: str, *, square: bool = True) -> list[Operation]:
    """Return the mirrors and turns, the one that does nothing first.

    Parameters
    ----------
    classes : sequence of str
    axes : str
        Of `AXES`.
    square : bool
        Whether frames have as many rows as columns: no quarter turns otherwise.

    Raises
    ------
    ValueError
        For unknown axes.
    """
    if axes not in AXES:
        raise ValueError(f"axes must be one of {', '.join(AXES)}, got {axes!r}")
    to_array = np.array(AXES[axes]).T  # columns are the directions of +x and +y
    named = {direction: name for name, direction in IN_PLANE.items()}
    found = []
    for transpose in (False, True) if square else (False,):
        for flip_rows in (False, True):
            for flip_columns in (False, True):
                turn = np.diag([-1 if flip_rows else 1, -1 if flip_columns else 1])
                turn = turn @ np.array([[0, 1], [1, 0]]) if transpose else turn
                inside = to_array.T @ turn @ to_array
                images = [
                    named[tuple((inside @ IN_PLANE[name]).tolist())] if name in IN_PLANE else name
                    for name in classes
                ]
                if set(images) <= set(classes):
                    permuted = tuple(list(classes).index(name) for name in images)
                    found.append(Operation(transpose, flip_rows, flip_columns, permuted))
    return found


def find_axes(patterns: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> str | None:
    """Return how the named axes lie on the detector, as the patterns themselves have it.

    A linear classifier that has learnt the patterns as they are is asked about the mirrored
    ones. The right axes make it agree; the wrong ones make it call domains by others' names.

    Parameters
    ----------
    patterns : (n, h, w), counts
    label : (n,) int
    classes : sequence of str

    Returns
    -------
    str or None
        Of `AXES`; None where the names are no directions, the frames are not square, or the
        patterns do not say it clearly.
    """
    square = patterns.shape[1] == patterns.shape[2]
    if not square or not set(IN_PLANE) <= set(classes):
        return None
    if len(patterns) > _MOST:  # enough to tell
        some = np.linspace(0, len(patterns) - 1, _MOST).astype(int)
        patterns, label = patterns[some], label[some]
    agreement = {}
    learnt = _linear(_features(patterns), label, len(classes))
    for axes in AXES:
        right = []
        for operation in operations(classes, axes)[1:]:
            said = (_features(operation(patterns)) @ learnt).argmax(axis=1)
            right.append(np.mean(said == np.array(operation.classes)[label]))
        agreement[axes] = float(np.mean(right))
    best, second = sorted(agreement, key=agreement.__getitem__, reverse=True)[:2]
    clear = agreement[best] >= _CLEAR and agreement[best] - agreement[second] >= _MARGIN
    return best if clear else None


def _features(patterns: np.ndarray) -> np.ndarray:
    """Return square roots of patterns of one dose, binned about the zero frequency, and a 1."""
    n, side = patterns.shape[0], patterns.shape[1]
    step = max(1, side // (2 * _BINS))
    half = min(_BINS, (side - 1) // 2 // step)
    # blocks of `step` about the middle pixel, so that a mirror takes blocks to blocks
    index = side // 2 + np.arange(-half * step, half * step + 1)
    owner = np.rint(np.arange(-half * step, half * step + 1) / step).astype(int) + half
    gather = np.zeros((side, 2 * half + 1), np.float32)
    gather[index, owner] = 1
    binned = gather.T @ patterns.astype(np.float32) @ gather
    binned /= np.maximum(binned.sum(axis=(1, 2), keepdims=True), 1e-6)
    flat = np.sqrt(np.maximum(binned, 0)).reshape(n, -1)
    return np.concatenate([flat, np.ones((n, 1), np.float32)], axis=1)


def _linear(features: np.ndarray, label: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the ridge regression of the classes, in its dual form: few patterns, many pixels."""
    target = np.eye(n_classes)[label]
    gram = features.astype(np.float64) @ features.T
    ridge = 1e-3 * np.trace(gram) / len(gram)
    return features.T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), target)
