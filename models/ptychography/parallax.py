"""Tilt-corrected bright field (parallax), and defocus, from the canvas of direct ptychography.

The bright-field image seen along a tilt k is the object displaced by ``-grad chi(k) / (2 pi)``; put
back in place, the images add up to one of all the light (Spoth, Yu, Nguyen, Chen, Muller &
Kourkoutis, Microsc. Microanal. 26, 1726 (2020); Varnavides et al., arXiv:2309.05250). It needs
defocus and no weak phase, and takes coarse steps that single side band does not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
import scipy.signal.windows

from ..calibration import Defocus
from .bright_field import MIN_LIGHT, BrightField
from .optics import Optics
from .scan_canvas import ScanCanvas
from .side_bands import chunks, frequencies

if TYPE_CHECKING:
    from .single_sideband import SingleSideband

MIN_SCORE = 5.0
_LEAST = 1e-3
_TRIALS = 160
_WIDTH = 0.4
_FINER = 4.0
_TAPER = 0.2
_FEW, _MANY, _LEAST_KNOWN = 128, 320, 16


def parallax(canvas: ScanCanvas, field: BrightField, optics: Optics) -> np.ndarray:
    """Return the tilt-corrected bright-field image.

    Parameters
    ----------
    canvas : ScanCanvas
    field : BrightField
    optics : Optics
        Their aberrations say how far each image is displaced; `estimate_defocus` finds the
        defocus, `shifts.fit_shifts` rotation and astigmatism too.

    Returns
    -------
    (H, W) float32
        Relative to its mean of 1.
    """
    values, weight, _ = canvas.touched
    height, width = weight.shape
    shape = padded(weight.shape)
    use = lit(field, optics)
    shifts = optics.image_shifts_m(field.angles_rad(optics))
    q = frequencies(shape, canvas.step)
    total = np.zeros(q.shape[:2], np.complex64)
    mean = mean_vector(canvas)
    for part in chunks(len(use), shape):
        spectrum = spectra(values, weight, use[part], mean, shape)
        for n, k in enumerate(use[part]):
            turns = q @ shifts[k]
            total += spectrum[:, :, n] * np.exp(2j * np.pi * turns).astype(np.complex64)
    picture = np.asarray(scipy.fft.irfft2(total, s=shape))[:height, :width]
    return (1 + picture / max(float(mean[use].sum()), 1e-30)).astype(np.float32)


def estimate_defocus(
    model: SingleSideband, low_m: float = -400e-9, high_m: float = 400e-9
) -> Defocus | None:
    """Estimate the defocus from a wide range, in focus or far from it.

    For each defocus tried, the power of the data that some weak phase explains is added up over
    the strongest spatial frequencies: the likelihood of the defocus, whatever the object. Far
    from focus that is parallax's shift of the bright-field images, near to it single side band.
    Low frequencies, which vary slowly with defocus, are tried first, over the whole range.

    Parameters
    ----------
    model : SingleSideband
        With its frames; rotation and transposition are taken to be right, other aberrations too.
        Nothing of it is changed.
    low_m, high_m : float, m
        Where to look; positive is underfocus.

    Returns
    -------
    Defocus or None
        None where the data do not tell, or the best lies at the end of the range. A crystal whose
        strongest reflection the scan's step cannot resolve misleads. ``sigma_m`` is the standard
        error from the curvature of the likelihood, without what the model gets wrong;
        ``fourier_error`` the share of power unexplained; ``contrast`` how much of the explained
        power the best value explains beyond the usual one.

    Raises
    ------
    ValueError
        When the range is empty or there are no frames.
    """
    if not (np.isfinite([low_m, high_m]).all() and low_m < high_m):
        raise ValueError(f"low_m must be below high_m, both finite, got {low_m} and {high_m}")
    canvas, field = model.gathered()
    if min(canvas.touched[1].shape) < 8:
        return None
    search = _Search(model, canvas, field)
    angle, wavelength = model.optics.semi_convergence_angle_rad, model.optics.wavelength_m
    limit = min(2 * angle / wavelength, 0.5 / canvas.step)
    reach = min(limit, _TRIALS * _WIDTH / ((high_m - low_m) * angle))
    step = _WIDTH / (angle * reach)
    tried = np.linspace(low_m, high_m, max(8, int(np.ceil((high_m - low_m) / step)) + 1))
    data = search.within(reach, _FEW)
    found = np.array([search.explained(data, d, 2) for d in tried])
    usual = float(np.median(found))
    best = float(tried[int(np.argmax(found))])
    score = (float(found.max()) - usual) / max(search.noise(data, float(found.max())), 1e-30)
    if not score > MIN_SCORE:
        return None
    contrast = (float(found.max()) - usual) / max(float(found.max()), 1e-30)
    done = False
    while not done:
        done, reach = reach >= limit, min(limit, _FINER * reach)
        data = search.within(reach, _MANY)
        near = np.linspace(best - 1.25 * step, best + 1.25 * step, 11)
        best = float(near[int(np.argmax([search.explained(data, d, 4) for d in near]))])
        step /= 4
    if not low_m < best < high_m:
        return None
    best, bend, top = _summit(lambda d: search.explained(data, d, 4), best, step / 2)
    variance = search.variance(data, top) / max(bend, 1e-300)
    sigma = float(np.sqrt(variance)) if bend > 0 else step
    return Defocus(best, min(sigma, high_m - low_m), 1 - top / data.power, contrast)


def _summit(explained, middle: float, step: float) -> tuple[float, float, float]:
    """Return place, curvature and height of a parabola through five points round a maximum."""
    for _ in range(3):
        x = np.linspace(-2, 2, 5)
        y = np.array([explained(middle + step * t) for t in x])
        a, b, c = np.polyfit(x, y, 2)
        if a >= 0:
            return middle, 0.0, float(y[2])
        move = float(np.clip(-b / (2 * a), -2, 2))
        middle += step * move
        if abs(move) < 1:
            break
    return middle, -2 * float(a) / step**2, float(c - b**2 / (4 * a))


class _Data:
    """The super-pixels' spectra at some spatial frequencies."""

    def __init__(self, values: np.ndarray, q: np.ndarray, weight: np.ndarray) -> None:
        self.values, self.q, self.weight = values, q, weight
        powers = np.abs(values) ** 2 @ weight
        self.power = float(powers.sum(dtype=np.float64))
        self.share = float(np.quantile(powers, 0.1)) / values.shape[1] if len(values) else 0.0


