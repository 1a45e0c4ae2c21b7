"""Kernels of the iterative engines: numba, numpy and an FFT, single-threaded, without the GIL.

All of them share one model, ``I = sum_modes |FFT(probe * object[box])|^2 + background``, and one
way of giving a far field what was measured, `constrain`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from rocket_fft import c2c

# the error model spares a test for division by zero, which would keep loops off the vector unit
HOW = {
    "nogil": True,
    "cache": True,
    "fastmath": {"contract", "nsz", "arcp", "reassoc"},
    "error_model": "numpy",
}


@njit(**HOW)
def to_counts(frames, good, out):
    """Fill `out` with counts, zero frequency moved to [0, 0]; bad pixels and negatives are 0.

    Parameters
    ----------
    frames : (n, h, w) any real dtype
    good : (h, w) bool
    out : (n, h, w) uint16 or float32

    Returns
    -------
    int
        How many frames have a negative count in a good pixel.
    """
    n, h, w = frames.shape
    negative = 0
    for f in range(n):
        below = False
        for y in range(h):
            source = (y + h // 2) % h
            # two stretches: a remainder for each pixel would cost more than all the rest
            for start, stop, shift in ((0, w - w // 2, w // 2), (w - w // 2, w, w // 2 - w)):
                for x in range(start, stop):
                    value = frames[f, source, x + shift]
                    if not good[source, x + shift]:
                        value = 0
                    elif value < 0:
                        below = True
                        value = 0
                    out[f, y, x] = value
        negative += below
    return negative


@njit(**HOW)
def totals(counts, good, frame_total, pixel_total):
    """Fill sums of counts (n, h, w) over good pixels (n,) and over frames (h, w), float64."""
    pixel_total[:] = 0
    for f in range(counts.shape[0]):
        total = 0.0
        for y in range(counts.shape[1]):
            for x in range(counts.shape[2]):
                value = np.float64(counts[f, y, x]) * good[y, x]
                total += value
                pixel_total[y, x] += value
        frame_total[f] = total


@njit(**HOW)
def add_change(obj, copy, weight, change):
    """Add ``weight * (copy - obj)`` to `change`; all (h, w), weight float32, others complex64."""
    for y in range(obj.shape[0]):
        for x in range(obj.shape[1]):
            o, c, w = obj[y, x], copy[y, x], weight[y, x]
            z = change[y, x]
            change[y, x] = complex(z.real + w * (c.real - o.real), z.imag + w * (c.imag - o.imag))


@njit(**HOW)
def factors(intensity, counts, good, scale, floor, poisson):
    """Turn a line of modelled intensity (w,) into what its waves are multiplied by, in place."""
    one, half = np.float32(1), np.float32(0.5)
    if poisson:
        for x in range(counts.shape[0]):
            ratio = (counts[x] + floor) / (intensity[x] + floor)
            intensity[x] = scale * (one + half * good[x] * (ratio - one))
    else:
        for x in range(counts.shape[0]):
            ratio = np.sqrt(counts[x] / intensity[x])
            intensity[x] = scale * (one + good[x] * (ratio - one))


@njit(**HOW)
def line_misfit(intensity, counts, good, offset):
    """Return ``sum good (sqrt(I + offset) - sqrt(n + offset))^2`` of a line, all (w,) float32."""
    total, two = np.float32(0), np.float32(2)
    for x in range(counts.shape[0]):
        a, b = intensity[x] + offset, counts[x] + offset
        # with one root, and without cancellation
        total += good[x] * ((a - b) * (a - b) / (a + b + two * np.sqrt(a * b)))
    return total


@njit(**HOW)
def constrain(waves, counts, good, background, scale, floor, poisson, offset):
    """Give the far field what was measured; return the squared misfit of amplitudes.

    Amplitude likelihood (ePIE, difference map): each wave gets the amplitude ``sqrt(n)``. The mean
    of ``sqrt(n)`` is below ``sqrt(mean n)`` where counts are few (by half at 0.3 counts), and so
    is the contrast of what is reconstructed. Poisson likelihood: half a step along its gradient,
    ``(1 + (n + floor) / (I + floor)) / 2``, which is Heron's step to the root; it is linear in n
    and thus right in the mean at any dose. The floor, in counts, keeps dim pixels from shouting.
    After Odstrcil, Menzel & Guizar-Sicairos, Opt. Express 26, 3108 (2018).

    Parameters
    ----------
    waves : (modes, h, w) complex64, in place
        Far field; comes out times `scale`.
    counts : (h, w) uint16 or float32
    good : (h, w) float32
        1 where a pixel was measured, else 0: there the model stands.
    background : (h, w) float32, counts
    scale : float32
    floor : float32, counts
    poisson : bool
    offset : float32, counts
        The misfit is ``sum (sqrt(I + offset) - sqrt(n + offset))^2``.
    """
    h, w = counts.shape
    row = np.empty(w, np.float32)
    measured = np.empty(w, np.float32)
    tiny = np.float32(1e-12)
    misfit = 0.0
    for y in range(h):
        for x in range(w):
            row[x] = background[y, x] + tiny
            measured[x] = np.float32(counts[y, x])
        for m in range(waves.shape[0]):
            for x in range(w):
                z = waves[m, y, x]
                row[x] += z.real * z.real + z.imag * z.imag
        misfit += line_misfit(row, measured, good[y], offset)
        factors(row, measured, good[y], scale, floor, poisson)
        for m in range(waves.shape[0]):
            for x in range(w):
                z = waves[m, y, x]
                waves[m, y, x] = complex(z.real * row[x], z.imag * row[x])
    return misfit


@njit(**HOW)
def exit_waves(obj, probe, waves):
    """Fill `waves` (modes, h, w) with ``probe * obj``; obj (h, w)."""
    for m in range(probe.shape[0]):
        for y in range(probe.shape[1]):
            for x in range(probe.shape[2]):
                p, o = probe[m, y, x], obj[y, x]
                waves[m, y, x] = complex(
                    p.real * o.real - p.imag * o.imag, p.real * o.imag + p.imag * o.real
                )


@njit(**HOW)
def revise(obj, probe, counts, good, background, floor, poisson, offset, waves):
    """Fill `waves` with the revised exit waves of a frame; return the misfit.

    Parameters
    ----------
    obj : (h, w) complex64
        Under the probe.
    probe, waves : (modes, h, w) complex64
    counts, good, background, floor, poisson, offset
        As `constrain` has them.
    """
    h, w = counts.shape
    axes = np.array([0, 1])
    exit_waves(obj, probe, waves)
    for m in range(probe.shape[0]):
        c2c(waves[m], waves[m], axes, True, 1.0, 1)
    scale = np.float32(1.0 / (h * w))
    misfit = constrain(waves, counts, good, background, scale, floor, poisson, offset)
    for m in range(probe.shape[0]):
        c2c(waves[m], waves[m], axes, False, 1.0, 1)
    return misfit


@njit(**HOW)
def take(obj, y0, x0, patch):
    """Fill `patch` (h, w) from obj: in one piece it is worked on twice as fast."""
    for y in range(np.uint64(patch.shape[0])):
        for x in range(np.uint64(patch.shape[1])):
            patch[y, x] = obj[y0 + y, x0 + x]


@njit(**HOW)
def measure(obj, probe, counts, good, background, order, corners, errors):
    """Fill `errors` (n,) float64 with each frame's ``sum (sqrt(I) - sqrt(n))^2``; no update."""
    waves, patch = np.empty_like(probe), np.empty_like(probe[0])
    axes = np.array([0, 1])
    one, nothing = np.float32(1), np.float32(0)
    for f in order:
        take(obj, np.uint64(corners[f, 0]), np.uint64(corners[f, 1]), patch)
        exit_waves(patch, probe, waves)
        for m in range(probe.shape[0]):
            c2c(waves[m], waves[m], axes, True, 1.0, 1)
        errors[f] = constrain(waves, counts[f], good, background, one, one, True, nothing)


