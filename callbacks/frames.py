"""FrameSource: documents in, `Batch`es out. The one place where frames meet coordinates.

Live order and replay order differ (live: a stream_datum comes before the positions it needs; a
replay: everything at once), and so do the sizes of the announcements. What leaves here does not:
frames are paired by scan index and cut into fixed blocks of the scan, so that an analysis sees
the same batches live and in replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ..models.base import Batch, Corrections
from .assets import AssetReader
from .positions import PositionTable
from .readings import Readings

FRAMES, INDEX, TIME = "_frames", "_scan_index", "_time"
THROUGH = "_through_index"
MONITOR = "monitor"
BLOCK_SECONDS = 0.1
LARGEST_BLOCK = 256


class RingReader(Protocol):
    """Where the newest frames may still be in memory."""

    def read(self, resource_uid: str, start: int, stop: int) -> np.ndarray | None:
        """Return a copy of rows [start, stop) of a resource, or None if they are gone."""
        ...


def block_length(start: Mapping[str, Any]) -> int:
    """Return how many scan points make a block: a tenth of a second of frames, at most 256.

    It depends on the start document alone, so that live and replay cut alike. Frames that follow
    a cell's clock (``every_s``) come one by one, however often that is.
    """
    if start.get("every_s"):
        return 1
    dwell_ms = start.get("dwell_ms")
    if not dwell_ms:
        return LARGEST_BLOCK
    wanted = max(BLOCK_SECONDS * 1e3 / float(dwell_ms), 1.0)
    return min(LARGEST_BLOCK, 1 << int(np.log2(wanted)))


def coil_lag(start: Mapping[str, Any]) -> float:
    """Return the coils' time constant over the dwell, 0 where the run does not state both."""
    lag_ms, dwell_ms = start.get("coil_time_constant_ms"), start.get("dwell_ms")
    return float(lag_ms) / float(dwell_ms) if lag_ms and dwell_ms else 0.0


