"""Compile what a session's analyses need while it opens, not under the first frame."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..models.base import Batch
from ..models.trajectories import Raster
from .compose import CAMERA, check_analysis

logger = logging.getLogger("flyback.profiles")

FRAMES, STEP_NM = 16, 0.03


def rehearsal(metadata: Mapping[str, Any], shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a start document and a batch like those that a camera will give.

    Parameters
    ----------
    metadata : mapping
        What the start documents will hold, such as a column's settings.
    shape, dtype
        Of the camera's frames.
    """
    side = int(np.sqrt(FRAMES))
    path = Raster(fov=side * STEP_NM, step=STEP_NM)
    start = {
        "uid": "rehearsal",
        "time": 0.0,
        "num_points": path.n_points,
        **metadata,
        "trajectory": path.to_dict(),
    }
    frames = np.ones((path.n_points, *shape), dtype)
    batch = Batch(frames, np.arange(path.n_points), {"positions_m": path.positions * 1e-9})
    return start, batch


def cameras(
    devices: Iterable[Any],
) -> Iterator[tuple[str, dict[str, Any], tuple[int, ...], Any]]:
    """Yield name, metadata of the runs, shape and dtype of the frames of each camera."""
    devices = list(devices)
    metadata: dict[str, Any] = {}
    for device in devices:
        if callable(getattr(device, "metadata", None)):
            metadata |= device.metadata()
    for device in devices:
        if hasattr(device, "ring") and hasattr(device, "driver"):
            yield device.name, metadata, tuple(device.driver.shape), device.driver.dtype


def warm(analyses: Mapping[str, Mapping[str, Any]], devices: Iterable[Any]) -> None:
    """Show a few frames to each analysis for each camera, and forget them.

    What goes wrong here is no error: it will be one when real frames come.
    """
    for camera, metadata, shape, dtype in cameras(devices):
        start, batch = rehearsal(metadata, shape, dtype)
        for name, table in analyses.items():
            if table.get(CAMERA, camera) != camera:
                continue
            try:
                callback = check_analysis(name, table)(start, unpublished)
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


def unpublished() -> Any:
    """Stand in for a publisher in a rehearsal, where nothing may be published."""
    raise RuntimeError("nothing is published in a rehearsal")
