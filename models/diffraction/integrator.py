"""Azimuthal integration: a pattern with its sigma from every frame of an area detector.

Intensity is the sum of counts (less dark) over the sum of solid angle, polarisation and flat field,
as in pyFAI's ``integrate1d_ng`` (Kieffer et al., J. Synchrotron Rad. 32 (2025)), which the tests
compare with. Sigma is Poisson's.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import numpy as np

from .blunting import Blunting, box_cumulants
from .geometry import Geometry
from .integration_kernels import sum_split, sum_whole, sum_whole_float

Split = Literal["no", "bbox"]
MOST_BINS = 30_000
_ALL = slice(None)
_EPSILON = 16 * float(np.finfo(np.float64).eps)


class Integrator:
    """Integrates frames of one geometry.

    Parameters
    ----------
    geometry : Geometry
    bins : int
    split : {"no", "bbox"}
        "no": a pixel's counts go to the bin of its centre. "bbox": they are shared between the
        bins that the pixel spans, which is smoother and two to four times as much work.
    mask : (h, w) bool, optional
        True where a pixel is not to be used.
    dark : (h, w) float, counts, optional
    flat : (h, w) float, optional
        Relative efficiency; counts are divided by it.
    limits : (lowest, highest), optional
        Of the axis, in the geometry's unit; by default all that the pixels span.
    saturation : float, counts, optional
        A pixel with so many or more is not believed.

    Attributes
    ----------
    axis : (bins,) float64
        Centres of the bins, in the geometry's unit.
    norm : (bins,) float64
        Pixels of a bin, each with its solid angle, polarisation and flat field.
    pixels_used : int
        Those that are not masked.

    Raises
    ------
    ValueError
        When arrays do not fit, nothing is left of the detector, or a number is out of range.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        bins: int = 2000,
        split: Split = "bbox",
        mask: np.ndarray | None = None,
        dark: np.ndarray | None = None,
        flat: np.ndarray | None = None,
        limits: tuple[float, float] | None = None,
        saturation: float | None = None,
    ) -> None:
        if saturation is not None and not saturation > 0:
            raise ValueError(f"saturation must be above 0 counts, got {saturation!r}")
        self.saturation = saturation
        if not 1 <= bins <= MOST_BINS:
            raise ValueError(f"bins must lie between 1 and {MOST_BINS}, got {bins!r}")
        if split not in ("no", "bbox"):
            raise ValueError(f"split must be 'no' or 'bbox', got {split!r}")
        self.geometry, self.bins, self.split = geometry, int(bins), split
        given = {"mask": mask, "dark": dark, "flat": flat}
        for name, values in given.items():
            if values is not None and np.shape(values) != geometry.shape:
                h, w = geometry.shape
                raise ValueError(
                    f"the {name} has shape {np.shape(values)}, but the frames are {h} x {w};"
                    f" give a {name} of this detector"
                )
        used = ~geometry.mask if mask is None else ~(geometry.mask | np.asarray(mask, bool))
        used &= np.isfinite(geometry.radial)
        share = geometry.solid_angle * geometry.polarisation
        if flat is not None:
            share = share * np.asarray(flat, float)
            used &= np.isfinite(share) & (share > 0)
        self._dark = None if dark is None else np.asarray(dark, float).ravel()
        if self._dark is not None:
            used &= np.isfinite(self._dark.reshape(geometry.shape))
        if not used.any():
            raise ValueError("no pixel is left to integrate: the mask covers all of the detector")
        self._share, self._used = share.ravel(), used.ravel()
        self.pixels_used = int(used.sum())
        reach = geometry.half_width if split == "bbox" else 0.0
        low, high = self._limits(limits, geometry.radial - reach, geometry.radial + reach, used)
        self._low, self._width, self._all = low, (high - low) / self.bins, limits is None
        self.axis = low + (np.arange(self.bins) + 0.5) * self._width
        if split == "no":
            self._bin_whole()
        else:
            self._bin_split()
        self.norm = self._sums(self._share)
        self._dark_sum = None if self._dark is None else self._sums(self._dark)
        self._lost = np.empty(self._share.size, np.int64)

    def _limits(
        self,
        limits: tuple[float, float] | None,
        below: np.ndarray,
        above: np.ndarray,
        used: np.ndarray,
    ) -> tuple[float, float]:
        if limits is None:
            # a hair wider, as in pyFAI, so that the outermost pixel lies inside
            top = float(above[used].max()) * (1 + float(np.finfo(np.float32).eps))
            return max(float(below[used].min()), 0.0), top
        low, high = (float(value) for value in limits)
        if not low < high:
            raise ValueError(f"limits must be two numbers, the lower first, got {limits!r}")
        if high <= below[used].min() or low >= above[used].max():
            raise ValueError(
                f"limits {low:g} to {high:g} lie outside the detector's"
                f" {below[used].min():.4g} to {above[used].max():.4g} {self.geometry.unit}"
            )
        return low, high

    def _bin_whole(self) -> None:
        place = (self.geometry.radial.ravel() - self._low) / self._width
        # the outermost pixel lies on the last edge and belongs to the last bin
        bins = np.where(place == self.bins, self.bins - 1, np.floor(place))
        outside = ~self._used | (bins < 0) | (bins >= self.bins)
        kind = np.int16 if self.bins < np.iinfo(np.int16).max else np.int32
        self._bins = np.where(outside, self.bins, bins).astype(kind)

    @cached_property
    def centres(self) -> np.ndarray:
        """Where the pixels of each bin lie in the mean, (bins,), in the axis' unit.

        Where pixels are wide, those of a bin may all lie on one side of it. Split ones are spread
        evenly: their centres are those of the bins.
        """
        if self.split == "bbox":
            return self.axis
        mean = self._mean(self.geometry.radial)
        return np.where(np.isfinite(mean), mean, self.axis)

    @cached_property
    def blunting(self) -> Blunting:
        """What pixels, their splitting, and bins make of the lines of a powder."""
        spread = 2 * self.geometry.half_width if self.split == "bbox" else 0.0
        variance, fourth = box_cumulants(*self.geometry.extents(), spread, self._width)
        mean = self._mean(variance)
        # pixels differ around a ring: fourth moments may be averaged, cumulants may not
        moment = self._mean(fourth + 3 * variance**2)
        filled = np.isfinite(mean)
        return Blunting(self.axis[filled], mean[filled], (moment - 3 * mean**2)[filled])

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over each bin's pixels, weighted as their counts are; NaN without any."""
        return _over(self._sums(self._share * values.ravel()), self.norm)

    def _bin_split(self) -> None:
        radial, half = self.geometry.radial.ravel(), self.geometry.half_width.ravel()
        below = (radial - half - self._low) / self._width
        low = np.maximum(below, 0.0)
        high = np.minimum((radial + half - self._low) / self._width, float(self.bins))
        used = self._used & (high > low)
        first = np.clip(np.floor(low), 0, self.bins - 1)
        last = np.clip(np.ceil(high) - 1, first, self.bins - 1)
        kind = np.int16 if self.bins < np.iinfo(np.int16).max else np.int32
        self._first = np.where(used, first, -1).astype(kind)
        self._last = np.where(used, last, 0).astype(kind)
        # a pixel that reaches beyond the limits keeps only the share inside
        each = self._width / np.maximum(2 * half, 1e-300)
        one = last == first
        # no counts are lost where the axis ends: what would lie below 0 is in the first bin
        start = np.where(first == 0, below, low) if self._all else low
        shares = np.stack(
            [
                np.where(one, (high - start) * each, (first + 1 - start) * each),
                np.where(one, 0.0, each),
                np.where(one, 0.0, (high - last) * each),
            ],
            axis=1,
        )
        self._shares = np.where(used[:, None], shares, 0.0).astype(np.float32)

    def _sums(self, values: np.ndarray, pixels: np.ndarray | slice = _ALL) -> np.ndarray:
        """Return the sums over bins, (bins,), of what belongs to the pixels, or to some."""
        if self.split == "no":
            return np.bincount(self._bins[pixels], values[pixels], self.bins + 1)[: self.bins]
        pixels = np.arange(len(values))[pixels]
        pixels = pixels[self._first[pixels] >= 0]
        shares = self._shares[pixels].astype(float) * values[pixels, None]
        first, last = self._first[pixels].astype(int), self._last[pixels].astype(int)
        n = self.bins + 1
        ends = np.bincount(first, shares[:, 0], n) + np.bincount(last, shares[:, 2], n)
        steps = np.bincount(first + 1, shares[:, 1], n) - np.bincount(last, shares[:, 1], n)
        return (ends + np.cumsum(steps))[: self.bins]

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Integrate one frame.

        Parameters
        ----------
        frame : (h, w) integers or floats, counts
            Negative integers, the largest value of an unsigned dtype, NaN and infinity mark
            pixels that are not to be believed.

        Returns
        -------
        intensity : (bins,) float64
            NaN in a bin without pixels.
        sigma : (bins,) float64
        lost : int
            Pixels that were not believed, beside those masked.

        Raises
        ------
        ValueError
            For a frame of another shape.
        """
        if frame.shape != self.geometry.shape:
            h, w = self.geometry.shape
            raise ValueError(
                f"a frame has shape {frame.shape}, but the geometry is for {h} x {w}; give the"
                " .poni of this detector"
            )
        flat = np.ascontiguousarray(frame).ravel()
        flat, top = believable(flat, self.saturation)
        if self.split == "no":
            whole = flat.dtype.kind == "u"
            sums = np.empty((4, self.bins + 1), np.int64 if whole else np.float64)
            kernel = sum_whole if whole else sum_whole_float
            lost = int(kernel(flat, self._bins, top, sums, self._lost))
            signal = sums[:, : self.bins].sum(axis=0).astype(float)
            variance = signal
        else:
            sums = np.empty((2, self.bins + 1, 4))
            pixels = (self._first, self._last, self._shares)
            lost = int(sum_split(flat, *pixels, top, sums, self._lost))
            both = sums.sum(axis=0)[: self.bins]
            signal, variance = (both[:, :2] + np.cumsum(both[:, 2:], axis=0)).T
            # what a sum of differences leaves where nothing was counted is rounding, not variance
            rounding = _EPSILON * np.cumsum(np.abs(both[:, 3]))
            variance = np.where(variance > rounding, variance, 0.0)
        norm, dark = self._norms(lost)
        if dark is not None:
            signal = signal - dark
        return _over(signal, norm), _over(np.sqrt(np.maximum(variance, 0)), norm), lost

    def _norms(self, lost: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the sums of shares and dark, less those of pixels that were lost."""
        if not lost:
            return self.norm, self._dark_sum
        pixels = self._lost[:lost]
        dark = self._dark_sum
        if dark is not None and self._dark is not None:
            dark = dark - self._sums(self._dark, pixels)
        return self.norm - self._sums(self._share, pixels), dark


def _over(sums: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """Return sums over what pixels a bin has; NaN in a bin without."""
    empty = norm <= 1e-9 * norm.max(initial=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(empty, np.nan, sums / norm)


def believable(
    pixels: np.ndarray, saturation: float | None = None
) -> tuple[np.ndarray, np.generic]:
    """Return pixels such that just those are to be believed that are less than a value.

    Signed integers are looked at as unsigned ones: what is negative is large then, and one
    comparison a pixel is enough.
    """
    if pixels.dtype.kind == "f":
        below = np.isneginf(pixels)
        if below.any():
            pixels = np.where(below, np.nan, pixels).astype(pixels.dtype)
        return pixels, pixels.dtype.type(np.inf if saturation is None else saturation)
    top = int(np.iinfo(pixels.dtype).max)
    unsigned = pixels.view(f"u{pixels.dtype.itemsize}")
    top = top if saturation is None else max(0, min(top, math.ceil(saturation)))
    return unsigned, unsigned.dtype.type(top)
