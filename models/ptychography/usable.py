"""Which frames can be used at all: those that are finite and have a place."""

from __future__ import annotations

import numpy as np

from ..base import Batch
from ..corrections import check_frames, tables


def usable(batch: Batch, units: str) -> tuple[Batch, int, int]:
    """Return a batch without the frames that cannot be used, and how many those are.

    Parameters
    ----------
    batch : Batch
    units : {"m", "px"}
        Of the positions that are looked at.

    Returns
    -------
    Batch
        The same object where all frames can be used.
    int
        Frames with NaN or infinity in a good pixel, or without a finite position.
    int
        Frames among those kept that hold no count at all.

    Raises
    ------
    ValueError
        When frames are no frames; see `corrections.check_frames`.
    """
    shape = check_frames(batch, None)
    use = np.ones(len(batch), bool)
    if batch.frames.dtype.kind == "f":
        bad = ~tables(batch.corrections, shape)[2]
        use &= (np.isfinite(batch.frames) | bad).all(axis=(1, 2))
    positions = np.asarray(batch.coordinates.get(f"positions_{units}", np.zeros((0, 2))))
    if positions.shape == (len(batch), 2):  # of other shapes the model says what is wrong
        use &= np.isfinite(positions).all(axis=1)
    if use.all():
        return batch, 0, _empty(batch.frames)
    rows = np.flatnonzero(use)
    coordinates = {name: np.asarray(values)[rows] for name, values in batch.coordinates.items()}
    kept = Batch(batch.frames[rows], batch.scan_index[rows], coordinates, batch.corrections)
    return kept, len(use) - len(rows), _empty(kept.frames)


def _empty(frames: np.ndarray) -> int:
    return len(frames) - int(np.count_nonzero(frames.any(axis=(1, 2))))
