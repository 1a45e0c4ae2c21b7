"""Azimuthal sums, each frame read once.

Only counts are read. Dark, flat field, solid angle and polarisation are the same for every frame,
so their sums over a bin are made beforehand; where a pixel of a frame is not to be believed, its
share is taken off again.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False}


# four sums of 32 bits fit into the nearest cache; so many pixels of less than 2^16 into each of them
SMALL = 1 << 16
STRETCH = 4 * SMALL


@nb.njit(**OPTIONS)
def sum_whole(frame, bins, low, high, parts, sums, lost):
    """Add each pixel's counts to its bin.

    Parameters
    ----------
    frame : (n,) uint or int
        Pixels of a frame.
    bins : (n,) int16 or int32
        Bin of each pixel; the last one takes what is masked.
    low, high : int
        A pixel is believed where ``low <= value < high``.
    parts : (4, bins + 1) uint32
        Scratch. Four, because one sum would wait for itself where neighbours share a bin.
    sums : (bins + 1,) int64
        Overwritten.
    lost : (n,) int64
        Overwritten from the front with the pixels that are not believed and not masked.

    Returns
    -------
    int
        How many were lost.
    """
    sums[:] = 0
    parts[:] = 0
    s0, s1, s2, s3 = parts[0], parts[1], parts[2], parts[3]
    n, count, masked = frame.size, 0, sums.size - 1
    small = min(high, SMALL)
    for begin in range(0, n, STRETCH):
        end = min(begin + STRETCH, n)
        whole = begin + (end - begin) // 4 * 4
        for i in range(begin, whole, 4):
            v, w, x, y = frame[i], frame[i + 1], frame[i + 2], frame[i + 3]
            plain = low <= v < small and low <= w < small
            if plain and low <= x < small and low <= y < small:
                s0[bins[i]] += np.uint32(v)
                s1[bins[i + 1]] += np.uint32(w)
                s2[bins[i + 2]] += np.uint32(x)
                s3[bins[i + 3]] += np.uint32(y)
            else:
                for j in range(i, i + 4):
                    count = _add_one(frame[j], j, bins[j], low, high, masked, sums, lost, count)
        for j in range(whole, end):
            count = _add_one(frame[j], j, bins[j], low, high, masked, sums, lost, count)
        for b in range(masked):
            sums[b] += np.int64(s0[b]) + np.int64(s1[b]) + np.int64(s2[b]) + np.int64(s3[b])
        parts[:] = 0
    return count


@nb.njit(**OPTIONS)
def _add_one(value, pixel, b, low, high, masked, sums, lost, count):
    if low <= value < high:
        sums[b] += np.int64(value)
    elif b != masked:
        lost[count] = pixel
        count += 1
    return count


@nb.njit(**OPTIONS)
def sum_whole_float(frame, bins, low, high, sums, lost):
    """Do the same for floating counts; sums are (bins + 1,) float64. NaN is not believed."""
    sums[:] = 0
    n, count, masked = frame.size, 0, sums.size - 1
    for i in range(n):
        v = frame[i]
        if low <= v < high:
            sums[bins[i]] += v
        elif bins[i] != masked:
            lost[count] = i
            count += 1
    return count


@nb.njit(**OPTIONS)
def sum_split(frame, first, last, shares, low, high, sums, lost):
    """Share each pixel's counts between the bins that it spans.

    All bins between the first and the last get the same share, so it is enough to note where that
    begins and where it ends: four additions a pixel, however wide it is.

    Parameters
    ----------
    frame : (n,) any real dtype
    first, last : (n,) int16 or int32
        Bins that a pixel touches; a `first` of -1 where it is masked.
    shares : (n, 3) float32
        Its share in the first bin, in each of those between, and in the last. The latter two are
        zero where it lies in one bin.
    low, high : of the dtype
        A pixel is believed where ``low <= value < high``.
    sums : (2, bins + 1, 4) float64
        Overwritten. Along the last axis: counts in first and last bins, the variance of these if
        it is Poisson's, and the differences of both from bin to bin between. Two, because one sum
        would wait for itself where neighbours share a bin.
    lost : (n,) int64
        Overwritten from the front with the pixels that are not believed and not masked.

    Returns
    -------
    int
        How many were lost.
    """
    sums[:] = 0
    even, odd = sums[0], sums[1]
    missing = 0
    for i in range(frame.size):
        b = first[i]
        if b < 0:
            continue
        v = frame[i]
        if low <= v < high:
            value = np.float64(v)
            e = last[i]
            s = odd if i & 1 else even
            w0, w, w1 = np.float64(shares[i, 0]), np.float64(shares[i, 1]), np.float64(shares[i, 2])
            s[b, 0] += value * w0
            s[b, 1] += value * w0 * w0
            s[e, 0] += value * w1
            s[e, 1] += value * w1 * w1
            s[b + 1, 2] += value * w
            s[b + 1, 3] += value * w * w
            s[e, 2] -= value * w
            s[e, 3] -= value * w * w
        else:
            lost[missing] = i
            missing += 1
    return missing
