"""Named arrays in an HDF5 or `.npz` file, looked at before they are read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Protocol

import h5py
import hdf5plugin  # noqa: F401  registers the filters that detectors write with
import numpy as np

LARGEST_BYTES = 8_000_000_000


class RecordingError(ValueError):
    """A recording that cannot be played; the message is one sentence with the reason."""


class Store(Protocol):
    """Arrays by name, whose shapes are known before they are read."""

    names: set[str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
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


def _refuse_large(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    size = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if size > LARGEST_BYTES:
        raise RecordingError(
            f"{name!r} in {path.name} would take {size / 1e9:.1f} GB of memory, more than "
            f"{LARGEST_BYTES / 1e9:.0f} GB; store it in HDF5, which is read piece by piece."
        )


class NpzStore:
    """Arrays of an `.npz` file.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._heads: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        try:
            self._zip = zipfile.ZipFile(path)
            for entry in self._zip.namelist():
                with self._zip.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    read = {
                        (1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0,
                    }.get(version)
                    if read is None:
                        continue
                    shape, _, dtype = read(file)
                    self._heads[entry.removesuffix(".npy")] = (shape, dtype)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise RecordingError(
                f"{path.name} is no readable .npz file, or is cut short: {error}."
            ) from error
        self.names = {name for name, (_, dtype) in self._heads.items() if not dtype.hasobject}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        return self._heads[name][0]

    def array(self, name: str) -> np.ndarray:
        """Read an array.

        Raises
        ------
        RecordingError
        """
        _refuse_large(self.path, name, *self._heads[name])
        try:
            with self._zip.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
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
    """Datasets of an HDF5 file, and attributes of its root and its `metadata` groups.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise RecordingError(
                f"{path.name} is no readable HDF5 file, or is cut short: {error}."
            ) from error
        self._datasets: dict[str, h5py.Dataset] = {}
        self._attributes = {
            name: np.asarray(value)
            for name, value in self._file.attrs.items()
            if not isinstance(value, h5py.Empty)
        }
        try:
            self._walk(self._file, "", 0)
        except (OSError, RuntimeError, KeyError) as error:
            self.close()
            raise RecordingError(f"{path.name} is damaged or cut short: {error}.") from error
        self.names = set(self._datasets) | set(self._attributes)

    def _walk(self, group: h5py.Group, prefix: str, depth: int) -> None:
        for name in group:
            found = group.get(name)  # None where a link leads nowhere
            if isinstance(found, h5py.Dataset):
                self._datasets[f"{prefix}{name}"] = found
            elif isinstance(found, h5py.Group) and depth < 12:
                self._walk(found, f"{prefix}{name}/", depth + 1)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a dataset without reading it."""
        if name in self._datasets:
            return self._datasets[name].shape or ()
        return self._attributes[name].shape

    def array(self, name: str) -> np.ndarray:
        """Read a dataset.

        Raises
        ------
        RecordingError
        """
        if name not in self._datasets:
            return self._attributes[name]
        dataset = self._datasets[name]
        _refuse_large(self.path, name, dataset.shape or (), dataset.dtype)
        try:
            return np.asarray(dataset[()])
        except (OSError, RuntimeError) as error:
            raise RecordingError(
                f"{name!r} in {self.path.name} cannot be read, the file may be cut short: {error}."
            ) from error

    def lazy(self, name: str) -> Any:
        """Return the dataset itself."""
        return self._datasets[name] if name in self._datasets else self._attributes[name]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Frames:
    """Frames (n, ...) out of an array (n, ...) or (ny, nx, ...) that may lie on disk.

    Parameters
    ----------
    source : array-like
    scan_axes : int
        1 or 2.
    shift : (dy, dx) int
        Rolls each frame, so that its centre comes to lie at ``[h // 2, w // 2]``.
    """

    def __init__(self, source: Any, scan_axes: int, shift: tuple[int, int] = (0, 0)) -> None:
        self._source = source
        self.grid = tuple(int(side) for side in source.shape[:scan_axes])
        frame = tuple(int(side) for side in source.shape[scan_axes:])
        self.shape = (int(np.prod(self.grid, dtype=np.int64)), *frame)
        kind = np.dtype(source.dtype)
        # halves and big-endian numbers are not what compressors and kernels take
        self.dtype = np.dtype("<f4") if kind.kind == "f" else kind.newbyteorder("<")
        self._shift = shift

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read consecutive frames.

        Raises
        ------
        RecordingError
            When the file is cut short.
        """
        start, stop, _ = rows.indices(len(self))
        try:
            block = self._read(start, stop).astype(self.dtype, copy=False)
        except (OSError, RuntimeError) as error:
            raise RecordingError(
                f"frames {start} to {stop} cannot be read, the file may be cut short: {error}."
            ) from error
        return np.roll(block, self._shift, axis=(1, 2)) if any(self._shift) else block

    def _read(self, start: int, stop: int) -> np.ndarray:
        if len(self.grid) == 1:
            return np.asarray(self._source[start:stop])
        nx = self.grid[1]
        first, last = start // nx, -(-stop // nx)
        lines = np.asarray(self._source[first:last]).reshape(-1, *self.shape[1:])
        return lines[start - first * nx : stop - first * nx]
