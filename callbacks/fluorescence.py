"""Elements in every spectrum of an energy-dispersive detector, with their uncertainties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..models.base import Batch
from ..models.spectra.lines import parse
from ..models.spectra.xrf import LIVE_TIME, MONITOR, Fluorescence
from .frames import FrameSource
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of
from .publish import Publisher


def fluorescence(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    elements: str | Sequence[str] = (),
    also: str | Sequence[str] = (),
    energy_offset_kev: float | None = None,
    energy_slope_kev: float | None = None,
    detector: str = "Si",
    tail: float = 0.0,
    tail_kev: float = 0.3,
    shelf: float = 0.0,
    escape: bool = True,
    pileup: bool = True,
    refine: bool = True,
    scatter_angle_deg: float = 90.0,
    mass: str | None = None,
    mass_first: int = 1,
    mass_ug_cm2: float | None = None,
    monitor: str = MONITOR,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `fluorescence` for a run of spectra.

    Parameters
    ----------
    start : mapping
        The run's start document; `energy_kev` is the exciting radiation's.
    publisher : callable () -> Publisher
    elements, also : str or sequence of str
        "Ca,Fe,Cu", or a family such as "Pt_L"; see `models.spectra.xrf.Fluorescence` for these
        and the other settings.
    energy_offset_kev, energy_slope_kev : float, keV
        The energy scale where the run states none or a wrong one.
    monitor : str
        A data key or device whose readings the element's mass is divided by, such as the beam's
        current; by default the monitor that a file of spectra has.
    **metadata
        Keys that take the place of those in the start document, such as ``energy_kev``.
    """

    def build(batch: Batch) -> Fluorescence:
        return Fluorescence(
            experiment_of(start, metadata),
            listed(elements),
            batch.axes.get("energy_kev_axis"),
            offset_kev=energy_offset_kev,
            slope_kev=energy_slope_kev,
            also=listed(also),
            detector=detector,
            tail=tail,
            tail_kev=tail_kev,
            shelf=shelf,
            escape=escape,
            pileup=pileup,
            refine=refine,
            scatter_angle_deg=scatter_angle_deg,
            mass=mass,
            mass_first=mass_first,
            mass_ug_cm2=mass_ug_cm2,
        )

    # live times are read for the mass alone: an event may come long after its spectrum
    source = FrameSource(
        start,
        monitor=None if monitor == MONITOR else monitor,
        own=() if mass is None else (LIVE_TIME,),
    )
    return LiveCallback(start, publisher, build, source=source)


def listed(names: str | Sequence[str]) -> list[str]:
    """Return names written as "A,B" or as a list."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    return [str(part).strip() for part in parts if str(part).strip()]


def check(table: Mapping[str, Any]) -> None:
    """Look at the elements that a profile's table names.

    Raises
    ------
    ValueError
        When there are none, or one is none.
    """
    names = listed(table.get("elements", ()))
    if not names:
        raise ValueError("elements are needed, such as --set fluorescence.elements=Ca,Fe,Cu")
    for name in names + listed(table.get("also", ())):
        parse(name)


fluorescence.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
fluorescence.check = check  # type: ignore[attr-defined]
