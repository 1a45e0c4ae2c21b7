"""What a short scan tells of the instrument: descan, the coils' lag, defocus.

The disk is in `calibration_disk`, the scan's frame in `calibration_frame`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.optimize
import scipy.signal


@dataclass(frozen=True)
class Descan:
    """The pattern's centre as a linear function of the beam's position.

    Parameters
    ----------
    centre_px : (y, x) float, detector pixels
        At position (0, 0).
    slope_px : ((yy, yx), (xy, xx)) float, detector pixels per unit of position
        Rows are the detector's axes, columns the scan's.
    sigma_px : float, detector pixels
        Standard error of the wandering over the scanned field.
    units : {"m", "px"}
        Of positions.
    """

    centre_px: tuple[float, float]
    slope_px: tuple[tuple[float, float], tuple[float, float]]
    sigma_px: float
    units: str = "m"

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the pattern's centre (n, 2) px for positions (n, 2)."""
        return np.asarray(positions) @ np.array(self.slope_px).T + np.array(self.centre_px)

    def to_metadata(self) -> dict[str, Any]:
        """Return keys of a start document."""
        scale, unit = (1e-9, "nm") if self.units == "m" else (1.0, "px")
        return {
            "descan_centre_px": list(self.centre_px),
            f"descan_px_per_{unit}": (np.array(self.slope_px) * scale).tolist(),
            "descan_sigma_px": self.sigma_px,
        }


@dataclass(frozen=True)
class CoilLag:
    """The coils as a first-order system.

    Parameters
    ----------
    time_constant_s : float, s
    sigma_s : float, s
        Standard error.
    residual : float
        Root mean square of what is left, in the positions' unit.
    """

    time_constant_s: float
    sigma_s: float
    residual: float

    def to_metadata(self) -> dict[str, Any]:
        """Return keys of a start document."""
        return {
            "coil_time_constant_ms": self.time_constant_s * 1e3,
            "coil_time_constant_sigma_ms": self.sigma_s * 1e3,
        }


@dataclass(frozen=True)
class Defocus:
    """Defocus from direct ptychography.

    Parameters
    ----------
    defocus_m : float, m
        Positive is underfocus.
    sigma_m : float, m
        A quarter of the dip's width at a twentieth of its depth; an estimate, no standard error.
    fourier_error : float
        At the best value.
    contrast : float
        How much worse the worst value tried was, relative; small is "could not be told".
    """

    defocus_m: float
    sigma_m: float
    fourier_error: float
    contrast: float

    def to_metadata(self) -> dict[str, Any]:
        """Return keys of a start document."""
        return {
            "defocus_nm": self.defocus_m * 1e9,
            "defocus_sigma_nm": self.sigma_m * 1e9,
            "defocus_contrast": self.contrast,
        }


class Refocusable(Protocol):
    """What `find_defocus` needs of `SingleSideband`."""

    experiment: Any

    def set_optics(self, *, aberrations: Any = None) -> Any:
        """Change the aberrations."""
        ...

    def phase(self) -> tuple[np.ndarray, float]:
        """Return the phase and the share of the data that it does not explain."""
        ...


def fit_descan(centres_px: np.ndarray, positions: np.ndarray, units: str = "m") -> Descan:
    """Fit a plane to the pattern's centre, robustly.

    Parameters
    ----------
    centres_px : (n, 2) float, detector pixels, yx
        Centre of mass, or of the disk, of each frame; frames that are not finite are left out.
    positions : (n, 2) float, yx
    units : {"m", "px"}

    Raises
    ------
    ValueError
        When shapes do not fit or fewer than 8 frames at distinct places remain.
    """
    centres, places = np.asarray(centres_px, float), np.asarray(positions, float)
    if centres.ndim != 2 or centres.shape[1] != 2 or centres.shape != places.shape:
        raise ValueError(
            f"centres_px and positions must both be (n, 2), got {centres.shape}, {places.shape}"
        )
    use = np.isfinite(centres).all(axis=1) & np.isfinite(places).all(axis=1)
    centres, places = centres[use], places[use]
    middle = places.mean(axis=0) if len(places) else np.zeros(2)
    spread = float(np.abs(places - middle).max(initial=0))
    terms = np.column_stack([np.ones(len(places)), (places - middle) / max(spread, 1e-300)])
    if len(places) < 8 or np.linalg.matrix_rank(terms) < 3:
        raise ValueError(
            f"descan needs at least 8 frames at places in two directions, got {len(places)}"
        )
    weight = np.ones(len(places))
    plane = np.zeros((3, 2))
    for _ in range(10):
        root = np.sqrt(weight)[:, None]
        plane = np.linalg.lstsq(terms * root, centres * root, rcond=None)[0]
        left = np.hypot(*(centres - terms @ plane).T)
        scale = max(1.4826 * float(np.median(left)), 1e-12)
        weight = 1 / np.maximum(1, left / (2 * scale))
    slope = plane[1:].T / spread
    origin = plane[0] - slope @ middle
    inverse = np.linalg.inv(terms.T @ (terms * weight[:, None]))
    variance = float((weight * left**2).sum()) / (2 * max(1, len(places) - 3))
    return Descan(
        (float(origin[0]), float(origin[1])),
        ((float(slope[0, 0]), float(slope[0, 1])), (float(slope[1, 0]), float(slope[1, 1]))),
        math.sqrt(variance * float(np.trace(inverse[1:, 1:]))),
        units,
    )


