"""Named arrays in an HDF5 or `.npz` file, looked at before they are read."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import h5py
import hdf5plugin  # noqa: F401  registers the filters that detectors write with
import numpy as np

from .recording_chunks import guarded

LARGEST_BYTES = 8_000_000_000
_MOST_NAMES = 100_000


class RecordingError(ValueError):
    """A recording that cannot be played; the message is one sentence with the reason."""


class Store(Protocol):
    """Arrays by name, whose shapes are known before they are read."""

    names: set[str]
    notes: list[str]
    grid: tuple[int, int] | None

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        ...

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array without reading it."""
        ...

    def array(self, name: str) -> np.ndarray:
        """Read an array."""
        ...

    def lazy(self, name: str) -> Any:
        """Return an array of which parts can be read."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def refuse_large(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse an array that would take too much memory, before any is taken.

    Raises
    ------
    RecordingError
    """
    size = int(np.prod(np.array(shape, object))) * dtype.itemsize
    if size > LARGEST_BYTES:
        raise RecordingError(
            f"{name!r} in {path.name} would take {size / 1e9:.1f} GB of memory, more than "
            f"{LARGEST_BYTES / 1e9:.0f} GB; store it in HDF5, which is read piece by piece."
        )


class ArrayStore:
    """Arrays that a reader has made of a file.

    Parameters
    ----------
    arrays : mapping of name to array-like
    notes : sequence of str
        What was assumed on the way.
    grid : (ny, nx) or None
        Shape of the scan where it is known from elsewhere.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        notes: Sequence[str] = (),
        grid: tuple[int, int] | None = None,
    ) -> None:
        self._arrays = dict(arrays)
        self.names = set(self._arrays)
        self.notes = list(notes)
        self.grid = grid

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return tuple(self._arrays[name].shape)

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array."""
        return np.dtype(self._arrays[name].dtype)

    def array(self, name: str) -> np.ndarray:
        """Return an array."""
        return np.asarray(self._arrays[name])

    def lazy(self, name: str) -> Any:
        """Return an array of which parts can be read."""
        return self._arrays[name]

    def close(self) -> None:
        """Let go of the arrays."""
        self._arrays = {}


