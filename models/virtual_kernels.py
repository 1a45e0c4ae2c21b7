"""One pass over frames: sums over any number of detectors, the centre of mass, the extremes.

A detector is a list of runs: stretches of good pixels along a row. While its runs are summed the
frame stays in the first-level cache, so that memory is read once however many detectors there
are. Rows of 8- and 16-bit counts are summed in 32 bits (uint32 + uint32 would become uint64 in
numba and halve the speed), all else in float64; every sum of integers is exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_FAST = {"contract", "nsz", "reassoc"}


@njit(nogil=True, cache=True)
def _sum_narrow(line):
    total = np.uint32(0)
    for x in range(line.shape[0]):
        total = np.uint32(total + np.uint32(line[x]))
    return np.float64(total)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sum_wide(line):
    total = 0.0
    for x in range(line.shape[0]):
        total += line[x]
    return total


@njit(nogil=True, cache=True)
def _extremes(line, low, high):
    for x in range(line.shape[0]):
        value = line[x]
        low = value if value < low else low
        high = value if value > high else high
    return low, high


@njit(nogil=True, cache=True)
def _add(line, columns):
    for x in range(line.shape[0]):
        columns[x] += line[x]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _moments(frame, runs, narrow, columns, out):
    """Fill `out` with the sum and the first moments along y and x, in pixels."""
    total, moment_y, moment_x = 0.0, 0.0, 0.0
    columns[:] = 0
    for k in range(runs.shape[0]):
        line = frame[runs[k, 0], runs[k, 1] : runs[k, 2]]
        part = _sum_narrow(line) if narrow else _sum_wide(line)
        total += part
        moment_y += part * runs[k, 0]
        _add(line, columns[runs[k, 1] : runs[k, 2]])
    for x in range(columns.shape[0]):
        moment_x += np.float64(columns[x]) * x
    out[0], out[1], out[2] = total, moment_y, moment_x


@njit(nogil=True, cache=True)
def _sums(frame, runs, first, narrow, out):
    for d in range(out.shape[0]):
        total = 0.0
        for k in range(first[d], first[d + 1]):
            line = frame[runs[k, 0], runs[k, 1] : runs[k, 2]]
            total += _sum_narrow(line) if narrow else _sum_wide(line)
        out[d] = total


@njit(nogil=True, cache=True, fastmath={"contract"})
def _correct(frame, dark, gain, out):
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            out[y, x] = (np.float32(frame[y, x]) - dark[y, x]) * gain[y, x]


@njit(nogil=True, cache=True)
def survey(frames, dark, gain, correct, runs, first, columns, sums, moments, extremes):
    """Sum frames over detectors.

    Parameters
    ----------
    frames : (n, h, w) uint8, uint16, uint32, int32 or float32, counts
    dark, gain : (h, w) float32
        Applied where `correct` is true.
    correct : bool
    runs : (r, 3) int64
        Row, first and last (exclusive) column, the detectors' one after another.
    first : (d + 1,) int64
        Where each detector's runs begin. The first detector is also the centre of mass's.
    columns : (w,) uint32 for 8- and 16-bit frames, else float64
        Work space.
    sums : (n, d) float64, filled
    moments : (n, 3) float64, filled
        Sum, and first moments along y and x, over the first detector.
    extremes : (n, 2) float64, filled
        Least and greatest count as recorded, over the first detector.
    """
    n, h, w = frames.shape
    narrow = frames.itemsize <= 2
    scratch = np.empty((h, w), np.float32)
    wide_columns = np.empty(w, np.float64)
    for f in range(n):
        frame = frames[f]
        low = high = frame[runs[0, 0], runs[0, 1]]
        for k in range(first[0], first[1]):
            low, high = _extremes(frame[runs[k, 0], runs[k, 1] : runs[k, 2]], low, high)
        extremes[f, 0], extremes[f, 1] = low, high
        if correct:
            _correct(frame, dark, gain, scratch)
            _moments(scratch, runs[: first[1]], False, wide_columns, moments[f])
            _sums(scratch, runs, first[1:], False, sums[f, 1:])
        else:
            _moments(frame, runs[: first[1]], narrow, columns, moments[f])
            _sums(frame, runs, first[1:], narrow, sums[f, 1:])
        sums[f, 0] = moments[f, 0]


def survey_frames(
    frames: np.ndarray,
    dark: np.ndarray,
    gain: np.ndarray,
    correct: bool,
    runs: np.ndarray,
    first: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums (n, d), moments (n, 3) and extremes (n, 2) that `survey` fills."""
    n, _, w = frames.shape
    sums, moments = np.empty((n, len(first) - 1)), np.empty((n, 3))
    extremes = np.empty((n, 2))
    narrow = frames.dtype in (np.uint8, np.uint16)
    columns = np.empty(w, np.uint32 if narrow else np.float64)
    survey(frames, dark, gain, correct, runs, first, columns, sums, moments, extremes)
    return sums, moments, extremes


def warm() -> None:
    """Compile the kernel for the usual types."""
    table = np.ones((2, 2), np.float32)
    runs = np.array([[0, 0, 2], [1, 0, 2]], np.int64)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        survey_frames(
            np.ones((1, 2, 2), dtype), table, table, False, runs, np.array([0, 2], np.int64)
        )
