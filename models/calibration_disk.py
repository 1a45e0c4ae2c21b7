"""The bright-field disk on a mean pattern: centre, radius, ellipticity, and so the camera's scale.

The disk's edge is fitted, not its filling: a step of finite width along an ellipse, on a ring of
pixels round the first guess. What lies inside (interference of overlapping disks) therefore
hardly matters, and a disk that is cut by the detector's edge or far from its middle is fitted by
the part of the edge that can be seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.optimize

MIN_EDGE_PX = 12


@dataclass(frozen=True)
class Disk:
    """An elliptical disk.

    Parameters
    ----------
    centre_px : (y, x) float, detector pixels
    radius_px : float, detector pixels
        Geometric mean of the half axes.
    ellipticity : float
        Major over minor axis, at least 1.
    major_axis_deg : float, deg
        Azimuth of the major axis, from +x towards +y, in [0, 180).
    half_height_px, half_width_px : float, detector pixels
        How far the disk reaches from its centre straight along y and along x.
    centre_sigma_px, radius_sigma_px, ellipticity_sigma : float
        Standard errors of the fit.
    edge_px : float, detector pixels
        Width of the edge.
    """

    centre_px: tuple[float, float]
    radius_px: float
    ellipticity: float
    major_axis_deg: float
    half_height_px: float
    half_width_px: float
    centre_sigma_px: float
    radius_sigma_px: float
    ellipticity_sigma: float
    edge_px: float

    def angular_sampling_mrad(self, semi_convergence_angle_mrad: float) -> tuple[float, float]:
        """Return mrad per detector pixel yx.

        Raises
        ------
        ValueError
            When the angle is out of range.
        """
        if not 0.001 <= semi_convergence_angle_mrad <= 500:
            raise ValueError(
                "semi_convergence_angle_mrad must lie between 0.001 and 500, got"
                f" {semi_convergence_angle_mrad:g}"
            )
        return (
            semi_convergence_angle_mrad / self.half_height_px,
            semi_convergence_angle_mrad / self.half_width_px,
        )

    def to_metadata(self, semi_convergence_angle_mrad: float | None = None) -> dict[str, Any]:
        """Return keys of a start document."""
        out: dict[str, Any] = {
            "disk_centre_px": list(self.centre_px),
            "disk_centre_sigma_px": self.centre_sigma_px,
            "disk_radius_px": self.radius_px,
            "disk_radius_sigma_px": self.radius_sigma_px,
            "ellipticity": self.ellipticity,
            "ellipticity_sigma": self.ellipticity_sigma,
            "ellipticity_axis_deg": self.major_axis_deg,
        }
        if semi_convergence_angle_mrad is not None:
            sampling = self.angular_sampling_mrad(semi_convergence_angle_mrad)
            out["angular_sampling_mrad"] = list(sampling)
            out["angular_sampling_sigma_mrad"] = (
                math.sqrt(sampling[0] * sampling[1]) * self.radius_sigma_px / self.radius_px
            )
        return out


def fit_disk(mean_frame: np.ndarray, good: np.ndarray | None = None) -> Disk:
    """Fit the bright-field disk.

    Parameters
    ----------
    mean_frame : (h, w) float, counts
    good : (h, w) bool or None
        False where a pixel is not to be believed.

    Raises
    ------
    ValueError
        When the pattern is no picture of a disk: not finite, empty, without an edge.
    """
    pattern = np.asarray(mean_frame, np.float64)
    if pattern.ndim != 2 or min(pattern.shape) < 8:
        raise ValueError(f"mean_frame must be (h, w), at least 8 x 8, got {pattern.shape}")
    good = np.ones(pattern.shape, bool) if good is None else np.asarray(good, bool)
    if good.shape != pattern.shape:
        raise ValueError(f"good must be {pattern.shape} like mean_frame, got {good.shape}")
    good = good & np.isfinite(pattern)
    if not good.any():
        raise ValueError("mean_frame has no finite, good pixel")
    (y0, x0, r0), plateau, floor = _first_guess(np.where(good, pattern, 0.0))
    y, x = (axis.astype(float) for axis in np.indices(pattern.shape))
    reach = max(4.0, 0.3 * r0)
    ring = good & (np.abs(np.hypot(y - y0, x - x0) - r0) < reach)
    if np.count_nonzero(ring) < 5 * MIN_EDGE_PX:
        raise ValueError("too little of the disk's edge is on the detector to be fitted")
    y, x, values = y[ring], x[ring], (pattern[ring] - floor) / (plateau - floor)

    def model(p: np.ndarray) -> np.ndarray:
        cy, cx, radius, stretch, shear, width, top, bottom = p
        dy, dx = y - cy, x - cx
        rho = np.sqrt(dy**2 * (1 + stretch) + dx**2 * (1 - stretch) + 2 * shear * dy * dx)
        return bottom + (top - bottom) / (1 + np.exp(np.clip((rho - radius) / width, -40, 40)))

    start = np.array([y0, x0, r0, 0.0, 0.0, 0.5, 1.0, 0.0])
    low = [y0 - reach, x0 - reach, 0.6 * r0, -0.6, -0.6, 0.05, 0.2, -0.5]
    high = [y0 + reach, x0 + reach, 1.6 * r0, 0.6, 0.6, max(1.0, 0.2 * r0), 3.0, 0.8]
    fit = scipy.optimize.least_squares(
        lambda p: model(p) - values,
        start,
        bounds=(low, high),
        # a decomposition of so tall a matrix sets every BLAS thread spinning, 20 times the work
        tr_solver="lsmr",
        loss="soft_l1",
        f_scale=0.1,
        x_scale=[1, 1, 1, 0.05, 0.05, 0.5, 1, 1],
        max_nfev=200,
    )
    return _disk(fit.x, _covariance(fit))


def _disk(p: np.ndarray, covariance: np.ndarray) -> Disk:
    cy, cx, radius, stretch, shear, width = (float(v) for v in p[:6])
    bend = min(math.hypot(stretch, shear), 0.99)
    sigma = np.sqrt(np.maximum(np.diag(covariance), 0))
    ratio = math.sqrt((1 + bend) / (1 - bend))
    axis = 0.5 * math.atan2(-shear, stretch)  # where the quadratic form is least
    return Disk(
        centre_px=(cy, cx),
        radius_px=radius / (1 - bend**2) ** 0.25,
        ellipticity=ratio,
        major_axis_deg=math.degrees(axis) % 180,
        half_height_px=radius / math.sqrt(1 + stretch),
        half_width_px=radius / math.sqrt(1 - stretch),
        centre_sigma_px=float(np.hypot(sigma[0], sigma[1]) / math.sqrt(2)),
        radius_sigma_px=float(sigma[2]),
        ellipticity_sigma=float(np.hypot(sigma[3], sigma[4]) / math.sqrt(2)),
        edge_px=width,
    )


def _covariance(fit: Any) -> np.ndarray:
    free = max(1, len(fit.fun) - len(fit.x))
    return np.linalg.pinv(fit.jac.T @ fit.jac) * float((fit.fun**2).sum()) / free


def _first_guess(pattern: np.ndarray) -> tuple[tuple[float, float, float], float, float]:
    """Return a circle through the visible edge of the brightest region, and two levels."""
    smooth = scipy.ndimage.gaussian_filter(scipy.ndimage.median_filter(pattern, 3), 0.7)
    top = float(np.percentile(smooth, 99.5))
    floor = float(np.percentile(smooth, 2))
    if not top > floor:
        raise ValueError("mean_frame is flat: there is no disk on it")
    plateau = float(np.median(smooth[smooth > floor + 0.5 * (top - floor)]))
    labels, n = scipy.ndimage.label(smooth > floor + 0.5 * (plateau - floor))  # type: ignore[misc]
    sizes = np.bincount(np.ravel(labels), minlength=n + 1)[1:]
    largest = np.ravel(labels) == 1 + int(np.argmax(sizes))
    region: np.ndarray = np.array(
        scipy.ndimage.binary_fill_holes(largest.reshape(pattern.shape)), dtype=bool
    )
    edge = region & ~np.array(scipy.ndimage.binary_erosion(region, border_value=1), dtype=bool)
    edge[[0, -1]] = edge[:, [0, -1]] = False
    y, x = np.nonzero(edge)
    if len(y) < MIN_EDGE_PX:
        raise ValueError("no edge of a disk is on the detector; use a longer camera length")
    system = np.stack([2.0 * y, 2.0 * x, np.ones(len(y))], axis=1)
    cy, cx, c = np.linalg.lstsq(system, (y**2 + x**2).astype(float), rcond=None)[0]
    radius = math.sqrt(max(float(c + cy**2 + cx**2), 1.0)) + 0.5
    floor = float(np.median(pattern[~region])) if np.any(~region) else floor
    return (float(cy), float(cx), radius), plateau, floor
