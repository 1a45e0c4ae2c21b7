"""Azimuthal integration of every run's images: I(q, t) with its sigma, live."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..models.base import Batch, Corrections
from ..models.diffraction.detector_image import read_detector_image
from ..models.diffraction.geometry import (
    FLIPS,
    Geometry,
    GeometryError,
    Unit,
    geometry_from_distance,
    geometry_from_poni,
)
from ..models.diffraction.integration import MONITOR, Integration, Make
from ..models.diffraction.shared_integrator import SharedIntegrator
from .frames import FrameSource
from .live import LiveCallback
from .metadata import METADATA_KEYS
from .publish import Publisher

UNIT_NAMES: dict[str, Unit] = {
    "q": "q_per_a",
    "q_per_a": "q_per_a",
    "two_theta": "two_theta_deg",
    "two_theta_deg": "two_theta_deg",
}
_ANGSTROM_KEV = 12.398419843320026
_STATED = (
    "wavelength_a",
    "energy_kev",
    "detector_distance_m",
    "detector_pixel_m",
    "center_px",
    "saturation_counts",
)
_integrators: WeakValueDictionary[str, SharedIntegrator] = WeakValueDictionary()
_making = Lock()


def integration(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    poni: str | None = None,
    flip: str = "none",
    bins: int = 2000,
    unit: str = "q",
    split: str = "bbox",
    range: Sequence[float] | None = None,
    mask: str | None = None,
    dark: str | None = None,
    flat: str | None = None,
    polarisation: float | None = None,
    saturation_counts: float | None = None,
    monitor: str = MONITOR,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `integration` for a run.

    Parameters
    ----------
    start : mapping
        The run's start document. Without `poni` its ``energy_kev``, ``detector_distance_m`` and
        ``detector_pixel_m`` say the geometry, of a detector that stands upright around the beam
        (``center_px``, y and x, where it does not meet it in the middle).
    publisher : callable () -> Publisher
    poni : str, optional
        A .poni file.
    flip : {"none", "vertical", "horizontal", "both"}
        How frames lie to the image that the .poni belongs to.
    bins : int
    unit : {"q", "two_theta"}
    split : {"bbox", "no"}
        As of `Integrator`.
    range : (lowest, highest), optional
        Of the axis, 1/angstrom or degrees.
    mask, dark, flat : str, optional
        Files of the detector; they lie as the frames do.
    polarisation : float, optional
        From -1 to 1, near 1 for a synchrotron; not corrected where it is left out.
    saturation_counts : float, counts, optional
        Pixels with so many are left out; by default those that the run states.
    monitor : str
        A data key of the run, or a device whose first number is meant, by whose reading at each
        frame intensities are divided; by default the monitor that a recorded file brings.
    **metadata
        Keys that take the place of those in the start document, such as ``energy_kev``.

    Raises
    ------
    ValueError
        For a setting out of its range.
    """
    check(
        {"poni": poni, "flip": flip, "unit": unit, "mask": mask, "dark": dark, "flat": flat}
        | {"split": split, "polarisation": polarisation, "range": range}
    )
    make = integrator_maker(
        {**start, **metadata},
        poni=poni,
        flip=flip,
        bins=bins,
        unit=unit,
        split=split,
        range=range,
        mask=mask,
        dark=dark,
        flat=flat,
        polarisation=polarisation,
        saturation_counts=saturation_counts,
    )

    def build(batch: Batch) -> Integration:
        return Integration(make, monitor=monitor)

    return LiveCallback(start, publisher, build, source=monitored(start, monitor))


def monitored(start: Mapping[str, Any], monitor: str) -> FrameSource:
    """Return a source of frames with the readings of a monitor.

    Parameters
    ----------
    start : mapping
        The run's start document.
    monitor : str
        As of `integration`.
    """
    return FrameSource(start, monitor=None if monitor == MONITOR else monitor)


