"""What ``flyback convert`` and ``flyback play --cell`` do with a cell's log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..devices.cell_log import CellLog, read_cell_log, write_bdf
from ..devices.frame_times import frame_times
from ..devices.recording import Recording


def run_convert(file: Path, to: Path) -> str:
    """Write a cell log in the Battery Data Format and return what was done, a line each.

    Parameters
    ----------
    file : Path
        `.mpt`, `.bdf.csv`, or with the extra `cells` `.mpr` and `.ndax`.
    to : Path
        Ends in ``.bdf.csv``.

    Raises
    ------
    CellLogError
        When the log cannot be read, or the target not be written.
    """
    log = read_cell_log(file)
    target = write_bdf(log, to)
    return "\n".join([f"{target}: {len(log)} samples", *(f"note: {note}" for note in log.notes)])


def join_cell(recording: Recording, log: CellLog, notes: list[str]) -> dict[str, np.ndarray]:
    """Return what a cell showed when each frame of a recording was taken.

    Parameters
    ----------
    recording : Recording
    log : CellLog
    notes : list of str
        Is told what was assumed and how many frames have no sample.

    Returns
    -------
    dict of (n,) array
        ``cell.time_s`` since the epoch, ``cell.voltage_v``, ``cell.current_ma`` (between two
        samples on the straight line), ``cell.cycle_count`` and ``cell.step_count`` where the log
        has them; NaN where there is no sample before or after, and ``cell.has_sample`` is then
        false.

    Raises
    ------
    ValueError
        When the log or the frames do not say when they began.
    """
    if log.start_utc_s is None:
        raise ValueError(
            "the cell log does not say when it began, so it cannot be joined by time; give it the "
            "column Unix Time / s"
        )
    times = frame_times(recording, notes)
    known = log.start_utc_s + log.time_s
    inside = (times >= known[0]) & (times <= known[-1])
    out = {"cell.time_s": times, "cell.has_sample": inside}
    for name, values in (("voltage_v", log.voltage_v), ("current_ma", log.current_a * 1e3)):
        out[f"cell.{name}"] = np.where(inside, np.interp(times, known, values), np.nan)
    last = np.clip(np.searchsorted(known, times, side="right") - 1, 0, None)
    for name, values in log.counts.items():
        out[f"cell.{name}"] = np.where(inside, values[last], np.nan)
    notes += [f"cell log: {note}" for note in log.notes]
    if not inside.all():
        notes.append(f"{int((~inside).sum())} of {len(inside)} frames have no sample of the cell")
    return out


def add_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Add arrays to an ``.npz`` file, which appears whole or not at all."""
    with np.load(path, allow_pickle=False) as saved:
        everything = {name: saved[name] for name in saved.files}
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **everything, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
