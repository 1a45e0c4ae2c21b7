"""Counts into electrons or photons: dark, gain and bad pixels, and what is wrong with a frame."""

from __future__ import annotations

import numpy as np
from numba import njit

from .base import Batch, Corrections


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"})
def _correct(frames, dark, gain, good, out):
    for f in range(frames.shape[0]):
        for y in range(frames.shape[1]):
            for x in range(frames.shape[2]):
                value = (np.float32(frames[f, y, x]) - dark[y, x]) * gain[y, x]
                out[f, y, x] = value if good[y, x] else np.float32(0)


def check_frames(batch: Batch, shape: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (h, w) of a batch's frames.

    Parameters
    ----------
    batch : Batch
    shape : (h, w) or None
        What earlier batches had.

    Raises
    ------
    ValueError
        When frames are not (n, h, w) real numbers, of another shape than before, or when the
        scan indices or corrections do not fit them.
    """
    frames = batch.frames
    if frames.ndim != 3 or frames.dtype.kind not in "uif":
        raise ValueError(
            f"frames must be (n, h, w) real numbers, got {frames.shape} of {frames.dtype}"
        )
    new = (int(frames.shape[1]), int(frames.shape[2]))
    if shape is not None and new != shape:
        raise ValueError(f"frames changed shape from {shape} to {new}; start a new run for that")
    if np.shape(batch.scan_index) != (len(frames),):
        raise ValueError(
            f"scan_index must be ({len(frames)},) like the frames, got {np.shape(batch.scan_index)}"
        )
    for name in ("dark", "gain", "bad_pixels"):
        value = getattr(batch.corrections, name)
        if value is not None and np.shape(value) != new:
            raise ValueError(f"{name} must be {new} like a frame, got {np.shape(value)}")
    return new


def tables(
    corrections: Corrections, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dark (h, w) float32, gain (h, w) float32 and good (h, w) bool, all filled in."""
    dark = np.zeros(shape, np.float32) if corrections.dark is None else corrections.dark
    gain = np.ones(shape, np.float32) if corrections.gain is None else corrections.gain
    bad = np.zeros(shape, bool) if corrections.bad_pixels is None else corrections.bad_pixels
    return (
        np.ascontiguousarray(dark, np.float32),
        np.ascontiguousarray(gain, np.float32),
        ~np.ascontiguousarray(bad, bool),
    )


def corrected(batch: Batch) -> np.ndarray:
    """Return frames with the dark subtracted, the gain applied and bad pixels set to zero.

    Returns
    -------
    (n, h, w)
        float32, or the frames themselves where there is nothing to correct.
    """
    frames = np.ascontiguousarray(batch.frames)
    if not batch.corrections:
        return frames
    out = np.empty(frames.shape, np.float32)
    _correct(frames, *tables(batch.corrections, frames.shape[1:]), out)
    return out