class NpzStore:
    """Arrays of an `.npz` file.

    Parameters
    ----------
    path : Path
    file : binary file or None
        Where the file is not on disk but inside another.
    """

    def __init__(self, path: Path, file: BinaryIO | None = None) -> None:
        self.path = path
        self.notes: list[str] = []
        self.grid: tuple[int, int] | None = None
        self._heads: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self._entries: dict[str, str] = {}
        try:
            self._zip = zipfile.ZipFile(file or path)
            for entry in self._zip.infolist():
                self._look(entry)
        except Exception as error:  # what is no archive, or a forged one, raises anything
            raise RecordingError(
                f"{path.name} is no readable .npz file, or is cut short: {error}."
            ) from error
        self.names = set(self._heads)

    def _look(self, entry: zipfile.ZipInfo) -> None:
        if not entry.filename.endswith(".npy"):
            return
        with self._zip.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                return
            shape, _, dtype = read(file)
            if dtype.hasobject or min(shape, default=0) < 0:
                return
            name = entry.filename.removesuffix(".npy")
            self._heads[name] = (tuple(int(side) for side in shape), dtype)
            self._entries[name] = entry.filename

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        return self._heads[name][0]

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array without reading it."""
        return self._heads[name][1]

    def array(self, name: str) -> np.ndarray:
        """Read an array.

        Raises
        ------
        RecordingError
        """
        shape, dtype = self._heads[name]
        refuse_large(self.path, name, shape, dtype)
        entry = self._zip.getinfo(self._entries[name])
        needed = int(np.prod(np.array(shape, object))) * dtype.itemsize
        if entry.file_size < needed:
            raise RecordingError(
                f"{name!r} in {self.path.name} cannot be read, the file may be cut short: it "
                f"claims {needed} bytes and has {entry.file_size}."
            )
        try:
            with self._zip.open(entry) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except Exception as error:  # a damaged archive raises anything
            raise RecordingError(
                f"{name!r} in {self.path.name} cannot be read, the file may be cut short: {error}."
            ) from error

    def lazy(self, name: str) -> Any:
        """Read an array: nothing in a compressed file can be read in parts."""
        return self.array(name)

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()


class H5Store:
    """Datasets of an HDF5 file and attributes of its root.

    Parameters
    ----------
    path : Path
    file : binary file or None
        Where the file is not on disk but inside another.

    Attributes
    ----------
    attributes : dict
        Of all groups, by path; for those who know the layout.
    dangling : list of str
        Links that lead nowhere.
    """

    def __init__(self, path: Path, file: BinaryIO | None = None) -> None:
        self.path = path
        self.notes: list[str] = []
        self.grid: tuple[int, int] | None = None
        self.dangling: list[str] = []
        self.attributes: dict[str, np.ndarray] = {}
        self._datasets: dict[str, h5py.Dataset] = {}
        self._added: dict[str, np.ndarray] = {}
        self._seen: set[int] = set()
        try:
            self._file = h5py.File(file or path, "r")
        except Exception as error:  # a damaged file raises anything
            raise RecordingError(
                f"{path.name} is no readable HDF5 file, or is cut short: {error}."
            ) from error
        try:
            self._walk(self._file, "", 0)
        except Exception as error:
            self.close()
            raise RecordingError(f"{path.name} is damaged or cut short: {error}.") from error
        self._added |= {n: a for n, a in self.attributes.items() if "/" not in n}
        self.names = set(self._datasets) | set(self._added)

    def _walk(self, group: h5py.Group, prefix: str, depth: int) -> None:
        address = h5py.h5o.get_info(group.id).addr  # type: ignore[attr-defined]  h5py is untyped
        if group.file == self._file:  # a group may hold itself
            if address in self._seen:
                return
            self._seen.add(address)
        self._note_attributes(group, prefix)
        for name in group:
            if len(self._datasets) >= _MOST_NAMES:
                return
            try:
                found = group.get(name)
            except (KeyError, OSError, RuntimeError):
                found = None
            if isinstance(found, h5py.Dataset):
                self._datasets[f"{prefix}{name}"] = found
            elif isinstance(found, h5py.Group) and depth < 12:
                self._walk(found, f"{prefix}{name}/", depth + 1)
            elif found is None:
                self.dangling.append(f"{prefix}{name}")

    def _note_attributes(self, group: h5py.Group, prefix: str) -> None:
        for name in group.attrs:
            try:
                value = group.attrs[name]
                if not isinstance(value, h5py.Empty) and np.size(value) <= 4096:
                    self.attributes[f"{prefix}{name}"] = np.asarray(value)
            except (OSError, RuntimeError, TypeError, ValueError):
                continue

    def units(self, name: str) -> str:
        """Return the attribute `units` of a dataset, or an empty text."""
        if name not in self._datasets:
            return ""
        try:
            value = self._datasets[name].attrs.get("units", "")
        except (OSError, RuntimeError, TypeError, ValueError):
            return ""
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def add(self, name: str, value: Any, source: str) -> None:
        """Add what a layout says under our name, unless it is there.

        Parameters
        ----------
        name : str
        value : array-like
        source : str
            Where it comes from, for the notes.
        """
        if name not in self.names:
            self._added[name] = np.asarray(value)
            self.names.add(name)
            self.notes.append(f"{name}: taken from {source!r}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a dataset without reading it."""
        if name in self._added:
            return self._added[name].shape
        return self._datasets[name].shape or ()

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of a dataset without reading it."""
        return self._added[name].dtype if name in self._added else self._datasets[name].dtype

    def array(self, name: str) -> np.ndarray:
        """Read a dataset.

        Raises
        ------
        RecordingError
        """
        if name in self._added:
            return self._added[name]
        dataset = self._datasets[name]
        refuse_large(self.path, name, dataset.shape or (), dataset.dtype)
        try:
            return np.asarray(guarded(dataset)[()])
        except Exception as error:  # damaged chunks and missing filters raise anything
            raise RecordingError(
                f"{name!r} in {self.path.name} cannot be read, the file may be cut short: {error}."
            ) from error

    def lazy(self, name: str) -> Any:
        """Return the dataset itself.

        Raises
        ------
        RecordingError
            When it claims to be large and next to nothing was ever written to it.
        """
        if name in self._added:
            return self._added[name]
        dataset = self._datasets[name]
        size = int(np.prod(np.array(dataset.shape or (), object))) * dataset.dtype.itemsize
        written = dataset.id.get_storage_size()
        if size > LARGEST_BYTES and not dataset.is_virtual and written < size / 5000:
            raise RecordingError(
                f"{name!r} in {self.path.name} claims {size / 1e9:.1f} GB of which "
                f"{written / 1e6:.1f} MB were written; the acquisition was not finished."
            )
        return guarded(dataset)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
