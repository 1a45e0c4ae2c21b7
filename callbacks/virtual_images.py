"""Virtual images, centre of mass and iDPC of every run that has frames; sums of patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..models.base import Batch
from ..models.pattern_sums import PatternSums
from ..models.virtual_images import VirtualImages
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of, with_lag
from .publish import Publisher


def virtual_images(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    detectors: Mapping[str, Any] | None = None,
    centre_px: tuple[float, float] | None = None,
    com_outer: float | None = None,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `virtual_images` for a run.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    detectors, centre_px, com_outer
        Of `models.virtual_images.VirtualImages`.
    **metadata
        Keys that take the place of those in the start document, such as ``energy_kev``;
        ``scan_rotation_deg`` and ``transposed`` may be "auto": found from the frames.
    """
    dims = tuple(start.get("frame_dims") or ())

    def build(batch: Batch) -> VirtualImages | PatternSums:
        # patterns of one line and spectra have no detectors and no centre
        if batch.frames.ndim != 3 or dims not in ((), ("ky", "kx")):
            lines = dims or ("bin",) * (batch.frames.ndim - 1)
            return PatternSums(experiment_of(start, metadata), lines)
        return VirtualImages(
            experiment_of(start, metadata),
            detectors=dict(detectors) if detectors is not None else None,
            centre_px=centre_px,
            com_outer=com_outer,
        )

    return LiveCallback(with_lag(start, metadata), publisher, build)


virtual_images.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
