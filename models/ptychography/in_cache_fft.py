"""Transforms of one small square wave, fast because it never leaves the cache.

A wave is two planes, real and imaginary, row beside row in one flat array of float32, so that
each butterfly runs along rows on the vector unit whatever the processor. A transform along the
columns is decimated in frequency and in place: it leaves its rows in the order of digits
reversed. The rows are sorted while the plane is turned over for the second axis; after that one
they stay unsorted, and whoever works on the far field asks `Tables.rows` which row is which. The
way back is decimated in time: unsorted rows go in, sorted ones come out. Gentleman & Sande, AFIPS
29, 563 (1966).

Lengths and distances are constants of each size: the compiler must see that rows do not overlap,
else nothing is vectorised. Other sizes are rocket-fft's; see docs/decisions/0009-own-fft.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

RADICES = {32: (8, 4), 64: (8, 8), 128: (8, 4, 4), 256: (8, 8, 4)}
PAD = 8  # floats between lines: rows at powers of two would fight for the same lines of cache

_HOW = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "nsz", "arcp", "reassoc"},
    "error_model": "numpy",
}
_16, _32, _64, _128, _256 = (np.uint64(n) for n in (16, *RADICES))
_0, _2, _4, _8 = (np.uint64(n) for n in (0, 2, 4, 8))
_PAD = np.uint64(PAD)
_HALF = np.float32(0.5**0.5)


class Tables(NamedTuple):
    """What the transforms of one size need.

    Parameters
    ----------
    table : (2, n) float32
        Cosine and sine of ``2 pi k / n``.
    rows : (n,) int64
        Frequency, in units of one over the size, that each row of a far field holds.
    places : (n,) uint64
        The row that holds each frequency.
    """

    table: np.ndarray
    rows: np.ndarray
    places: np.ndarray


def suits(shape: tuple[int, ...]) -> bool:
    """Return whether waves of a shape (..., h, w) have a transform here."""
    return shape[-1] == shape[-2] and shape[-1] in RADICES


def tables(n: int) -> Tables:
    """Return the tables of a size; empty ones for a size that has no transform here."""
    if n not in RADICES:
        return Tables(np.zeros((2, 0), "f4"), np.zeros(0, np.int64), np.zeros(0, np.uint64))
    rows, rest, size, step = np.zeros(n, np.int64), np.arange(n), n, 1
    for radix in RADICES[n]:
        size //= radix
        digit, rest = np.divmod(rest, size)
        rows += digit * step
        step *= radix
    turn = 2 * np.pi * np.arange(n) / n
    table = np.array([np.cos(turn), np.sin(turn)], np.float32)
    return Tables(table, rows, np.argsort(rows).astype(np.uint64))


def room(n: int) -> int:
    """Return how many float32 a wave of n x n takes."""
    return 2 * n * (n + PAD)


@njit(inline="always", **_HOW)
def _dft4(ar, ai, br, bi, cr, ci, dr, di):
    er, ei, fr, fi = ar + cr, ai + ci, ar - cr, ai - ci
    gr, gi, hr, hi = br + dr, bi + di, br - dr, bi - di
    return er + gr, ei + gi, fr + hi, fi - hr, er - gr, ei - gi, fr - hi, fi + hr


@njit(inline="always", **_HOW)
def _dft8(ar, ai, br, bi, cr, ci, dr, di, er, ei, fr, fi, gr, gi, hr, hi):
    ar, ai, cr, ci, er, ei, gr, gi = _dft4(ar, ai, cr, ci, er, ei, gr, gi)
    br, bi, dr, di, fr, fi, hr, hi = _dft4(br, bi, dr, di, fr, fi, hr, hi)
    dr, di = _HALF * (dr + di), _HALF * (di - dr)
    fr, fi = fi, -fr
    hr, hi = _HALF * (hi - hr), -_HALF * (hi + hr)
    return (
        ar + br, ai + bi, cr + dr, ci + di, er + fr, ei + fi, gr + hr, gi + hi,
        ar - br, ai - bi, cr - dr, ci - di, er - fr, ei - fi, gr - hr, gi - hi,
    )  # fmt: skip


@njit(inline="always", **_HOW)
def _stage4(a, n, length, re, im, table, split):
    """Take one stage along columns, radix 4, for blocks of `length` rows.

    `split` turns after the butterfly (decimation in frequency), else before it (in time); with
    the planes `re` and `im` exchanged the transform is the inverse one.
    """
    quarter, row = length // _4, _2 * (n + _PAD)
    d1 = quarter * row
    d2, d3 = d1 + d1, d1 + d1 + d1
    for block in range(_0, n, length):
        for j in range(quarter):
            t = j * (n // length)
            c1, s1, c2, s2 = table[0, t], table[1, t], table[0, t + t], table[1, t + t]
            c3, s3 = table[0, t + t + t], table[1, t + t + t]
            first = (block + j) * row
            for x in range(first, first + n):
                p, q = x + re, x + im
                br, bi, cr, ci = a[p + d1], a[q + d1], a[p + d2], a[q + d2]
                dr, di = a[p + d3], a[q + d3]
                if not split:
                    br, bi = br * c1 + bi * s1, bi * c1 - br * s1
                    cr, ci = cr * c2 + ci * s2, ci * c2 - cr * s2
                    dr, di = dr * c3 + di * s3, di * c3 - dr * s3
                ar, ai, br, bi, cr, ci, dr, di = _dft4(a[p], a[q], br, bi, cr, ci, dr, di)
                if split:
                    br, bi = br * c1 + bi * s1, bi * c1 - br * s1
                    cr, ci = cr * c2 + ci * s2, ci * c2 - cr * s2
                    dr, di = dr * c3 + di * s3, di * c3 - dr * s3
                a[p], a[q], a[p + d1], a[q + d1] = ar, ai, br, bi
                a[p + d2], a[q + d2], a[p + d3], a[q + d3] = cr, ci, dr, di


@njit(inline="always", **_HOW)
def _stage8(a, n, length, re, im, table, split):
    """Take one stage of radix 8; see `_stage4`."""
    eighth, row = length // _8, _2 * (n + _PAD)
    d1 = eighth * row
    d2, d3, d4 = d1 + d1, d1 + d1 + d1, d1 + d1 + d1 + d1
    d5, d6, d7 = d4 + d1, d4 + d2, d4 + d3
    for block in range(_0, n, length):
        for j in range(eighth):
            t = j * (n // length)
            c1, s1, c2, s2 = table[0, t], table[1, t], table[0, t + t], table[1, t + t]
            u = t + t + t
            c3, s3, c4, s4 = table[0, u], table[1, u], table[0, u + t], table[1, u + t]
            u = u + t + t
            c5, s5, c6, s6 = table[0, u], table[1, u], table[0, u + t], table[1, u + t]
            c7, s7 = table[0, u + t + t], table[1, u + t + t]
            first = (block + j) * row
            for x in range(first, first + n):
                p, q = x + re, x + im
                br, bi, cr, ci = a[p + d1], a[q + d1], a[p + d2], a[q + d2]
                dr, di, er, ei = a[p + d3], a[q + d3], a[p + d4], a[q + d4]
                fr, fi, gr, gi = a[p + d5], a[q + d5], a[p + d6], a[q + d6]
                hr, hi = a[p + d7], a[q + d7]
                if not split:
                    br, bi, cr, ci = _turned(br, bi, c1, s1, cr, ci, c2, s2)
                    dr, di, er, ei = _turned(dr, di, c3, s3, er, ei, c4, s4)
                    fr, fi, gr, gi = _turned(fr, fi, c5, s5, gr, gi, c6, s6)
                    hr, hi = hr * c7 + hi * s7, hi * c7 - hr * s7
                ar, ai, br, bi, cr, ci, dr, di, er, ei, fr, fi, gr, gi, hr, hi = _dft8(
                    a[p], a[q], br, bi, cr, ci, dr, di, er, ei, fr, fi, gr, gi, hr, hi
                )
                if split:
                    br, bi, cr, ci = _turned(br, bi, c1, s1, cr, ci, c2, s2)
                    dr, di, er, ei = _turned(dr, di, c3, s3, er, ei, c4, s4)
                    fr, fi, gr, gi = _turned(fr, fi, c5, s5, gr, gi, c6, s6)
                    hr, hi = hr * c7 + hi * s7, hi * c7 - hr * s7
                a[p], a[q], a[p + d1], a[q + d1] = ar, ai, br, bi
                a[p + d2], a[q + d2], a[p + d3], a[q + d3] = cr, ci, dr, di
                a[p + d4], a[q + d4], a[p + d5], a[q + d5] = er, ei, fr, fi
                a[p + d6], a[q + d6], a[p + d7], a[q + d7] = gr, gi, hr, hi


@njit(inline="always", **_HOW)
def _turned(ar, ai, c, s, br, bi, d, t):
    return ar * c + ai * s, ai * c - ar * s, br * d + bi * t, bi * d - br * t


@njit(**_HOW)
def _columns(a, table):
    """Transform along columns, in place; rows come out in the order of digits reversed."""
    n = np.uint64(table.shape[1])
    if n == _32:
        _stage8(a, _32, _32, _0, _32 + _PAD, table, True)
        _stage4(a, _32, _4, _0, _32 + _PAD, table, True)
    elif n == _64:
        _stage8(a, _64, _64, _0, _64 + _PAD, table, True)
        _stage8(a, _64, _8, _0, _64 + _PAD, table, True)
    elif n == _128:
        _stage8(a, _128, _128, _0, _128 + _PAD, table, True)
        _stage4(a, _128, _16, _0, _128 + _PAD, table, True)
        _stage4(a, _128, _4, _0, _128 + _PAD, table, True)
    else:
        _stage8(a, _256, _256, _0, _256 + _PAD, table, True)
        _stage8(a, _256, _32, _0, _256 + _PAD, table, True)
        _stage4(a, _256, _4, _0, _256 + _PAD, table, True)


@njit(**_HOW)
def _columns_back(a, table):
    """Undo `_columns`, without the factor."""
    n = np.uint64(table.shape[1])
    if n == _32:
        _stage4(a, _32, _4, _32 + _PAD, _0, table, False)
        _stage8(a, _32, _32, _32 + _PAD, _0, table, False)
    elif n == _64:
        _stage8(a, _64, _8, _64 + _PAD, _0, table, False)
        _stage8(a, _64, _64, _64 + _PAD, _0, table, False)
    elif n == _128:
        _stage4(a, _128, _4, _128 + _PAD, _0, table, False)
        _stage4(a, _128, _16, _128 + _PAD, _0, table, False)
        _stage8(a, _128, _128, _128 + _PAD, _0, table, False)
    else:
        _stage4(a, _256, _4, _256 + _PAD, _0, table, False)
        _stage8(a, _256, _32, _256 + _PAD, _0, table, False)
        _stage8(a, _256, _256, _256 + _PAD, _0, table, False)


def _tile(_typing: Any, _source: Any, _step: Any, _target: Any, _target_step: Any) -> Any:
    """Turn over 8 x 8 float32 from one address to another; rows lie `step` bytes apart.

    Vectors and shuffles of LLVM, which any processor has in some form; left to itself the compiler
    moves number after number, at twice the time.
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        source, step, target, target_step = args
        lane, eight = ir.IntType(32), ir.VectorType(ir.FloatType(), 8)

        def place(address: Any, distance: Any, k: int) -> Any:
            moved = builder.add(address, builder.mul(distance, ir.Constant(distance.type, k)))
            return builder.inttoptr(moved, eight.as_pointer())

        def mixed(one: Any, other: Any, picks: tuple[int, ...]) -> Any:
            return builder.shuffle_vector(
                one, other, ir.Constant(ir.VectorType(lane, 8), list(picks))
            )

        rows = [builder.load(place(source, step, k), align=4) for k in range(8)]
        for low, span in (
            ((0, 8, 1, 9, 4, 12, 5, 13), 1),
            ((0, 1, 8, 9, 4, 5, 12, 13), 2),
            ((0, 1, 2, 3, 8, 9, 10, 11), 4),
        ):
            high = tuple(pick + (2 if span < 4 else 4) for pick in low)
            turned = list(rows)
            for k in range(8):
                if not k & span:
                    pair = rows[k], rows[k | span]
                    turned[k], turned[k | span] = mixed(*pair, low), mixed(*pair, high)
            rows = turned
        # the shuffles leave two bits of a row's number exchanged
        for k, row in zip((0, 2, 1, 3, 4, 6, 5, 7), rows, strict=True):
            builder.store(row, place(target, target_step, k), align=4)
        return _context.get_dummy_value()

    address = types.uintp
    return types.void(address, address, address, address), generate


