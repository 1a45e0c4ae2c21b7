"""Ptychography of every scan: direct while it runs, iterative at its end, on any positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..models.base import Batch
from ..models.ptychography.choose import SETTINGS, Ptychography
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of, with_lag
from .publish import Publisher


def ptychography(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    method: str = "auto",
    drift: str = "auto",
    **settings: Any,
) -> LiveCallback | None:
    """Build the analysis `ptychography` for a run that has a trajectory.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    method : {"auto", "single_sideband", "rpie", "epie", "lsqml", "dm"}
        "auto": X-rays or defocused, rpie; in focus, single side band, then rpie at the end.
    drift : {"auto", "off"}
        Whether positions follow a drift that the frames show.
    **settings
        Of `models.ptychography.choose.Ptychography`, and metadata keys that take the place of
        those in the start document, such as ``semi_convergence_angle_mrad``.
    """
    if "trajectory" not in start:
        return None

    def build(batch: Batch) -> Ptychography:
        own = {key: value for key, value in settings.items() if key in SETTINGS}
        other = {key: value for key, value in settings.items() if key not in SETTINGS}
        return Ptychography(experiment_of(start, other), method=method, drift=drift, **own)

    return LiveCallback(with_lag(start, settings), publisher, build)


ptychography.also_accepts = (*SETTINGS, *METADATA_KEYS)  # type: ignore[attr-defined]
