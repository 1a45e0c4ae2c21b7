"""Logs of cells as cyclers write them: time, voltage and current, whatever the file is called."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import numpy as np

from .cell_log_binary import read_mpr, read_neware
from .cell_log_capacity import COULOMB_IN_MAH, compared, of_columns
from .time_zones import to_utc

CELL_LOG_SUFFIXES = frozenset({".csv", ".bdf", ".mpt", ".mpr", ".ndax", ".nda"})
LARGEST_BYTES = 2_000_000_000
_TIME = ("test time / s", "test_time_second")
_VOLTAGE = ("voltage / v", "voltage_volt")
_CURRENT = (("current / a", 1.0), ("current_ampere", 1.0), ("current / ma", 1e-3))
_UNIX = ("unix time / s", "unix_time_second")
_COUNTS = {
    "cycle_count": ("cycle count / 1", "cycle_count"),
    "step_count": ("step count / 1", "step_count"),
}
_CAPACITIES = {
    "net_mah": ("net capacity / ah", "net_capacity_ah"),
    "charged_mah": ("charging capacity / ah", "charging_capacity_ah"),
    "discharged_mah": ("discharging capacity / ah", "discharging_capacity_ah"),
}
_TITLES = {"cycle_count": "Cycle Count / 1", "step_count": "Step Count / 1"}
_TOTALS = (("(Q-Qo)/mA.h", 1.0), ("(Q-Qo)/C", COULOMB_IN_MAH))
_STARTED = re.compile(r"Acquisition started on\s*:\s*(\d+)/(\d+)/(\d+)\s+([\d:.]+)")


TOLD, TAKEN = "states its zone", "taken to show UTC"


class CellLogError(ValueError):
    """A file that is no cell log; the message is one sentence with the reason."""


@dataclass
class CellLog:
    """What a cycler recorded.

    Parameters
    ----------
    time_s : (n,) float64, s
        Since the test's start, in ascending order.
    voltage_v : (n,) float64, V
    current_a : (n,) float64, A
        Positive charges (oxidises) the working electrode.
    start_utc_s : float, s since the epoch, or None
        When the test began, where the file says so.
    counts : dict of name to (n,) int64
        ``cycle_count``, ``step_count`` as far as they are known.
    notes : list of str
        What was assumed on the way.
    capacity_mah : (n,) float64, mAh, or None
        As the cycler counted it, net since the first sample; charging is positive.
    clock : str
        How the start was told: "states its zone", the zone that was given, or "taken to show UTC".
    """

    time_s: np.ndarray
    voltage_v: np.ndarray
    current_a: np.ndarray
    start_utc_s: float | None = None
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    capacity_mah: np.ndarray | None = None
    clock: str = TOLD

    def __len__(self) -> int:
        return len(self.time_s)


def read_cell_log(path: str | Path, zone: tzinfo | None = None) -> CellLog:
    """Read a cell log.

    Parameters
    ----------
    path : path
        Battery Data Format (`.bdf.csv`, `.bdf`), EC-Lab text (`.mpt`), and with the extra `cells`
        EC-Lab's `.mpr` and Neware's `.ndax`.
    zone : tzinfo, optional
        Of the cycler's clock, where the file does not state it (`.mpt`, `.mpr`, `.ndax`); UTC
        where it is left out.

    Raises
    ------
    CellLogError
        When it is none, or lacks what is needed.
    """
    found = Path(path)
    suffix = found.suffix.lower()
    if suffix not in CELL_LOG_SUFFIXES:
        raise CellLogError(
            f"{found.name} is no cell log; cell logs end in {', '.join(sorted(CELL_LOG_SUFFIXES))}."
        )
    try:
        size = found.stat().st_size
    except OSError as error:
        raise CellLogError(f"{found} cannot be opened: {error.strerror or error}.") from error
    if size > LARGEST_BYTES:
        raise CellLogError(f"{found.name} is larger than {LARGEST_BYTES / 1e9:g} GB; cut it.")
    if suffix in (".mpr", ".ndax", ".nda"):
        try:
            if suffix == ".mpr":
                columns, start_utc_s, notes = read_mpr(found)
            else:
                columns, start_utc_s, notes = read_neware(found, zone)
        except ImportError as error:
            raise CellLogError(
                f"{found.name} needs the extra 'cells': pip install 'flyback[cells]'."
            ) from error
        except Exception as error:  # readers of other people raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CellLogError(f"{found.name} cannot be read: {reason}.") from error
    else:
        text = found.read_bytes().decode("utf-8", errors="replace")
        read_text = _mpt if suffix == ".mpt" else _bdf
        columns, start_utc_s, notes = read_text(text, found.name)
    log = _checked(columns, start_utc_s, notes, found.name)
    _set_clock(log, suffix, zone)
    return log


def _set_clock(log: CellLog, suffix: str, zone: tzinfo | None) -> None:
    """Turn the start of a clock that showed local time into UTC, and say what was assumed."""
    if log.start_utc_s is None:
        return
    if suffix in (".csv", ".bdf"):
        if zone is not None:
            log.notes.append("the log has Unix times; the time zone was not needed")
        return
    log.clock = TAKEN if zone is None else str(zone)
    if zone is None:
        log.notes.append("the start is by a clock that is taken to show UTC")
        return
    log.notes.append(f"the start is by a clock in {zone}")
    if suffix not in (".ndax", ".nda"):  # whose every stamp was turned
        start, notes = to_utc(np.array([log.start_utc_s]), zone)
        log.start_utc_s = float(start[0])
        log.notes += notes


def write_bdf(log: CellLog, path: str | Path) -> Path:
    """Write a log in the Battery Data Format, as comma-separated text.

    Numbers are written so that they read back to the bit. The file appears whole or not at all.

    Parameters
    ----------
    log : CellLog
    path : path
        Its name ends in ``.bdf.csv``.

    Raises
    ------
    CellLogError
        When the name is another, or the folder is not there.
    """
    target = Path(path)
    if not target.name.lower().endswith(".bdf.csv"):
        raise CellLogError(f"--to takes a name that ends in .bdf.csv, got {target.name}.")
    if not target.parent.is_dir():
        raise CellLogError(f"the folder {target.parent} does not exist; make it first.")
    titles = ["Test Time / s", "Voltage / V", "Current / A"]
    columns: list[list[float] | list[int]] = [
        log.time_s.tolist(), log.voltage_v.tolist(), log.current_a.tolist()
    ]  # fmt: skip
    if log.start_utc_s is not None:
        titles.append("Unix Time / s")
        columns.append((log.start_utc_s + log.time_s).tolist())
    for name, values in log.counts.items():
        titles.append(_TITLES[name])
        columns.append(values.tolist())
    partial = target.with_name(target.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(titles)
        writer.writerows(zip(*columns, strict=True))
    partial.replace(target)
    return target


def _checked(
    columns: dict[str, np.ndarray], start_utc_s: float | None, notes: list[str], name: str
) -> CellLog:
    whole = np.isfinite(columns["time_s"]) & np.isfinite(columns["voltage_v"])
    whole &= np.isfinite(columns["current_a"])
    if not whole.any():
        raise CellLogError(f"{name} holds no sample with a time, a voltage and a current.")
    if not whole.all():
        notes.append(f"{int((~whole).sum())} of {len(whole)} rows lack a number and were left out")
    columns = {key: values[whole] for key, values in columns.items()}
    if (np.diff(columns["time_s"]) < 0).any():
        order = np.argsort(columns["time_s"], kind="stable")
        columns = {key: values[order] for key, values in columns.items()}
        notes.append("the times went back and were sorted")
    counts = {
        key: np.rint(columns[key]).astype(np.int64)
        for key in _COUNTS
        if key in columns and np.isfinite(columns[key]).all()
    }
    capacity = of_columns(columns)
    if capacity is not None:
        notes.append(compared(columns["time_s"], columns["current_a"], capacity)[1])
    return CellLog(
        columns["time_s"],
        columns["voltage_v"],
        columns["current_a"],
        start_utc_s,
        counts,
        notes,
        capacity,
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _table(rows: list[list[str]], wanted: dict[str, int]) -> dict[str, np.ndarray]:
    return {
        key: np.array([_number(row[at]) if at < len(row) else np.nan for row in rows])
        for key, at in wanted.items()
    }


def _bdf(text: str, name: str) -> tuple[dict[str, np.ndarray], float | None, list[str]]:
    rows = list(csv.reader(text.lstrip("\ufeff").splitlines()))
    titles = [title.strip().lower() for title in rows[0]] if rows else []

    def at(names: tuple[str, ...]) -> int | None:
        return next((titles.index(each) for each in names if each in titles), None)

    time, voltage = at(_TIME), at(_VOLTAGE)
    current = next(((titles.index(n), f) for n, f in _CURRENT if n in titles), None)
    if time is None or voltage is None or current is None:
        raise CellLogError(
            f"{name} is no cell log in the Battery Data Format: its first line must name "
            "Test Time / s, Voltage / V and Current / A."
        )
    wanted = {"time_s": time, "voltage_v": voltage, "current_a": current[0]}
    for key, names in {**_COUNTS, "unix": _UNIX, **_CAPACITIES}.items():
        where = at(names)
        if where is not None:
            wanted[key] = where
    columns = _table([row for row in rows[1:] if row], wanted)
    columns["current_a"] = columns["current_a"] * current[1]
    columns |= {key: columns[key] * 1e3 for key in _CAPACITIES if key in columns}
    unix = columns.pop("unix", None)
    start = None
    if unix is not None and np.isfinite(unix).any():
        start = float(np.nanmedian(unix - columns["time_s"]))
    return columns, start, []


def _mpt(text: str, name: str) -> tuple[dict[str, np.ndarray], float | None, list[str]]:
    lines = text.splitlines()
    head = re.search(r"Nb header lines\s*:\s*(\d+)", text[:2000])
    if not lines or not lines[0].startswith("EC-Lab ASCII") or head is None:
        raise CellLogError(
            f"{name} is no EC-Lab text file: it must begin with 'EC-Lab ASCII FILE'."
        )
    n = int(head[1])
    if not 3 <= n <= len(lines):
        raise CellLogError(f"{name} is cut short: its header of {n} lines is not whole.")
    titles = [title.strip() for title in lines[n - 1].split("\t")]

    def at(*names: str) -> int | None:
        return next((titles.index(each) for each in names if each in titles), None)

    time, voltage = at("time/s"), at("Ewe/V", "<Ewe>/V", "Ewe-Ece/V", "<Ewe/V>")
    if time is None or voltage is None:
        raise CellLogError(f"{name} has no columns time/s and Ewe/V; export them from EC-Lab.")
    wanted = {"time_s": time, "voltage_v": voltage}
    current, cycle, step = at("<I>/mA", "I/mA"), at("cycle number"), at("Ns")
    total = next(((at(n), f) for n, f in _TOTALS if n in titles), (None, 1.0))
    others = {"current_a": current, "cycle_count": cycle, "step_count": step, "net_mah": total[0]}
    wanted |= {key: where for key, where in others.items() if where is not None}
    rows = [line.replace(",", ".").split("\t") for line in lines[n:] if line.strip()]
    columns = _table(rows, wanted)
    notes = []
    if "net_mah" in columns:
        columns["net_mah"] = columns["net_mah"] * total[1]
    if current is None:
        columns["current_a"] = np.zeros(len(rows))
        notes.append("there is no current, it was taken to be 0 (open circuit)")
    else:
        columns["current_a"] = columns["current_a"] * 1e-3
    return columns, _started("\n".join(lines[:n]), notes), notes


def _started(head: str, notes: list[str]) -> float | None:
    """Return when an EC-Lab acquisition began, as if its clock had shown UTC."""
    found = _STARTED.search(head)
    if found is None:
        return None
    month, day, year = (int(found[k]) for k in (1, 2, 3))
    try:
        hour, minute, second = (float(part) for part in found[4].split(":"))
        start = datetime(year, month, day, int(hour), int(minute), tzinfo=UTC)
    except (ValueError, OverflowError):
        notes.append("the date of the start could not be read")
        return None
    notes.append("the start is read as month/day/year")
    return start.timestamp() + second
