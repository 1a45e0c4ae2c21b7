"""The latest frames of one device, in memory.

Analyses read blocks here that the documents have announced, and turn to the file where the ring
has moved on. One ring a device; it is kept and filled again by the next run.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..models.ring_memory import Fields, RingMemory, shared_file

logger = logging.getLogger("flyback.devices")


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
        self._memory = RingMemory(0, {})
        self._resources: dict[str, tuple[int, str]] = {}
        self._generation = 0
        self._next_row = 0
        self._shared = False
        self._release: Any = None
        self._lock = threading.Lock()

    @property
    def capacity(self) -> int:
        """Rows that it holds; 0 before the first run."""
        return self._memory.capacity

    def share(self) -> None:
        """Keep the rows, from the next run on, where other processes can read them too."""
        with self._lock:
            if not self._shared:
                self._shared = True
                self._memory = RingMemory(0, {})

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
            fields = {f: (tuple(shapes[f]), np.dtype(dtypes[f])) for f in shapes}
            if self._memory.fields != fields:
                # a reader that is copying keeps the old arrays alive and fails the second look
                self._memory = self._allocate(fields)
                self._resources.clear()
            self._generation += 1
            self._next_row = 0
            while len(self._resources) > 64:
                self._resources.pop(next(iter(self._resources)))
            self._resources |= {uid: (self._generation, f) for f, uid in resources.items()}

    def _allocate(self, fields: Fields) -> RingMemory:
        row_bytes = sum(
            int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for shape, dtype in fields.values()
        )
        capacity = max(16, int(self.capacity_mb * 1e6 // max(row_bytes, 1)))
        if self._release is not None:
            self._release()
        if self._shared:
            try:
                path = shared_file(capacity * (row_bytes + 16))
                self._release = weakref.finalize(self, _remove, path)
                return RingMemory(capacity, fields, path)
            except OSError as error:
                logger.warning("%s; analyses in other processes read frames from files", error)
        return RingMemory(capacity, fields)

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
        buffers, stamps = self._memory.buffers, self._memory.stamps
        n = len(next(iter(block.values())))
        row = self._next_row
        slot = row % self.capacity
        ahead = min(n, self.capacity - slot)
        for at, start, stop in ((slot, 0, ahead), (0, ahead, n)):
            if stop == start:
                continue
            where = slice(at, at + stop - start)
            stamps[where] = -1
            for f, rows in block.items():
                buffers[f][where] = rows[start:stop]
            stamps[where, 1] = np.arange(row + start, row + stop)
            stamps[where, 0] = self._generation
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
            memory = self._memory
        if generation < 0 or not 0 <= start < stop or stop - start > memory.capacity:
            return None
        return memory.copy(field, generation, start, stop)

    def describe(self, resource_uid: str) -> dict[str, Any] | None:
        """Return where another process finds the rows of a resource; None where it cannot."""
        with self._lock:
            found = self._resources.get(resource_uid)
            memory = self._memory.describe()
        if found is None or memory is None:
            return None
        return {"resource": resource_uid, "generation": found[0], "field": found[1], **memory}


def _remove(path: Path) -> None:
    with suppress(OSError):  # on Windows not while somebody maps it
        path.unlink(missing_ok=True)
