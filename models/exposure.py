"""What a trajectory does to the specimen: dose, revisits and jumps.

Dose is not one number for a path that is not a raster: the map says where it went, the maximum
says what the worst-treated place got, the revisit interval says how long it could recover.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

_ELEMENTARY_CHARGE_C = 1.602176634e-19  # exact, SI 2019
_LARGEST_MAP = 1024


def dose_map(
    positions_nm: np.ndarray, dose_e_per_point: float, pixel_nm: float, probe_nm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Dose on a grid, the probe taken as a Gaussian.

    Parameters
    ----------
    positions_nm : (n, 2) float, nm, yx
    dose_e_per_point : float, electrons
    pixel_nm : float, nm
        Made coarser where the map would have more than 1024 pixels a side.
    probe_nm : float, nm
        Full width at half maximum of the probe.

    Returns
    -------
    dose : (ny, nx) float64, electrons per square angstrom
    origin_and_pixel : (3,) float64, nm
        y and x of the centre of the first pixel, and the pixel as used.
    """
    low, high = positions_nm.min(axis=0), positions_nm.max(axis=0)
    sigma_nm = probe_nm / 2.3548
    pixel = max(pixel_nm, float((high - low).max()) / _LARGEST_MAP, 8 * sigma_nm / _LARGEST_MAP)
    pad = math.ceil(4 * sigma_nm / pixel) + 1
    shape = np.ceil((high - low) / pixel).astype(int) + 2 * pad + 2
    place = (positions_nm - low) / pixel + pad
    first = np.floor(place).astype(int)
    fraction = place - first
    out = np.zeros(shape)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - fraction[:, 0]) * np.abs(1 - dx - fraction[:, 1])
            np.add.at(out, (first[:, 0] + dy, first[:, 1] + dx), weight)
    out = gaussian_filter(out, sigma_nm / pixel, mode="constant")
    origin = low - pad * pixel
    return out * dose_e_per_point / (pixel * 10) ** 2, np.array([*origin, pixel])


def dose(
    positions_nm: np.ndarray, area_nm2: float, dose_e_per_point: float, probe_nm: float
) -> tuple[float, float]:
    """Mean and maximum dose.

    Parameters
    ----------
    positions_nm : (n, 2) float, nm, yx
    area_nm2 : float, nm2
        The area that the positions stand for; NaN takes the bounding box.
    dose_e_per_point : float, electrons
    probe_nm : float, nm
        Full width at half maximum of the probe.

    Returns
    -------
    mean, maximum : float, electrons per square angstrom
    """
    if not area_nm2 > 0:
        sides = np.maximum(np.ptp(positions_nm, axis=0), probe_nm)
        area_nm2 = float(sides.prod())
    mean = len(positions_nm) * dose_e_per_point / (area_nm2 * 100)
    local, _ = dose_map(positions_nm, dose_e_per_point, probe_nm / 3, probe_nm)
    return mean, float(local.max())


def revisit_interval(
    positions: np.ndarray, dwell_s: float, radius: float, *, places: int = 256
) -> float | None:
    """Median time between leaving a place and coming back within `radius`.

    Parameters
    ----------
    positions : (n, 2) float
    dwell_s : float, s
    radius : float, in the unit of the positions
    places : int
        At most so many places, evenly spread over the path, are looked at.

    Returns
    -------
    interval_s : float, s, or None
        None where no place is visited again.
    """
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(places, len(positions))).astype(int))
    tree = KDTree(positions)
    gaps: list[int] = []
    for visits in tree.query_ball_point(positions[chosen], radius):
        steps = np.diff(np.sort(np.asarray(visits, np.int64)))
        gaps.extend(steps[steps > 1].tolist())
    return float(np.median(np.asarray(gaps, float))) * dwell_s if gaps else None


def jumps(positions: np.ndarray) -> np.ndarray:
    """Distances between one position and the next.

    Parameters
    ----------
    positions : (n, 2) float

    Returns
    -------
    distances : (n - 1,) float64, in the unit of the positions
    """
    return np.hypot(*np.diff(positions, axis=0).T)
