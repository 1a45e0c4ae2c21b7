"""Kernel of LSQ-ML's own: where a mini-batch's frames should have been."""

from __future__ import annotations

from numba import njit

_FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def moves_of(obj, slopes, order, corners, changes, moves):
    """Fill `moves` (n, 2) with the shifts of the probe that best explain frames' changes.

    A change of exit waves is fitted by ``-slope_y * obj`` and ``-slope_x * obj``, eq. 22 of
    Odstrcil, Menzel & Guizar-Sicairos, Opt. Express 26, 3108 (2018).

    Parameters
    ----------
    obj : (H, W) complex64
    slopes : (2, modes, h, w) complex64
        The probe's derivatives along y and x.
    order : (k,) int64
    corners : (n, 2) int64
    changes : (k, modes, h, w) complex64
    """
    modes, h, w = slopes.shape[1:]
    for k in range(order.shape[0]):
        cy, cx = corners[order[k], 0], corners[order[k], 1]
        yy, xx, yx, by, bx = 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(modes):
            for y in range(h):
                for x in range(w):
                    o, d = obj[cy + y, cx + x], changes[k, m, y, x]
                    gy, gx = slopes[0, m, y, x] * o, slopes[1, m, y, x] * o
                    yy += gy.real * gy.real + gy.imag * gy.imag
                    xx += gx.real * gx.real + gx.imag * gx.imag
                    yx += gy.real * gx.real + gy.imag * gx.imag
                    by -= gy.real * d.real + gy.imag * d.imag
                    bx -= gx.real * d.real + gx.imag * d.imag
        determinant = yy * xx - yx * yx
        if determinant > 1e-9 * yy * xx:
            moves[order[k], 0] = (xx * by - yx * bx) / determinant
            moves[order[k], 1] = (yy * bx - yx * by) / determinant
        else:
            moves[order[k], 0] = moves[order[k], 1] = 0.0
