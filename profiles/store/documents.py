"""A stored run as documents again, in an order in which callbacks can be fed.

Start; descriptors; stream resources; then events and stream datums by their time and sequence
number; stop. Frames stay in their files: nothing external is read. Upstream's exporter is not used:
it loses files after the first, `chunk_shape`, dtypes, and sends datums after everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .run_writer import ASSET_KEYS, ASSETS_KEY

Document = tuple[str, dict[str, Any]]


def documents_of(run: Any) -> list[Document]:
    """Return the documents of a stored run.

    Parameters
    ----------
    run : tiled client of a run

    Returns
    -------
    list of (name, document)
        Uids of start, descriptors, stream resources and stop are the recorded ones; those of
        events and datums are made up, always the same ones. Adjacent datums are joined. Without a
        stop (the run goes on, or was never recovered) there is none.
    """
    metadata = dict(run.metadata)
    start, stop = _plain(metadata["start"]), metadata.get("stop")
    run = run.include_data_sources()
    streams = [run[name].base for name in run]
    descriptors: list[dict[str, Any]] = []
    rows: list[tuple[float, int, Document]] = []
    resources: list[dict[str, Any]] = []
    datums: list[dict[str, Any]] = []
    noted = _plain(metadata.get(ASSETS_KEY) or {})
    for stream in streams:
        found = _descriptors(stream, start["uid"])
        descriptors += found
        uids = {d["uid"] for d in found}
        assets = {u: a for u, a in noted.items() if a["descriptor"] in uids}
        assets |= _assets(stream, found[0], without={a["data_key"] for a in assets.values()})
        for uid, asset in assets.items():
            resources.append(_resource(uid, asset, start["uid"]))
            datums += _datums(uid, asset)
        rows += [(doc["time"], doc["seq_num"], ("event", doc)) for doc in _events(stream, found)]
    descriptors.sort(key=lambda d: d["time"])
    rows.sort(key=lambda row: row[:2])
    return [
        ("start", start),
        *(("descriptor", d) for d in descriptors),
        *(("stream_resource", r) for r in resources),
        *(("stream_datum", d) for d in sorted(datums, key=lambda d: d["seq_nums"]["start"])),
        *(row[2] for row in rows),
        *([("stop", _plain(stop))] if stop else []),
    ]


def _descriptors(stream: Any, run_start: str) -> list[dict[str, Any]]:
    from bluesky_tiled_plugins.exporters import build_descriptor_docs

    found = build_descriptor_docs(
        _plain(dict(stream.metadata)), stream_name=stream.item["id"], run_start_uid=run_start
    )
    return [dict(doc) for doc in found]


def _events(stream: Any, descriptors: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream: tables and arrays joined again by row."""
    data_keys = descriptors[0]["data_keys"]
    columns: dict[str, Any] = {}
    for part in stream:
        if part == "internal" or part.startswith("internal_"):
            table = stream[part].read()
            columns |= {name: table[name].to_numpy() for name in table.columns}
    if "seq_num" not in columns:
        return
    for key, data_key in data_keys.items():
        if key not in columns and not data_key.get("external") and key in stream:
            columns[key] = stream[key].read()
        elif key not in columns and 0 in data_key["shape"] and not data_key.get("external"):
            columns[key] = np.empty((len(columns["seq_num"]), *data_key["shape"]))
    keys = [key for key in data_keys if key in columns]
    dtypes = {key: _dtype(data_keys[key]) for key in keys}
    order = np.argsort(columns["seq_num"], kind="stable")
    times = [(d["time"], d["uid"]) for d in descriptors]
    for row in order:
        time = float(columns["time"][row])
        seq_num = int(columns["seq_num"][row])
        uid = [u for t, u in times if t <= time or u == times[0][1]][-1]
        stamps = {key: columns.get(f"ts_{key}") for key in keys}
        yield {
            "uid": f"{uid}/event/{seq_num}",
            "descriptor": uid,
            "seq_num": seq_num,
            "time": time,
            "data": {key: _value(columns[key][row], dtypes[key]) for key in keys},
            "timestamps": {k: time if s is None else float(s[row]) for k, s in stamps.items()},
            "filled": {},
        }


def _dtype(data_key: dict[str, Any]) -> np.dtype | None:
    """Return the dtype of an array; scalars come back as Python's own."""
    if data_key.get("dtype") != "array" or not isinstance(data_key.get("dtype_numpy"), str):
        return None
    dtype = np.dtype(data_key["dtype_numpy"])
    return None if dtype.kind in "OUS" else dtype


def _value(value: Any, dtype: np.dtype | None) -> Any:
    if isinstance(value, np.ndarray | list):
        return np.asarray(value, dtype=dtype)
    return value.item() if isinstance(value, np.generic) else value


def _assets(
    stream: Any, descriptor: dict[str, Any], *, without: set[str]
) -> dict[str, dict[str, Any]]:
    """Return what can be known of files of which no notes were kept: the run goes on."""
    found = {}
    for key, data_key in descriptor["data_keys"].items():
        if key in without or not data_key.get("external") or key not in stream:
            continue
        node = stream[key]
        source = node.data_sources()[0]
        if not source.assets or not node.shape[0]:
            continue
        parameters = dict(source.parameters)
        parameters["chunk_shape"] = [max(sizes) for sizes in node.chunks]
        n = node.shape[0]
        if len(node.shape) == len(data_key["shape"]):
            n //= max(math.prod(data_key["shape"][:1]), 1)
        found[f"{descriptor['uid']}/{key}"] = {
            "data_key": key,
            "mimetype": source.mimetype,
            "uri": source.assets[0].data_uri,
            "parameters": parameters,
            "descriptor": descriptor["uid"],
            "ranges": [[0, n, 1, n + 1]],
        }
    return found


def _resource(uid: str, asset: dict[str, Any], run_start: str) -> dict[str, Any]:
    return {"uid": uid, "run_start": run_start} | {key: asset[key] for key in ASSET_KEYS}


def _datums(uid: str, asset: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, (start, stop, first, last) in enumerate(asset["ranges"]):
        yield {
            "uid": f"{uid}/{number}",
            "stream_resource": uid,
            "descriptor": asset["descriptor"],
            "indices": {"start": start, "stop": stop},
            "seq_nums": {"start": first, "stop": last},
        }


def _plain(value: Any) -> Any:
    """Turn the client's read-only views into dictionaries and lists."""
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple) or type(value).__name__ == "ListView":
        return [_plain(item) for item in value]
    return value
