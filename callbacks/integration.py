"""Patterns of every frame of an area detector: I(q) with sigma, as frames arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..models.base import Batch
from ..models.diffraction.geometry import (
    FLIPS,
    Geometry,
    GeometryError,
    Unit,
    geometry_from_distance,
    geometry_from_poni,
)
from ..models.diffraction.integration import MONITOR, Integration
from ..models.diffraction.integrator import Integrator
from ..models.experiment import MissingMetadata
from ..models.physics import photon_wavelength_m
from .live import LiveCallback
from .metadata import METADATA_KEYS
from .publish import Publisher

UNIT_NAMES: dict[str, Unit] = {
    "q": "q_per_a",
    "q_per_a": "q_per_a",
    "two_theta": "two_theta_deg",
    "two_theta_deg": "two_theta_deg",
}


def integration(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    poni: str | None = None,
    flip: str = "none",
    mask: str | None = None,
    dark: str | None = None,
    flat: str | None = None,
    bins: int = 2000,
    unit: str = "q",
    split: str = "bbox",
    polarisation: float | None = None,
    range: Sequence[float] | None = None,
    saturation_counts: float | None = None,
    monitor: str = MONITOR,
    wavelength_a: float | None = None,
    center_px: Sequence[float] | None = None,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `integration` for a run of images.

    Parameters
    ----------
    start : mapping
        The run's start document. Without a .poni its ``energy_kev``, ``detector_distance_m`` and
        ``detector_pixel_m`` are used.
    publisher : callable () -> Publisher
    poni : str, optional
        File with the geometry.
    flip : "none", "vertical", "horizontal" or "both"
        How the frames lie to the image that the .poni belongs to.
    mask, dark, flat : str, optional
        Files (.npy, or an image that fabio reads) as the frames lie: pixels to leave out (not
        zero), counts to subtract, efficiency to divide by. A dark, a gain and bad pixels that the
        run brings are used as well.
    bins : int
    unit : "q" or "two_theta"
    split : "bbox" or "no"
    polarisation : float, optional
        From -1 to 1; not corrected where it is left out.
    range : (lowest, highest), optional
        Of the axis, 1/angstrom or degrees.
    saturation_counts : float, counts, optional
        Pixels with so many are left out.
    monitor : str
        Coordinate by which intensities are divided, where batches have it.
    wavelength_a : float, angstrom, optional
    center_px : (y, x), pixels, optional
        Where the beam meets the detector, without a .poni.
    **metadata
        Keys that take the place of those in the start document.

    Raises
    ------
    ValueError
        For a setting out of its range.
    """
    chosen = {"flip": flip, "unit": unit, "split": split, "bins": bins, "range": range}
    check({**chosen, "polarisation": polarisation, "poni": poni})
    stated = {**start, **metadata}

    def build(batch: Batch) -> Integration:
        if batch.frames.ndim != 3:
            raise ValueError(
                "integration needs images (n, h, w); these are patterns of one line, which are"
                " integrated already"
            )
        h, w = batch.frames.shape[1:]
        frame: dict[str, Any] = {
            "unit": UNIT_NAMES[unit],
            "flip": flip,
            "polarisation_factor": None if polarisation is None else float(polarisation),
        }
        geometry = (
            geometry_from_poni(poni, (h, w), **frame)
            if poni is not None
            else _stated_geometry(stated, (h, w), wavelength_a, center_px, frame)
        )
        return Integration(_integrator(batch, geometry), monitor=monitor)

    def _integrator(batch: Batch, geometry: Geometry) -> Integrator:
        have = batch.corrections
        bad = None if mask is None else _image(mask) != 0
        if have.bad_pixels is not None:
            bad = have.bad_pixels if bad is None else _both(bad, have.bad_pixels)
        gain = None
        if have.gain is not None:
            with np.errstate(divide="ignore"):
                gain = 1 / np.asarray(have.gain, float)
        return Integrator(
            geometry,
            bins=int(bins),
            split=split,  # type: ignore[arg-type]  checked above
            mask=bad,
            dark=_image(dark) if dark is not None else have.dark,
            flat=_image(flat) if flat is not None else gain,
            limits=None if range is None else (float(range[0]), float(range[1])),
            saturation=saturation_counts,
        )

    return LiveCallback(start, publisher, build)


