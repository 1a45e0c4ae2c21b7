"""Virtual detectors: rings and masks, and the runs of good pixels that the kernel sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .experiment import Experiment

Detectors = Mapping[str, Sequence[float] | np.ndarray]


def ring(
    shape: tuple[int, int],
    centre_px: tuple[float, float],
    inner: float,
    outer: float,
    sampling: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Return the pixels with ``inner <= radius < outer``.

    Parameters
    ----------
    shape : (h, w)
    centre_px : (y, x), detector pixels
    inner, outer : float
        In the unit of `sampling`.
    sampling : (y, x)
        Radius per pixel.

    Returns
    -------
    (h, w) bool
    """
    y = (np.arange(shape[0]) - centre_px[0]) * sampling[0]
    x = (np.arange(shape[1]) - centre_px[1]) * sampling[1]
    radius = np.hypot(y[:, None], x[None])
    return (radius >= inner) & (radius < outer)


def default_detectors(
    shape: tuple[int, int], angle: float, sampling: tuple[float, float]
) -> Detectors:
    """Return a bright-field disk up to `angle` and an annular dark field beyond 1.1 times it."""
    edge = min(n * d / 2 for n, d in zip(shape, sampling, strict=True))
    detectors: dict[str, tuple[float, float]] = {"bf": (0.0, angle)}
    if edge > 1.1 * angle:
        detectors["adf"] = (1.1 * angle, edge)
    return detectors


def disk_radius_px(mean_frame: np.ndarray) -> float:
    """Return the radius of the disk that holds the pixels above half of the plateau.

    The plateau is the 99th percentile, so that hot pixels do not count.
    """
    plateau = np.percentile(mean_frame, 99)
    area = np.count_nonzero(mean_frame > 0.5 * plateau)
    return float(max(1.0, np.sqrt(area / np.pi)))


def masks(
    detectors: Detectors,
    shape: tuple[int, int],
    centre_px: tuple[float, float],
    sampling: tuple[float, float],
) -> dict[str, np.ndarray]:
    """Return each detector as a mask (h, w) bool.

    Raises
    ------
    ValueError
        When a detector is neither a ring nor a mask of the frames' shape, or holds no pixel.
    """
    out = {}
    for name, value in detectors.items():
        array = np.asarray(value)
        if array.ndim == 2:
            if array.shape != shape:
                raise ValueError(
                    f"the mask {name!r} must be {shape} like a frame, not {array.shape}"
                )
            mask = array.astype(bool)
        elif array.shape == (2,) and 0 <= array[0] < array[1]:
            mask = ring(shape, centre_px, float(array[0]), float(array[1]), sampling)
        else:
            raise ValueError(
                f"the detector {name!r} must be (inner, outer) with 0 <= inner < outer, or a mask"
                f" of a frame's shape, got {value!r}"
            )
        if not mask.any():
            raise ValueError(
                f"the detector {name!r} holds no pixel of a frame of {shape}; check its radii"
            )
        out[name] = mask
    return out


def runs_of(detectors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the runs of masks (h, w), (r, 4) uint64: row, first and last column, which mask.

    The last column is exclusive; runs are in order of rows.
    """
    tables = []
    for number, mask in enumerate(detectors):
        edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
        row, start = np.nonzero(edges == 1)
        stop = np.nonzero(edges == -1)[1]
        tables.append(np.stack([row, start, stop, np.full_like(row, number)], axis=1))
    runs = np.concatenate(tables)
    return runs[np.argsort(runs[:, 0], kind="stable")].astype(np.uint64)


def scale_of(experiment: Experiment) -> tuple[tuple[float, float], float | None]:
    """Return radius per pixel and the disk's radius: mrad where sampling is known, else px."""
    sampling, angle = experiment.angular_sampling_rad, experiment.semi_convergence_angle_rad
    if sampling is None:
        return (1.0, 1.0), None
    mrad = (sampling[0] * 1e3, sampling[1] * 1e3)
    return mrad, None if angle is None else angle * 1e3


def check_detectors(detectors: Any) -> None:
    """Refuse what is not a mapping of names that quantities may have.

    Raises
    ------
    ValueError
        When it is not a mapping or a name is taken.
    """
    taken = {"sum", "com_mrad", "com_px", "idpc", "centre_px", "flags", "scan_index"}
    taken |= {"scan_rotation_deg", "transposed", "ellipticity", "disk_radius_px", "disk_centre_px"}
    if not isinstance(detectors, Mapping) or not detectors:
        raise ValueError("detectors must be a mapping of a name to (inner, outer) or to a mask")
    clash = sorted(taken & set(detectors))
    if clash:
        raise ValueError(f"a detector may not be named {clash[0]!r}; that is a result's name")