@njit(**HOW)
def sweep(
    obj, probe, slopes, step, counts, good, background, floor, poisson, order, corners,
    gradient, density, moves,
):  # fmt: skip
    """Run frames that share one sub-pixel shift through the ptychographic iterative engine.

    rPIE's object update (Maiden, Johnson & Li, Optica 4, 736 (2017)) for mixed states (Thibault &
    Menzel, Nature 494, 68 (2013)); the probe's gradient is gathered for one update afterwards.

    Parameters
    ----------
    obj : (H, W) complex64, in place
    probe : (modes, h, w) complex64
        Already shifted by the sub-pixel part.
    slopes : (2, modes, h, w) complex64, or (0, modes, h, w)
        The probe's derivatives along y and x, where positions are refined.
    step : (h, w) float32
        Weight of the object's update.
    counts : (n, h, w) uint16 or float32
        Zero frequency at [0, 0].
    good, background, floor, poisson
        As `constrain` has them.
    order : (k,) int64
        Which frames, in which order.
    corners : (n, 2) int64
    gradient : (modes, h, w) complex64, in place
    density : (h, w) float32, in place
        Sum of ``|obj|^2`` under the probe.
    moves : (n, 2) float64, filled
        Least-squares shifts of positions, where there are slopes.

    Returns
    -------
    float
        Sum over frames of `constrain`'s misfit, offset by the floor.
    """
    waves, patch = np.empty_like(probe), np.empty_like(probe[0])
    misfit = 0.0
    for f in order:
        cy, cx = np.uint64(corners[f, 0]), np.uint64(corners[f, 1])
        take(obj, cy, cx, patch)
        misfit += revise(
            patch, probe, counts[f], good, background, floor, poisson, floor, waves
        )  # fmt: skip
        if slopes.shape[0] > 0:
            move_of(patch, probe, slopes, waves, moves[f])
        _update(obj, cy, cx, patch, probe, step, waves, gradient, density)
    return misfit


