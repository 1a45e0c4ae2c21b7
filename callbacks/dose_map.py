"""The dose on the specimen, drawn while the beam scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..models.base import Batch
from ..models.dose_map import DoseMap
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of
from .publish import Publisher


def dose_map(
    start: Mapping[str, Any], publisher: Callable[[], Publisher], **metadata: Any
) -> LiveCallback | None:
    """Build the analysis `dose_map` for a run that has a trajectory and knows its dose.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    **metadata
        Keys that take the place of those in the start document, such as ``dose_e_per_pattern``.
    """
    known = start.get("dose_e_per_pattern") or metadata.get("dose_e_per_pattern")
    if "trajectory" not in start or not known:
        return None

    def build(batch: Batch) -> DoseMap:
        return DoseMap(experiment_of(start, metadata))

    return LiveCallback(start, publisher, build)


dose_map.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
