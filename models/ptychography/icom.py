"""Integrated centre of mass from the canvas of direct ptychography."""

from __future__ import annotations

import numpy as np

from ..scan_image import integrate_gradient
from .bright_field import BrightField
from .geometry import into_scan
from .optics import Optics
from .scan_canvas import ScanCanvas

_LEAST = 1e-3


def deflection_rad(
    canvas: ScanCanvas, field: BrightField, optics: Optics
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centre of mass of the bright field, in the scan's frame.

    Parameters
    ----------
    canvas : ScanCanvas
    field : BrightField
    optics : Optics

    Returns
    -------
    (y, x) of (H, W) float64, rad
        Relative to their means; NaN where nothing is.
    """
    values, weight, _ = canvas.touched
    angles = field.angles_rad(optics).astype(np.float32)
    total = values.sum(axis=2, dtype=np.float64)
    moments = (values.reshape(-1, values.shape[2]) @ angles).reshape(*weight.shape, 2)
    seen = (weight > _LEAST) & (total > 0)
    com = np.full((*weight.shape, 2), np.nan)
    com[seen] = moments[seen] / total[seen][:, None]
    if seen.any():
        com -= com[seen].mean(axis=0)
    turned = into_scan(com, optics.scan_rotation_rad, optics.transposed)
    return turned[..., 0], turned[..., 1]


def icom_phase(canvas: ScanCanvas, field: BrightField, optics: Optics) -> np.ndarray:
    """Return the phase whose gradient deflects the beam as was seen.

    ``grad phase = 2 pi / wavelength * deflection`` (Lazic, Bosch & Lazar, Ultramicroscopy 160, 265
    (2016)), of the bright field only: the phase as a focused probe sees it, without what
    scatters beyond the disk. Aberrations do not enter.

    Parameters
    ----------
    canvas : ScanCanvas
    field : BrightField
    optics : Optics

    Returns
    -------
    (H, W) float32, rad
        On the canvas, mean-free; positive where atoms are; 0 where nothing is.
    """
    per_rad = 2 * np.pi / optics.wavelength_m * canvas.step
    gradient = (per_rad * part for part in deflection_rad(canvas, field, optics))
    return np.nan_to_num(integrate_gradient(*gradient)).astype(np.float32)
