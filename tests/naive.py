"""Plain restatements in float64: slow, obvious, and what the kernels are held against."""

import numpy as np


def detector_sums(frames, masks):
    return np.stack([(frames.astype(float) * mask).sum(axis=(1, 2)) for mask in masks], axis=1)


def centre_of_mass(frames, mask):
    y, x = np.indices(frames.shape[1:])
    total = (frames.astype(float) * mask).sum(axis=(1, 2))
    moments = [(frames.astype(float) * mask * axis).sum(axis=(1, 2)) for axis in (y, x)]
    return np.stack(moments, axis=1) / total[:, None]


def corrected(frames, dark, gain, bad):
    return np.where(bad, 0, (frames.astype(float) - dark) * gain)


def moved(probe, offset):
    """The probe moved by a sub-pixel offset."""
    fy, fx = (np.fft.fftfreq(n) for n in probe.shape[-2:])
    ramp = np.exp(-2j * np.pi * (fy[:, None] * offset[0] + fx[None] * offset[1]))
    return np.fft.ifft2(np.fft.fft2(probe) * ramp)


def expected_frames(obj, probe, positions_px, dose):
    """Expected counts, zero frequency at [h // 2, w // 2]."""
    probe = np.asarray(probe, complex).reshape(-1, *probe.shape[-2:])
    h, w = probe.shape[1:]
    power = (np.abs(np.fft.fft2(probe)) ** 2).sum()
    out = []
    for position in positions_px:
        whole = np.rint(position).astype(int)
        y, x = whole - np.array([h // 2, w // 2])
        exit_waves = moved(probe, position - whole) * obj[y : y + h, x : x + w]
        intensity = (np.abs(np.fft.fft2(exit_waves)) ** 2).sum(axis=0)
        out.append(np.fft.fftshift(intensity) * dose / power)
    return np.array(out)


def overlap_function(aperture, k_y, k_x, q):
    """The side bands' interference with the disk; `aperture` is a function of (ky, kx)."""
    here = aperture(k_y, k_x)
    minus, plus = aperture(k_y - q[0], k_x - q[1]), aperture(k_y + q[0], k_x + q[1])
    return here.conj() * minus - here * plus.conj()


def splat(vectors, positions, shape):
    """Bilinear weights, positions rounded to 1/16 pixel."""
    values = np.zeros((*shape, vectors.shape[1]))
    weight = np.zeros(shape)
    for vector, position in zip(vectors, np.floor(positions * 16 + 0.5) / 16, strict=True):
        y, x = np.floor(position).astype(int)
        fy, fx = position - (y, x)
        for dy, wy in ((0, 1 - fy), (1, fy)):
            for dx, wx in ((0, 1 - fx), (1, fx)):
                if wy * wx:
                    values[y + dy, x + dx] += wy * wx * vector
                    weight[y + dy, x + dx] += wy * wx
    return values, weight


def revised(obj, probe, counts, good, floor, poisson, background=0.0):
    """The exit waves of a frame with what was measured put into their far field."""
    far = np.fft.fft2(probe * obj)
    modelled = (np.abs(far) ** 2).sum(axis=0) + background
    if poisson:
        factor = (1 + (counts + floor) / (modelled + floor)) / 2
    else:
        factor = np.sqrt(counts / modelled)
    misfit = ((np.sqrt(modelled + floor) - np.sqrt(counts + floor)) ** 2 * good).sum()
    return np.fft.ifft2(far * np.where(good > 0, factor, 1)), misfit


def engine_step(obj, probe, counts, good, corner, alpha, floor, poisson):
    """One rPIE update of the object; the gradient for the probe and the misfit."""
    h, w = counts.shape
    box = np.s_[corner[0] : corner[0] + h, corner[1] : corner[1] + w]
    before = obj[box].copy()
    waves, misfit = revised(before, probe, counts, good, floor, poisson)
    change = waves - probe * before
    power = (np.abs(probe) ** 2).sum(axis=0)
    step = 1 / ((1 - alpha) * power + alpha * power.max())
    obj[box] += step * (probe.conj() * change).sum(axis=0)
    return before.conj() * change, misfit


def carried(wave, propagator):
    """A wave after free flight to the next slice."""
    return np.fft.ifft2(np.fft.fft2(wave) * propagator)


def thick_exit_wave(slices, probe, propagator):
    """What enters each slice (slices, modes, h, w), and what leaves the last (modes, h, w)."""
    entering, wave = [], np.asarray(probe, complex)
    for k, transmission in enumerate(slices):
        wave = carried(wave, propagator) if k else wave
        entering.append(wave)
        wave = wave * transmission
    return entering, wave


def expected_thick_frames(slices, probe, positions_px, dose, propagator):
    """As `expected_frames`, slice after slice."""
    h, w = probe.shape
    power = (np.abs(np.fft.fft2(probe)) ** 2).sum()
    out = []
    for position in positions_px:
        whole = np.rint(position).astype(int)
        y, x = whole - np.array([h // 2, w // 2])
        here = moved(probe, position - whole)
        wave = thick_exit_wave(slices[:, y : y + h, x : x + w], here, propagator)[1]
        out.append(np.fft.fftshift(np.abs(np.fft.fft2(wave)) ** 2) * dose / power)
    return np.array(out)


def seen_by_pixels(intensity, split):
    """Sums over sub-pixels: pixel j holds the frequencies v j - v // 2 and the v - 1 after."""
    if split == 1:
        return intensity
    rolled = np.roll(intensity, (split // 2, split // 2), (0, 1))
    h, w = (side // split for side in intensity.shape)
    return rolled.reshape(h, split, w, split).sum(axis=(1, 3))


def spread_to_sub_pixels(values, split):
    """The inverse of `seen_by_pixels` for factors: each sub-pixel gets its pixel's."""
    fine = np.kron(values, np.ones((split, split)))
    return np.roll(fine, (-(split // 2), -(split // 2)), (0, 1))


def thick_step(obj, probe, propagator, counts, good, corner, alpha, share, floor, poisson, split=1):
    """One update of all states and slices in place; the probe's gradient and the misfit."""
    h, w = probe.shape[1:]
    box = np.s_[..., corner[0] : corner[0] + h, corner[1] : corner[1] + w]
    patch = obj[box].copy()
    each = [thick_exit_wave(state, probe, propagator) for state in patch]
    far = [np.fft.fft2(leaving) for _, leaving in each]
    modelled = seen_by_pixels(sum((np.abs(f) ** 2).sum(axis=0) for f in far), split)
    if poisson:
        factor = (1 + (counts + floor) / (modelled + floor)) / 2
    else:
        factor = np.sqrt(counts / modelled)
    factor = spread_to_sub_pixels(np.where(good > 0, factor, 1), split)
    misfit = ((np.sqrt(modelled + floor) - np.sqrt(counts + floor)) ** 2 * good).sum()
    gradient = np.zeros(probe.shape, complex)
    for k, (entering, leaving) in enumerate(each):
        change = np.fft.ifft2(far[k] * factor) - leaving
        for s in reversed(range(len(entering))):
            power = (np.abs(entering[s]) ** 2).sum(axis=0)
            step = share / ((1 - alpha) * power + alpha * power.max())
            obj[k, s][box[1:]] += step * (entering[s].conj() * change).sum(axis=0)
            change = patch[k, s].conj() * change
            if s:
                most = max((np.abs(patch[k, s]) ** 2).max(), 1)
                change = carried(change / most, propagator.conj())
        gradient += change
    return gradient, misfit
