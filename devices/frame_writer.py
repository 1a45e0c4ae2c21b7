"""Rows to one HDF5 file that others may read while it grows, and the documents that say so.

Only what has been written and flushed is announced. The file is in SWMR mode, so that every
announced row is readable even after the process was killed.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

_RESERVE_BYTES = 64_000_000


class WriteError(OSError):
    """The file cannot be made or has stopped growing; the message is one sentence."""


@dataclass(frozen=True)
class Field:
    """One dataset and its data key.

    Parameters
    ----------
    name : str
        The suffix of the data key.
    data_key : str
    shape : tuple of int
        Shape of one row.
    dtype : numpy.dtype
    units : str
    dims : tuple of str
    compress : bool
        Bitshuffle and LZ4.
    """

    name: str
    data_key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    units: str = ""
    dims: tuple[str, ...] = ()
    compress: bool = False

    @property
    def dataset(self) -> str:
        """Path inside the file."""
        return f"/entry/data/{self.name}"

    def describe(self, source: str) -> dict[str, Any]:
        """Return the data key."""
        key: dict[str, Any] = {
            "source": source,
            "dtype": "array" if self.shape else _scalar_kind(self.dtype),
            "shape": list(self.shape),
            "dtype_numpy": self.dtype.str,
            "external": "STREAM:",
            "units": self.units,
        }
        return key | ({"dims": list(self.dims)} if self.dims else {})


def _scalar_kind(dtype: np.dtype) -> str:
    return "integer" if dtype.kind in "iu" else "number"


class FrameWriter:
    """Append rows of several fields to one file and announce what is on disk.

    Parameters
    ----------
    directory : Path
    stem : str
        Start of the file's name.
    fields : sequence of Field
    chunk_rows : int
        Rows in one chunk of the first field; full chunks are written at once.
    extras : mapping of path in the file to array
        Written once, such as a dark frame.
    reserve_bytes : int
        Writing stops with an error when the disk has less room than this, so that what is
        there can still be closed.

    Raises
    ------
    WriteError
        When the folder or the file cannot be made.
    """

    def __init__(
        self,
        directory: Path,
        stem: str,
        fields: Sequence[Field],
        *,
        chunk_rows: int = 64,
        extras: Mapping[str, np.ndarray] | None = None,
        reserve_bytes: int = _RESERVE_BYTES,
    ) -> None:
        self.fields = tuple(fields)
        self.chunk_rows = max(1, int(chunk_rows))
        self.written = 0
        self.reserve_bytes = reserve_bytes
        self.uids = {f.name: str(uuid.uuid4()) for f in fields}
        self._announced = 0
        self._named = False
        self.path = Path(directory).absolute() / f"{stem}_{self.uids[fields[0].name][:8]}.h5"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_room()
            # room for a partly filled chunk, which would else be compressed anew by each write
            cache = 4 * self._chunk_bytes() + (1 << 20)
            self._file = h5py.File(self.path, "w", libver="latest", rdcc_nbytes=cache)
        except WriteError:
            raise
        except OSError as error:
            raise WriteError(
                f"cannot write {self.path}: {error.strerror or error}; choose another folder."
            ) from error
        self._datasets = {f.name: self._make(f) for f in self.fields}
        for path, array in (extras or {}).items():
            self._file.create_dataset(path, data=array)
        self._file.swmr_mode = True

    def _chunk_bytes(self) -> int:
        return max(
            self.chunk_rows * int(np.prod(f.shape, dtype=np.int64)) * f.dtype.itemsize
            for f in self.fields
        )

    def _chunk(self, field: Field) -> tuple[int, ...]:
        # small rows share larger chunks: an index of 64 numbers a chunk is mostly overhead
        rows = self.chunk_rows if field.compress else max(self.chunk_rows, 1024)
        return (rows, *field.shape)

    def _make(self, field: Field) -> h5py.Dataset:
        compression = hdf5plugin.Bitshuffle(cname="lz4") if field.compress else {}
        dataset = self._file.create_dataset(
            field.dataset,
            shape=(0, *field.shape),
            maxshape=(None, *field.shape),
            chunks=self._chunk(field),
            dtype=field.dtype,
            **compression,
        )
        dataset.attrs["units"] = field.units
        dataset.attrs["dtype_numpy"] = field.dtype.str
        return dataset

    @property
    def uri(self) -> str:
        """`file://localhost/...`, on every system."""
        return self.path.as_uri().replace("file:///", "file://localhost/", 1)

    def _check_room(self, coming: int = 0) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < coming + self.reserve_bytes:
            raise WriteError(
                f"the disk of {self.path.parent} is full: {free / 1e6:.0f} MB are left and "
                f"{self.reserve_bytes / 1e6:.0f} MB are kept in reserve; free some room or "
                "choose another folder."
            )

    def append(self, rows: Mapping[str, np.ndarray]) -> None:
        """Write and flush rows; afterwards they may be announced.

        Parameters
        ----------
        rows : mapping of field name to (n, ...) array

        Raises
        ------
        WriteError
            When the disk is full or gone; the file then ends with the last announced row.
        """
        n = len(next(iter(rows.values())))
        stop = self.written + n
        try:
            self._check_room(sum(array.nbytes for array in rows.values()))
            for name, array in rows.items():
                if len(array) != n:
                    raise ValueError(f"{len(array)} rows of {name} for {n} frames")
                dataset = self._datasets[name]
                dataset.resize(stop, axis=0)
                dataset[self.written : stop] = array
            for dataset in self._datasets.values():
                dataset.flush()
        except WriteError:
            raise
        except Exception as error:  # h5py raises many kinds; whatever it was, no row may be half
            self._cut_back()
            raise WriteError(
                f"writing {self.path} failed after {self.written} rows: {error}"
            ) from error
        self.written = stop

    def _cut_back(self) -> None:
        # rows that were made room for but never filled would read as zeros
        for dataset in self._datasets.values():
            try:
                if len(dataset) > self.written:
                    dataset.resize(self.written, axis=0)
            except (OSError, RuntimeError):
                continue

    def documents(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield `stream_resource` once and `stream_datum` for rows that were not announced yet.

        Parameters
        ----------
        index : int or None
            Announce no row from this one on.
        """
        stop = self.written if index is None else min(index, self.written)
        if stop <= self._announced:
            return
        if not self._named:
            for field in self.fields:
                yield "stream_resource", self._resource(field)
            self._named = True
        for field in self.fields:
            uid = self.uids[field.name]
            yield (
                "stream_datum",
                {
                    "uid": f"{uid}/{self._announced}",
                    "stream_resource": uid,
                    "descriptor": "",
                    "indices": {"start": self._announced, "stop": stop},
                    "seq_nums": {"start": 0, "stop": 0},
                },
            )
        self._announced = stop

    def _resource(self, field: Field) -> dict[str, Any]:
        return {
            "uid": self.uids[field.name],
            "data_key": field.data_key,
            "mimetype": "application/x-hdf5",
            "uri": self.uri,
            "parameters": {
                "dataset": field.dataset,
                "chunk_shape": list(self._chunk(field)),
                "swmr": True,
            },
        }

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file:
            try:
                self._file.close()
            except (OSError, RuntimeError) as error:
                raise WriteError(f"closing {self.path} failed: {error}") from error
