"""Where each pixel of a detector looks: q, 2theta, solid angle and polarisation, by pyFAI."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

Unit = Literal["q_per_a", "two_theta_deg"]
Flip = Literal["none", "vertical", "horizontal", "both"]
UNITS: dict[str, str] = {"q_per_a": "q_A^-1", "two_theta_deg": "2th_deg"}
LABELS: dict[str, str] = {"q_per_a": "1/angstrom", "two_theta_deg": "degree"}
FLIPS: dict[str, tuple[slice, slice]] = {
    "none": (slice(None), slice(None)),
    "vertical": (slice(None, None, -1), slice(None)),
    "horizontal": (slice(None), slice(None, None, -1)),
    "both": (slice(None, None, -1), slice(None, None, -1)),
}


class GeometryError(ValueError):
    """A geometry cannot be read, or does not fit the detector."""


@dataclass(frozen=True)
class Geometry:
    """Pixels of a detector as a beam on a specimen sees them; all arrays are (h, w).

    Parameters
    ----------
    unit : {"q_per_a", "two_theta_deg"}
    radial : (h, w) float64, 1/angstrom or degrees
        Of each pixel's centre.
    half_width : (h, w) float64
        Largest distance in `radial` from the centre to a corner of the pixel.
    solid_angle : (h, w) float64
        Relative to a pixel that faces the specimen at the detector's distance.
    polarisation : (h, w) float64
    mask : (h, w) bool
        True where the detector has no pixel.
    wavelength_a : float, angstrom
    """

    unit: Unit
    radial: np.ndarray
    half_width: np.ndarray
    solid_angle: np.ndarray
    polarisation: np.ndarray
    mask: np.ndarray
    wavelength_a: float

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.radial.shape  # type: ignore[return-value]  it is 2-d

    def extents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how far each pixel reaches in `radial` along its two sides, (h, w) each."""
        if min(self.shape) < 2:
            return self.half_width * 2, np.zeros(self.shape)
        along_y, along_x = np.gradient(self.radial)
        return np.abs(along_y), np.abs(along_x)


def geometry_from_poni(
    poni: str | Path,
    shape: tuple[int, int],
    *,
    unit: Unit = "q_per_a",
    flip: Flip = "none",
    polarisation_factor: float | None = None,
) -> Geometry:
    """Read a .poni file for frames of a shape.

    Parameters
    ----------
    poni : path
    shape : (h, w)
        Of the frames.
    unit : {"q_per_a", "two_theta_deg"}
    flip : {"none", "vertical", "horizontal", "both"}
        How the frames lie to the image that the .poni belongs to: "vertical" where rows run the
        other way.
    polarisation_factor : float, optional
        From -1 to 1; near 1 for a synchrotron's horizontal polarisation. Not corrected where it is
        left out.

    Raises
    ------
    GeometryError
        When the file cannot be read, says no wavelength, or its detector has another shape.
    """
    path = Path(poni)
    if not path.is_file():
        raise GeometryError(f"no .poni file at {path}; give the path of an existing file")
    stamp = path.stat().st_mtime_ns
    h, w = shape
    return _from_poni(str(path), stamp, (int(h), int(w)), unit, flip, polarisation_factor)


@functools.lru_cache(maxsize=4)
def _from_poni(
    path: str,
    stamp: int,
    shape: tuple[int, int],
    unit: Unit,
    flip: Flip,
    polarisation_factor: float | None,
) -> Geometry:
    import pyFAI  # heavy, and only diffraction needs it

    try:
        integrator = pyFAI.load(path)
    except Exception as error:  # pyFAI raises anything for a file that is none
        raise GeometryError(f"{path} is no .poni file that pyFAI reads: {error}") from error
    if not integrator.wavelength:
        raise GeometryError(f"{path} states no wavelength; add a line 'Wavelength: 4.066e-11' (m)")
    detector: Any = integrator.detector
    known = detector.max_shape
    if known is not None and tuple(known) != tuple(shape):
        raise GeometryError(
            f"{path} belongs to a detector of {known[0]} x {known[1]} pixels, but the frames have"
            f" {shape[0]} x {shape[1]}; give the .poni of this detector"
        )
    return _measured(integrator, shape, unit, flip, polarisation_factor)


