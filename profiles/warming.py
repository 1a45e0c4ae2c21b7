"""Compile what a session's analyses need while it opens, not under the first frame."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..callbacks.assets import AXES
from ..models.base import Batch
from ..models.corrections import Corrections
from ..models.trajectories import Raster
from .compose import CAMERA, check_analysis

logger = logging.getLogger("flyback.profiles")

Factory = Callable[..., Any]
CORRECTIONS = ("dark", "gain", "bad_pixels")

FRAMES, STEP_NM, COUNTS = 16, 0.03, 20.0
LONGEST_WARMING_S = 120.0


@dataclass(frozen=True)
class Camera:
    """What is known of a camera before it takes frames.

    Parameters
    ----------
    name : str
    metadata : mapping
        What the start documents will hold, such as a column's settings.
    shape : tuple of int
        Of a frame.
    dtype : dtype
    beside : mapping of str to array
        What its files will hold beside the frames: corrections, axes.
    """

    name: str
    metadata: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: Any
    beside: Mapping[str, np.ndarray]


def rehearsal(camera: Camera) -> tuple[dict[str, Any], Batch]:
    """Return a start document and a batch like those that a camera will give: only noise."""
    side = int(np.sqrt(FRAMES))
    path = Raster(fov=side * STEP_NM, step=STEP_NM)
    start = {
        "uid": "rehearsal",
        "time": 0.0,
        "num_points": path.n_points,
        **camera.metadata,
        "trajectory": path.to_dict(),
    }
    n, beside = path.n_points, camera.beside
    frames = np.random.default_rng(0).poisson(COUNTS, (n, *camera.shape)).astype(camera.dtype)
    batch = Batch(
        frames,
        np.arange(n),
        {"positions_m": path.positions * 1e-9},
        Corrections(**{name: beside[name] for name in CORRECTIONS if name in beside}),
        {name: beside[name] for name in AXES if name in beside},
    )
    return start, batch


def cameras(devices: Iterable[Any]) -> Iterator[Camera]:
    """Yield the cameras among devices."""
    devices = list(devices)
    metadata: dict[str, Any] = {}
    for device in devices:
        if callable(getattr(device, "metadata", None)):
            metadata |= device.metadata()
    for device in devices:
        if hasattr(device, "ring") and hasattr(device, "driver"):
            shape, dtype = tuple(device.driver.shape), np.dtype(device.driver.dtype)
            yield Camera(device.name, metadata, shape, dtype, dict(device.corrections))


def warm(analyses: Mapping[str, Mapping[str, Any]], devices: Iterable[Any]) -> None:
    """Show a few frames to each analysis for each camera, and forget them.

    What is loaded then is left out of the garbage collector's rounds until the session closes: a
    round through all of it holds every thread up for half a second.
    """
    for camera in cameras(devices):
        for name, table in analyses.items():
            if table.get(CAMERA, camera.name) == camera.name:
                rehearse(name, check_analysis(name, table), camera)
    gc.freeze()


def rehearse(name: str, factory: Factory, camera: Camera) -> None:
    """Show a few frames to an analysis.

    What goes wrong here is no error: it will be one when real frames come.
    """
    start, batch = rehearsal(camera)
    try:
        callback = factory(start, unpublished)
        if callback is not None:
            callback.rehearse(batch)
    except Exception:
        logger.debug("the analysis %r could not be warmed", name, exc_info=True)


def warm_in_background(
    analyses: Mapping[str, Mapping[str, Any]], devices: Iterable[Any]
) -> threading.Thread:
    """Start `warm` on a thread of its own and return it."""
    thread = threading.Thread(
        target=warm, args=(analyses, list(devices)), name="flyback-warm", daemon=True
    )
    thread.start()
    return thread


def end_warming(thread: threading.Thread | None) -> None:
    """Wait for what `warm_in_background` returned, and give the garbage collector back its own."""
    if thread is not None:
        thread.join(LONGEST_WARMING_S)  # leaving while LLVM works would crash
        gc.unfreeze()


def unpublished() -> Any:
    """Stand in for a publisher in a rehearsal, where nothing may be published."""
    raise RuntimeError("nothing is published in a rehearsal")
