"""How the detector lies against the scan: rotation and transposition from the centre of mass.

The deflection of the beam is a gradient, so in the scan's own frame it has no curl (de Graaf,
Momand, Mitterbauer, Lazar & Kooi, Sci. Adv. 6, eaay8163 (2020)). Turning by 180 degrees leaves the
curl as it is and changes the sign of the phase: atoms scatter to high angles and are peaks of the
phase, and that decides. A flip of the detector is a transposition and a rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage

from .ptychography.geometry import turn

MIN_PIXELS = 64
MAX_CURL = 0.4
_SECTORS = 16


@dataclass(frozen=True)
class ScanFrame:
    """Rotation and transposition of the detector against the scan.

    Parameters
    ----------
    scan_rotation_deg : float, deg
        From the detector's +x axis to the scan's, positive towards +y, in (-180, 180].
    transposed : bool
        The detector's rows and columns are swapped before it is turned.
    sigma_deg : float, deg
        Standard error (jackknife over 16 directions of the spectrum).
    curl : float
        Share of the field's power that has curl; 0 for a gradient, 0.5 for noise.
    sign_by : {"dark field", "peaks", "nothing"}
        What told the rotation from the one 180 degrees further.
    sign_score : float
        How clearly, from 0 to 1.
    """

    scan_rotation_deg: float
    transposed: bool
    sigma_deg: float
    curl: float
    sign_by: str
    sign_score: float

    @property
    def trust(self) -> bool:
        """Whether the field was a gradient at all, and the sign was told."""
        return self.curl < MAX_CURL and self.sign_by != "nothing"

    def to_metadata(self) -> dict[str, Any]:
        """Return keys of a start document."""
        return {
            "scan_rotation_deg": self.scan_rotation_deg,
            "scan_rotation_sigma_deg": self.sigma_deg,
            "transposed": self.transposed,
            "scan_rotation_curl": self.curl,
            "scan_rotation_sign_by": self.sign_by,
        }


def find_scan_frame(
    deflection_y: np.ndarray,
    deflection_x: np.ndarray,
    dark_field: np.ndarray | None = None,
    *,
    transposed: bool | None = None,
    rotation_deg: float | None = None,
) -> ScanFrame:
    """Find rotation and transposition from pictures of the deflection.

    Parameters
    ----------
    deflection_y, deflection_x : (ny, nx) float64
        Deflection in the detector's frame (an angle, the same unit in both), on the scan's grid;
        NaN where nothing was seen.
    dark_field : (ny, nx) float64 or None
        Brighter where atoms are.
    transposed : bool or None
        Known, or to be found.
    rotation_deg : float or None
        Known, or to be found.

    Raises
    ------
    ValueError
        When the pictures do not fit each other, or hold fewer than 64 pixels.
    """
    fields = np.stack([deflection_y, deflection_x], axis=-1).astype(np.float64)
    if fields.ndim != 3:
        raise ValueError(f"deflections must be (ny, nx) pictures, got {fields.shape[:-1]}")
    seen = np.asarray(np.isfinite(fields).all(axis=-1))
    if np.count_nonzero(seen) < MIN_PIXELS or min(seen.shape) < 8:
        raise ValueError(
            f"the scan frame needs at least {MIN_PIXELS} pixels in 8 lines, got"
            f" {np.count_nonzero(seen)} of {seen.shape}"
        )
    window = _window(seen)
    fields = np.where(seen[..., None], _without_plane(fields, seen), 0.0) * window[..., None]
    choices = [False, True] if transposed is None else [bool(transposed)]
    found = [_turned(fields[..., ::-1] if t else fields, rotation_deg) for t in choices]
    best = int(np.argmin([curl for _, _, curl in found]))
    angle, sigma, curl = found[best]
    flat = fields[..., ::-1] if choices[best] else fields
    positive, by, score = _sign(turn(flat, -angle), dark_field, window)
    if rotation_deg is None and not positive:
        angle += math.pi
    degrees = math.degrees(angle) if rotation_deg is None else float(rotation_deg)
    degrees = 180 - (180 - degrees) % 360
    return ScanFrame(degrees, choices[best], math.degrees(sigma), curl, by, score)


def _window(seen: np.ndarray) -> np.ndarray:
    distance = np.asarray(scipy.ndimage.distance_transform_edt(np.pad(_filled(seen), 1)))[
        1:-1, 1:-1
    ]
    reach = max(2.0, min(seen.shape) / 5)
    return np.sin(np.pi / 2 * np.clip(distance / reach, 0, 1)) ** 2


def _filled(seen: np.ndarray) -> np.ndarray:
    """Close single gaps, so that a dropped frame makes no hole in the window."""
    return np.asarray(scipy.ndimage.binary_closing(np.pad(seen, 2), iterations=2))[2:-2, 2:-2]


def _without_plane(fields: np.ndarray, seen: np.ndarray) -> np.ndarray:
    y, x = np.indices(seen.shape)
    terms = np.stack([np.ones(seen.shape), y - y.mean(), x - x.mean()], axis=-1)
    inside, wanted = terms[seen], fields[seen]
    # by the normal equations: a decomposition sets every BLAS thread spinning
    normal = np.einsum("ni,nj->ij", inside, inside)
    plane = np.linalg.solve(normal, np.einsum("ni,nj->ij", inside, wanted))
    return fields - np.einsum("yxi,ij->yxj", terms, plane)


def _turned(fields: np.ndarray, rotation_deg: float | None) -> tuple[float, float, float]:
    """Return the angle that leaves least curl, its standard error (rad) and the share of curl."""
    ny, nx = fields.shape[:2]
    qy = scipy.fft.fftfreq(ny)[:, None]
    qx = scipy.fft.rfftfreq(nx)[None]
    q = np.hypot(qy, qx)
    spectrum = [np.asarray(scipy.fft.rfft2(fields[..., k])) for k in (0, 1)]
    weight = np.where((q > 0) & (q < 0.5), 1 / np.sqrt(np.maximum(q, 1e-9)), 0)
    curl = (qx * spectrum[0] - qy * spectrum[1]) * weight
    div = (qy * spectrum[0] + qx * spectrum[1]) * weight
    sector = (np.arctan2(qy, qx + 0 * qy) / np.pi + 0.5) * _SECTORS
    sector = np.clip(sector.astype(int), 0, _SECTORS - 1).ravel()
    parts = np.stack(
        [
            np.bincount(sector, values.ravel(), minlength=_SECTORS)
            for values in (
                np.abs(curl) ** 2,
                np.abs(div) ** 2,
                (curl * div.conj()).real,
            )
        ],
        axis=1,
    )
    whole = parts.sum(axis=0)
    angle = _least_curl(whole)
    left_out = np.array([_least_curl(whole - part) for part in parts])
    moved = (left_out - angle + np.pi / 2) % np.pi - np.pi / 2
    sigma = math.sqrt((_SECTORS - 1) / _SECTORS * float((moved**2).sum()))
    if rotation_deg is not None:
        angle, sigma = math.radians(rotation_deg), 0.0
    a, b, c = whole
    left = a * math.cos(angle) ** 2 + b * math.sin(angle) ** 2 - c * math.sin(2 * angle)
    return angle, sigma, float(left / max(a + b, 1e-300))


def _least_curl(powers: np.ndarray) -> float:
    # turned back by t, the curl is curl cos t - div sin t
    curl, div, cross = powers
    return 0.5 * math.atan2(2 * cross, div - curl)


def _sign(
    fields: np.ndarray, dark_field: np.ndarray | None, window: np.ndarray
) -> tuple[bool, str, float]:
    """Return whether the phase is positive where atoms are, by what, and how clearly."""
    ny, nx = fields.shape[:2]
    qy, qx = scipy.fft.fftfreq(ny)[:, None], scipy.fft.rfftfreq(nx)[None]
    q2 = np.maximum(qy**2 + qx**2, 1e-12)
    fy, fx = (np.asarray(scipy.fft.rfft2(fields[..., k])) for k in (0, 1))
    damped = np.exp(-q2 / (2 * 0.25**2)) * (q2 > (2 / min(ny, nx)) ** 2)
    phase = np.asarray(scipy.fft.irfft2(-1j * (qy * fy + qx * fx) / q2 * damped, s=(ny, nx)))
    inner = window > 0.5
    if dark_field is not None:
        inner = inner & np.isfinite(dark_field)
        if np.count_nonzero(inner) >= MIN_PIXELS // 2 and np.ptp(dark_field[inner]) > 0:
            dark = np.where(np.isfinite(dark_field), dark_field, np.mean(dark_field[inner]))
            dark = dark - scipy.ndimage.gaussian_filter(dark, min(ny, nx) / 4)
            r = float(np.corrcoef(dark[inner], phase[inner])[0, 1])
            if abs(r) > 4 / math.sqrt(np.count_nonzero(inner)):
                return r > 0, "dark field", abs(r)
    values = phase[inner]
    spread = float(values.std()) if len(values) else 0.0
    if not spread > 0:
        return True, "nothing", 0.0
    skew = float(np.mean((values - values.mean()) ** 3)) / spread**3
    if abs(skew) < 3 * math.sqrt(6 / len(values)):
        return True, "nothing", abs(skew)
    return skew > 0, "peaks", min(1.0, abs(skew))
