"""One pass over frames: sums over any number of detectors, the centre of mass, the extremes.

A detector is a list of runs: stretches of pixels along a row. While its runs are summed the
frame stays in the first-level cache, so that memory is read once however many detectors there
are. Where there is something to correct, one row at a time is corrected into a small array and
summed from there: bad pixels are a short list and are set to zero after the rest of the row was
done without a question. Three things keep the loops on the processor's vector unit:

- rows of 8- and 16-bit counts are summed in 32 bits (uint32 + uint32 would become uint64 in
  numba and halve the speed), floats in float32, wider integers in float64; rows are added in
  float64, so that every sum of integers is exact;
- indices are unsigned, which spares numba's test for negative ones;
- rows are not sliced, which would count references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

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
def _sum_columns_narrow(frame, y, start, stop, columns):
    total = np.uint32(0)
    for x in range(start, stop):
        value = np.uint32(frame[y, x])
        total = np.uint32(total + value)
        columns[x] = np.uint32(columns[x] + value)
    return np.float64(total)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sum_columns_wide(frame, y, start, stop, zero, columns):
    total = zero
    for x in range(start, stop):
        total += frame[y, x]
        columns[x] += frame[y, x]
    return np.float64(total)


@njit(nogil=True, cache=True, inline="always")
def _sum_columns(frame, y, start, stop, zero, columns):
    """Sum a run, and add it to the sums of the columns."""
    if frame.itemsize <= 2:
        return _sum_columns_narrow(frame, y, start, stop, columns)
    return _sum_columns_wide(frame, y, start, stop, zero, columns)


@njit(nogil=True, cache=True)
def _extremes(frame, y, start, stop, low, high):
    for x in range(start, stop):
        low = min(low, frame[y, x])
        high = max(high, frame[y, x])
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
        if detector != 0:
            sums[detector] += _sum(frame, y, start, stop, zero)
            continue
        part = _sum_columns(frame, y, start, stop, zero, columns)
        sums[0] += part
        moment_y += part * y
        if extremes:
            low, high = _extremes(frame, y, start, stop, low, high)
    for x in range(columns.shape[0]):
        moment_x += np.float64(columns[x]) * x
    moments[0], moments[1] = moment_y, moment_x
    if extremes:
        moments[2], moments[3] = low, high


@njit(nogil=True, cache=True)
def survey(frames, runs, extremes, zero, columns, sums, moments):
    """Sum frames over detectors as they are.

    Parameters
    ----------
    frames : (n, h, w) uint8, uint16, uint32, int32 or float32, counts
    runs : (r, 4) uint64
        Row, first and last (exclusive) column, detector; in order of rows, so that arithmetic and
        the reading of memory overlap.
    extremes : bool
    zero : float32 or float64
        What rows of frames of more than 16 bits are summed in.
    columns : (w,) uint32, float32 or float64
        Work space, of the type that the frames' columns are summed in.
    sums : (n, d) float64, filled
    moments : (n, 4) float64, filled
        Over the first detector: first moments along y and x; least and greatest count as
        recorded, left alone unless `extremes` is true.
    """
    for f in range(frames.shape[0]):
        _reduce(frames[f], runs, extremes, zero, columns, sums[f], moments[f])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _correct_row(frame, y, dark, gain, out):
    for x in range(np.uint64(frame.shape[1])):
        out[0, x] = (np.float32(frame[y, x]) - dark[y, x]) * gain[y, x]


@njit(nogil=True, cache=True)
def _copy_row(frame, y, out):
    for x in range(np.uint64(frame.shape[1])):
        out[0, x] = frame[y, x]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _reduce_corrected(  # noqa: C901  (numba runs it a third as fast when it is cut up)
    frame, dark, gain, bad_start, bad_column, correct, row, raw, only, runs, extremes, zero,
    columns, sums, moments,
):  # fmt: skip
    moment_y, moment_x = 0.0, 0.0
    k, unseen = np.uint64(0), True
    low = high = frame[0, 0]
    columns[:] = 0
    sums[:] = 0
    for y in range(np.uint64(frame.shape[0])):
        if correct:
            _correct_row(frame, y, dark, gain, row)
        else:
            _copy_row(frame, y, row)
        if extremes:
            _copy_row(frame, y, raw)
        for b in range(bad_start[y], bad_start[y + np.uint64(1)]):
            row[0, bad_column[b]] = 0
            raw[0, bad_column[b]] = 0
        while k < np.uint64(runs.shape[0]) and runs[k, 0] == y:
            start, stop, detector = runs[k, 1], runs[k, 2], runs[k, 3]
            k += np.uint64(1)
            if detector != 0:
                sums[detector] += _sum(row, only, start, stop, zero)
                continue
            part = _sum_columns(row, only, start, stop, zero, columns)
            sums[0] += part
            moment_y += part * y
            if extremes:
                if unseen:
                    low = high = raw[only, start]
                    unseen = False
                low, high = _extremes(raw, only, start, stop, low, high)
    for x in range(columns.shape[0]):
        moment_x += np.float64(columns[x]) * x
    moments[0], moments[1] = moment_y, moment_x
    if extremes:
        moments[2], moments[3] = low, high


@njit(nogil=True, cache=True, fastmath=_FAST)
def survey_corrected(
    frames, dark, gain, bad_start, bad_column, correct, row, runs, extremes, zero, columns, sums,
    moments,
):  # fmt: skip
    """Sum frames over detectors after correcting them.

    Parameters
    ----------
    frames, runs, extremes, zero, columns, sums, moments
        As of `survey`.
    dark, gain : (h, w) float32
        Applied where `correct` is true.
    bad_start : (h + 1,) uint64
        Where each row's bad pixels begin in `bad_column`.
    bad_column : (b,) uint64
        Columns of pixels that count as zero, and as no extreme.
    correct : bool
    row : (1, w) float32, or of the frames' type where `correct` is false
        Work space.
    """
    raw, only = np.empty((1, frames.shape[2]), frames.dtype), np.uint64(0)
    for f in range(frames.shape[0]):
        _reduce_corrected(
            frames[f], dark, gain, bad_start, bad_column, correct, row, raw, only, runs, extremes,
            zero, columns, sums[f], moments[f],
        )  # fmt: skip


@njit(nogil=True, cache=True)
def add_counts(frames, use, out):
    """Add the frames (n, h, w) of whole numbers that `use` (n,) chooses to `out` (h, w) int64."""
    for f in range(frames.shape[0]):
        if use[f]:
            for y in range(frames.shape[1]):
                for x in range(frames.shape[2]):
                    out[y, x] += np.int64(frames[f, y, x])


@njit(nogil=True, cache=True)
def add_numbers(frames, use, scale, out):
    """Add float frames in units of ``1 / scale``, so that their order cannot matter.

    What is not finite, or too large for that, counts as zero.
    """
    for f in range(frames.shape[0]):
        if use[f]:
            for y in range(frames.shape[1]):
                for x in range(frames.shape[2]):
                    value = frames[f, y, x]
                    if abs(value) < 1e12:
                        out[y, x] += np.int64(np.rint(value * scale))


@dataclass(frozen=True, eq=False)
class Survey:
    """Detectors and corrections, ready for any number of frames of one shape.

    Parameters
    ----------
    runs : (r, 4) uint64
        As `survey` takes them; make it with `Survey.of`.
    dark, gain : (h, w) float32
    bad_start : (h + 1,) uint64
    bad_column : (b,) uint64
    correct : bool
    """

    runs: np.ndarray
    dark: np.ndarray
    gain: np.ndarray
    bad_start: np.ndarray
    bad_column: np.ndarray
    correct: bool

    @classmethod
    def of(
        cls,
        runs: np.ndarray,
        good: np.ndarray,
        dark: np.ndarray,
        gain: np.ndarray,
        correct: bool,
    ) -> Self:
        """Prepare.

        Parameters
        ----------
        runs : (r, 4) uint64
        good : (h, w) bool
            Pixels that are not good count as zero.
        dark, gain : (h, w) float32
            Applied where `correct` is true.
        correct : bool
        """
        row, column = np.nonzero(~good)
        start = np.searchsorted(row, np.arange(len(good) + 1))
        return cls(runs, dark, gain, start.astype(np.uint64), column.astype(np.uint64), correct)

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums (n, d) and moments (n, 4) of frames (n, h, w), as `survey` fills them."""
        n, _, w = frames.shape
        sums, moments = np.empty((n, int(self.runs[:, 3].max()) + 1)), np.zeros((n, 4))
        extremes = frames.dtype.kind in "ui"
        summed = np.dtype(np.float32) if self.correct else frames.dtype
        total = np.dtype(np.float32 if summed == np.float32 else np.float64)
        columns = np.empty(w, np.uint32 if summed.itemsize <= 2 else total)
        common = (self.runs, extremes, total.type(0), columns, sums, moments)
        if self.correct or len(self.bad_column):
            bad = (self.bad_start, self.bad_column)
            row = np.empty((1, w), summed)
            survey_corrected(frames, self.dark, self.gain, *bad, self.correct, row, *common)
        else:
            survey(frames, *common)
        return sums, moments


def warm() -> None:
    """Compile the kernels for the usual types, with and without corrections."""
    table, good = np.ones((2, 2), np.float32), np.array([[True, True], [True, False]])
    runs = np.array([[0, 0, 2, 0], [1, 0, 2, 0]], np.uint64)
    ways = [
        Survey.of(runs, seen, table, table, correct)
        for seen, correct in ((good | True, False), (good, False), (good, True))
    ]
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        for way in ways:
            way(np.ones((1, 2, 2), dtype))
        use, out = np.ones(1, bool), np.zeros((2, 2), np.int64)
        if np.dtype(dtype).kind == "f":
            add_numbers(np.ones((1, 2, 2), dtype), use, 1024.0, out)
        else:
            add_counts(np.ones((1, 2, 2), dtype), use, out)
