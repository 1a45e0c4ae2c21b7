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


@nb.njit(**OPTIONS)
def sum_whole(frame, bins, top, sums, lost):
    """Add each pixel's counts to its bin.

    Parameters
    ----------
    frame : (n,) unsigned
        Pixels of a frame. Signed counts are looked at as unsigned ones: what is negative is large
        then, and one comparison finds all that is not to be believed.
    bins : (n,) int16 or int32
        Bin of each pixel; the last one takes what is masked.
    top : of the frame's dtype
        A pixel is believed where it is less.
    sums : (4, bins + 1) int64
        Overwritten; to be added up. Four, because one sum would wait for itself where neighbours
        share a bin.
    lost : (n,) int64
        Overwritten from the front with the pixels that are not believed and not masked.

    Returns
    -------
    int
        How many were lost.
    """
    sums[:] = 0
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    n, count, masked = frame.size, 0, sums.shape[1] - 1
    whole = n // 4 * 4
    for i in range(0, whole, 4):
        v, w, x, y = frame[i], frame[i + 1], frame[i + 2], frame[i + 3]
        # no short cuts between the comparisons: four branches would cost more
        if (v < top) & (w < top) & (x < top) & (y < top):
            s0[bins[i]] += v
            s1[bins[i + 1]] += w
            s2[bins[i + 2]] += x
            s3[bins[i + 3]] += y
        else:
            for j in range(i, i + 4):
                if frame[j] < top:
                    s0[bins[j]] += frame[j]
                elif bins[j] != masked:
                    lost[count] = j
                    count += 1
    for j in range(whole, n):
        if frame[j] < top:
            s0[bins[j]] += frame[j]
        elif bins[j] != masked:
            lost[count] = j
            count += 1
    return count


@nb.njit(**OPTIONS)
def sum_whole_float(frame, bins, top, sums, lost):
    """Do the same for floating counts; sums are (4, bins + 1) float64."""
    sums[:] = 0
    count, masked = 0, sums.shape[1] - 1
    for i in range(frame.size):
        if frame[i] < top:
            sums[i & 3, bins[i]] += frame[i]
        elif bins[i] != masked:
            lost[count] = i
            count += 1
    return count


@nb.njit(**OPTIONS)
def sum_split(frame, first, last, shares, top, sums, lost):
    """Share each pixel's counts between the bins that it spans.

    All bins between the first and the last get the same share, so it is enough to note where that
    begins and where it ends: four additions a pixel, however wide it is.

    Parameters
    ----------
    frame : (n,) unsigned or floating
    first, last : (n,) int16 or int32
        Bins that a pixel touches; a `first` of -1 where it is masked.
    shares : (n, 3) float32
        Its share in the first bin, in each of those between, and in the last. The latter two are
        zero where it lies in one bin.
    top : of the frame's dtype
        A pixel is believed where it is less; NaN is not.
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
        if v < top:
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
