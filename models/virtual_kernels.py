"""One pass over frames: sums over any number of detectors, the centre of mass, the extremes.

A detector is a list of runs: stretches of good pixels along a row. While its runs are summed the
frame stays in the first-level cache, so that memory is read once however many detectors there
are. Three things keep the loops on the processor's vector unit:

- rows of 8- and 16-bit counts are summed in 32 bits (uint32 + uint32 would become uint64 in
  numba and halve the speed), floats in float32, wider integers in float64; rows are added in
  float64, so that every sum of integers is exact;
- indices are unsigned, which spares numba's test for negative ones;
- rows are not sliced, which would count references.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"contract", "nsz", "reassoc"}


@njit(nogil=True, cache=True)
def _sum_narrow(frame, y, start, stop):
    total = np.uint32(0)
    for x in range(start, stop):
        total = np.uint32(total + np.uint32(frame[y, x]))
    return np.float64(total)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sum_wide(frame, y, start, stop, zero):
    total = zero
    for x in range(start, stop):
        total += frame[y, x]
    return np.float64(total)


@njit(nogil=True, cache=True, inline="always")
def _sum(frame, y, start, stop, zero):
    if frame.itemsize <= 2:
        return _sum_narrow(frame, y, start, stop)
    return _sum_wide(frame, y, start, stop, zero)


@njit(nogil=True, cache=True)
def _extremes(frame, y, start, stop, low, high):
    for x in range(start, stop):
        low = min(low, frame[y, x])
        high = max(high, frame[y, x])
    return low, high


@njit(nogil=True, cache=True)
def _frame_extremes(frame):
    low = high = frame[0, 0]
    for y in range(np.uint64(frame.shape[0])):
        low, high = _extremes(frame, y, np.uint64(0), np.uint64(frame.shape[1]), low, high)
    return low, high


@njit(nogil=True, cache=True, fastmath=_FAST)
def _reduce(frame, runs, extremes, zero, columns, sums, moments):
    """Sum one frame; the first detector also gives moments and extremes."""
    moment_y, moment_x = 0.0, 0.0
    low = high = frame[runs[0, 0], runs[0, 1]]
    columns[:] = 0
    sums[:] = 0
    for k in range(runs.shape[0]):
        y, start, stop, detector = runs[k, 0], runs[k, 1], runs[k, 2], runs[k, 3]
        part = _sum(frame, y, start, stop, zero)
        sums[detector] += part
        if detector == 0:
            moment_y += part * y
            for x in range(start, stop):
                columns[x] += frame[y, x]
            if extremes:
                low, high = _extremes(frame, y, start, stop, low, high)
    for x in range(columns.shape[0]):
        moment_x += np.float64(columns[x]) * x
    moments[0], moments[1] = moment_y, moment_x
    if extremes:
        moments[2], moments[3] = low, high


@njit(nogil=True, cache=True)
def _mask(frame, good, out):
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            out[y, x] = frame[y, x] if good[y, x] else 0


@njit(nogil=True, cache=True, fastmath={"contract"})
def _correct(frame, dark, gain, out):
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            out[y, x] = (np.float32(frame[y, x]) - dark[y, x]) * gain[y, x]


@njit(nogil=True, cache=True)
def survey(frames, good, dark, gain, masked, correct, integers, runs, zero, columns, sums, moments):
    """Sum frames over detectors.

    Parameters
    ----------
    frames : (n, h, w) uint8, uint16, uint32, int32 or float32, counts
    good : (h, w) bool
        Pixels that are not good count as zero, where `masked` is true.
    dark, gain : (h, w) float32
        Applied where `correct` is true.
    masked, correct, integers : bool
    runs : (r, 4) uint64
        Row, first and last (exclusive) column, detector; in order of rows, so that arithmetic and
        the reading of memory overlap.
    zero : float32 or float64
        What rows of frames of more than 16 bits are summed in.
    columns : (w,) uint32, float32 or float64
        Work space, of the type that the frames' columns are summed in.
    sums : (n, d) float64, filled
    moments : (n, 4) float64, filled
        Over the first detector: first moments along y and x; least and greatest count as
        recorded, left alone where frames are not `integers`.
    """
    copy = np.empty(frames.shape[1:], frames.dtype)
    scratch = np.empty(frames.shape[1:], np.float32)
    float_columns = np.empty(frames.shape[2], np.float32)
    for f in range(frames.shape[0]):
        frame = frames[f]
        if masked:
            _mask(frame, good, copy)
            frame = copy
        if correct:
            _correct(frame, dark, gain, scratch)
            _reduce(scratch, runs, False, np.float32(0), float_columns, sums[f], moments[f])
            if integers:
                moments[f, 2], moments[f, 3] = _frame_extremes(frame)
        else:
            _reduce(frame, runs, integers, zero, columns, sums[f], moments[f])


def survey_frames(
    frames: np.ndarray,
    good: np.ndarray,
    dark: np.ndarray,
    gain: np.ndarray,
    correct: bool,
    runs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums (n, d) and moments (n, 4) that `survey` fills."""
    n, _, w = frames.shape
    sums, moments = np.empty((n, int(runs[:, 3].max()) + 1)), np.zeros((n, 4))
    total = np.dtype(np.float32 if frames.dtype == np.float32 else np.float64)
    columns = np.empty(w, np.uint32 if frames.itemsize <= 2 else total)
    survey(
        frames,
        good,
        dark,
        np.where(good, gain, np.float32(0)),  # a bad pixel is nothing, not minus the dark
        not bool(good.all()),
        correct,
        frames.dtype.kind in "ui",
        runs,
        total.type(0),
        columns,
        sums,
        moments,
    )
    return sums, moments


def warm() -> None:
    """Compile the kernel for the usual types."""
    table, good = np.ones((2, 2), np.float32), np.ones((2, 2), bool)
    runs = np.array([[0, 0, 2, 0], [1, 0, 2, 0]], np.uint64)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        survey_frames(np.ones((1, 2, 2), dtype), good, table, table, False, runs)
