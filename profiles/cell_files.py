"""What ``flyback convert`` and ``flyback play --cell`` do with a cell's log."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path, PurePosixPath

import numpy as np

from ..callbacks.cell_samples import CellSamples
from ..devices.cell_log import LARGEST_BYTES, CellLog, CellLogError, read_cell_log, write_bdf
from ..devices.frame_times import frame_times
from ..devices.recorded_cell import RecordedCell
from ..devices.recording import Recording
from ..devices.recording_series import inside_zip, members
from ..devices.time_zones import time_zone
from ..devices.witness_log import read_witness
from ..models.time_axis import Clock, ClockError, Edges, fit_clock, joined_edges, pulse_edges

MARGIN_S, GAP_S = 600.0, 60.0
"""By so much the clocks may be apart; after such a gap a witness goes on with a new piece."""


def run_convert(file: Path, to: Path, zone: str | None = None) -> str:
    """Write a cell log in the Battery Data Format and return what was done, a line each.

    Parameters
    ----------
    file : Path
        `.mpt`, `.bdf.csv`, or with the extra `cells` `.mpr` and `.ndax`.
    to : Path
        Ends in ``.bdf.csv``.
    zone : str, optional
        Of the cycler's clock, such as ``Europe/Berlin``.

    Raises
    ------
    CellLogError
        When the log cannot be read, or the target not be written.
    """
    within = None if file.exists() else inside_zip(file)
    shown = None if zone is None else time_zone(zone, "--time-zone")
    log = read_cell_log(file, shown) if within is None else _from_zip(*within, shown)
    target = write_bdf(log, to)
    return "\n".join([f"{target}: {len(log)} samples", *(f"note: {note}" for note in log.notes)])


def open_cell(
    path: Path, notes: list[str], zone: str | None = None, witness: Path | None = None
) -> RecordedCell:
    """Read a cell log, which may lie in a .zip, as the device ``cell``.

    Parameters
    ----------
    path : Path
        A file, or ``archive.zip/member``.
    notes : list of str
        Is told what was assumed.
    zone : str, optional
        Of the cycler's clock, such as ``Europe/Berlin``.
    witness : Path, optional
        A log of the current's pulses by the frames' clock (`devices.witness_log`), from which it
        is told how the cycler's clock lies.

    Raises
    ------
    CellLogError
        When it, or the witness, cannot be read.
    ClockError
        When the pulses do not say how the clocks lie.
    ValueError
        When it does not say when it began.
    """
    within = None if path.exists() else inside_zip(path)
    shown = None if zone is None else time_zone(zone, "cell.time_zone")
    log = read_cell_log(path, shown) if within is None else _from_zip(*within, shown)
    clock = None if witness is None else clock_of(log, witness)
    cell = RecordedCell(name="cell", log=log, clock=clock)
    notes += [f"cell log: {note}" for note in log.notes]
    if clock is not None:
        notes.append(
            f"cell log: by the pulses in {witness.name if witness else ''} its clock is"
            f" {clock.offset_s:.3f} s behind the frames' (within {clock.offset_bound_s:.3f}) and"
            f" {1e6 * clock.drift:.1f} ppm slow (within {1e6 * clock.drift_bound:.1f})"
        )
    return cell


def clock_of(log: CellLog, witness: Path) -> Clock:
    """Find how a cycler's clock lies from pulses of current that the beamline saw too.

    Pulses may have either sign. A witness with gaps, of the pulses before and after an experiment,
    is taken piece by piece: around each, by `MARGIN_S`, nothing but pulses of one size may flow,
    for less than half of the time.

    Raises
    ------
    CellLogError, ClockError
        As of `open_cell`.
    """
    seen_s, reading = read_witness(witness)
    logged_s, first = np.unique(log.time_s + (log.start_utc_s or 0.0), return_index=True)
    current = log.current_a[first]
    ours, others = [], []
    for piece in np.split(np.arange(len(seen_s)), np.flatnonzero(np.diff(seen_s) > GAP_S) + 1):
        begin, end = seen_s[piece[[0, -1]]]
        near = (logged_s >= begin - MARGIN_S) & (logged_s <= end + MARGIN_S)
        if not near.any():
            apart_h = (float(np.median(seen_s)) - float(np.median(logged_s))) / 3600
            raise ClockError(
                f"{witness.name} and the cell log lie {apart_h:.1f} h apart by their clocks; give"
                " the cycler's zone as cell.time_zone, or the witness of this log"
            )
        ours.append(_edges(seen_s[piece], reading[piece]))
        others.append(_edges(logged_s[near], current[near]))
    return fit_clock(joined_edges(ours), joined_edges(others))


def _edges(time_s: np.ndarray, current: np.ndarray) -> Edges:
    return pulse_edges(time_s, np.abs(current - np.median(current)))


def _from_zip(archive_path: Path, member: str, zone: tzinfo | None) -> CellLog:
    try:
        with zipfile.ZipFile(archive_path) as archive, tempfile.TemporaryDirectory() as folder:
            short = (n for n in members(archive_path) if PurePosixPath(n).name == member)
            entry = archive.getinfo(next(short, member))
            if entry.file_size > LARGEST_BYTES:
                raise CellLogError(f"{member} is larger than {LARGEST_BYTES / 1e9:g} GB; cut it.")
            # only the last part of the name: a member must not choose where it is written
            file = Path(folder) / PurePosixPath(member).name
            with archive.open(entry) as source, file.open("wb") as target:
                shutil.copyfileobj(source, target)
            return read_cell_log(file, zone)
    except KeyError as error:
        raise CellLogError(f"{archive_path.name} holds no file {member}.") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise CellLogError(
            f"{member} of {archive_path.name} cannot be unpacked: {error}."
        ) from error


def join_cell(
    recording: Recording, cell: RecordedCell, notes: list[str], zone: str | None = None
) -> dict[str, np.ndarray]:
    """Return what a cell showed when each frame of a recording was taken.

    The frames' times are kept in ``recording.taken_utc_s``, so that what is played says when it
    was taken, and not when it was played.

    Parameters
    ----------
    recording : Recording
    cell : RecordedCell
    notes : list of str
        Is told what was assumed and how many frames have no sample.
    zone : str, optional
        Of the clock that dated the frames.

    Returns
    -------
    dict of (n,) array
        ``cell.time_s`` since the epoch, ``cell.has_sample``, ``cell.voltage_v`` and the others of
        `CellSamples`; NaN where there is no sample.

    Raises
    ------
    RecordingError
        When nothing says when the frames were taken.
    """
    shown = None if zone is None else time_zone(zone, "frames.time_zone")
    times = frame_times(recording, notes, shown)
    recording.taken_utc_s = times
    samples = CellSamples()
    keys = cell.describe_collect()
    samples("descriptor", {"uid": "cell", "name": cell.name, "data_keys": keys})
    for page in cell.pages():
        samples("event_page", {"descriptor": "cell", **page})
    found = samples.at(times)
    inside = np.isfinite(found["voltage_v"])
    if not inside.all():
        notes.append(f"{int((~inside).sum())} of {len(inside)} frames have no sample of the cell")
    joined = {f"cell.{name}": values for name, values in found.items()}
    return {"cell.time_s": times, "cell.has_sample": inside, **joined}


def add_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Add arrays to an ``.npz`` file, which appears whole or not at all."""
    with np.load(path, allow_pickle=False) as saved:
        everything = {name: saved[name] for name in saved.files}
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **everything, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
