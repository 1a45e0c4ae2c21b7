"""Virtual images, centre of mass and iDPC of every run that has frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..models.base import Batch
from ..models.virtual_images import SETTINGS, VirtualImages
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of
from .publish import Publisher


def virtual_images(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    **settings: Any,
) -> LiveCallback:
    """Build the analysis `virtual_images` for a run.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    **settings
        Of `models.virtual_images.VirtualImages`, and metadata keys that take the place of those
        in the start document.
    """

    def build(batch: Batch) -> VirtualImages:
        own = {key: value for key, value in settings.items() if key in SETTINGS}
        other = {key: value for key, value in settings.items() if key not in SETTINGS}
        return VirtualImages(experiment_of(start, other), **own)

    return LiveCallback(start, publisher, build)


virtual_images.also_accepts = (*SETTINGS, *METADATA_KEYS)  # type: ignore[attr-defined]
