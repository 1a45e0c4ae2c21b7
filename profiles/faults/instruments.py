"""The simulated instruments that faults are put into, and what they are asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..schema import Profile, parse_profile
from ..session import Session

CELL_LOG = "cell.jsonl"

MICROSCOPE: dict[str, Any] = {
    "column": {
        "plugin": "column",
        "energy_kev": 200.0,
        "semi_convergence_angle_mrad": 20.0,
        "angular_sampling_mrad": 1.6,
        "beam_current_pa": 8.0,
    },
    "specimen": {"plugin": "sim_specimen", "thickness_nm": 2.0, "field_nm": 4.0},
    "beam": {
        "plugin": "sim_beam",
        "specimen": "@specimen",
        "column": "@column",
        "rate": "real",
    },
    "blanker": {"plugin": "sim_blanker", "beam": "@beam"},
    "scan_coils": {"plugin": "sim_scan_coils", "beam": "@beam", "blanker": "@blanker"},
    "camera": {"plugin": "sim_pixel_detector", "beam": "@beam", "pixels": 32},
}
BEAMLINE: dict[str, Any] = {
    "potentiostat": {
        "plugin": "sim_potentiostat",
        "speed": 100.0,
        "linger_s": 2.0,
        "timeout_s": 1.0,
        "limits": {"upper_v": 3.5},
    },
    "xrd": {
        "plugin": "sim_diffraction_detector",
        "specimen": "@potentiostat",
        "phases": ["Pt"],
        "pixels": 96,
        "pixel_um": 1000.0,
        "distance_mm": 110.0,
        "energy_kev": 18.0,
        "exposure_s": 0.02,
    },
}


def profile_of(order: dict[str, Any]) -> Profile:
    """Return the profile of an order: its ``instrument``, ``store`` and ``analyses``."""
    devices = MICROSCOPE
    if order.get("instrument") == "beamline":
        log = str(Path(order["directory"]) / CELL_LOG)
        devices = {**BEAMLINE, "potentiostat": {**BEAMLINE["potentiostat"], "log_path": log}}
        devices["potentiostat"]["on_pause"] = order.get("on_pause", "open_circuit")
    profile: dict[str, Any] = {"devices": devices, "analyses": order.get("analyses", {})}
    if "store" in order:
        profile["store"] = order["store"]
    return parse_profile("faults", profile)


def plan_of(session: Session, order: dict[str, Any]) -> Any:
    """Return what the instrument is to do: a raster; or a cell that is cycled or held."""
    plans = session.plans
    if order.get("instrument") != "beamline":
        return plans.raster([session.camera], session.scan_coils, **order["scan"])
    return getattr(plans, order["plan"])(session.potentiostat, [session.xrd], **order["scan"])


def is_safe(session: Session, order: dict[str, Any]) -> bool:
    """Say whether the beam is blanked, or the cell at open circuit."""
    if order.get("instrument") == "beamline":
        cell: Any = session.potentiostat
        cell.trigger().wait(10)
        return cell.current_ma.get() == 0.0 and cell.running is None
    return not session.blanker.is_open
