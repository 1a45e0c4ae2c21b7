"""``flyback export``: a run and what was derived from it as one NeXus file.

Everything that is needed to read it is in it: frames (as they were recorded), positions, events,
results with their units, and where each came from: versions, parameters, networks, parents.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...callbacks.assets import AssetReader
from ...callbacks.frames import FRAMES, FrameSource
from ...callbacks.publish import software_versions
from ..archive import Archive
from ..session import uid_of
from ..store.places import inside_only
from .nexus import Growing, data, field, group, note

SUFFIXES = (".h5", ".hdf5", ".nxs", ".nx5")


def check_export(to: str | os.PathLike[str]) -> Path:
    """Return where a run will be exported to.

    Raises
    ------
    ValueError
        If the file is there already, its folder is not, or its name is no HDF5 file's.
    """
    target = Path(to).expanduser()
    if target.suffix not in SUFFIXES:
        raise ValueError(f"--to: {target.name} must end in one of {', '.join(SUFFIXES)}")
    if not target.parent.is_dir():
        raise ValueError(f"--to: the folder {target.parent} does not exist; make it first")
    if target.exists():
        raise ValueError(f"--to: {target} is there already; nothing is overwritten, name another")
    return target


def export(
    which: str, to: str | os.PathLike[str], directory: str | os.PathLike[str] | None = None
) -> Path:
    """Write a run, its frames and its analyses to a NeXus file that plain h5py opens.

    Parameters
    ----------
    which : str
        Uid or its beginning, scan id, or ``"last"``.
    to : path
        A new file. It appears whole or not at all.
    directory : path, optional
        Of the archive.

    Raises
    ------
    ValueError
        See `check_export`; also where the run's frames lie outside the archive's storage.
    """
    target = check_export(to)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with Archive(directory) as archive, h5py.File(partial, "x") as file:
            _write(file, archive, uid_of(archive.find(which)))
        # Not `replace`: a file that came in the meantime is not overwritten.
        os.link(partial, target)
    except FileExistsError:
        raise ValueError(f"--to: {target} is there already; nothing is overwritten") from None
    finally:
        partial.unlink(missing_ok=True)
    return target


def _write(file: h5py.File, archive: Archive, uid: str) -> None:
    documents = list(inside_only(archive.documents(uid), archive.readable))
    start = documents[0][1]
    stop = documents[-1][1] if documents[-1][0] == "stop" else {}
    file.attrs["NX_class"], file.attrs["default"] = "NXroot", "entry"
    file.attrs["creator"] = f"flyback {software_versions()['flyback']}"
    entry = group(file, "entry", "NXentry")
    field(entry, "entry_identifier", uid)
    field(entry, "title", f"{start.get('plan_name', 'run')} {start.get('scan_id', '')}".strip())
    field(entry, "start_time", _iso(start["time"]))
    if "time" in stop:
        field(entry, "end_time", _iso(stop["time"]))
        field(entry, "duration", float(stop["time"] - start["time"]), "s")
    field(entry, "exit_status", stop.get("exit_status", "incomplete"))
    if start.get("sample"):
        field(group(entry, "sample", "NXsample"), "name", str(start["sample"]))
    kept = group(entry, "documents", "NXcollection")
    note(kept, "start", start)
    note(kept, "stop", stop)
    for name, doc in documents:
        if name == "descriptor":
            note(kept, f"descriptor_{doc['name']}_{doc['uid'][:8]}", doc)
    first = [_frames(entry, documents, camera) for camera in _cameras(documents)]
    first += _events(entry, documents)
    for name, run in archive.analyses(uid).items():
        first += _analysis(entry, archive, name, uid_of(run))
    shown = [path for path in first if path]
    if shown:
        entry.attrs["default"] = shown[0]
    _provenance(entry, archive, uid, start)


def _cameras(documents: list[tuple[str, Any]]) -> list[str]:
    """Return the detectors with frames in files."""
    keys = [
        key.removesuffix(FRAMES)
        for name, doc in documents
        if name == "descriptor"
        for key, data_key in doc["data_keys"].items()
        if key.endswith(FRAMES) and str(data_key.get("external", "")).startswith("STREAM")
    ]
    return list(dict.fromkeys(keys))


def _frames(entry: h5py.Group, documents: list[tuple[str, Any]], camera: str) -> str | None:
    """Write a detector's frames in the order in which they were read."""
    source = FrameSource(documents[0][1], camera=camera)
    columns: dict[str, Growing] = {}
    made: h5py.Group | None = None
    try:
        for pair in documents:
            for batch in source(*pair):
                rows = {"frames": batch.frames, "scan_index": batch.scan_index, **batch.coordinates}
                if made is None:
                    axes = ["scan_index", *["."] * (batch.frames.ndim - 1)]
                    made = data(entry, f"{camera}_frames", "frames", axes)
                    _corrections(entry, camera, batch)
                    for key, values in rows.items():
                        name, _, units = key.partition("positions_")
                        known = "s" if key == "time_s" else units
                        columns[key] = Growing(made, name or "positions", values, known)
                    continue
                for key, column in columns.items():
                    column.append(rows[key])
    finally:
        source.close()
    return None if made is None else f"{camera}_frames"


