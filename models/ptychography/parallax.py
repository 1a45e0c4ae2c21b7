"""Tilt-corrected bright field (parallax) from the canvas of direct ptychography.

The bright-field image seen along a tilt k is the object displaced by ``grad chi(k) / (2 pi)``; put
back in place, the images add up to one of all the light (Spoth, Yu, Nguyen, Chen, Muller &
Kourkoutis, Microsc. Microanal. 26, 1726 (2020); Varnavides et al., arXiv:2309.05250). It needs
defocus and no weak phase, and takes coarse steps that single side band does not.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from .bright_field import MIN_LIGHT, BrightField
from .optics import Optics
from .scan_canvas import ScanCanvas
from .side_bands import chunks, frequencies

_LEAST = 1e-3


def parallax(canvas: ScanCanvas, field: BrightField, optics: Optics) -> np.ndarray:
    """Return the tilt-corrected bright-field image.

    Parameters
    ----------
    canvas : ScanCanvas
    field : BrightField
    optics : Optics
        Their aberrations say how far each image is displaced; `fit_shifts` finds them.

    Returns
    -------
    (H, W) float32
        Relative to its mean of 1.
    """
    values, weight, _ = canvas.touched
    height, width = weight.shape
    shape = _padded(weight.shape)
    use = np.flatnonzero(field.light(optics) > MIN_LIGHT * field.size**2)
    shifts = optics.image_shifts_m(field.angles_rad(optics))
    q = frequencies(shape, canvas.step)
    total = np.zeros(q.shape[:2], np.complex64)
    mean = values.sum(axis=(0, 1), dtype=np.float64) / float(weight.sum(dtype=np.float64))
    for part in chunks(len(use), shape):
        spectrum = spectra(values, weight, use[part], mean, shape)
        for n, k in enumerate(use[part]):
            turns = q @ shifts[k]
            total += spectrum[:, :, n] * np.exp(2j * np.pi * turns).astype(np.complex64)
    picture = np.asarray(scipy.fft.irfft2(total, s=shape))[:height, :width]
    return (1 + picture / max(float(mean[use].sum()), 1e-30)).astype(np.float32)


def spectra(
    values: np.ndarray,
    weight: np.ndarray,
    use: np.ndarray,
    mean: np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:
    """Return the spectra (H, W // 2 + 1, k) complex64 of super-pixels `use`, less their means."""
    data = np.zeros((*shape, len(use)), np.float32)
    seen = weight > _LEAST
    inner = data[: weight.shape[0], : weight.shape[1]]
    inner[seen] = values[seen][:, use] / weight[seen][:, None] - mean[use].astype(np.float32)
    return np.asarray(scipy.fft.rfft2(data, axes=(0, 1)))


def _padded(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = (scipy.fft.next_fast_len(n, real=True) or n for n in shape)
    return height, width
