"""The canvas on which direct ptychography gathers bright-field vectors; it grows as needed."""

from __future__ import annotations

from typing import Self

import numpy as np

from .kernels import splat

_GROWTH = 0.25
_FAR = 2.0
_NEAR_PX = 64


class ScanCanvas:
    """Vectors of K super-pixels on a square grid over the scan, with weights.

    Two canvases with the same anchor and step lie on one lattice and add, wherever they are.

    Parameters
    ----------
    depth : int
        K, super-pixels.
    step : float
        Distance of canvas pixels, in the positions' unit.
    extent : ((y0, x0), (y1, x1)) or None
        Where positions are expected. The first corner is the lattice's anchor.
    max_bytes : float
        How large it may grow.
    """

    def __init__(
        self,
        depth: int,
        step: float,
        extent: tuple[tuple[float, float], tuple[float, float]] | None,
        max_bytes: float = 2e9,
    ) -> None:
        self.step = step
        self.depth = depth
        self.anchor = np.zeros(2) if extent is None else np.array(extent[0])
        self._expected = None if extent is None else np.array(extent[1]) - self.anchor
        self.max_bytes = max_bytes
        self.offsets = np.zeros((16, 16), np.int64)
        self._origin = np.zeros(2, np.int64)
        self._values = np.zeros((0, 0, depth), np.float32)
        self._weight = np.zeros((0, 0), np.float32)
        self._low: np.ndarray | None = None
        self._high = np.zeros(2, np.int64)

    def near(self, positions: np.ndarray) -> np.ndarray:
        """Return which positions (n, 2) are no blunder, (n,) bool.

        Where an extent is known, one further outside than twice its size (and 64 pixels) is:
        a canvas that holds it would be empty for the most part.
        """
        if self._expected is None:
            return np.ones(len(positions), bool)
        low = -np.maximum(_FAR * self._expected, _NEAR_PX * self.step)
        outside = positions - self.anchor
        return np.all((outside >= low) & (outside <= self._expected - low), axis=1)

    def add(
        self,
        frames: np.ndarray,
        corner: tuple[int, int],
        size: int,
        box: tuple[int, int],
        keep: np.ndarray,
        positions: np.ndarray,
    ) -> int:
        """Spread the frames' bright field round their positions.

        Parameters
        ----------
        frames : (n, h, w) any real dtype
        corner, size, box, keep
            The super-pixels, as `BrightField` has them.
        positions : (n, 2) float64

        Returns
        -------
        int
            How many frames have a pixel at the top of their integer format.

        Raises
        ------
        ValueError
            When the canvas would become larger than it may.
        """
        pixels = (positions - self.anchor) / self.step
        sixteenths = np.floor(pixels * 16 + 0.5).astype(np.int64)
        self._cover(sixteenths.min(axis=0) >> 4, (sixteenths.max(axis=0) + 15 >> 4) + 1)
        offsets = (sixteenths[:, 0] & 15) * 16 + (sixteenths[:, 1] & 15)
        self.offsets += np.bincount(offsets, minlength=256).reshape(16, 16)
        ceiling = np.iinfo(frames.dtype).max if frames.dtype.kind in "ui" else np.inf
        clipped = splat(
            frames,
            *corner,
            size,
            np.array(box, np.int64),
            keep,
            sixteenths - 16 * self._origin,
            float(ceiling),
            self._values,
            self._weight,
        )
        return int(clipped)

    def merge(self, other: Self) -> None:
        """Add another canvas.

        Raises
        ------
        ValueError
            When it is not on the same lattice.
        """
        same = (
            self.step == other.step
            and np.array_equal(self.anchor, other.anchor)
            and self.depth == other.depth
        )
        if not same:
            raise ValueError("canvases of different steps, anchors or bright fields do not add")
        if other._low is None:
            return
        self._cover(other._low, other._high)
        ours = self._window(other._low, other._high)
        theirs = other._window(other._low, other._high)
        self._values[ours] += other._values[theirs]
        self._weight[ours] += other._weight[theirs]
        self.offsets += other.offsets

    @property
    def touched(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the part that positions touch.

        Returns
        -------
        values : (Y, X, K) float32
        weight : (Y, X) float32
        origin : (2,) float64
            Position of pixel [0, 0].

        Raises
        ------
        ValueError
            When there are no frames.
        """
        if self._low is None:
            raise ValueError("there are no frames to reconstruct; call partial_fit first")
        window = self._window(self._low, self._high)
        return self._values[window], self._weight[window], self.anchor + self._low * self.step

    def _bytes(self, shape: np.ndarray) -> float:
        return float(shape[0]) * float(shape[1]) * 4 * (self.depth + 1)

    def _window(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice]:
        y0, x0 = (low - self._origin).tolist()
        y1, x1 = (high - self._origin).tolist()
        return slice(y0, y1), slice(x0, x1)

    def _cover(self, low: np.ndarray, high: np.ndarray) -> None:
        """Note that positions touch pixels from low up to, not including, high; make room."""
        lowest = low if self._low is None else np.minimum(low, self._low)
        highest = high if self._low is None else np.maximum(high, self._high)
        self._make_room(lowest, highest)
        self._low, self._high = lowest, highest

    def _make_room(self, low: np.ndarray, high: np.ndarray) -> None:
        high = high + 1  # the kernel may look one further, with no weight
        old = np.array(self._weight.shape)
        end = self._origin + old
        if self._weight.size:
            if np.all(low >= self._origin) and np.all(high <= end):
                return
            low, high = np.minimum(low, self._origin), np.maximum(high, end)
            spare = (_GROWTH * old).astype(np.int64)
            roomy = (
                np.where(low < self._origin, low - spare, low),
                np.where(high > end, high + spare, high),
            )
            if self._bytes(roomy[1] - roomy[0]) <= self.max_bytes:
                low, high = roomy
        elif self._expected is not None:
            low = np.minimum(low, -1)
            high = np.maximum(high, np.ceil(self._expected / self.step).astype(np.int64) + 3)
        shape = tuple((high - low).tolist())
        if self._bytes(high - low) > self.max_bytes:
            raise ValueError(
                f"these positions need a canvas of {shape[0]} x {shape[1]} pixels of {self.depth}"
                f" super-pixels, {self._bytes(high - low) / 1e9:.3g} GB, and canvas_memory_gb"
                f" leaves {self.max_bytes / 1e9:.3g}; give fewer bins_across, a larger step or more"
                " canvas_memory_gb, or correct the positions"
            )
        values = np.zeros((*shape, self.depth), np.float32)
        weight = np.zeros(shape, np.float32)
        y, x = (self._origin - low).tolist()
        if self._weight.size:
            values[y : y + old[0], x : x + old[1]] = self._values
            weight[y : y + old[0], x : x + old[1]] = self._weight
        self._values, self._weight, self._origin = values, weight, low
