"""Where boxes lie on the object: scales, frames of reference, corners and sub-pixel offsets.

The detector's axes and the object's axes are one frame of reference, joined by the Fourier
transform. The scan's axes may be turned against it by the scan rotation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.spatial

from ..base import Batch
from ..experiment import Experiment, MissingMetadata


def object_pixel_m(
    wavelength_m: float, angular_sampling_rad: tuple[float, float], shape: tuple[int, int]
) -> tuple[float, float]:
    """Return the size of an object pixel, ``wavelength / (N * angular sampling)``, yx.

    Parameters
    ----------
    wavelength_m : float, m
    angular_sampling_rad : (y, x), rad per detector pixel
    shape : (h, w)
        Pixels of the detector.
    """
    sampling_y, sampling_x = angular_sampling_rad
    return wavelength_m / (shape[0] * sampling_y), wavelength_m / (shape[1] * sampling_x)


def turn(vectors: np.ndarray, rotation_rad: float) -> np.ndarray:
    """Turn (n, 2) yx vectors from +x towards +y.

    With the scan rotation this takes components in the scan's frame to components in the
    detector's; with its negative, back.
    """
    cos, sin = math.cos(rotation_rad), math.sin(rotation_rad)
    y, x = vectors[..., 0], vectors[..., 1]
    return np.stack([y * cos + x * sin, x * cos - y * sin], axis=-1)


def into_scan(vectors: np.ndarray, rotation_rad: float, transposed: bool) -> np.ndarray:
    """Return (n, 2) yx vectors of the detector's frame in the scan's frame."""
    vectors = vectors[..., ::-1] if transposed else vectors
    return turn(vectors, -rotation_rad)


def into_detector(vectors: np.ndarray, rotation_rad: float, transposed: bool) -> np.ndarray:
    """Return (n, 2) yx vectors of the scan's frame in the detector's frame."""
    turned = turn(vectors, rotation_rad)
    return turned[..., ::-1] if transposed else turned


def batch_positions(batch: Batch, units: str) -> np.ndarray:
    """Return a batch's positions (n, 2) float64 in `units`, "m" or "px".

    Raises
    ------
    MissingMetadata
        When the batch has none.
    ValueError
        When one is not finite.
    """
    name = f"positions_{units}"
    if name not in batch.coordinates:
        raise MissingMetadata(name, "a scan that records its positions")
    positions = np.asarray(batch.coordinates[name], np.float64)
    if positions.shape != (len(batch), 2):
        raise ValueError(f"{name} must be ({len(batch)}, 2) yx, got {positions.shape}")
    if not np.all(np.isfinite(positions)):
        raise ValueError(f"{name} must be finite; leave out frames without a position")
    return positions


@dataclass(frozen=True)
class Canvas:
    """The object's array around a set of boxes.

    Parameters
    ----------
    shape : (H, W)
    corners : (n, 2) int64
        Corner of each frame's box.
    offsets : (n, 2) float64, pixels
        What is left of the position, within half a pixel.
    origin_px : (y, x) float64, object pixels
        Position of the canvas's pixel [0, 0] in the positions' own coordinates.
    """

    shape: tuple[int, int]
    corners: np.ndarray
    offsets: np.ndarray
    origin_px: np.ndarray

    @classmethod
    def around(cls, positions_px: np.ndarray, box: tuple[int, int], margin: int = 2) -> Canvas:
        """Lay a canvas round boxes whose centres ``[h // 2, w // 2]`` are at positions."""
        half = np.array([box[0] // 2, box[1] // 2])
        low = np.floor(positions_px.min(axis=0)).astype(np.int64) - half - margin
        high = np.ceil(positions_px.max(axis=0)).astype(np.int64) - half + np.array(box) + margin
        height, width = (int(side) for side in high - low)
        whole = np.rint(positions_px)
        corners = whole.astype(np.int64) - half - low
        return cls((height, width), corners, positions_px - whole, low.astype(float))


def positions_in_pixels(
    positions: np.ndarray, experiment: Experiment, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in the detector's frame (n, 2), object pixels, and the pixel (2,), m.

    The pixel is NaN where the scale is unknown.

    Parameters
    ----------
    positions : (n, 2) float64, yx
        In the scan's frame and the experiment's units.
    experiment : Experiment
    shape : (h, w)
        Pixels of the detector.
    """
    rotation, transposed = experiment.scan_rotation_rad, bool(experiment.transposed)
    turned = into_detector(positions, rotation, transposed)
    if experiment.units == "px":
        return turned, np.array(pixel_or_nan(experiment, shape))
    pixel = np.array(
        object_pixel_m(
            experiment.need("wavelength_m"), experiment.need("angular_sampling_rad"), shape
        )
    )
    return turned / pixel, pixel


def pixel_or_nan(experiment: Experiment, shape: tuple[int, int]) -> tuple[float, float]:
    """Return the object pixel yx in metres, NaN where the metadata do not tell it."""
    if experiment.wavelength_m is None or experiment.angular_sampling_rad is None:
        return math.nan, math.nan
    return object_pixel_m(experiment.wavelength_m, experiment.angular_sampling_rad, shape)


def median_spacing(positions: np.ndarray) -> float:
    """Return the median distance from a position (n, 2) to its nearest other, 0 for one alone."""
    distinct = np.unique(positions, axis=0)
    if len(distinct) < 2:
        return 0.0
    distances = np.asarray(scipy.spatial.KDTree(distinct).query(distinct, k=2)[0])
    return float(np.median(distances[:, 1]))
