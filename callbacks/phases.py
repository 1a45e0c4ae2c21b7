"""Phases of every series of powder patterns: volumes, cells, onsets, lines that nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..models.base import Batch
from ..models.diffraction.detection import alarm_level
from ..models.diffraction.geometry import FLIPS
from ..models.diffraction.integration import MONITOR
from ..models.diffraction.known_phases import find_cif
from ..models.diffraction.moving_verdict import check as check_moving
from ..models.diffraction.pattern_model import KINDS
from ..models.diffraction.phase_series import PhaseSeries
from ..models.diffraction.powder import PowderPhase, read_phase
from ..models.diffraction.tracker import FALSE_ALARM_RATE
from ..models.physics import photon_wavelength_m
from .integration import integrator_maker, monitored
from .live import LiveCallback
from .metadata import METADATA_KEYS
from .publish import Publisher

_CU_KA2 = (1.544426 / 1.540598, 0.5)


def phases(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    cif: str | Sequence[str] = (),
    window: str | Sequence[str] = (),
    fit: str | Sequence[str] = KINDS,
    background_terms: int = 10,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    instrument_width_per_a: float = 0.0,
    width_per_a: float | None = None,
    cell_range: float = 0.03,
    second_line: bool | Sequence[float] = False,
    polarised: bool = False,
    q_min_per_a: float | None = None,
    q_max_per_a: float | None = None,
    lines: int = 12,
    poni: str | None = None,
    flip: str = "none",
    mask: str | None = None,
    bins: int = 2000,
    split: str = "no",
    polarisation: float | None = None,
    monitor: str = MONITOR,
    mass: str | None = None,
    mass_first: int = 1,
    verdict_every: int = 0,
    verdict_window: int = 32,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `phases` for a run of powder patterns.

    Parameters
    ----------
    start : mapping
        The run's start document; its ``energy_kev`` is used.
    publisher : callable () -> Publisher
    cif : str or sequence of str
        Files of the phases, or names of structures that come with flyback, such as Li2Pt; without
        any, only lines are followed.
    window : str or sequence of str
        Files of what stands in the beam besides: fitted, but not counted among the volumes.
    fit : sequence of str
        Which of cell, size, strain, mixing, zero are fitted.
    background_terms, false_alarm_rate, instrument_width_per_a, width_per_a, cell_range
        Of `models.diffraction.tracker.PhaseTracker`.
    second_line : bool or (float, float)
        True for the K alpha 2 of copper; or a wavelength over the first and its relative
        intensity.
    polarised : bool
        True where nobody has corrected for the polarisation of an unpolarised source.
    q_min_per_a, q_max_per_a : float, 1/angstrom, optional
        Range that is fitted.
    lines : int
        How many lines are followed without any crystal.
    poni : str, optional
        The .poni file of images, which are integrated first, where the run does not state the
        geometry (see the analysis `integration`); patterns need none.
    flip, mask, bins, split, polarisation, monitor
        As of the analysis `integration`, but that pixels are not split by default: counts of bins
        that share pixels are correlated, which sigmas do not know. Images are divided by the
        monitor over its first reading, and one without a reading is not divided.
    mass : str, optional
        An element, such as Pt, of which is told how much all crystals hold against the first
        `mass_first` frames: what fluorescence sees (its own `mass`) and they do not is amorphous,
        dissolved or out of the beam.
    mass_first : int
    verdict_every : int
        Frames after which the verdict on the last `verdict_window` frames is asked for, on a
        thread beside the fits; 0 for a verdict on the whole run at its end alone.
    verdict_window : int
    **metadata
        Keys that take the place of those in the start document, such as ``energy_kev``.

    Raises
    ------
    ValueError
        For a setting out of its range.
    """
    files, windows = listed(cif), listed(window)
    check(
        {"cif": files, "window": windows, "false_alarm_rate": false_alarm_rate, "fit": fit}
        | {"poni": poni, "mask": mask, "flip": flip}
        | {"verdict_every": verdict_every, "verdict_window": verdict_window}
    )
    energy = {**start, **metadata}.get("energy_kev")
    doublet = None
    if second_line is not False:
        doublet = _CU_KA2 if second_line is True else tuple(float(x) for x in second_line)

    def read(q_max: float, energy_kev: float | None) -> list[PowderPhase]:
        paths = [str(find_cif(name)) for name in [*files, *windows]]
        return [_phase(path, _stamp(path), q_max, energy_kev) for path in paths]

    integrator = integrator_maker(
        {**start, **metadata},
        poni=poni,
        flip=flip,
        mask=mask,
        bins=bins,
        split=split,
        polarisation=polarisation,
    )

    def build(batch: Batch) -> PhaseSeries:
        return PhaseSeries(
            read if files or windows else None,
            window=[Path(path).stem for path in windows],
            wavelength_a=None if not energy else photon_wavelength_m(float(energy)) * 1e10,
            polarised=polarised,
            q_min_per_a=q_min_per_a,
            q_max_per_a=q_max_per_a,
            lines=lines,
            integrator=integrator,
            mass=mass,
            mass_first=mass_first,
            verdict_every=verdict_every,
            verdict_window=verdict_window,
            fit=listed(fit),
            background_terms=background_terms,
            false_alarm_rate=false_alarm_rate,
            instrument_width_per_a=instrument_width_per_a,
            width_per_a=width_per_a,
            cell_range=cell_range,
            second_line=doublet,
        )

    return LiveCallback(start, publisher, build, source=monitored(start, monitor))


def listed(names: str | Sequence[str]) -> list[str]:
    """Return names written as "A,B" or as a list."""
    parts = names.split(",") if isinstance(names, str) else list(names)
    return [str(part).strip() for part in parts if str(part).strip()]


@lru_cache(maxsize=64)
def _phase(path: str, stamp: int, q_max_per_a: float, energy_kev: float | None) -> PowderPhase:
    return read_phase(path, q_max_per_a=q_max_per_a, energy_kev=energy_kev)


def _stamp(path: str) -> int:
    file = Path(path)
    return file.stat().st_mtime_ns if file.is_file() else 0


def check(table: Mapping[str, Any]) -> None:
    """Look at what a profile's table says before anything is acquired.

    Raises
    ------
    ValueError
        When a CIF cannot be used, two have one name, or a setting is out of its range.
    """
    files = [*listed(table.get("cif", ())), *listed(table.get("window", ()))]
    names = [Path(path).stem for path in files]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"two CIFs are called {twice[0]!r}; phases need different names")
    for path in (str(find_cif(name)) for name in files):
        _phase(path, _stamp(path), 6.0, None)
    strange = [kind for kind in listed(table.get("fit", KINDS)) if kind not in KINDS]
    if strange:
        raise ValueError(f"fit may hold {', '.join(KINDS)}, not {strange[0]!r}")
    for name in ("poni", "mask"):
        path = table.get(name)
        if path is not None and not Path(str(path)).is_file():
            raise ValueError(f"no file at {name} = {path}; give the path of an existing file")
    if table.get("flip", "none") not in FLIPS:
        raise ValueError(f"flip must be one of {', '.join(FLIPS)}, got {table['flip']!r}")
    alarm_level(float(table.get("false_alarm_rate", FALSE_ALARM_RATE)))
    every = int(table.get("verdict_every", 0))
    if every:
        check_moving(every, int(table.get("verdict_window", 32)))


phases.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
phases.check = check  # type: ignore[attr-defined]
