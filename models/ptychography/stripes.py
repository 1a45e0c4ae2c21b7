"""Frames shared out over threads so that the result does not depend on how many there are.

The field is cut into stripes of frames across its longer side; how many is decided by the scan and
the probe alone. Within one sub-pixel class every other stripe works on its own copy of the object;
their changes are joined, always in the same order; then the stripes between them follow. One
thread or eight give the same bits. Stripes of one turn hardly light the same pixels, so that their
changes add up. (All stripes at once meet in much of the object, and the mean of two changes is
half a step: that took twice as many passes.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import scipy.fft

from .engine_kernels import add_change

Part = TypeVar("Part")

CLASSES = 4
MOST = 8
DIAMETERS = 1.0
LEAST_ALPHA = 0.1


def stripes_of(positions_px: np.ndarray, diameter_px: float) -> np.ndarray:
    """Return to which stripe each frame belongs, (n,) int64, counted from 0.

    A stripe is at least `DIAMETERS` probe diameters wide, so that stripes of one turn have little
    in common; there are at most `MOST`, and one where there would be two, one in each turn.

    Parameters
    ----------
    positions_px : (n, 2) float64
    diameter_px : float
    """
    sides = np.ptp(positions_px, axis=0)
    axis = int(np.argmax(sides))
    count = int(np.clip(sides[axis] // max(DIAMETERS * diameter_px, 1), 1, MOST))
    count = 1 if count == 2 else count
    along = positions_px[:, axis]
    edges = np.quantile(along, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, along, side="right").astype(np.int64)


def in_turns(parts: Sequence[tuple[int, Part]]) -> Iterator[list[tuple[int, Part]]]:
    """Yield the parts (stripe, what) of even stripes, then those of odd ones."""
    for turn in range(2):
        chosen = [part for part in parts if part[0] % 2 == turn]
        if chosen:
            yield chosen


def run(pool: ThreadPoolExecutor | None, work: Callable[..., Any], parts: Sequence[Any]) -> list:
    """Return ``[work(part) for part in parts]``, spread over the pool's threads."""
    if pool is None or len(parts) < 2:
        return [work(part) for part in parts]
    return list(pool.map(work, parts))


class Seams:
    """Where stripes meet: the part of the object that each works on, and what its word weighs.

    The frames of a class take a pixel some part of the way to what they ask for. Where stripes of
    a turn together stay below all of the way, their changes add up; where they would go beyond it,
    the sum is brought down to it.

    Parameters
    ----------
    shape : (H, W)
        The object.
    power : (h, w) float32
        Intensity of the probe.
    corners : (n, 2) int64
    parts : sequence of (k,) int64
        Frames of each stripe.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        power: np.ndarray,
        corners: np.ndarray,
        parts: Sequence[np.ndarray],
    ) -> None:
        box = np.array(power.shape)
        step = power / ((1 - LEAST_ALPHA) * power + LEAST_ALPHA * power.max())
        reach = step / CLASSES**2
        total = np.zeros((2, *shape), np.float32)
        self.windows: list[tuple[slice, slice]] = []
        for stripe, part in enumerate(parts):
            if not len(part):  # few places far apart, or a choice among the frames
                self.windows.append((slice(0, 0), slice(0, 0)))
                continue
            low, high = corners[part].min(axis=0), corners[part].max(axis=0) + box
            window = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
            way = _visited(tuple((high - low).tolist()), reach, corners[part] - low)
            total[stripe % 2][window] += np.minimum(way, 1)
            self.windows.append(window)
        self.weights = [
            1 / np.maximum(total[stripe % 2][window], 1)
            for stripe, window in enumerate(self.windows)
        ]

    def join(self, obj: np.ndarray, copies: Sequence[tuple[int, np.ndarray]]) -> None:
        """Join in place what stripes of one turn made of their copies of obj.

        Parameters
        ----------
        obj : (H, W) complex64
        copies : sequence of (stripe, (h, w) complex64)
        """
        change = np.zeros_like(obj)
        for stripe, copy in copies:
            window = self.windows[stripe]
            add_change(obj[window], copy, self.weights[stripe], change[window])
        obj += change


def _visited(shape: tuple[int, ...], box: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the sum of boxes (h, w) at corners on an array, float32."""
    visits = np.zeros(shape)
    np.add.at(visits, tuple(corners.T), 1.0)
    size = [scipy.fft.next_fast_len(side, real=True) or side for side in shape]
    spectrum = np.asarray(scipy.fft.rfft2(visits, size)) * scipy.fft.rfft2(box, size)
    total = np.asarray(scipy.fft.irfft2(spectrum, size))[: shape[0], : shape[1]]
    return np.maximum(total, 0).astype(np.float32)  # rounding may leave less than nothing