def geometry_from_distance(
    shape: tuple[int, int],
    *,
    wavelength_a: float,
    distance_m: float,
    pixel_m: tuple[float, float],
    center_px: tuple[float, float] | None = None,
    unit: Unit = "q_per_a",
    flip: Flip = "none",
    polarisation_factor: float | None = None,
) -> Geometry:
    """Return the geometry of a detector that stands upright in the beam.

    Parameters
    ----------
    shape : (h, w)
    wavelength_a : float, angstrom
    distance_m : float, m
    pixel_m : (y, x), m
    center_px : (y, x), pixels, optional
        Where the beam meets the detector, (0, 0) at the first pixel's centre; by default
        ``(h // 2, w // 2)``, where frames have it.
    unit, flip, polarisation_factor
        As of `geometry_from_poni`.

    Raises
    ------
    GeometryError
        For numbers that are not positive.
    """
    for name, value in (
        ("wavelength_a", wavelength_a),
        ("distance_m", distance_m),
        ("pixel_m", min(pixel_m)),
    ):
        if not 0 < value < np.inf:
            raise GeometryError(f"{name} must be positive and finite, got {value!r}")
    from pyFAI.detectors import Detector
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    y, x = (n // 2 for n in shape) if center_px is None else center_px
    integrator = AzimuthalIntegrator(
        dist=distance_m,
        poni1=(y + 0.5) * pixel_m[0],
        poni2=(x + 0.5) * pixel_m[1],
        detector=Detector(pixel1=pixel_m[0], pixel2=pixel_m[1], max_shape=tuple(shape)),
        wavelength=wavelength_a * 1e-10,
    )
    return _measured(integrator, shape, unit, flip, polarisation_factor)


def _measured(
    integrator: Any,
    shape: tuple[int, int],
    unit: Unit,
    flip: Flip,
    polarisation_factor: float | None,
) -> Geometry:
    if unit not in UNITS:
        raise GeometryError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    if flip not in FLIPS:
        raise GeometryError(f"flip must be one of {', '.join(FLIPS)}, got {flip!r}")
    factor = polarisation_factor
    if factor is not None and not -1 <= factor <= 1:
        raise GeometryError(f"polarisation_factor must lie between -1 and 1, got {factor!r}")
    turned = FLIPS[flip]

    def seen(values: Any) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(values)[turned])

    name = UNITS[unit]
    mask = integrator.detector.mask
    return Geometry(
        unit=unit,
        radial=seen(integrator.array_from_unit(shape, "center", name, scale=True)),
        half_width=seen(integrator.array_from_unit(shape, "delta", name, scale=True)),
        solid_angle=seen(_solid_angle(integrator, shape)),
        polarisation=seen(_polarisation(integrator, shape, factor)),
        mask=seen(np.zeros(shape, bool) if mask is None else np.asarray(mask, bool)),
        wavelength_a=float(integrator.wavelength) * 1e10,
    )


def _solid_angle(integrator: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return cos^3 of the angle of incidence, in double precision, which pyFAI's own is not."""
    if getattr(integrator, "spline", None):
        return np.asarray(integrator.solidAngleArray(shape), float)  # distorted: areas differ
    rows, columns = np.indices(shape, float)
    return np.asarray(integrator.cos_incidence(rows, columns), float).reshape(shape) ** 3


def _polarisation(integrator: Any, shape: tuple[int, int], factor: float | None) -> np.ndarray:
    """Return pyFAI's polarisation correction before it is rounded to single precision."""
    if factor is None:
        return np.ones(shape)
    angle = {"typ": "center", "scale": False}
    cos2 = np.cos(integrator.array_from_unit(shape, unit="2th_rad", **angle)) ** 2
    around = np.cos(2 * np.asarray(integrator.array_from_unit(shape, unit="chi_rad", **angle)))
    return 0.5 * (1 + cos2 - factor * around * (1 - cos2))
