"""From camera frames to the network's: corrected, repaired, binned, in one pass over the counts."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"})
def bin_frames(frames, factor, dark, gain, bad, donors, donor_counts, correct, out):
    """Sum blocks of `factor` x `factor` pixels, (frame - dark) * gain, into `out`.

    Parameters
    ----------
    frames : (n, factor * h, factor * w) any real dtype, counts
    dark, gain : (factor * h, factor * w) float32
    bad : (m, 2) int64
        Pixels yx that are not to be believed; each gets the mean of its donors.
    donors : (m, 8, 2) int64
    donor_counts : (m,) int64
    correct : bool
        Whether dark and gain say anything.
    out : (n, h, w) float32, counts
    """
    out[:] = 0
    for f in range(len(out)):
        for y in range(out.shape[1] * factor):
            row = out[f, y // factor]
            if correct:
                _add_corrected(frames[f, y], factor, dark[y], gain[y], row)
            else:
                _add(frames[f, y], factor, row)
    if len(bad):
        _repair(frames, factor, dark, gain, bad, donors, donor_counts, out)


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"})
def _add(line, factor, out):
    for x in range(len(out)):
        total = np.float32(0)
        for a in range(x * factor, (x + 1) * factor):
            total += np.float32(line[a])
        out[x] += total


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"})
def _add_corrected(line, factor, dark, gain, out):
    for x in range(len(out)):
        total = np.float32(0)
        for a in range(x * factor, (x + 1) * factor):
            total += (np.float32(line[a]) - dark[a]) * gain[a]
        out[x] += total


@njit(nogil=True, cache=True)
def _repair(frames, factor, dark, gain, bad, donors, donor_counts, out):
    # blocks with bad pixels are summed again, so that a NaN in a bad pixel does no harm
    width = frames.shape[2]
    place = np.full((frames.shape[1], width), -1, np.int64)
    for m in range(len(bad)):
        place[bad[m, 0], bad[m, 1]] = m
    for m in range(len(bad)):
        y, x = bad[m, 0] // factor, bad[m, 1] // factor
        for f in range(len(out)):
            total = np.float32(0)
            for b in range(y * factor, (y + 1) * factor):
                for a in range(x * factor, (x + 1) * factor):
                    k = place[b, a]
                    if k < 0:
                        total += (np.float32(frames[f, b, a]) - dark[b, a]) * gain[b, a]
                        continue
                    for d in range(donor_counts[k]):
                        q, p = donors[k, d, 0], donors[k, d, 1]
                        value = (np.float32(frames[f, q, p]) - dark[q, p]) * gain[q, p]
                        total += value / np.float32(donor_counts[k])
            out[f, y, x] = total


def donors_of(good: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bad pixels, and for each its good neighbours among eight and how many they are.

    Parameters
    ----------
    good : (h, w) bool

    Returns
    -------
    bad : (m, 2) int64
    donors : (m, 8, 2) int64
    counts : (m,) int64
    """
    bad = np.argwhere(~good)
    donors, counts = np.zeros((len(bad), 8, 2), np.int64), np.zeros(len(bad), np.int64)
    h, w = good.shape
    for m, (y, x) in enumerate(bad):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                q, p = y + dy, x + dx
                if 0 <= q < h and 0 <= p < w and good[q, p]:
                    donors[m, counts[m]] = q, p
                    counts[m] += 1
    return bad, donors, counts
