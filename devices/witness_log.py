"""What the beamline's own clock saw of a cell's current: a column of times and one of readings."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .cell_log import LARGEST_BYTES, CellLogError

_TIMES = ("unix time / s", "unix_time_second", "time", "time_s")
_OWN_TIME = "_utc_s"
"""How the time ends in the tables of a potentiostat of this project."""


def read_witness(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a witness of a cell's current.

    Parameters
    ----------
    path : path
        Comma-separated text whose first line names the columns: ``Unix Time / s`` (or ``time``, as
        databroker's tables have it, or one that ends in ``_utc_s``; seconds since 1970) and a
        reading in any unit: the column whose name holds ``current``, or else the only other one.

    Returns
    -------
    time_s : (n,) float64, s since the epoch
        Increasing.
    reading : (n,) float64

    Raises
    ------
    CellLogError
        When it is none; the message says what is missing.
    """
    found = Path(path)
    try:
        if found.stat().st_size > LARGEST_BYTES:
            raise CellLogError(f"{found.name} is larger than {LARGEST_BYTES / 1e9:g} GB; cut it.")
        text = found.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise CellLogError(f"{found} cannot be opened: {error.strerror or error}.") from error
    rows = [row for row in csv.reader(text.lstrip("\ufeff").splitlines()) if row]
    titles = [title.strip().lower() for title in rows[0]] if rows else []
    own = [title for title in titles if title.endswith(_OWN_TIME)]
    times = next((titles.index(name) for name in (*_TIMES, *own) if name in titles), None)
    others = [place for place in range(len(titles)) if place != times]
    currents = [place for place in others if "current" in titles[place]] or others
    if times is None or len(currents) != 1:
        raise CellLogError(
            f"{found.name} is no witness of a current: its first line must name Unix Time / s and "
            "one reading, such as Current / mA."
        )
    table = np.array([[_number(row, times), _number(row, currents[0])] for row in rows[1:]])
    table = table.reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    table = table[np.unique(table[:, 0], return_index=True)[1]]
    if not len(table):
        raise CellLogError(f"{found.name} holds no row with a time and a reading.")
    return table[:, 0], table[:, 1]


def _number(row: list[str], place: int) -> float:
    try:
        return float(row[place])
    except (ValueError, IndexError):
        return np.nan
