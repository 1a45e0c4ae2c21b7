"""Drift of the specimen, from places that a scan visits more than once.

A scan is cut into groups of successive frames: the passes of an interleaved scan, or stretches of
a spiral whose turns lie closer than what they show. Each group's picture is registered, rigidly,
with the picture of all the others (Lucas & Kanade, IJCAI (1981)); a smoothing spline in time joins
the groups. What moves a picture as a whole cannot be told from where it began: the mean
displacement is zero. A single raster visits nothing twice and tells nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.interpolate
import scipy.ndimage

from .ptychography.geometry import median_spacing

MIN_FRAMES = 64
_ROUNDS = 12


@dataclass(frozen=True, eq=False)
class Drift:
    """Where the beam really was on the specimen, less where it was thought to be.

    Parameters
    ----------
    time_s : (k,) float64, s
        Of the groups' middles, rising.
    displacement : (k, 2) float64, yx
        In the positions' unit.
    sigma : (k,) float64
        Standard error of each.
    units : {"m", "px"}
    """

    time_s: np.ndarray
    displacement: np.ndarray
    sigma: np.ndarray
    units: str = "m"

    def __call__(self, time_s: np.ndarray) -> np.ndarray:
        """Return the displacement (n, 2) at times (n,); linear beyond the first and last group."""
        time = np.asarray(time_s, float)
        if len(self.time_s) == 1:
            return np.repeat(self.displacement, len(time), axis=0)
        inside = np.clip(time, self.time_s[0], self.time_s[-1])
        if len(self.time_s) < 4:
            spline = scipy.interpolate.make_interp_spline(self.time_s, self.displacement, k=1)
        else:
            spline = scipy.interpolate.CubicSpline(
                self.time_s, self.displacement, bc_type="natural"
            )
        slope = spline.derivative()(inside)
        return np.asarray(spline(inside) + slope * (time - inside)[:, None])

    @property
    def rate(self) -> tuple[np.ndarray, float]:
        """Mean velocity (2,), unit / s, and its standard error."""
        if len(self.time_s) < 2:
            return np.full(2, math.nan), math.inf
        time = self.time_s - self.time_s.mean()
        slope = time @ (self.displacement - self.displacement.mean(axis=0)) / (time @ time)
        return slope, float(np.sqrt(((time * self.sigma) ** 2).sum()) / (time @ time))

    def to_metadata(self) -> dict[str, Any]:
        """Return keys of a start document."""
        scale, unit = (1e9, "nm") if self.units == "m" else (1.0, "px")
        rate, sigma = self.rate
        return {
            f"drift_{unit}_s": (rate * scale).tolist(),
            f"drift_sigma_{unit}_s": sigma * scale,
            f"drift_range_{unit}": (np.ptp(self.displacement, axis=0) * scale).tolist(),
        }


def correct_positions(positions: np.ndarray, time_s: np.ndarray, drift: Drift) -> np.ndarray:
    """Return positions (n, 2) on the specimen, for frames at times (n,).

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    places, time = np.asarray(positions, float), np.asarray(time_s, float)
    if places.ndim != 2 or places.shape[1] != 2 or time.shape != (len(places),):
        raise ValueError(
            f"positions must be (n, 2) and time_s (n,), got {places.shape} and {time.shape}"
        )
    return places + drift(time)


def find_drift(
    values: np.ndarray,
    positions: np.ndarray,
    time_s: np.ndarray,
    group: np.ndarray | int,
    *,
    pixel: float | None = None,
    blur_px: float = 1.0,
    units: str = "m",
) -> Drift:
    """Find the drift that lets the parts of a scan agree.

    Parameters
    ----------
    values : (n,) float64
        A number for each frame that shows the specimen, such as a dark-field signal.
    positions : (n, 2) float64, yx
    time_s : (n,) float64, s
    group : (n,) int, or int
        The pass of each frame (`Multipass.pass_index`), or into how many equal stretches of time
        the scan is cut.
    pixel : float or None
        Of the pictures; None is the median distance of neighbouring positions.
    blur_px : float
        The pictures are blurred so far: about half the distance of neighbours within a group.
    units : {"m", "px"}
        Of positions.

    Raises
    ------
    ValueError
        When shapes do not fit, or there are too few frames or groups.
    """
    signal, places, time = (np.asarray(a, float) for a in (values, positions, time_s))
    n = len(signal)
    if signal.shape != (n,) or places.shape != (n, 2) or time.shape != (n,):
        raise ValueError(
            f"values, positions and time_s must be (n,), (n, 2), (n,), got {signal.shape},"
            f" {places.shape}, {time.shape}"
        )
    if not 0.3 <= blur_px <= 20:
        raise ValueError(f"blur_px must lie between 0.3 and 20, got {blur_px}")
    labels = _labels(group, time)
    use = np.isfinite(signal) & np.isfinite(places).all(axis=1) & np.isfinite(time)
    names = np.unique(labels[use])
    if np.count_nonzero(use) < MIN_FRAMES or len(names) < 2:
        raise ValueError(
            f"drift needs at least {MIN_FRAMES} frames in 2 groups, got {np.count_nonzero(use)}"
            f" in {len(names)}"
        )
    step = pixel or median_spacing(places[use])
    if not step > 0:
        raise ValueError("drift needs frames at different positions")
    members = [np.flatnonzero(use & (labels == name)) for name in names]
    members.sort(key=lambda rows: float(time[rows].mean()))
    shift, sigma = _Pictures(signal, places / step, members, blur_px).register()
    middles = np.array([time[rows].mean() for rows in members])
    counts = np.array([len(rows) for rows in members], float)
    shift -= (shift * counts[:, None]).sum(axis=0) / counts.sum()
    return Drift(middles, _smooth(middles, shift, sigma) * step, sigma * step, units)