@njit(**HOW)
def move_of(obj, probe, slopes, waves, move):
    """Fill `move` (2,) with the shift of the probe that best explains the revised exit waves.

    The change is fitted by ``-slope_y * obj`` and ``-slope_x * obj``, eq. 22 of Odstrcil et al.
    """
    yy, xx, yx, by, bx = 0.0, 0.0, 0.0, 0.0, 0.0
    for m in range(probe.shape[0]):
        for y in range(probe.shape[1]):
            for x in range(probe.shape[2]):
                o = obj[y, x]
                d = waves[m, y, x] - probe[m, y, x] * o
                gy, gx = slopes[0, m, y, x] * o, slopes[1, m, y, x] * o
                yy += gy.real * gy.real + gy.imag * gy.imag
                xx += gx.real * gx.real + gx.imag * gx.imag
                yx += gy.real * gx.real + gy.imag * gx.imag
                by -= gy.real * d.real + gy.imag * d.imag
                bx -= gx.real * d.real + gx.imag * d.imag
    determinant = yy * xx - yx * yx
    if determinant > 1e-9 * yy * xx:
        move[0] = (xx * by - yx * bx) / determinant
        move[1] = (yy * bx - yx * by) / determinant
    else:
        move[:] = 0


@njit(**HOW)
def brighten(patch, density):
    """Add ``|patch|^2`` to `density`; both (h, w)."""
    for y in range(np.uint64(patch.shape[0])):
        for x in range(np.uint64(patch.shape[1])):
            o = patch[y, x]
            density[y, x] += o.real * o.real + o.imag * o.imag


@njit(**HOW)
def _update(obj, y0, x0, before, probe, step, waves, gradient, density):
    """Update the object under the probe; gather what the probe's update needs.

    Each loop touches few arrays, else the compiler gives up proving that they do not overlap and
    the loop stays scalar; indices are unsigned, which spares a test for negative ones.
    """
    h, w = np.uint64(step.shape[0]), np.uint64(step.shape[1])
    for m in range(np.uint64(probe.shape[0])):
        for y in range(h):
            for x in range(w):
                p, z, o, g = probe[m, y, x], waves[m, y, x], before[y, x], gradient[m, y, x]
                real = z.real - (p.real * o.real - p.imag * o.imag)
                imag = z.imag - (p.real * o.imag + p.imag * o.real)
                waves[m, y, x] = complex(real, imag)
                gradient[m, y, x] = complex(
                    g.real + o.real * real + o.imag * imag,
                    g.imag + o.real * imag - o.imag * real,
                )
    brighten(before, density)
    for m in range(np.uint64(probe.shape[0])):
        for y in range(h):
            for x in range(w):
                p, d, o, s = probe[m, y, x], waves[m, y, x], obj[y0 + y, x0 + x], step[y, x]
                obj[y0 + y, x0 + x] = complex(
                    o.real + s * (p.real * d.real + p.imag * d.imag),
                    o.imag + s * (p.real * d.imag - p.imag * d.real),
                )


def warm() -> None:
    """Compile the kernels for the usual types."""
    one, order = np.zeros((1, 2), np.int64), np.zeros(1, np.int64)
    wave, real = np.ones((1, 4, 4), np.complex64), np.ones((4, 4), np.float32)
    good = np.ones((4, 4), bool)
    for dtype in (np.uint8, np.uint16, np.uint32, np.int32, np.float32):
        for stored in (np.uint16, np.float32):
            to_counts(np.ones((1, 4, 4), dtype), good, np.empty((1, 4, 4), stored))
    for counts in (np.ones((1, 4, 4), np.uint16), np.ones((1, 4, 4), np.float32)):
        slopes, moves = np.zeros((0, 1, 4, 4), np.complex64), np.zeros((1, 2))
        sweep(
            wave[0].copy(), wave, slopes, real, counts, real, real, np.float32(1), True, order,
            one, wave.copy(), real.copy(), moves,
        )  # fmt: skip
        totals(counts, real, np.zeros(1), np.zeros((4, 4)))
        measure(wave[0], wave, counts, real, real, order, one, np.zeros(1))
    add_change(wave[0], wave[0], real, wave[0].copy())
