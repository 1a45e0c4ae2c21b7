"""Kernels of the engines that take many frames at once: LSQ-ML and the difference map."""

from __future__ import annotations

import numpy as np
from numba import njit

from .engine_kernels import HOW, revise


@njit(**HOW)
def gather(obj, probe, waves, obj_sum, obj_weight, probe_sum, probe_weight):
    """Add a frame's waves to the sums from which object and probe are made.

    ``obj_sum += conj(P) waves``, ``obj_weight += |P|^2``, ``probe_sum += conj(O) waves``,
    ``probe_weight += |O|^2``.

    Parameters
    ----------
    obj, obj_sum : (h, w) complex64
        Under the probe; the sums in place.
    probe, waves, probe_sum : (modes, h, w) complex64
    obj_weight, probe_weight : (h, w) float32, in place
    """
    for m in range(probe.shape[0]):
        for y in range(obj.shape[0]):
            for x in range(obj.shape[1]):
                p, z, s = probe[m, y, x], waves[m, y, x], obj_sum[y, x]
                obj_sum[y, x] = complex(
                    s.real + p.real * z.real + p.imag * z.imag,
                    s.imag + p.real * z.imag - p.imag * z.real,
                )
                obj_weight[y, x] += p.real * p.real + p.imag * p.imag
            for x in range(obj.shape[1]):
                o, z, s = obj[y, x], waves[m, y, x], probe_sum[m, y, x]
                probe_sum[m, y, x] = complex(
                    s.real + o.real * z.real + o.imag * z.imag,
                    s.imag + o.real * z.imag - o.imag * z.real,
                )
    for y in range(obj.shape[0]):
        for x in range(obj.shape[1]):
            probe_weight[y, x] += obj[y, x].real * obj[y, x].real + obj[y, x].imag * obj[y, x].imag


@njit(**HOW)
def directions(
    obj, probe, counts, good, background, floor, poisson, order, corners, changes,
    obj_sum, obj_weight, probe_sum, probe_weight,
):  # fmt: skip
    """Fill `changes` with what each frame asks of its exit waves, and gather them.

    Parameters
    ----------
    obj, obj_sum : (H, W) complex64
    probe, probe_sum : (modes, h, w) complex64
    counts, good, background, floor, poisson
        As `engine_kernels.constrain` has them.
    order : (k,) int64
    corners : (n, 2) int64
    changes : (k, modes, h, w) complex64, filled
    obj_weight : (H, W) float32, in place
    probe_weight : (h, w) float32, in place

    Returns
    -------
    float
        Sum of misfits, offset by the floor.
    """
    h, w = good.shape
    misfit = 0.0
    for k in range(order.shape[0]):
        f = order[k]
        cy, cx = corners[f, 0], corners[f, 1]
        patch = obj[cy : cy + h, cx : cx + w]
        change = changes[k]
        misfit += revise(
            patch, probe, counts[f], good, background, floor, poisson, floor, change
        )  # fmt: skip
        for m in range(probe.shape[0]):
            for y in range(h):
                for x in range(w):
                    change[m, y, x] -= probe[m, y, x] * patch[y, x]
        gather(
            patch, probe, change, obj_sum[cy : cy + h, cx : cx + w],
            obj_weight[cy : cy + h, cx : cx + w], probe_sum, probe_weight,
        )  # fmt: skip
    return misfit


@njit(**HOW)
def step_sizes(obj, probe, obj_way, probe_way, order, corners, changes, sizes):
    """Fill `sizes` (k, 2) float64 with each frame's best steps along the two ways.

    They minimise ``sum |change - a obj_way P - b probe_way O|^2``, eqs. 18-22 of Odstrcil, Menzel
    & Guizar-Sicairos, Opt. Express 26, 3108 (2018).

    Parameters
    ----------
    obj, obj_way : (H, W) complex64
    probe, probe_way : (modes, h, w) complex64
    order : (k,) int64
    corners : (n, 2) int64
    changes : (k, modes, h, w) complex64
    """
    modes, h, w = probe.shape
    for k in range(order.shape[0]):
        cy, cx = corners[order[k], 0], corners[order[k], 1]
        aa, bb, ab, ac, bc = 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(modes):
            for y in range(h):
                zero = np.float32(0)
                saa, sbb, sab, sac, sbc = zero, zero, zero, zero, zero
                for x in range(w):
                    a = obj_way[cy + y, cx + x] * probe[m, y, x]
                    b = probe_way[m, y, x] * obj[cy + y, cx + x]
                    c = changes[k, m, y, x]
                    saa += a.real * a.real + a.imag * a.imag
                    sbb += b.real * b.real + b.imag * b.imag
                    sab += a.real * b.real + a.imag * b.imag
                    sac += a.real * c.real + a.imag * c.imag
                    sbc += b.real * c.real + b.imag * c.imag
                aa, bb, ab, ac, bc = aa + saa, bb + sbb, ab + sab, ac + sac, bc + sbc
        determinant = aa * bb - ab * ab
        if determinant > 1e-6 * aa * bb:
            sizes[k, 0] = (bb * ac - ab * bc) / determinant
            sizes[k, 1] = (aa * bc - ab * ac) / determinant
        else:
            sizes[k, 0] = ac / aa if aa > 0 else 0.0
            sizes[k, 1] = 0.0


def warm() -> None:
    """Compile the kernels for the usual types."""
    order, one = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
    wave, real = np.ones((1, 4, 4), np.complex64), np.ones((4, 4), np.float32)
    sums = (wave[0].copy(), real.copy(), wave.copy(), real.copy())
    for counts in (np.ones((1, 4, 4), np.uint16), np.ones((1, 4, 4), np.float32)):
        place = (order, one, wave[None].copy())
        directions(
            wave[0], wave, counts, real, real, np.float32(1), True, *place, *sums
        )  # fmt: skip
    step_sizes(wave[0], wave, wave[0], wave, order, one, wave[None], np.zeros((1, 2)))
