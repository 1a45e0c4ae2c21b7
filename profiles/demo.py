"""``flyback demo``: one scan from the beam to the catalogue, live, and back again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..callbacks.growth import GrowthStrip
from ..models.base import Quantity
from .commands import execute
from .demo_beamline import fast_beamline, two_cycles
from .registry import SettingError, unknown
from .replay import replay
from .report import Report
from .schema import Profile, read_profile
from .session import Session
from .session import open as open_session

FIELD_NM, STEP_NM, DWELL_MS = 1.2, 0.03, 0.5
LAMELLA = {"fov_nm": 60.0, "step_nm": 1.5, "dwell_ms": 1.0}
FOLLOW = {"fov_nm": 60.0, "step_nm": 5.0, "dwell_ms": 0.2, "n_points": 32, "error_nm": 0.5}
BUDGET_E_PER_A2 = 12.0


def run_demo(
    what: str = "microscope",
    directory: str | os.PathLike[str] | None = None,
    *,
    say: Callable[[str], None] = print,
) -> Report:
    """Show one of the stories of this software on simulated devices.

    Parameters
    ----------
    what : {"microscope", "domains", "beamline"}
        "microscope": DyScO3 scanned by raster and by spiral, its phase reconstructed live.
        "domains": the domains of a PbTiO3 lamella named live, then their walls followed.
        "beamline": a Pt | Li cell cycled under diffraction and fluorescence, its phases tracked.
        Each stores its runs and replays the first, bit by bit.
    directory : path, optional
        Of the archive.
    say : callable (str)
        Takes each line of the story.

    Raises
    ------
    SettingError
        If there is no such demonstration.
    """
    if what not in DEMOS:
        raise SettingError(unknown("demonstration", what, list(DEMOS)))
    report = Report()
    profile, sample, tell = DEMOS[what]
    say("opening the simulated instrument (the first time, kernels are compiled)")
    with open_session(profile(), directory, sample=sample) as session:
        say(f"archive: {session.archive.layout.root}")
        first = tell(session, report, say)
        if not report.failed:
            say("replaying the first run from the catalogue")
            _replay_and_compare(session, report, first)
    report.close()
    say(f"{report.seconds:.1f} s; look at them: flyback ls, flyback show last")
    return report


def _microscope(session: Session, report: Report, say: Callable[[str], None]) -> list[Any]:
    growth = GrowthStrip("object_phase")
    session.live.ptychography.watchers.append(growth)
    scan = {"fov_nm": FIELD_NM, "step_nm": STEP_NM, "dwell_ms": DWELL_MS}
    say(f"raster over {FIELD_NM:g} nm in steps of {STEP_NM:g} nm, reconstructing as it goes")
    first = execute(
        session, session.plans.raster([session.camera], session.scan_coils, **scan), report
    )
    _save(growth, session, report, "phase-growing.png")
    say("the same field on an Archimedean spiral")
    execute(session, session.plans.spiral([session.camera], session.scan_coils, **scan), report)
    return first


def _domains(session: Session, report: Report, say: Callable[[str], None]) -> list[Any]:
    growth = GrowthStrip("domain_image")
    session.live.domains.watchers.append(growth)
    say(f"raster over {LAMELLA['fov_nm']:g} nm, naming each pattern's domain as it comes")
    devices = ([session.camera], session.scan_coils)
    first = execute(session, session.plans.raster(*devices, **LAMELLA), report)
    _save(growth, session, report, "domains-growing.png")
    session.live.domains.watchers.remove(growth)
    say(f"a coarse raster, then the beam follows the walls, up to {BUDGET_E_PER_A2:g} e/A2")
    follow = session.plans.follow(*devices, budget_e_per_a2=BUDGET_E_PER_A2, **FOLLOW)
    execute(session, follow, report)
    return first


def _save(growth: GrowthStrip, session: Session, report: Report, name: str) -> None:
    strip = growth.save(session.pictures.directory / name)
    report.pictures += [strip] if strip is not None else []


DEMOS: dict[str, tuple[Callable[[], Profile], str, Callable[..., list[Any]]]] = {
    "microscope": (lambda: read_profile("sim_microscope"), "DyScO3, simulated", _microscope),
    "domains": (lambda: read_profile("sim_domains"), "PbTiO3 lamella, simulated", _domains),
    "beamline": (fast_beamline, "Pt | Li, simulated", two_cycles),
}


def _replay_and_compare(session: Session, report: Report, live: list[Any]) -> None:
    comparisons: list[dict[str, Any]] = []
    for callback in live:
        name = callback.publisher.start["analysis"]
        again = replay(callback.start["uid"], name, session=session)
        report.add_analyses([again.callback])
        comparisons += compare(name, callback.final, again.result)
    report.extra["replay_equal"] = all(row["equal"] for row in comparisons)
    report.extra["comparisons"] = comparisons


def compare(
    name: str, live: Mapping[str, Quantity], again: Mapping[str, Quantity]
) -> list[dict[str, Any]]:
    """Compare two results bit by bit.

    Returns
    -------
    list of dict
        ``analysis``, ``key``, ``equal`` and ``max_abs_difference`` (None for texts and for
        quantities of different shapes).
    """
    rows = []
    for key in sorted(set(live) | set(again)):
        equal, difference = False, None
        if key in live and key in again:
            a, b = np.asarray(live[key].value), np.asarray(again[key].value)
            if a.dtype.kind in "US":
                equal = np.array_equal(a, b)
            elif a.shape == b.shape and a.dtype == b.dtype:
                equal = np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
                with np.errstate(invalid="ignore"):  # two infinities are equal
                    apart = np.abs(a.astype(complex) - b.astype(complex))
                difference = float(np.max(apart[np.isfinite(apart)], initial=0.0))
        rows.append(
            {"analysis": name, "key": key, "equal": bool(equal), "max_abs_difference": difference}
        )
    return rows