def _corrections(entry: h5py.Group, camera: str, batch: Any) -> None:
    instrument: Any = entry.get("instrument") or group(entry, "instrument", "NXinstrument")
    detector = group(instrument, camera, "NXdetector")
    found = {key: getattr(batch.corrections, key, None) for key in ("dark", "gain", "bad_pixels")}
    for key, value in (found | dict(batch.axes)).items():
        if value is not None:
            field(detector, key, value)


def _events(entry: h5py.Group, documents: list[tuple[str, Any]]) -> list[str | None]:
    """Write the events of each stream as columns."""
    descriptors = {d["uid"]: d for name, d in documents if name == "descriptor"}
    streams: dict[str, list[Mapping[str, Any]]] = {}
    for name, doc in documents:
        if name == "event":
            streams.setdefault(descriptors[doc["descriptor"]]["name"], []).append(doc)
    written: list[str | None] = []
    for stream, events in streams.items():
        data_keys = descriptors[events[0]["descriptor"]]["data_keys"]
        columns = {key: [doc["data"].get(key) for doc in events] for key in events[0]["data"]}
        numbers = [
            key for key, values in columns.items() if np.asarray(values[0]).dtype.kind in "iuf"
        ]
        name = f"events_{stream}"
        made = data(entry, name, numbers[0].replace("/", "_") if numbers else "seq_num", ["time"])
        field(made, "time", [doc["time"] for doc in events], "s")
        field(made, "seq_num", [doc["seq_num"] for doc in events])
        for key, values in columns.items():
            name_ = key if key not in {"time", "seq_num"} else f"{key}_"
            _column(made, name_, values, str(data_keys[key].get("units") or ""))
        written.append(name if numbers else None)
    return written


def _column(parent: h5py.Group, name: str, values: list[Any], units: str) -> None:
    try:
        field(parent, name, np.asarray(values), units)
    except ValueError:  # rows of different lengths
        field(parent, name, [repr(value) for value in values], units)


def _analysis(entry: h5py.Group, archive: Archive, name: str, uid: str) -> list[str | None]:
    """Write an analysis: an NXprocess with its parameters, and its results as NXdata."""
    documents = list(inside_only(archive.documents(uid), archive.readable))
    start = documents[0][1]
    stop = documents[-1][1] if documents[-1][0] == "stop" else {}
    process = group(entry, f"process_{name}", "NXprocess")
    field(process, "program", "flyback")
    field(process, "version", str(start.get("versions", {}).get("flyback", "")))
    field(process, "date", _iso(start["time"]))
    field(process, "uid", uid)
    field(process, "parents", list(start.get("parents", [])) or [""])
    field(process, "exit_status", stop.get("exit_status", "incomplete"))
    if "replay_of" in start:
        field(process, "replay_of", start["replay_of"])
    note(process, "parameters", start.get("parameters", {}))
    note(process, "versions", start.get("versions", {}))
    for pair in documents:
        if pair[0] == "event" and "network_sha256" in pair[1]["data"]:
            field(process, "model_sha256", str(pair[1]["data"]["network_sha256"]))
    last = {}
    for event_name, doc in documents:
        if event_name == "event":
            last |= doc["data"]
    scalars = group(process, "scalars", "NXcollection")
    units = {k: v for n, d in documents if n == "descriptor" for k, v in d["data_keys"].items()}
    for key, value in last.items():
        field(scalars, key, value, str(units[key].get("units") or ""))
    return _arrays(entry, process, documents, name)


def _arrays(
    entry: h5py.Group, process: h5py.Group, documents: list[tuple[str, Any]], name: str
) -> list[str | None]:
    assets = AssetReader()
    keys = {k: v for n, d in documents if n == "descriptor" for k, v in d["data_keys"].items()}
    written: list[str | None] = []
    try:
        for doc_name, doc in documents:
            if doc_name == "stream_resource":
                assets.add(doc)
            elif doc_name == "stream_datum":
                key = assets.key(doc["stream_resource"])
                value = assets.read(doc["stream_resource"], 0, 1)
                value = value if keys[key].get("shape") == [1] else value[0]
                dims = list(keys[key].get("dims") or ["."] * np.ndim(value))
                made = data(entry, f"{name}_{key}", key, ["."] * np.ndim(value), dims=dims or [""])
                field(made, key, value, str(keys[key].get("units") or ""))
                made.attrs["process"] = process.name
                written.append(f"{name}_{key}")
    finally:
        assets.close()
    return written


def _provenance(entry: h5py.Group, archive: Archive, uid: str, start: Mapping[str, Any]) -> None:
    made = group(entry, "provenance", "NXcollection")
    field(made, "run", uid)
    field(made, "parents", list(start.get("parents", [])) or [""])
    note(made, "versions_of_the_run", start.get("versions", {}))
    note(made, "versions_of_the_export", software_versions())
    field(made, "exported", _iso(datetime.now(UTC).timestamp()))
    field(made, "archive", str(archive.layout.root))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
