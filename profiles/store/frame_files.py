"""HDF5 files whose writer died: how much is in them, and making them readable again.

A file written in single-writer multiple-reader (SWMR) mode holds everything that was flushed, but
carries the mark "open for writing", and plain readers refuse it. The mark is one byte of the
superblock, beside the end of the file as of the last close, under a checksum.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

MIMETYPE = "application/x-hdf5"

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIZE, _FLAGS, _END, _CHECKSUM = 48, 11, 28, 44
_WRITING, _SWMR = 0x01, 0x04
_UINT32 = 0xFFFFFFFF


def path_of(resource: Mapping[str, Any]) -> Path | None:
    """Return the local HDF5 file of a stream resource, None where it is something else."""
    parts = urlsplit(resource["uri"])
    if resource["mimetype"] != MIMETYPE or parts.scheme != "file":
        return None
    return Path(url2pathname(parts.path))


def release(path: Path) -> bool:
    """Take the mark of a dead SWMR writer off a file, as ``h5clear`` does.

    Only for files that no one writes. A file that died outside SWMR mode is left alone: its inside
    is not consistent.

    Returns
    -------
    bool
        True if there was a mark.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with path.open("r+b") as file:
        block = bytearray(file.read(_SIZE))
        if not _is_abandoned(block):
            return False
        block[_FLAGS] = 0
        block[_END : _END + 8] = struct.pack("<Q", os.fstat(file.fileno()).st_size)
        block[_CHECKSUM:] = struct.pack("<I", lookup3(bytes(block[:_CHECKSUM])))
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return True


def rows(path: Path, dataset: str) -> int:
    """Return how many rows of a dataset are in a file; 0 if they cannot be read.

    Rows after the first chunk that the end of the file cuts off do not count.
    """
    import h5py

    for swmr in (False, True):
        try:
            with h5py.File(path, "r", swmr=swmr) as file:
                found = file[dataset]
                if not isinstance(found, h5py.Dataset):
                    return 0
                return _before_the_end(found, path.stat().st_size)
        # HDF5 says RuntimeError where the index of the chunks is cut off.
        except (OSError, KeyError, RuntimeError):
            continue
    return 0


def _before_the_end(dataset: Any, size: int) -> int:
    """Return the rows that lie wholly within a file of `size` bytes."""
    cut = [dataset.shape[0]]

    def look(chunk: Any) -> None:
        if chunk.byte_offset + chunk.size > size:
            cut.append(chunk.chunk_offset[0])

    if dataset.chunks:
        dataset.id.chunk_iter(look)
    return min(cut)


def lookup3(data: bytes) -> int:
    """Return Bob Jenkins's hash ``hashlittle`` (lookup3.c, 2006), HDF5's metadata checksum."""
    a = b = c = (0xDEADBEEF + len(data)) & _UINT32
    while len(data) > 12:
        x, y, z = struct.unpack_from("<III", data)
        a, b, c = _mix((a + x) & _UINT32, (b + y) & _UINT32, (c + z) & _UINT32)
        data = data[12:]
    if not data:
        return c
    x, y, z = struct.unpack("<III", data.ljust(12, b"\0"))
    a, b, c = (a + x) & _UINT32, (b + y) & _UINT32, (c + z) & _UINT32
    c = ((c ^ b) - _rotate(b, 14)) & _UINT32
    a = ((a ^ c) - _rotate(c, 11)) & _UINT32
    b = ((b ^ a) - _rotate(a, 25)) & _UINT32
    c = ((c ^ b) - _rotate(b, 16)) & _UINT32
    a = ((a ^ c) - _rotate(c, 4)) & _UINT32
    b = ((b ^ a) - _rotate(a, 14)) & _UINT32
    return ((c ^ b) - _rotate(b, 24)) & _UINT32


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        mixed = ((a - c) & _UINT32) ^ _rotate(c, bits)
        # The three change their roles at each step, and after six have their own again.
        a, b, c = b, (c + b) & _UINT32, mixed
    return a, b, c


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _UINT32


def _is_abandoned(block: bytes | bytearray) -> bool:
    """Say whether this is a superblock of version 3 with the mark of a SWMR writer."""
    return (
        len(block) == _SIZE
        and block.startswith(_SIGNATURE)
        and block[8:11] == b"\x03\x08\x08"
        and block[_FLAGS] & (_WRITING | _SWMR) == _WRITING | _SWMR
        and struct.unpack_from("<I", block, _CHECKSUM)[0] == lookup3(bytes(block[:_CHECKSUM]))
    )