def lagging(
    commanded: np.ndarray, start: np.ndarray, dwell_s: float, time_constant_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean position during each dwell of first-order coils, and the last position.

    Parameters
    ----------
    commanded : (n, 2) float
    start : (2,) float
        Where the beam was before the first point.
    dwell_s, time_constant_s : float, s

    Returns
    -------
    means : (n, 2) float64
    end : (2,) float64
    """
    if time_constant_s <= 0:
        return np.array(commanded, float), np.array(commanded[-1], float)
    ratio = dwell_s / time_constant_s
    left = math.exp(-ratio)
    ends = np.asarray(scipy.signal.lfilter([1 - left], [1, -left], commanded - start, axis=0))
    before = np.concatenate([start[None], (ends + start)[:-1]])
    return commanded + (before - commanded) * (1 - left) / ratio, ends[-1] + start


def fit_lag(
    commanded: np.ndarray,
    readback: np.ndarray,
    dwell_s: float,
    *,
    first: int = 1,
) -> CoilLag:
    """Identify the coils' time constant from one path, best a spiral of changing speed.

    Parameters
    ----------
    commanded, readback : (n, 2) float, yx
        Any unit; read-backs that are not finite are left out.
    dwell_s : float, s
    first : int
        Points at the beginning that are left out, since nobody knows where the beam came from.

    Raises
    ------
    ValueError
        When shapes do not fit, the dwell is not positive, or fewer than 16 points remain.
    """
    path, seen = np.asarray(commanded, float), np.asarray(readback, float)
    if path.ndim != 2 or path.shape[1] != 2 or path.shape != seen.shape:
        raise ValueError(
            f"commanded and readback must both be (n, 2), got {path.shape}, {seen.shape}"
        )
    if not (np.isfinite(dwell_s) and dwell_s > 0):
        raise ValueError(f"dwell_s must be positive, got {dwell_s}")
    use = np.isfinite(seen).all(axis=1) & (np.arange(len(path)) >= first)
    if np.count_nonzero(use) < 16 or not np.isfinite(path).all():
        raise ValueError("a lag needs at least 16 points that were read back")

    def left(log_tau: np.ndarray) -> np.ndarray:
        tau = dwell_s * math.exp(float(np.ravel(log_tau)[0]))
        return (lagging(path, path[0], dwell_s, tau)[0] - seen)[use].ravel()

    grid = np.linspace(math.log(1e-3), math.log(0.1 * len(path) + 1), 40)
    best = grid[int(np.argmin([float((left(g) ** 2).sum()) for g in grid]))]
    fit = scipy.optimize.least_squares(left, [best], x_scale=0.1)
    tau = dwell_s * math.exp(float(fit.x[0]))
    variance = float((fit.fun**2).mean())
    slope = float((fit.jac**2).sum())
    sigma = tau * math.sqrt(variance / slope) if slope > 0 else math.inf
    return CoilLag(tau, sigma, math.sqrt(2 * variance))


def find_defocus(
    model: Refocusable, low_m: float = -20e-9, high_m: float = 20e-9, steps: int = 21
) -> Defocus:
    """Find the defocus that lets direct ptychography explain the data best.

    Parameters
    ----------
    model : SingleSideband
        With its frames; its aberrations are left at the best value.
    low_m, high_m : float, m
        Where to look; positive is underfocus.
    steps : int
        Of the first, even scan; three golden sections follow round the best.

    Raises
    ------
    ValueError
        When the range is empty or there are too few steps.
    """
    if not (np.isfinite([low_m, high_m]).all() and low_m < high_m):
        raise ValueError(f"low_m must be below high_m, both finite, got {low_m} and {high_m}")
    if not 5 <= steps <= 500:
        raise ValueError(f"steps must lie between 5 and 500, got {steps}")
    known = float(model.experiment.defocus_m)

    def error(defocus_m: float) -> float:
        model.set_optics(aberrations={"C10": known - defocus_m})
        return model.phase()[1]

    tried = np.linspace(low_m, high_m, steps)
    errors = np.array([error(float(d)) for d in tried])
    best = int(np.argmin(errors))
    step = float(tried[1] - tried[0])
    bounds = max(low_m, tried[best] - step), min(high_m, tried[best] + step)
    found: Any = scipy.optimize.minimize_scalar(
        lambda d: error(float(d) * step),
        bounds=(bounds[0] / step, bounds[1] / step),
        method="bounded",
        options={"xatol": 0.01},
    )
    defocus, least = float(found.x) * step, float(found.fun)
    error(defocus)
    contrast = float(errors.max() - least) / max(float(errors.max()), 1e-30)
    near = tried[errors < least + 0.05 * (errors.max() - least)]
    sigma = max(0.02 * step, 0.25 * float(np.ptp(near)) if len(near) > 1 else 0.1 * step)
    return Defocus(defocus, sigma, least, contrast)
