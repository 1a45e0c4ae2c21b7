"""Frames shared out over threads so that the result does not depend on how many there are.

The field is cut into stripes of frames across its longer side; how many is decided by the scan and
the probe alone. Within one sub-pixel class each stripe works on its own copy of the object; the
changes are then joined, weighted by how much light each stripe put on a pixel, and always in the
same order. One thread or eight give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.fft

from .engine_kernels import add_change

MOST = 8
DIAMETERS = 2.0


def stripes_of(positions_px: np.ndarray, diameter_px: float) -> np.ndarray:
    """Return to which stripe each frame belongs, (n,) int64, counted from 0.

    A stripe is at least `DIAMETERS` probe diameters wide, so that what two stripes share is a
    small part of either; there are at most `MOST`.

    Parameters
    ----------
    positions_px : (n, 2) float64
    diameter_px : float
    """
    sides = np.ptp(positions_px, axis=0)
    axis = int(np.argmax(sides))
    count = int(np.clip(sides[axis] // max(DIAMETERS * diameter_px, 1), 1, MOST))
    along = positions_px[:, axis]
    edges = np.quantile(along, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, along, side="right").astype(np.int64)


def run(pool: ThreadPoolExecutor | None, work: Callable[..., Any], parts: Sequence[Any]) -> list:
    """Return ``[work(part) for part in parts]``, spread over the pool's threads."""
    if pool is None or len(parts) < 2:
        return [work(part) for part in parts]
    return list(pool.map(work, parts))


class Seams:
    """Where stripes meet: the part of the object that each works on, and what its word weighs.

    A pixel that one stripe lights gets all of that stripe's change; one that several light gets
    the mean of their changes, weighted with the light of each.

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
        total = np.full(shape, 1e-30, np.float32)
        self.windows: list[tuple[slice, slice]] = []
        self.weights: list[np.ndarray] = []
        for part in parts:
            low, high = corners[part].min(axis=0), corners[part].max(axis=0) + box
            window = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
            light = _light(tuple((high - low).tolist()), power, corners[part] - low)
            total[window] += light
            self.windows.append(window)
            self.weights.append(light)
        for window, weight in zip(self.windows, self.weights, strict=True):
            weight /= total[window]

    def join(self, obj: np.ndarray, copies: Sequence[tuple[int, np.ndarray]]) -> None:
        """Join in place what stripes made of their copies (stripe, (h, w) complex64) of obj."""
        change = np.zeros_like(obj)
        for stripe, copy in copies:
            window = self.windows[stripe]
            add_change(obj[window], copy, self.weights[stripe], change[window])
        obj += change


def _light(shape: tuple[int, ...], power: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return how much light boxes of `power` (h, w) at corners put on an array, float32."""
    visits = np.zeros(shape)
    np.add.at(visits, tuple(corners.T), 1.0)
    size = [scipy.fft.next_fast_len(side, real=True) or side for side in shape]
    spectrum = np.asarray(scipy.fft.rfft2(visits, size)) * scipy.fft.rfft2(power, size)
    light = np.asarray(scipy.fft.irfft2(spectrum, size))[: shape[0], : shape[1]]
    # rounding may leave less than nothing where nothing is
    return np.maximum(light, 1e-9 * float(light.max())).astype(np.float32)
