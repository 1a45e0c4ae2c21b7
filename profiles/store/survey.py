"""What a journal holds of a run, and how much of what it announces is in files."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ...callbacks.record import JournalError, read_journal
from .frame_files import path_of, rows

Document = tuple[str, Mapping[str, Any]]
_UNKNOWN = {"number": float("nan"), "integer": None, "string": None, "boolean": None}


@dataclass
class _Asset:
    """One stream resource: what was announced of it, and how many rows may be."""

    resource: Mapping[str, Any]
    datums: int = 0
    last: Mapping[str, Any] | None = None
    limit: int | None = None

    @property
    def reached(self) -> int:
        return self.last["indices"]["stop"] if self.last else 0

    def announce(self, doc: Mapping[str, Any]) -> None:
        self.datums += 1
        self.last = doc


class Survey:
    """Read a journal once and remember what recovery asks.

    Parameters
    ----------
    path : path
        Of the journal; no one may write it.

    Attributes
    ----------
    has_start, has_stop : bool
    damage : str
        What is wrong with the journal; empty where nothing is.
    missing : int
        Rows that were announced and are not in the files; known after `count_rows`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._assets: dict[str, _Asset] = {}
        self._streams: dict[str, Mapping[str, Any]] = {}
        self.has_start = self.has_stop = False
        self.damage = ""
        self.missing = self.in_flight = 0
        self._last_time = 0.0
        # Of each stream: the last event, and the event that the last datum belongs to.
        self._events: dict[str, int] = {}
        self._datums: dict[str, int] = {}
        for name, doc in self._read():
            self.has_start |= name == "start"
            self.has_stop |= name == "stop"
            if name == "descriptor":
                self._streams[doc["uid"]] = doc
            elif name == "stream_resource":
                self._assets[doc["uid"]] = _Asset(doc)
            elif name == "stream_datum" and doc["stream_resource"] in self._assets:
                self._assets[doc["stream_resource"]].announce(doc)
                self._note(self._datums, doc, doc["seq_nums"]["stop"] - 1)
            elif name == "event":
                self._note(self._events, doc, doc["seq_num"])
            elif name == "event_page":
                self._note(self._events, doc, max(doc["seq_num"], default=0))
            stamp = doc.get("time")
            if isinstance(stamp, float | int):
                self._last_time = max(self._last_time, stamp)

    def files(self) -> set[Path]:
        """Return the local HDF5 files that the run's frames are in."""
        found = (path_of(asset.resource) for asset in self._assets.values())
        return {path for path in found if path is not None}

    def complete(self) -> list[Document]:
        """Announce what was announced of one data key of a file and not yet of its neighbours.

        A device announces its data keys one after the other, and a session may be killed in
        between; the rows of all of them were in the file before the first was announced.

        Returns
        -------
        list of (name, document)
            The datums that are wanting.
        """
        found: list[Document] = []
        for assets in self._by_file().values():
            furthest = max(assets, key=lambda asset: asset.reached)
            for asset in assets:
                doc = self._next(asset, furthest)
                if doc is not None:
                    asset.announce(doc)
                    found.append(("stream_datum", doc))
        return found

    def _next(self, asset: _Asset, furthest: _Asset) -> dict[str, Any] | None:
        """Return the last datum of the asset that came furthest if it is all that another lacks."""
        last = furthest.last
        if last is None or asset.datums != furthest.datums - 1:
            return None
        stream = self._streams.get(last["descriptor"], {})
        if asset.reached != last["indices"]["start"] or asset.resource[
            "data_key"
        ] not in stream.get("data_keys", ()):
            return None
        uid = asset.resource["uid"]
        return {**last, "uid": f"{uid}/{asset.reached}/recovered", "stream_resource": uid}

    def unread(self) -> list[Document]:
        """Return events for the frames of steps that were cut off before their event.

        All rows of them must be in the files. What was read beside them is not known any more: NaN
        for numbers, None for the rest.

        Returns
        -------
        list of (name, document)
            Where a key can hold neither, none; `documents` leaves the frame out then.
        """
        found: list[Document] = []
        for uid, stream in self._streams.items():
            keys = stream["data_keys"]
            own = {n: k for n, k in keys.items() if not _is_external(k)}
            name = stream.get("name", "primary")
            seq_num = self._events.get(name, 0) + 1
            assets = [a for a in self._assets.values() if a.last and a.last["descriptor"] == uid]
            whole = all(a.limit is None or a.limit >= a.reached for a in assets)
            plain = all(key["dtype"] in _UNKNOWN for key in own.values())
            if not (assets and own and whole and plain and self._datums.get(name) == seq_num):
                continue
            data = {key: _UNKNOWN[described["dtype"]] for key, described in own.items()}
            doc = {
                "uid": f"{uid}/{seq_num}/recovered",
                "descriptor": uid,
                "seq_num": seq_num,
                "time": self._last_time,
                "data": data,
                "timestamps": dict.fromkeys(data, self._last_time),
                "filled": {},
            }
            self._events[name] = seq_num
            found.append(("event", doc))
        return found

    def count_rows(self) -> None:
        """Look into the files: no more rows count than are there, for all keys of a file alike."""
        self.missing = 0
        for path, assets in self._by_file().items():
            there = [rows(path, asset.resource["parameters"]["dataset"]) for asset in assets]
            # A frame without its scan index is of no use. But a dataset of which nothing can be
            # read takes none of the others with it.
            pairs = list(zip(assets, there, strict=True))
            short = [n for asset, n in pairs if 0 < n < asset.reached]
            lost = [0]
            for asset, n in pairs:
                asset.limit = min([n, *short])
                lost.append(asset.reached - asset.limit)
            self.missing += max(lost)

    def documents(self, ending: list[Document]) -> Iterator[Document]:
        """Yield the documents and others after them, datums cut to what is in the files.

        The frame of a step without an event is left out (see `unread`): the stream could not be
        read with one row more of it than of the rest.
        """
        for name, doc in chain(self._read(), ending):
            if name == "stream_datum":
                if self._is_in_flight(doc):
                    rows_left = doc["indices"]["stop"] - doc["indices"]["start"]
                    self.in_flight = max(self.in_flight, rows_left)
                    continue
                cut = self._cut(doc)
                if cut["indices"]["stop"] > cut["indices"]["start"]:
                    yield name, cut
            else:
                yield name, doc

    def stop(self, run: str, reason: str, ending: list[Document]) -> dict[str, Any]:
        """Make the stop document that the run did not get, after what completes it."""
        counts: Counter[str] = Counter()
        reached: dict[str, int] = {}
        for name, doc in self.documents(ending):
            stream = self._stream(doc)
            if name == "event":
                counts[stream] += 1
            elif name == "event_page":
                counts[stream] += len(doc["seq_num"])
            elif name == "stream_datum":
                reached[stream] = max(reached.get(stream, 0), doc["seq_nums"]["stop"] - 1)
        return {
            "uid": str(uuid.uuid4()),
            "run_start": run,
            "time": self._last_time or self._path.stat().st_mtime,
            "exit_status": "fail",
            "reason": reason,
            "num_events": reached | counts,
        }

    def _stream(self, doc: Mapping[str, Any]) -> str:
        return self._streams.get(doc.get("descriptor", ""), {}).get("name", "primary")

    def _note(self, last: dict[str, int], doc: Mapping[str, Any], seq_num: int) -> None:
        stream = self._stream(doc)
        last[stream] = max(last.get(stream, 0), seq_num)

    def _is_in_flight(self, doc: Mapping[str, Any]) -> bool:
        """Say whether a datum belongs to the one event after the last that was recorded."""
        keys = self._streams.get(doc["descriptor"], {}).get("data_keys", {})
        if all(_is_external(key) for key in keys.values()):
            return False
        stream = self._stream(doc)
        seq_num = self._events.get(stream, 0) + 1
        seq_nums = doc["seq_nums"]
        return self._datums.get(stream) == seq_num and (seq_nums["start"], seq_nums["stop"]) == (
            seq_num,
            seq_num + 1,
        )

    def _by_file(self) -> dict[Path, list[_Asset]]:
        found: defaultdict[Path, list[_Asset]] = defaultdict(list)
        for asset in self._assets.values():
            path = path_of(asset.resource)
            if path is not None and "dataset" in asset.resource["parameters"]:
                found[path].append(asset)
        return found

    def _cut(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        start, stop = doc["indices"]["start"], doc["indices"]["stop"]
        asset = self._assets.get(doc["stream_resource"])
        limit = stop if asset is None or asset.limit is None else asset.limit
        kept = max(min(stop, limit), start)
        seq_nums = doc["seq_nums"]
        return {
            **doc,
            "indices": {"start": start, "stop": kept},
            "seq_nums": {"start": seq_nums["start"], "stop": seq_nums["stop"] - (stop - kept)},
        }

    def _read(self) -> Iterator[Document]:
        with read_journal(self._path) as reader:
            try:
                yield from reader
            except JournalError as error:
                self.damage = str(error)


def _is_external(key: Mapping[str, Any]) -> bool:
    return str(key.get("external", "")).startswith("STREAM")