def _both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one | other if one.shape == other.shape else one


def _stated_geometry(
    stated: Mapping[str, Any],
    shape: tuple[int, int],
    wavelength_a: float | None,
    center_px: Sequence[float] | None,
    frame: Mapping[str, Any],
) -> Geometry:
    if wavelength_a is None and stated.get("energy_kev"):
        wavelength_a = photon_wavelength_m(float(stated["energy_kev"])) * 1e10
    if wavelength_a is None:
        raise MissingMetadata(
            "the geometry", "--set integration.poni=FILE, or --set integration.wavelength_a=0.69"
        )
    for key, example in (("detector_distance_m", 0.2), ("detector_pixel_m", 172e-6)):
        if not stated.get(key):
            raise MissingMetadata(
                "the geometry", f"--set integration.poni=FILE, or --set {key}={example:g}"
            )
    pixel = np.broadcast_to(np.asarray(stated["detector_pixel_m"], float), 2)
    return geometry_from_distance(
        shape,
        wavelength_a=float(wavelength_a),
        distance_m=float(stated["detector_distance_m"]),
        pixel_m=(float(pixel[0]), float(pixel[1])),
        center_px=None if center_px is None else (float(center_px[0]), float(center_px[1])),
        **frame,
    )


def _image(path: str) -> np.ndarray:
    """Return a mask, dark or flat field from a file; one that has not changed is read once."""
    file = Path(path)
    if not file.is_file():
        raise GeometryError(f"no file at {file}; give the path of a .npy, .edf or .tif image")
    return _read_image(str(file), file.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_image(path: str, stamp: int) -> np.ndarray:
    if path.lower().endswith(".npy"):
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise GeometryError(f"{path} is no readable .npy array: {error}") from error
    else:
        import fabio  # heavy, and only images of other programs need it

        try:
            with fabio.open(path) as image:
                found = np.array(image.data)
        except Exception as error:  # fabio raises anything for what is no image
            raise GeometryError(f"{path} is no image that can be read: {error}") from error
    found = np.asarray(found)
    if found.ndim != 2 or found.dtype.kind not in "buif":
        raise GeometryError(f"{path} must hold one image (h, w) of numbers, got {found.shape}")
    return found


def check(table: Mapping[str, Any]) -> None:
    """Look at what a profile's table asks for.

    Raises
    ------
    ValueError
        When a setting is out of its range, or a file is not there.
    """
    flip, unit, split = (
        table.get(key, default)
        for key, default in (("flip", "none"), ("unit", "q"), ("split", "bbox"))
    )
    for key, value, known in (
        ("flip", flip, FLIPS),
        ("unit", unit, UNIT_NAMES),
        ("split", split, ("no", "bbox")),
    ):
        if value not in known:
            raise ValueError(f"{key} must be one of {', '.join(known)}, got {value!r}")
    span = table.get("range")
    if span is not None:
        try:
            low, high = (float(value) for value in span)
        except (TypeError, ValueError):
            raise ValueError(f"range takes two numbers, such as 1.2,7.0, got {span!r}") from None
        if not low < high:
            raise ValueError(f"range takes the lower number first, got {span!r}")
    factor = table.get("polarisation")
    if factor is not None and not -1 <= float(factor) <= 1:
        raise ValueError(f"polarisation must lie between -1 and 1, got {factor!r}")
    for key in ("poni", "mask", "dark", "flat"):
        if table.get(key) is not None and not Path(str(table[key])).is_file():
            raise ValueError(f"there is no file {table[key]} for {key}; give an existing path")


integration.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
integration.check = check  # type: ignore[attr-defined]
