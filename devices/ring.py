"""The latest frames of one device, in memory.

Analyses read blocks here that the documents have announced, and turn to the file where the ring
has moved on. One ring a device; it is kept and filled again by the next run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np


class FrameRing:
    """A fixed number of rows of several fields, each slot stamped with what it holds.

    A reader never waits for the writer: it copies, and looks again whether the stamps are still
    those that it wanted.

    Parameters
    ----------
    capacity_mb : float, MB
        Memory for the rows.
    """

    def __init__(self, capacity_mb: float = 256.0) -> None:
        self.capacity_mb = capacity_mb
        self.capacity = 0
        self._buffers: dict[str, np.ndarray] = {}
        self._stamps = np.empty((0, 2), np.int64)  # generation, row
        self._resources: dict[str, tuple[int, str]] = {}
        self._generation = 0
        self._next_row = 0
        self._lock = threading.Lock()

    def begin(
        self,
        resources: Mapping[str, str],
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, np.dtype],
    ) -> None:
        """Start a new generation of rows; memory is taken only where the shapes have changed.

        Parameters
        ----------
        resources : mapping of field to uid of its stream resource
        shapes : mapping of field to the shape of one row
        dtypes : mapping of field to its dtype
        """
        with self._lock:
            row_bytes = sum(
                int(np.prod(shapes[f], dtype=np.int64)) * np.dtype(dtypes[f]).itemsize
                for f in shapes
            )
            capacity = max(16, int(self.capacity_mb * 1e6 // max(row_bytes, 1)))
            wanted = {f: ((capacity, *shapes[f]), np.dtype(dtypes[f])) for f in shapes}
            held = {f: (buffer.shape, buffer.dtype) for f, buffer in self._buffers.items()}
            if wanted != held:
                # a reader that is copying keeps the old arrays alive and fails the second look
                self._buffers = {f: np.empty(shape, dtype) for f, (shape, dtype) in wanted.items()}
                self._stamps = np.full((capacity, 2), -1, np.int64)
                self._resources.clear()
                self.capacity = capacity
            self._generation += 1
            self._next_row = 0
            while len(self._resources) > 64:
                self._resources.pop(next(iter(self._resources)))
            self._resources |= {uid: (self._generation, f) for f, uid in resources.items()}

    def put(self, block: Mapping[str, np.ndarray]) -> None:
        """Add the next rows. One thread only may call this.

        Parameters
        ----------
        block : mapping of field to (n, ...) array
        """
        n = len(next(iter(block.values())))
        for first in range(0, n, self.capacity):
            self._put({f: rows[first : first + self.capacity] for f, rows in block.items()})

    def _put(self, block: Mapping[str, np.ndarray]) -> None:
        n = len(next(iter(block.values())))
        row = self._next_row
        slot = row % self.capacity
        ahead = min(n, self.capacity - slot)
        for at, start, stop in ((slot, 0, ahead), (0, ahead, n)):
            if stop == start:
                continue
            where = slice(at, at + stop - start)
            self._stamps[where] = -1
            for f, rows in block.items():
                self._buffers[f][where] = rows[start:stop]
            self._stamps[where, 1] = np.arange(row + start, row + stop)
            self._stamps[where, 0] = self._generation
        self._next_row = row + n

    def read(self, resource_uid: str, start: int, stop: int) -> np.ndarray | None:
        """Copy rows out.

        Parameters
        ----------
        resource_uid : str
            As in the documents.
        start, stop : int
            Rows of the file, `stop` not included.

        Returns
        -------
        rows : (stop - start, ...) array, or None
            None where the ring never had all of them or has moved on.
        """
        with self._lock:
            generation, field = self._resources.get(resource_uid, (-1, ""))
            if generation < 0 or not 0 <= start < stop or stop - start > self.capacity:
                return None
            buffer, stamps = self._buffers[field], self._stamps
        slots = np.arange(start, stop) % len(buffer)
        wanted = np.stack([np.full(stop - start, generation), np.arange(start, stop)], axis=1)
        if not np.array_equal(stamps[slots], wanted):
            return None
        rows = buffer[slots]
        # the writer may have lapped the copy
        return rows if np.array_equal(stamps[slots], wanted) else None
