"""Memory of a ring of stamped rows, in one process or in a file that several processes map.

Each slot has a stamp (generation, row), taken away before its rows change and set after. Who reads
copies the rows and looks at the stamps before and after, so that nobody waits for anybody. Between
processes this relies on stores being seen in their order, as on x86-64.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_ALIGN = 64
_SHARED_MEMORY = Path("/dev/shm")
_PIECE = 1 << 24

Fields = Mapping[str, tuple[tuple[int, ...], np.dtype]]


class RingMemory:
    """Buffers of named fields, (capacity, ...) each, and their stamps.

    Parameters
    ----------
    capacity : int
        Slots.
    fields : mapping of str to (shape of a row, dtype)
    path : Path, optional
        A file to map; memory of this process alone where it is left out.
    writable : bool
        Whether the file is made; else it is there and is only read.

    Attributes
    ----------
    buffers : dict of str to (capacity, ...) array
    stamps : (capacity, 2) int64
        Generation and row of each slot, -1 where it holds none.

    Raises
    ------
    OSError
        When there is no room for the file, or it is gone.
    """

    def __init__(
        self, capacity: int, fields: Fields, path: Path | None = None, *, writable: bool = True
    ) -> None:
        self.capacity, self.fields, self.path = capacity, dict(fields), path
        wanted: dict[str, tuple[tuple[int, ...], np.dtype]] = {
            name: ((capacity, *shape), np.dtype(dtype)) for name, (shape, dtype) in fields.items()
        }
        stamps = ((capacity, 2), np.dtype(np.int64))
        if path is None:
            self.buffers = {name: np.empty(*each) for name, each in wanted.items()}
            self.stamps = np.full(*stamps[:1], -1, stamps[1])
            return
        sizes = [_padded(*each) for each in (stamps, *wanted.values())]
        if writable:
            _make(path, sum(sizes))
        raw = np.memmap(path, np.uint8, "r+" if writable else "r", shape=(sum(sizes),))
        starts = np.cumsum([0, *sizes[:-1]])
        self.stamps = _view(raw, int(starts[0]), *stamps)
        self.buffers = {
            name: _view(raw, int(start), *wanted[name])
            for name, start in zip(wanted, starts[1:], strict=True)
        }
        if writable:
            self.stamps[:] = -1

    def copy(self, field: str, generation: int, start: int, stop: int) -> np.ndarray | None:
        """Return a copy of rows [start, stop) of a generation, or None where they are not there."""
        slots: Any = slice(start % self.capacity, (stop - 1) % self.capacity + 1)
        if slots.start >= slots.stop:  # around the end
            slots = np.arange(start, stop) % self.capacity
        wanted = np.empty((stop - start, 2), np.int64)
        wanted[:, 0], wanted[:, 1] = generation, np.arange(start, stop)
        if not np.array_equal(self.stamps[slots], wanted):
            return None
        rows = np.array(self.buffers[field][slots])
        # the writer may have lapped the copy
        return rows if np.array_equal(self.stamps[slots], wanted) else None

    def describe(self) -> dict[str, Any] | None:
        """Return what another process needs to `attach`; None where it cannot."""
        if self.path is None:
            return None
        fields = {name: (list(shape), dtype.str) for name, (shape, dtype) in self.fields.items()}
        return {"path": str(self.path), "capacity": self.capacity, "fields": fields}


def attach(description: Mapping[str, Any]) -> RingMemory:
    """Map, to read, the memory that another process has described.

    Raises
    ------
    OSError
        When it is no longer there.
    """
    fields = {
        name: (tuple(shape), np.dtype(dtype))
        for name, (shape, dtype) in description["fields"].items()
    }
    path = Path(description["path"])
    return RingMemory(int(description["capacity"]), fields, path, writable=False)


def shared_file(n_bytes: int) -> Path:
    """Return the name of a new file for shared memory, in memory where the system offers that.

    Raises
    ------
    OSError
        When there is no room for it.
    """
    places = [_SHARED_MEMORY] if _SHARED_MEMORY.is_dir() else []
    for folder in [*places, Path(tempfile.gettempdir())]:
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > n_bytes + (64 << 20):
            handle, name = tempfile.mkstemp(".ring", "flyback-", folder)
            os.close(handle)
            return Path(name)
    raise OSError(f"there are no {n_bytes / 1e6:.0f} MB of memory that processes could share")


def _make(path: Path, n_bytes: int) -> None:
    """Make a file whose room is really there: writing into a hole would kill the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            return
        for start in range(0, n_bytes, _PIECE):
            file.write(bytes(min(_PIECE, n_bytes - start)))


def _padded(shape: tuple[int, ...], dtype: np.dtype) -> int:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return -(-size // _ALIGN) * _ALIGN


def _view(raw: np.ndarray, start: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return np.asarray(raw[start : start + size]).view(dtype).reshape(shape)