def _labels(group: np.ndarray | int, time: np.ndarray) -> np.ndarray:
    if np.ndim(group) == 0:
        n = int(group)
        if not 2 <= n <= max(2, len(time) // 8):
            raise ValueError(f"group must lie between 2 and {max(2, len(time) // 8)}, got {n}")
        order = np.argsort(np.argsort(time, kind="stable"), kind="stable")
        return order * n // max(1, len(time))
    labels = np.asarray(group)
    if labels.shape != time.shape:
        raise ValueError(f"group must be {time.shape} like time_s, got {labels.shape}")
    return labels


def _smooth(time: np.ndarray, shift: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return the groups' shifts on a smoothing spline, where there are enough of them."""
    if len(time) < 5 or not np.isfinite(np.median(sigma)):
        return shift
    weight = 1 / np.maximum(sigma, max(float(np.median(sigma)) * 0.1, 1e-9)) ** 2
    unit = (time - time[0]) / (time[-1] - time[0])
    return np.stack(
        [
            scipy.interpolate.make_smoothing_spline(unit, column, w=weight / weight.mean())(unit)
            for column in shift.T
        ],
        axis=1,
    )


class _Pictures:
    """The groups' pictures on one canvas, as sums and weights."""

    def __init__(
        self, signal: np.ndarray, pixels: np.ndarray, members: list[np.ndarray], blur: float
    ) -> None:
        known = np.concatenate(members)
        self.signal = signal - float(np.median(signal[known]))
        low = pixels[known].min(axis=0)
        margin = 4 + math.ceil(4 * blur)
        self.pixels = pixels - low + margin
        self.shape = tuple(int(n) for n in np.ceil(np.ptp(pixels[known], axis=0)) + 2 * margin + 2)
        self.members, self.blur = members, blur
        self.shift = np.zeros((len(members), 2))
        self.sigma = np.full(len(members), np.inf)
        self.sums = np.zeros((len(members), *self.shape))
        self.weights = np.zeros_like(self.sums)

    def register(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each group's shift (k, 2) and standard error (k,), pixels."""
        self._splat(0)
        for g in range(1, len(self.members)):  # in order of time, from what is already there
            ahead = self.shift[g - 1] - self.shift[g - 2] if g > 1 else np.zeros(2)
            self.shift[g] = self.shift[g - 1] + ahead
            for _ in range(_ROUNDS):
                self._splat(g)
                if not self._improve(g, slice(0, g)):
                    break
            self._splat(g)
        for _ in range(_ROUNDS):
            moved = 0.0
            for g in range(len(self.members)):
                before = self.shift[g].copy()
                self._improve(g, slice(None))
                self._splat(g)
                moved = max(moved, float(np.abs(self.shift[g] - before).max()))
            if moved < 2e-3:
                break
        return self.shift.copy(), self.sigma

    def _splat(self, g: int) -> None:
        rows = self.members[g]
        places = np.clip(self.pixels[rows] + self.shift[g], 0, np.array(self.shape) - 2.001)
        whole = places.astype(np.int64)
        part = places - whole
        size = self.shape[0] * self.shape[1]
        total, weight = np.zeros(size), np.zeros(size)
        for dy in (0, 1):
            for dx in (0, 1):
                target = (whole[:, 0] + dy) * self.shape[1] + whole[:, 1] + dx
                w = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
                total += np.bincount(target, w * self.signal[rows], minlength=size)
                weight += np.bincount(target, w, minlength=size)
        for out, flat in ((self.sums, total), (self.weights, weight)):
            out[g] = scipy.ndimage.gaussian_filter(flat.reshape(self.shape), self.blur)

    def _improve(self, g: int, others: slice) -> bool:
        """Move group `g` towards the picture of the others; return whether it moved."""
        own = 0 if others.stop is not None else 1
        weight = self.weights[others].sum(axis=0) - own * self.weights[g]
        total = self.sums[others].sum(axis=0) - own * self.sums[g]
        floor = 0.15 * min(float(weight.max()), float(self.weights[g].max()))
        both = (weight > floor) & (self.weights[g] > floor)
        if np.count_nonzero(both) < 16:
            return False
        theirs = total / np.maximum(weight, 1e-12)
        mine = self.sums[g] / np.maximum(self.weights[g], 1e-12)
        gy, gx = ((a + b)[both] / 2 for a, b in zip(*map(np.gradient, (theirs, mine)), strict=True))
        w = np.sqrt(np.minimum(weight, self.weights[g])[both])
        terms = np.stack([gy, gx, np.ones(len(gy))], axis=1) * w[:, None]
        wanted = (mine - theirs)[both] * w
        normal = terms.T @ terms
        if np.linalg.cond(normal[:2, :2]) > 1e6:
            return False
        step = np.linalg.solve(normal, terms.T @ wanted)
        left = wanted - terms @ step
        # a blurred pixel shares its noise with about 4 pi blur^2 others
        alike = max(1.0, 4 * math.pi * self.blur**2)
        variance = float((left**2).mean()) * alike
        self.sigma[g] = math.sqrt(variance * float(np.trace(np.linalg.inv(normal)[:2, :2])) / 2)
        move = np.clip(step[:2], -1.0, 1.0)
        self.shift[g] += move
        return bool(np.abs(move).max() > 1e-3)
