"""When the frames of a recording were taken: from the file, or from a scan log beside it."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path, PurePosixPath

import numpy as np

from .recording import Recording, RecordingError
from .recording_series import inside_zip, natural
from .time_zones import to_utc

_EPOCH_S = 1e8  # times above are seconds since 1970, below since some start
_MOST_LOGS, _LARGEST_LOG_BYTES = 50, 20_000_000
_START, _END = ("start_time", "time_start", "start"), ("end_time", "time_end", "end")


def frame_times(recording: Recording, notes: list[str], zone: tzinfo | None = None) -> np.ndarray:
    """Return the middle of each frame's exposure, (n,) float64, s since the epoch.

    They come from the file itself, from the dates in images' headers, or from a scan log.

    Parameters
    ----------
    recording : Recording
    notes : list of str
        Is told what was assumed.
    zone : tzinfo, optional
        Of clocks that do not say theirs; UTC where it is left out.

    Raises
    ------
    RecordingError
        When nothing says when the frames were taken.
    """
    if recording.time_s is not None and float(np.median(recording.time_s)) > _EPOCH_S:
        return recording.time_s
    if recording.dated_utc_s is not None:
        if recording.dated_with_zone:
            notes.append("times of the frames: from the files' headers")
            return recording.dated_utc_s
        return _localised(recording.dated_utc_s, "from the files' headers", notes, zone)
    names = _names(recording)
    for title, text in _all_logs(recording.files):
        found = _from_log(text, names)
        if found is not None:
            times, zoned = found
            if zoned:
                notes.append(f"times of the frames: from the scan log {title}")
                return times
            return _localised(times, f"from the scan log {title}", notes, zone)
    raise RecordingError(
        f"nothing says when the frames of {recording.name} were taken, so no cell log can be "
        "joined; put time_s (seconds since 1970) into the file, or a scan log beside it: a .csv "
        "with scan_number, start_time and end_time, the number being part of the files' names."
    )


def _localised(times: np.ndarray, source: str, notes: list[str], zone: tzinfo | None) -> np.ndarray:
    """Return times that a clock without a zone showed, in UTC, and say what was assumed."""
    notes.append(
        f"times of the frames: {source}, "
        + (f"by a clock in {zone}" if zone else "by a clock that is taken to show UTC")
    )
    if zone is None:
        return times
    out, remarks = to_utc(times, zone)
    notes += [f"times of the frames: {remark}" for remark in remarks]
    return out


def _names(recording: Recording) -> list[str]:
    """Return the names of the files behind the frames."""
    path = recording.path
    if len(recording.files) > 1:  # one frame a file, or nothing is known
        listed = [file.name for file in recording.files]
        return listed if len(listed) == len(recording) else []
    if path.is_file() and path.suffix.lower() != ".zip":
        return [path.name] * len(recording)
    if inside_zip(path) is not None and not path.exists():
        return [path.name] * len(recording)
    if path.is_dir():
        listed = [file.name for file in path.iterdir() if file.is_file()]
    else:
        with zipfile.ZipFile(path) as archive:
            listed = [name for name in archive.namelist() if not _hidden(name)]
    by_suffix: dict[str, list[str]] = {}
    for name in sorted(listed, key=natural):
        by_suffix.setdefault(PurePosixPath(name).suffix.lower(), []).append(name)
    fitting = [names for names in by_suffix.values() if len(names) == len(recording)]
    return [PurePosixPath(name).name for name in fitting[0]] if len(fitting) == 1 else []


def _hidden(name: str) -> bool:
    return name.endswith("/") or any(
        part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts
    )


def _all_logs(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield the logs near the first file of each folder or archive."""
    for path in {file.parent: file for file in reversed(files)}.values():
        yield from _logs(path)


def _logs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of the .csv files in an archive, or in and beside a folder."""
    within = inside_zip(path)
    archive_path = path if path.suffix.lower() == ".zip" else within[0] if within else None
    if archive_path is not None and archive_path.is_file():
        with zipfile.ZipFile(archive_path) as archive:
            for entry in archive.infolist():
                small = entry.file_size <= _LARGEST_LOG_BYTES
                if (
                    entry.filename.lower().endswith(".csv")
                    and small
                    and not _hidden(entry.filename)
                ):
                    yield entry.filename, archive.read(entry).decode("utf-8", errors="replace")
        return
    folder = path if path.is_dir() else path.parent
    near = [*folder.glob("*.csv"), *folder.parent.glob("*.csv"), *folder.parent.glob("*/*.csv")]
    for file in list(dict.fromkeys(near))[:_MOST_LOGS]:
        try:
            if file.stat().st_size <= _LARGEST_LOG_BYTES:
                yield file.name, file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue


def _from_log(text: str, names: list[str]) -> tuple[np.ndarray, bool] | None:
    """Return the middles of the exposures that a scan log has of all files, and if with zones."""
    if not names:
        return None
    try:
        rows = list(csv.DictReader(text.lstrip("\ufeff").splitlines()))
    except csv.Error:
        return None
    titles = {str(title).strip().lower(): title for title in (rows[0] if rows else {})}
    start = next((titles[each] for each in _START if each in titles), None)
    end = next((titles[each] for each in _END if each in titles), None)
    number = next((titles[t] for t in titles if "scan" in t or "file" in t or "frame" in t), None)
    if start is None or end is None or number is None:
        return None
    known, zoned = {}, True
    for row in rows:
        a, b = _instant(row[start]), _instant(row[end])
        if a is not None and b is not None and row[number]:
            known[str(row[number]).strip()] = 0.5 * (a[0] + b[0])
            zoned = zoned and a[1] and b[1]
    found = [
        next((known[part] for part in (*re.findall(r"\d+", name), name) if part in known), None)
        for name in names
    ]
    if any(time is None for time in found):
        return None
    return np.array(found, float), zoned


def _instant(text: str | None) -> tuple[float, bool] | None:
    try:
        moment = datetime.fromisoformat(str(text).strip())
    except ValueError:
        return None
    zoned = moment.tzinfo is not None
    return (moment if zoned else moment.replace(tzinfo=UTC)).timestamp(), zoned