def integrator_maker(
    said: Mapping[str, Any],
    *,
    poni: str | None = None,
    flip: str = "none",
    bins: int = 2000,
    unit: str = "q",
    split: str = "bbox",
    range: Sequence[float] | None = None,
    mask: str | None = None,
    dark: str | None = None,
    flat: str | None = None,
    polarisation: float | None = None,
    saturation_counts: float | None = None,
) -> Make:
    """Return what makes the integrator of frames once their shape is known.

    Analyses of one run that want the same get the same, so that each frame is integrated once.

    Parameters
    ----------
    said : mapping
        The run's start document with what takes the place of it.
    **settings
        As of `integration`.
    """
    asked = (unit, flip, bins, split, polarisation, saturation_counts, tuple(range or ()))
    files = {"poni": poni, "mask": mask, "dark": dark, "flat": flat}

    def make(shape: tuple[int, int], corrections: Corrections) -> SharedIntegrator:
        stated = [said.get(name) for name in ("uid", *_STATED)]
        stamps = [path and (path, Path(path).stat().st_mtime_ns) for path in files.values()]
        key = repr((asked, stated, stamps, shape, _digest(corrections)))
        with _making:
            found = _integrators.get(key)
            if found is None:
                found = _integrators[key] = anew(shape, corrections)
            return found

    def anew(shape: tuple[int, int], corrections: Corrections) -> SharedIntegrator:
        geometry = _geometry(said, shape, poni, UNIT_NAMES[unit], flip, polarisation)
        images = {
            name: None if path is None else read_detector_image(path, shape, name)
            for name, path in files.items()
            if name != "poni"
        }
        bad = corrections.bad_pixels
        if bad is not None:
            known = images["mask"]
            images["mask"] = bad if known is None else (known != 0) | bad
        if corrections.dark is not None and images["dark"] is None:
            images["dark"] = corrections.dark
        if corrections.gain is not None and images["flat"] is None:
            images["flat"] = 1 / np.asarray(corrections.gain, float)
        return SharedIntegrator(
            geometry,
            bins=bins,
            split=split,  # type: ignore[arg-type]  it is checked there
            limits=None if range is None else (float(range[0]), float(range[1])),
            saturation=said.get("saturation_counts")
            if saturation_counts is None
            else saturation_counts,
            **images,
        )

    return make


def _digest(corrections: Corrections) -> str:
    """Return what tells corrections apart that are not the same numbers."""
    told = hashlib.blake2b()
    for name in ("dark", "gain", "bad_pixels"):
        values = getattr(corrections, name)
        told.update(name.encode())
        if values is not None:
            told.update(f"{values.dtype}{values.shape}".encode())
            told.update(np.ascontiguousarray(values).tobytes())
    return told.hexdigest()


def _geometry(
    said: Mapping[str, Any],
    shape: tuple[int, int],
    poni: str | None,
    unit: Any,
    flip: Any,
    polarisation_factor: float | None,
) -> Geometry:
    how = {"unit": unit, "flip": flip, "polarisation_factor": polarisation_factor}
    if poni is not None:
        return geometry_from_poni(poni, shape, **how)
    wavelength = said.get("wavelength_a")
    if wavelength is None and said.get("energy_kev"):
        wavelength = _ANGSTROM_KEV / float(said["energy_kev"])
    pixel = said.get("detector_pixel_m")
    distance = said.get("detector_distance_m")
    missing = [
        name
        for name, value in (
            ("energy_kev", wavelength),
            ("detector_distance_m", distance),
            ("detector_pixel_m", pixel),
        )
        if value is None
    ]
    if missing:
        raise GeometryError(
            f"integration needs poni=FILE, or {', '.join(missing)} of the detector; the run does"
            " not state them"
        )
    center = said.get("center_px")
    y, x = np.broadcast_to(np.asarray(pixel, float), (2,)).tolist()
    return geometry_from_distance(
        shape,
        wavelength_a=float(wavelength),  # type: ignore[arg-type]  it is not missing
        distance_m=float(distance),  # type: ignore[arg-type]
        pixel_m=(y, x),
        center_px=None if center is None else (float(center[0]), float(center[1])),
        **how,
    )


def check(table: Mapping[str, Any]) -> None:
    """Raise for a file that is not there, or an unknown word, before a run begins."""
    for name in ("poni", "mask", "dark", "flat"):
        path = table.get(name)
        if path is not None and not Path(str(path)).is_file():
            raise ValueError(f"no file at {name} = {path}; give the path of an existing file")
    for name, known in (("flip", FLIPS), ("unit", UNIT_NAMES), ("split", ("no", "bbox"))):
        if name in table and table[name] not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {table[name]!r}")
    factor, span = table.get("polarisation"), table.get("range")
    if factor is not None and not -1 <= float(factor) <= 1:
        raise ValueError(f"polarisation must lie between -1 and 1, got {factor!r}")
    if span is not None:
        try:
            low, high = (float(value) for value in span)
        except (TypeError, ValueError):
            raise ValueError(f"range takes two numbers, such as 1.2,7.0, got {span!r}") from None
        if not low < high:
            raise ValueError(f"range takes the lower number first, got {span!r}")


integration.also_accepts = (*METADATA_KEYS, "center_px", "wavelength_a")  # type: ignore[attr-defined]
integration.check = check  # type: ignore[attr-defined]
