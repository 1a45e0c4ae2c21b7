"""Packed chunks of HDF5 files of elsewhere, looked at before a library in C unpacks them.

bitshuffle believes the sizes that a chunk states: a changed byte makes it read memory that is not
its own, and the process ends. The sizes are walked here first (format: bitshuffle, Masui et al.,
2015, "hdf5 filter": total bytes and bytes a block, big-endian; each block after its packed size).
"""

from __future__ import annotations

from math import prod
from typing import Any

import h5py
import numpy as np

BITSHUFFLE = "32008"

LARGEST_BLOCK_BYTES = 1 << 26

_HEAD = 12
_PACKED = (2, 3)  # LZ4, Zstandard; without packing there are no blocks to walk


class ChunkError(OSError):
    """A chunk's sizes contradict each other."""


def guarded(dataset: h5py.Dataset) -> Any:
    """Return a dataset that looks at its chunks before it unpacks them, where that is needed."""
    filters: Any = dataset._filters  # noqa: SLF001  the public names leave out what a plugin adds
    packed = len(filters.get(BITSHUFFLE, ())) > 4 and filters[BITSHUFFLE][4] in _PACKED
    if not packed or len(filters) != 1 or dataset.is_virtual or not dataset.chunks:
        return dataset
    return _Guarded(dataset)


class _Guarded:
    """Rows of a dataset of bitshuffle's chunks."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape, self.dtype, self.ndim = dataset.shape, dataset.dtype, dataset.ndim
        self.chunks: tuple[int, ...] = dataset.chunks or ()
        self.attrs = dataset.attrs
        self._good: set[tuple[int, ...]] = set()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        first = rows[0] if isinstance(rows, tuple) and rows else rows
        if isinstance(first, int | np.integer):
            first = slice(int(first), int(first) + 1) if first >= 0 else slice(None)
        start, stop = 0, len(self)
        if isinstance(first, slice) and first.step in (None, 1):
            start, stop, _ = first.indices(len(self))
        self._look(start, stop)
        return self._dataset[rows]

    def _look(self, start: int, stop: int) -> None:
        step = self.chunks[0]
        grid = [range(start // step * step, stop, step)]
        grid += [range(0, n, c) for n, c in zip(self.shape[1:], self.chunks[1:], strict=True)]
        for corner in np.ndindex(*(len(places) for places in grid)):
            offset = tuple(places[k] for places, k in zip(grid, corner, strict=True))
            if offset not in self._good:
                self._look_at(offset)
                self._good.add(offset)

    def _look_at(self, offset: tuple[int, ...]) -> None:
        info = self._dataset.id.get_chunk_info_by_coord(offset)
        if info.byte_offset is None or not info.size or info.filter_mask:
            return  # never written, or not packed
        _, data = self._dataset.id.read_direct_chunk(offset)
        check(data, prod(self.chunks), self.dtype.itemsize)


def check(data: bytes, elements: int, itemsize: int) -> None:
    """Walk the sizes of one packed chunk.

    Raises
    ------
    ChunkError
        If they are not those of so many elements.
    """
    total, block_bytes = int.from_bytes(data[:8], "big"), int.from_bytes(data[8:_HEAD], "big")
    block = block_bytes // itemsize
    if (
        total != elements * itemsize
        or len(data) < _HEAD
        or not 0 < block_bytes <= LARGEST_BLOCK_BYTES
    ):
        raise ChunkError("a packed chunk states another size than it has")
    if block % 8 or not block:
        raise ChunkError("a packed chunk states blocks of a size that none has")
    whole, rest = divmod(elements, block)
    blocks = whole + (rest >= 8)
    at = _HEAD
    for _ in range(blocks):
        at += 4 + int.from_bytes(data[at : at + 4], "big")
        if at > len(data):
            raise ChunkError("a packed chunk is damaged: its blocks are longer than itself")
    if at + rest % 8 * itemsize != len(data):
        raise ChunkError("a packed chunk is damaged: its blocks do not fill it")
