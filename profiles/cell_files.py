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


def open_cell(path: Path, notes: list[str], zone: str | None = None) -> RecordedCell:
    """Read a cell log, which may lie in a .zip, as the device ``cell``.

    Parameters
    ----------
    path : Path
        A file, or ``archive.zip/member``.
    notes : list of str
        Is told what was assumed.
    zone : str, optional
        Of the cycler's clock, such as ``Europe/Berlin``.

    Raises
    ------
    CellLogError
        When it cannot be read.
    ValueError
        When it does not say when it began.
    """
    within = None if path.exists() else inside_zip(path)
    shown = None if zone is None else time_zone(zone, "cell.time_zone")
    log = read_cell_log(path, shown) if within is None else _from_zip(*within, shown)
    cell = RecordedCell(name="cell", log=log)
    notes += [f"cell log: {note}" for note in log.notes]
    return cell


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
