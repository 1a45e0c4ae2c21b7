"""Binary cell logs, through the packages of the extra `cells`: yadg (GPL-3) and NewareNDA."""

from __future__ import annotations

import importlib
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np

from .time_zones import to_utc

Columns = dict[str, np.ndarray]
_OPEN_V = 0.1
_BACK_S = 1800.0
_MAH_A_SECOND_IN_A = 3.6


def read_mpr(path: Path) -> tuple[Columns, float | None, list[str]]:
    """Read EC-Lab's `.mpr`; its start is what the clock showed.

    Raises
    ------
    ImportError
        Without the extra.
    ValueError
        When it has no voltage.
    """
    extract = importlib.import_module("yadg.extractors").extract
    table: Any = extract("eclab.mpr", str(path), timezone="UTC", locale="en_GB").to_dataset()

    def column(*names: str) -> np.ndarray | None:
        return next((np.asarray(table[n].values, float) for n in names if n in table), None)

    time, voltage = column("time"), column("Ewe", "<Ewe>", "Ewe-Ece")
    if time is None or voltage is None:
        raise ValueError("it has no time and no Ewe")
    notes: list[str] = []
    out: Columns = {"time_s": time, "voltage_v": voltage}
    current, power, charge = column("<I>", "I"), column("Pwe", "P"), column("dq")
    if current is not None:
        out["current_a"] = current * _milli(table, "<I>" if "<I>" in table else "I")
    elif power is not None and (np.abs(voltage) > _OPEN_V).all():
        out["current_a"] = power / voltage
        notes.append("current: power over voltage, the file has no column of it")
    elif charge is not None:
        steps = np.diff(time, prepend=time[0])
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(steps > 0, charge / steps * _MAH_A_SECOND_IN_A, 0.0)
        out["current_a"] = mean
        notes.append("current: charge over time, the file has no column of it")
    else:
        out["current_a"] = np.zeros(len(time))
        notes.append("there is no current, it was taken to be 0 (open circuit)")
    for key, name in (("cycle_count", "cycle number"), ("step_count", "Ns")):
        values = column(name)
        if values is not None:
            out[key] = values
    total = column("(Q-Qo)")
    if total is not None:
        out["net_mah"] = total * _in_mah(table, "(Q-Qo)")
    start = float(table["uts"].values[0]) - float(time[0])
    return out, start, notes


def _in_mah(table: Any, name: str) -> float:
    units = str(table[name].attrs["units"]).replace("·", "")
    return {"mAh": 1.0, "Ah": 1e3, "C": 1 / 3.6}[units]


def _milli(table: Any, name: str) -> float:
    return {"mA": 1e-3, "A": 1.0, "µA": 1e-6, "uA": 1e-6}[str(table[name].attrs["units"])]


def read_neware(path: Path, zone: tzinfo | None = None) -> tuple[Columns, float | None, list[str]]:
    """Read Neware's `.ndax` or `.nda`.

    Parameters
    ----------
    path : Path
    zone : tzinfo, optional
        Of its clock, whose stamps are in local time; UTC where it is left out.

    Raises
    ------
    ImportError
        Without the extra.
    """
    table: Any = importlib.import_module("NewareNDA").read(str(path))
    stamps = table["Timestamp"].to_numpy().astype("datetime64[ns]").astype(np.int64) * 1e-9
    notes: list[str] = []
    if zone is not None:
        stamps, notes = to_utc(stamps, zone)
    elif (np.diff(stamps) < -_BACK_S).any():
        notes.append("its clock went back on the way, as summer time ends: give its time zone")
    inside = table["Time"].to_numpy().astype(float)
    # the stamps have whole seconds and the times begin anew with each step: the finer of both
    step = table["Step"].to_numpy()
    first = np.concatenate([[0], np.flatnonzero(np.diff(step)) + 1])
    starts = np.repeat(stamps[first] - inside[first], np.diff([*first, len(step)]))
    fine = starts + inside
    times = np.where(np.abs(fine - stamps) < 1.5, fine, stamps)
    times = np.maximum.accumulate(times)
    out = {
        "time_s": times - times[0],
        "voltage_v": table["Voltage"].to_numpy().astype(float),
        "current_a": table["Current(mA)"].to_numpy().astype(float) * 1e-3,
        "cycle_count": table["Cycle"].to_numpy().astype(float),
        "step_count": step.astype(float),
        "charged_mah": table["Charge_Capacity(mAh)"].to_numpy().astype(float),
        "discharged_mah": table["Discharge_Capacity(mAh)"].to_numpy().astype(float),
    }
    return out, float(times[0]), notes