class _Search:
    """Spectra and overlap functions at the frequencies that a search for defocus looks at."""

    def __init__(self, model: SingleSideband, canvas: ScanCanvas, field: BrightField) -> None:
        values, weight, _ = canvas.touched
        self.field, self.optics = field, model.optics
        self.over_rows = model.over_rows
        shape = padded(weight.shape)
        q = frequencies(shape, canvas.step)
        self.use = lit(field, model.optics)
        mean = mean_vector(canvas)
        self.weight = (1 / np.maximum(mean[self.use] / max(mean.max(), 1e-30), 0.02)).astype(
            np.float32
        )
        radius = np.hypot(q[..., 0], q[..., 1])
        span = canvas.step * min(weight.shape)
        limit = 2 * model.optics.semi_convergence_angle_rad / model.optics.wavelength_m
        band = (radius > 1.2 / span) & (radius < limit)
        self.q, self.radius = q[band], radius[band]
        parts = [
            spectra(values, weight, self.use[part], mean, shape, _TAPER)[band]
            for part in chunks(len(self.use), shape)
        ]
        self.values = np.concatenate(parts, axis=1)
        self.total = np.abs(self.values) ** 2 @ self.weight

    def within(self, reach: float, most: int) -> _Data:
        """Return the strongest frequencies up to `reach`, 1/m, at `most` so many."""
        inside = np.flatnonzero(self.radius <= reach)
        strongest = inside[np.argsort(self.total[inside])[::-1][:most]]
        # frequencies of mere noise would outvote those that know
        level = float(np.quantile(self.total, 0.25)) * (1 + 3 / np.sqrt(len(self.use)))
        known = int(np.count_nonzero(self.total[strongest] > level))
        strongest = strongest[: max(known, _LEAST_KNOWN)]
        return _Data(self.values[strongest], self.q[strongest], self.weight)

    def explained(self, data: _Data, defocus_m: float, cells: int) -> float:
        """Return the power that a weak phase explains at a defocus."""
        known = dict(self.optics.aberrations) | {"C10": -float(defocus_m) or 1e-15}
        optics = replace(self.optics, aberrations=tuple(sorted(known.items())))
        overlap = self.field.overlap_function(
            optics, data.q[:, None], slice(None), self.over_rows, cells
        )[:, 0][:, self.use]
        product = np.einsum("qk,qk,k->q", overlap.conj(), data.values, data.weight)
        power = np.abs(overlap) ** 2 @ data.weight
        seen = power > 1e-5 * max(float(power.max(initial=0)), 1e-30)
        found = float((np.abs(product[seen]) ** 2 / power[seen]).sum(dtype=np.float64))
        # noise alone explains one share each: a defocus that transfers less must not lose by it
        return found + float(np.count_nonzero(~seen)) * data.share

    def variance(self, data: _Data, explained: float) -> float:
        """Return the variance of a weighted coefficient, from what is not explained."""
        return (data.power - explained) / max(data.values.size - len(data.values), 1)

    def noise(self, data: _Data, explained: float) -> float:
        """Return by how much the power explained varies by noise alone."""
        return self.variance(data, explained) * float(np.sqrt(len(data.values)))


def lit(field: BrightField, optics: Optics) -> np.ndarray:
    """Return the super-pixels in the disk, (k,) int64."""
    return np.flatnonzero(field.light(optics) > MIN_LIGHT * field.size**2)


def mean_vector(canvas: ScanCanvas) -> np.ndarray:
    """Return the mean counts of each super-pixel, (K,) float64."""
    values, weight, _ = canvas.touched
    return values.sum(axis=(0, 1), dtype=np.float64) / float(weight.sum(dtype=np.float64))


def spectra(
    values: np.ndarray,
    weight: np.ndarray,
    use: np.ndarray,
    mean: np.ndarray,
    shape: tuple[int, int],
    taper: float = 0.0,
) -> np.ndarray:
    """Return the spectra (H, W // 2 + 1, k) complex64 of super-pixels `use`, less their means.

    A `taper` from 0 to 1 fades the picture out towards its edges, over that share of it.
    """
    data = np.zeros((*shape, len(use)), np.float32)
    seen = weight > _LEAST
    inner = data[: weight.shape[0], : weight.shape[1]]
    inner[seen] = values[seen][:, use] / weight[seen][:, None] - mean[use].astype(np.float32)
    if taper:
        window = [scipy.signal.windows.tukey(n, taper).astype(np.float32) for n in weight.shape]
        inner *= (window[0][:, None] * window[1])[..., None]
    return np.asarray(scipy.fft.rfft2(data, axes=(0, 1)))


def padded(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the next size that transforms fast."""
    height, width = (scipy.fft.next_fast_len(n, real=True) or n for n in shape)
    return height, width