_turn_tile: Any = intrinsic(_tile)


@njit(**_HOW)
def _turn_over(source, target, n, places, back):
    """Turn both planes over, sorting the rows of the source, or of the target on the way back."""
    row, float_bytes = _2 * (n + _PAD), _4
    here, there = np.uint64(source.ctypes.data), np.uint64(target.ctypes.data)
    # the first radix is 8: rows of frequencies that follow each other lie n / 8 apart
    sorted_step, step = row * float_bytes, row * float_bytes * (n // _8)
    for plane in range(_0, row, n + _PAD):
        for y in range(_0, n, _8):
            for x in range(_0, n, _8):
                unsorted = (places[y] * row + plane + x) * float_bytes
                in_order = (x * row + plane + y) * float_bytes
                if back:
                    _turn_tile(here + in_order, sorted_step, there + unsorted, step)
                else:
                    _turn_tile(here + unsorted, step, there + in_order, sorted_step)


@njit(**_HOW)
def forward(a, b, table, places):
    """Transform `a`, which is spoilt, into `b`: turned over, with unsorted rows.

    Row r and column c of `b` hold the frequency c along the first axis of `a` and
    ``rows[r]`` along its second.

    Parameters
    ----------
    a, b : (room(n),) float32
    table, places
        Of `Tables`.
    """
    _columns(a, table)
    _turn_over(a, b, np.uint64(table.shape[1]), places, False)
    _columns(b, table)


@njit(**_HOW)
def backward(b, a, table, places):
    """Transform `b`, which is spoilt, back into `a`, n x n times too strong."""
    _columns_back(b, table)
    _turn_over(b, a, np.uint64(table.shape[1]), places, True)
    _columns_back(a, table)