class _Column:
    """The announced rows of one data key of the camera, over one or more resources."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, int, int]] = []
        self.length = 0

    def announce(self, resource: str, start: int, stop: int) -> None:
        self.pieces.append((resource, start, stop))
        self.length += stop - start

    def locate(self, start: int, stop: int) -> Iterator[tuple[str, int, int]]:
        """Yield the (resource, start, stop) pieces behind rows [start, stop)."""
        offset = 0
        for resource, a, b in self.pieces:
            lo, hi = max(start - offset, 0), min(stop - offset, b - a)
            if lo < hi:
                yield resource, a + lo, a + hi
            offset += b - a


class FrameSource:
    """Pair a run's frames with their scan indices and positions, in fixed blocks.

    Parameters
    ----------
    start : mapping
        The run's start document; it fixes the length of the blocks.
    rings : sequence of RingReader
        Asked first for each block; the file answers what they no longer hold.
    camera : str, optional
        Name of the detector whose frames count; the first that a run announces where it is left
        out.
    monitor : str, optional
        A data key or device whose readings become the coordinate ``monitor`` (see `Readings`). A
        file of frames with a monitor of its own has that where nothing else is asked for.
    own : sequence of str
        Readings of the camera itself, such as ``live_time_s``, that become coordinates of the same
        name, where the run has them.

    Attributes
    ----------
    frames_read : int
        Frames handed on so far.
    unplaced : int
        Frames handed on with a NaN position, because none was recorded for them.
    blocks : range or None
        Only these blocks of the scan are read and handed on; the others are passed over.
    through : int
        All frames below this scan index were handed on. It follows the run's `rounds`, whose
        ends cut blocks too: a plan that asks what to do next waits for all that was measured.
    """

    def __init__(
        self,
        start: Mapping[str, Any],
        rings: Sequence[RingReader] = (),
        *,
        camera: str | None = None,
        monitor: str | None = None,
        own: Sequence[str] = (),
    ) -> None:
        self.rings = list(rings)
        self.camera = camera
        self.block = block_length(start)
        self.frames_read = 0
        self.unplaced = 0
        self.through = 0
        self.blocks: range | None = None
        self._rounds: list[int] = []
        self._assets = AssetReader()
        self._positions = PositionTable(self._assets, coil_lag(start))
        self._columns: dict[str, _Column] = {}
        self._descriptor_keys: dict[str, dict[str, Any]] = {}
        self._frames_key: str | None = None
        self._seq_start: list[tuple[int, int]] = []
        self._index = np.empty(0, np.int64)
        self._corrections: Corrections | None = None
        self._axes: dict[str, np.ndarray] = {}
        self._readings = {MONITOR: Readings(monitor)} | {name: Readings(None) for name in own}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> Iterator[Batch]:
        """Take in one document and yield the batches that it completes."""
        if name == "descriptor":
            self._descriptor_keys[doc["uid"]] = doc["data_keys"]
            self._positions.descriptor(doc)
            self._choose_camera(doc)
            for reading, readings in self._readings.items():
                if reading != MONITOR and self._frames_key is not None:
                    readings.wanted = f"{self._frames_key.removesuffix(FRAMES)}_{reading}"
                readings.descriptor(doc, self._frames_key)
        elif name == "stream_resource":
            self._assets.add(doc)
        elif name == "stream_datum":
            self._stream_datum(doc)
            yield from self._batches(final=False)
        elif name == "event_page":
            for row, seq_num in enumerate(doc["seq_num"]):
                data = {key: column[row] for key, column in doc["data"].items()}
                self._event(doc, seq_num, doc["time"][row], data)
            yield from self._batches(final=False)
        elif name == "event":
            self._event(doc, doc["seq_num"], doc["time"], doc["data"])
            yield from self._batches(final=False)
        elif name == "stop":
            yield from self._batches(final=True)
            self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._assets.close()

    def _choose_camera(self, descriptor: Mapping[str, Any]) -> None:
        if self._frames_key is not None:
            return
        for key, data_key in descriptor["data_keys"].items():
            external = str(data_key.get("external", "")).startswith("STREAM")
            device = key.removesuffix(FRAMES)
            wanted = self.camera in {None, device}
            if external and key.endswith(FRAMES) and wanted:
                self._frames_key = key
                for suffix in (FRAMES, INDEX, TIME):
                    if device + suffix in descriptor["data_keys"]:
                        self._columns[device + suffix] = _Column()
                self._units = data_key.get("units", "")

    def _stream_datum(self, doc: Mapping[str, Any]) -> None:
        key = self._assets.key(doc["stream_resource"])
        rows = doc["indices"]["start"], doc["indices"]["stop"]
        if key in self._columns:
            if key == self._frames_key:
                self._seq_start.append((self._columns[key].length, doc["seq_nums"]["start"]))
            self._columns[key].announce(doc["stream_resource"], *rows)
        else:
            self._positions.stream_datum(key, doc["stream_resource"], *rows)

    def _event(
        self, doc: Mapping[str, Any], seq_num: int, time: float, data: Mapping[str, Any]
    ) -> None:
        self._positions.event(seq_num, data)
        for readings in self._readings.values():
            readings.event(doc, seq_num, time, data)
        self._rounds += [int(value) for key, value in data.items() if key.endswith(THROUGH)]

    def _batches(self, *, final: bool) -> Iterator[Batch]:
        if self._frames_key is None:
            return
        self._extend_index()
        ready = len(self._index)
        if not final:
            ready = self._positions.known_prefix(self._index, self.frames_read)
            ready = self._monitored(ready)
        while self.frames_read < ready:
            stop = self._block_end(ready)
            if stop is None:
                if not final:
                    return
                stop = ready
            block = int(self._index[self.frames_read]) // self.block
            if self.blocks is None or block in self.blocks:
                yield self._batch(self.frames_read, stop)
            else:
                self.frames_read = stop
        if self._rounds and self.frames_read == len(self._index):
            self.through = self._rounds[-1]

    def _monitored(self, ready: int) -> int:
        """Return up to which frame all readings are known too."""
        for readings in self._readings.values():
            if readings.key is not None and ready > self.frames_read:
                taken = self._taken(self.frames_read, ready)
                ready = self.frames_read + readings.known_prefix(*taken)
        return ready

    def _taken(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the events that frames belong to, and when they were taken."""
        seq_nums = np.array([self._seq_num(row) for row in range(start, stop)], np.int64)
        time_key = (self._frames_key or "").removesuffix(FRAMES) + TIME
        times = self._read(time_key, start, stop) if time_key in self._columns else None
        return seq_nums, times

    def _extend_index(self) -> None:
        """Read the scan index of the frames announced since the last time."""
        done = len(self._index)
        available = min(column.length for column in self._columns.values())
        if available <= done:
            return
        index_key = (self._frames_key or "").removesuffix(FRAMES) + INDEX
        if index_key in self._columns:
            new = self._read(index_key, done, available).astype(np.int64)
        else:
            new = np.array([self._seq_num(i) - 1 for i in range(done, available)], np.int64)
        self._index = np.concatenate([self._index, new])

    def _seq_num(self, frame: int) -> int:
        for first, seq_num in reversed(self._seq_start):
            if frame >= first:
                return max(seq_num, 1) + frame - first
        return frame + 1

    def _block_end(self, ready: int) -> int | None:
        """Return where the block that begins at `frames_read` ends, or None if it is open."""
        index = self._index[self.frames_read : ready]
        round_of = np.searchsorted(self._rounds, index, side="right")
        block_of = index // self.block
        ends = (block_of != block_of[0]) | (round_of != round_of[0])
        ends[1:] |= (index[:-1] + 1) % self.block == 0  # the frame before was a block's last
        first = int(np.argmax(ends))
        if ends[first]:
            return self.frames_read + first
        # a round is told of when all its frames were announced
        if (index[-1] + 1) % self.block == 0 or round_of[0] < len(self._rounds):
            return ready
        return None

    def _batch(self, start: int, stop: int) -> Batch:
        key = self._frames_key or ""
        frames = self._read(key, start, stop)
        if self._corrections is None:
            first, _, _ = next(self._columns[key].locate(start, stop))
            self._corrections = self._assets.corrections(first)
            self._axes = self._assets.axes(first)
        index = self._index[start:stop]
        coordinates = self._positions.lookup(index)
        for values in coordinates.values():
            self.unplaced += int(np.isnan(values).any(axis=1).sum())
        time_key = key.removesuffix(FRAMES) + TIME
        if time_key in self._columns:
            coordinates["time_s"] = self._read(time_key, start, stop)
        for name in self._readings:
            values = self._reading(name, key, start, stop)
            if values is not None:
                coordinates[name] = values
        if self._axes:
            stated = [
                self._assets.sigma(*piece) for piece in self._columns[key].locate(start, stop)
            ]
            known = [rows for rows in stated if rows is not None]
            if len(known) == len(stated):
                coordinates["sigma"] = np.concatenate(known)
        self.frames_read = stop
        names = [(r, i) for r, a, b in self._columns[key].locate(start, stop) for i in range(a, b)]
        return Batch(frames, index, coordinates, self._corrections, self._axes, names)

    def _reading(self, name: str, key: str, start: int, stop: int) -> np.ndarray | None:
        """Return the readings of the signal that was asked for, else those of the file."""
        readings = self._readings[name]
        if readings.key is not None:
            return readings.lookup(*self._taken(start, stop))
        if readings.wanted is not None and name == MONITOR:
            return None
        pieces = self._columns[key].locate(start, stop)
        parts = [self._assets.by_frame(name, *piece) for piece in pieces]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if known and len(known) == len(parts) else None

    def _read(self, key: str, start: int, stop: int) -> np.ndarray:
        parts = [self._rows(*piece) for piece in self._columns[key].locate(start, stop)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rows(self, resource: str, start: int, stop: int) -> np.ndarray:
        """Return announced rows: from a ring that still has them, else from the file."""
        for ring in self.rings:
            rows = ring.read(resource, start, stop)
            if rows is not None:
                return rows
        return self._assets.read(resource, start, stop)
