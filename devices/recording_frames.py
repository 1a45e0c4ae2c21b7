"""Frames (n, ...) out of arrays that may lie on disk, in one piece or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .recording_store import RecordingError

MOST_FRAMES = 100_000_000
LARGEST_FRAME_BYTES = 500_000_000
_LOOKED_AT = 8


def playable_dtype(kind: np.dtype) -> np.dtype:
    """Return the dtype that frames of `kind` are played in: what kernels and compressors take.

    Halves, doubles and 64-bit counts become float32 (exact to 16 777 216), small signed counts
    int32, big-endian numbers little-endian ones.
    """
    if kind.kind == "f" or kind.itemsize == 8:
        return np.dtype("<f4")
    if kind.kind == "i":
        return np.dtype("<i4")
    return kind.newbyteorder("<")


class Joined:
    """Several arrays (n, ...) of equal shape and dtype, one after the other.

    Parameters
    ----------
    parts : sequence of array-like

    Raises
    ------
    RecordingError
        When frames differ in shape.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        shapes = sorted({tuple(part.shape[1:]) for part in parts})
        if len(shapes) != 1:
            listed = ", ".join(str(shape) for shape in shapes[:4])
            raise RecordingError(
                f"a series needs frames of one shape, these have {listed}; play them one by one."
            )
        self._parts = list(parts)
        self._ends = np.cumsum([int(part.shape[0]) for part in parts])
        self.shape = (int(self._ends[-1]), *shapes[0])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        begin = 0
        for part, end in zip(self._parts, self._ends.tolist(), strict=True):
            low, high = max(start, begin), min(stop, end)
            if low < high:
                out[low - start : high - start] = part[low - begin : high - begin]
            begin = end
        return out


class ElementsLast:
    """Spectra (elements, ny, nx, channels) as (ny, nx, elements, channels).

    Parameters
    ----------
    source : array-like
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        elements, ny, nx, channels = source.shape
        self.shape = (ny, nx, elements, channels)
        self.dtype = source.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.moveaxis(np.asarray(self._source[:, rows]), 0, 2)


class Frames:
    """Frames (n, ...) out of an array (n, ...) or (ny, nx, ...) that may lie on disk.

    Parameters
    ----------
    source : array-like
    scan_axes : int
        0, 1 or 2.
    shift : (dy, dx) int
        Rolls each frame, so that its centre comes to lie at ``[h // 2, w // 2]``.

    Raises
    ------
    RecordingError
        When a frame or their number is beyond reason.
    """

    def __init__(self, source: Any, scan_axes: int, shift: tuple[int, int] = (0, 0)) -> None:
        if scan_axes == 0:  # a single frame
            source, scan_axes = np.asarray(source[()])[None], 1
        self._source = source
        self.grid = tuple(int(side) for side in source.shape[:scan_axes])
        frame = tuple(int(side) for side in source.shape[scan_axes:])
        self.shape = (int(np.prod(np.array(self.grid, object))), *frame)
        self.dtype = playable_dtype(np.dtype(source.dtype))
        self.shift = shift
        size = int(np.prod(np.array(frame, object))) * np.dtype(source.dtype).itemsize
        if self.shape[0] > MOST_FRAMES or size > LARGEST_FRAME_BYTES:
            raise RecordingError(
                f"{self.shape[0]} frames of shape {frame} are more than can be played "
                f"({MOST_FRAMES} frames of {LARGEST_FRAME_BYTES / 1e6:.0f} MB); cut the file."
            )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read consecutive frames.

        Raises
        ------
        RecordingError
            When the file is cut short.
        """
        start, stop, _ = rows.indices(len(self))
        try:
            with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite
                read = self._read(start, stop)
                block = read.astype(self.dtype, copy=False)
                if read.dtype.kind == "u" and block.dtype.kind == "f":
                    # the largest number marks pixels that do not work, as in smaller integers
                    block[read == np.iinfo(read.dtype).max] = np.nan
        except (OSError, RuntimeError) as error:
            raise RecordingError(
                f"frames {start} to {stop} cannot be read, the file may be cut short: {error}."
            ) from error
        return np.roll(block, self.shift, axis=(1, 2)) if any(self.shift) else block

    def _read(self, start: int, stop: int) -> np.ndarray:
        if len(self.grid) == 1:
            return np.asarray(self._source[start:stop])
        nx = self.grid[1]
        first, last = start // nx, -(-stop // nx)
        lines = np.asarray(self._source[first:last]).reshape(-1, *self.shape[1:])
        return lines[start - first * nx : stop - first * nx]

    def sample(self) -> np.ndarray:
        """Return a few frames from the whole length, (k, ...).

        Raises
        ------
        RecordingError
        """
        rows = np.unique(np.linspace(0, len(self) - 1, _LOOKED_AT).astype(int))
        if len(self.grid) == 2:  # whole lines are read: look at few
            rows = rows[[0, -1]]
        return np.concatenate([self[row : row + 1] for row in rows.tolist()])


def remarks(frames: Frames, source_dtype: np.dtype) -> list[str]:
    """Return what a look at a few frames says about them.

    Parameters
    ----------
    frames : Frames
    source_dtype : numpy.dtype
        In the file.
    """
    notes = []
    if frames.dtype != source_dtype.newbyteorder("<"):
        notes.append(f"frames: {source_dtype} became {frames.dtype}")
    few = frames.sample()
    if few.dtype.kind == "f" and not np.isfinite(few).all():
        bad = int((~np.isfinite(few)).sum())
        notes.append(f"frames: {bad} of {few.size} values looked at are NaN or infinite")
    if few.dtype.kind in "if" and (few < 0).any():
        bad = int((few < 0).sum())
        notes.append(f"frames: {bad} of {few.size} values looked at are negative")
    return notes


def corner_centred(frames: Frames) -> bool:
    """Return whether the zero frequency lies in the corner of the frames instead of the centre.

    A bright spot is looked for that becomes compact and central when the quadrants are swapped.

    Parameters
    ----------
    frames : Frames
        (n, h, w).
    """
    h, w = frames.shape[1:]
    if min(h, w) < 8:
        return False
    mean = frames.sample().astype(float)
    mean = np.where(np.isfinite(mean), np.maximum(mean, 0), 0).mean(axis=0)
    total = mean.sum()
    if not total > 0:
        return False
    near = np.hypot((np.arange(h) - h // 2)[:, None] / h, (np.arange(w) - w // 2) / w) < 1 / 6
    corner = np.fft.fftshift(mean)[near].sum() / total
    centre = mean[near].sum() / total
    # an even background gives both the share of the area, about a tenth
    return bool(corner > 0.4 and corner > 5 * centre)
