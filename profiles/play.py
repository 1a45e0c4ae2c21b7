"""``flyback play PATTERN...``: a recorded scan goes the way of a live one.

The files' frames pass through a `PixelDetector` and a plan, are written, analysed while they
arrive, stored and can be replayed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks.metadata import METADATA_KEYS
from ..devices.recorded import Recording, play
from ..models.base import Batch, Corrections
from ..plans.preprocessors import collected_first_wrapper
from .archive import layout
from .cell_files import add_arrays, join_cell, open_cell
from .commands import check_metadata, execute
from .compose import check_analysis, load_plans
from .play_files import expand
from .registry import SettingError
from .report import Report
from .saving import check_target
from .schema import Profile, read_profile
from .session import open as open_session
from .warming import unpublished

_REHEARSED = 4
_LONGEST_S = 60.0
_CELL_ZONE, _FRAMES_ZONE, _WITNESS = "cell.time_zone", "frames.time_zone", "cell.witness"
_CORRECTIONS = ("dark", "gain", "bad_pixels")


def run_play(
    file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    analyses: Sequence[str],
    *,
    profile: str = "recorded",
    settings: Mapping[str, Any] | None = None,
    rate: str | float | None = None,
    save: Path | None = None,
    directory: str | os.PathLike[str] | None = None,
    cell: Path | None = None,
) -> Report:
    """Play a recorded file through the analyses.

    Parameters
    ----------
    file : path, or sequence of paths
        HDF5, CXI, ``.npz``, images, patterns, or, with the extra `formats`, what RosettaSciIO
        reads; a folder or ``.zip`` of them; or several files of one kind, as one series in
        natural order. ``*``, ``?`` and ``[...]`` are patterns.
    analyses : sequence of str
        Names.
    profile : str
        Whose analyses' tables count.
    settings : mapping, optional
        ``NAME.key`` sets an analysis, a bare key metadata that the file lacks or has wrong;
        ``cell.time_zone`` and ``frames.time_zone`` are those of clocks that do not say theirs,
        ``cell.witness`` a log of the current by the frames' clock, which tells the cycler's.
    rate : float, "real", "max" or None
        Frames per second; "real" is the file's own pace. None is that too where it takes a minute
        at most, else "max".
    save : Path, optional
        ``.npz`` for the results.
    directory : path, optional
        Of the archive.
    cell : Path, optional
        A cell's log, also ``archive.zip/member``. Its samples are the run's stream ``cell``; what
        they were at each frame goes to results by frame, and is saved as ``cell.*``.

    Raises
    ------
    RecordingError, SettingError, PluginError, MissingMetadata
        Before anything is acquired.
    """
    report = Report()
    if save is not None:
        check_target(save)
    if not analyses:
        raise SettingError("--analysis needs at least one name; flyback plugins lists them")
    settings = dict(settings or {})
    clocks = {key: settings.pop(key, None) for key in (_CELL_ZONE, _FRAMES_ZONE, _WITNESS)}
    if cell is None and any(clocks.values()):
        raise SettingError(f"{', '.join(clocks)} need --cell FILE")
    bare = {key: value for key, value in settings.items() if "." not in key}
    check_metadata(bare)
    chosen = _with_analyses(read_profile(profile), analyses)
    chosen = chosen.with_settings({k: v for k, v in settings.items() if "." in k})
    place = layout(directory)
    known = {key: value for key, value in bare.items() if key in METADATA_KEYS}
    files = expand(file)
    with Recording(files, **known) as recording:
        report.warnings += recording.notes
        log = joined = witness = None
        if cell is not None:
            witness = None if clocks[_WITNESS] is None else Path(str(clocks[_WITNESS]))
            log = open_cell(cell, report.warnings, clocks[_CELL_ZONE], witness)
            joined = join_cell(recording, log, report.warnings, clocks[_FRAMES_ZONE])
        pace = _pace(rate, recording, report.warnings)
        camera, coils, metadata = play(recording, place.frames, rate=pace)
        metadata |= bare | _recorded(files)
        if log is not None:
            metadata |= {"cell_log": str(cell), "cell_clock": log.clock}
            if clocks[_FRAMES_ZONE]:
                metadata["frames_clock"] = str(clocks[_FRAMES_ZONE])
            if log.fitted is not None:
                metadata |= {"cell_witness": str(witness), "cell_clock_fit": asdict(log.fitted)}
        _rehearse(chosen, metadata, recording, coils)
        devices = {"camera": camera, "scan_coils": coils}
        with open_session(chosen, directory, devices=devices, warm=False) as session:
            dwell_ms = float(coils.dwell_ms.get())  # type: ignore[arg-type]  ophyd is untyped
            plan = load_plans(Profile("", plans=["points"]))["points"]
            scan = plan([camera], coils, dwell_ms=dwell_ms, md=metadata)
            if log is not None:
                scan = collected_first_wrapper(scan, log)
            execute(session, scan, report, save=save)
    if joined and save is not None and check_target(save).is_file():
        add_arrays(check_target(save), joined)
    return report.close()


def _with_analyses(profile: Profile, names: Sequence[str]) -> Profile:
    """Return a profile without devices, with just these analyses."""
    tables = {name: profile.analyses.get(name, {}) for name in names}
    return Profile(profile.name, store_uri=profile.store_uri, plans=["points"], analyses=tables)


def _recorded(files: Sequence[Path]) -> dict[str, Any]:
    """Return which files were played, for the start document."""
    names = [str(path.resolve()) for path in files]
    return {"recorded_file": names[0]} | ({"recorded_files": names} if len(names) > 1 else {})


def _pace(rate: str | float | None, recording: Recording, notes: list[str]) -> float | str:
    lasts_s = _lasts_s(recording)
    if rate == "real" and lasts_s is None:
        raise SettingError(f"{recording.name} does not say how fast it was taken; give a number")
    if rate is None and lasts_s is not None and lasts_s > _LONGEST_S:
        notes.append(f"played as fast as it goes; --rate real would take {lasts_s:.0f} s")
        return "max"
    if rate is None:
        return "max" if lasts_s is None else "real"
    if rate in ("max", "real"):
        return str(rate)
    try:
        hertz = float(rate)
    except ValueError:
        hertz = float("nan")
    if not (np.isfinite(hertz) and hertz > 0):
        raise SettingError(
            f"--rate is a positive number of frames per second, real or max, got {rate!r}"
        )
    return hertz


def _lasts_s(recording: Recording) -> float | None:
    """Return how long the recording took, where that is known."""
    dwell_s = (recording.dwell_ms or 0.0) * 1e-3
    if recording.time_s is not None:
        return float(recording.time_s[-1] - recording.time_s[0]) + dwell_s
    return len(recording) * dwell_s if dwell_s else None


def _rehearse(
    profile: Profile, metadata: Mapping[str, Any], recording: Recording, coils: Any
) -> None:
    """Make each analysis once, so that what is missing is asked for before anything is acquired."""
    start = {
        "uid": "rehearsal",
        "time": 0.0,
        **metadata,
        "trajectory": coils.trajectory.to_dict(inline=False),
    }
    # from the whole length: a scan may begin in the dark
    few = np.unique(np.linspace(0, len(recording) - 1, _REHEARSED).astype(int))
    beside = {} if recording.monitor is None else {"monitor": recording.monitor[few]}
    key = "positions_px" if coils.units == "px" else "positions_m"
    scale = 1.0 if coils.units == "px" else 1e-9
    batch = Batch(
        np.concatenate([recording.frames[slice(row, row + 1)] for row in few.tolist()]),
        few,
        {key: coils.trajectory.positions[few] * scale, **beside},
        Corrections(**{k: v for k, v in recording.corrections.items() if k in _CORRECTIONS}),
        {name: array for name, array in recording.axes.items() if name != "sigma"},
    )
    for name, table in profile.analyses.items():
        callback = check_analysis(name, table)(start, unpublished)
        if callback is None:
            raise SettingError(f"the analysis {name!r} does not apply to this file")
        try:
            callback.rehearse(batch)
        except (ValueError, TypeError) as error:
            raise SettingError(f"{name} cannot take {recording.name}: {error}") from error
