"""Which reader a file gets, and what is said of files that are no recordings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from .recording_choice import stacks
from .recording_fabio import FABIO_SUFFIXES, FabioSource
from .recording_formats import FORMAT_SUFFIXES, FormatStore
from .recording_images import TIFF_SUFFIXES, MibSource, TiffSource, beside, image_store
from .recording_layouts import describe
from .recording_packed import Opener, unpacked, unpacked_name
from .recording_store import ArrayStore, H5Store, NpzStore, RecordingError, Store
from .recording_text import LARGEST_TEXT_BYTES, TEXT_SUFFIXES, read_text

HDF5_SUFFIXES = frozenset({".h5", ".hdf5", ".hdf", ".nxs", ".cxi", ".ptyd", ".ptyr", ".he5"})
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_CELL = "is a cell log (time, voltage, current), not detector data; play the detector's files"
_GEOMETRY = "describes a geometry or an instrument, not data; play the images beside it"
_DOCUMENTS = (
    "is a stream of Bluesky documents or other JSON, not detector data; play the file that the "
    "detector wrote, or read a stored run with 'flyback show'"
)
_STRUCTURE = "is a crystal structure, not detector data; play the patterns that it explains"
NO_RECORDING: dict[str, str] = {
    **dict.fromkeys((".mpr", ".mpt", ".ndax", ".nda", ".res", ".bdf"), _CELL),
    **dict.fromkeys((".poni", ".prm", ".instprm", ".cfg", ".ini", ".toml", ".yaml"), _GEOMETRY),
    **dict.fromkeys((".json", ".jsonl", ".msgpack"), _DOCUMENTS),
    **dict.fromkeys((".cif", ".xyz", ".pdb", ".vasp"), _STRUCTURE),
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".gif", ".pdf", ".svg"),
        "is a picture, not detector data; play the file that the detector wrote",
    ),
    **dict.fromkeys(
        (".gz", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar"),
        "is an archive; unpack it and play the folder (.zip is played as it is)",
    ),
    ".hdr": "is the header of a .mib file; play the .mib file",
    ".npy": "is one array without names; save it as .npz with the name frames",
}
"""Suffix to what such a file is and what to do instead."""

_KINDS = (
    "HDF5, CXI, NeXus, .npz, .zarr, .tif, .cbf, .edf, .mib, text patterns (.xy .xye .fxye .chi "
    ".dat), spectra (.mca .spe .msa), these packed as .gz or .bz2, a folder or .zip of such "
    "files, and with the extra 'formats' also"
)


def known(suffix: str) -> bool:
    """Return whether files of a suffix can be played."""
    return (
        suffix in TEXT_SUFFIXES | TIFF_SUFFIXES | FABIO_SUFFIXES | HDF5_SUFFIXES | FORMAT_SUFFIXES
        or suffix == ".npz"
    )


def streamed(suffix: str) -> bool:
    """Return whether files of a suffix are read as they come, so also packed ones."""
    return suffix in TEXT_SUFFIXES | TIFF_SUFFIXES | FABIO_SUFFIXES | {".mib"}


def refusal(name: str, suffix: str) -> RecordingError:
    """Return what is said of a file that is not played."""
    if suffix in NO_RECORDING:
        return RecordingError(f"{name} {NO_RECORDING[suffix]}.")
    return RecordingError(
        f"{name} is neither HDF5 nor .npz, or is cut short; what can be played is {_KINDS} "
        f"{', '.join(sorted(FORMAT_SUFFIXES - {'.mib'}))}."
    )


def open_file(path: Path) -> Store:
    """Open one file on disk.

    Raises
    ------
    RecordingError
        When it is none of those that can be played.
    """
    inner = unpacked_name(path.name)
    suffix = Path(inner).suffix.lower()
    if inner != path.name and not streamed(suffix):
        suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise RecordingError(f"{path} cannot be opened: {error.strerror or error}.") from error
    if suffix in NO_RECORDING:
        raise refusal(path.name, suffix)
    if suffix == ".npz":
        return NpzStore(path)
    if start == _HDF5_MAGIC:
        store = H5Store(path)
        describe(store)
        if suffix not in FORMAT_SUFFIXES or stacks(store):
            return store
        store.close()  # Velox keeps what looks like no frames in its .emd
    if suffix in FORMAT_SUFFIXES and suffix != ".mib":
        return FormatStore(path)
    store = open_stream(lambda: path.open("rb"), path.name, path.stat().st_size)
    if suffix in TIFF_SUFFIXES | FABIO_SUFFIXES and isinstance(store, ArrayStore):
        facts, notes = beside(path)
        return ArrayStore(
            {**{n: store.lazy(n) for n in store.names}, **facts}, store.notes + notes, store.grid
        )
    return store


def open_stream(opener: Opener, name: str, size: int) -> Store:
    """Open one file of the kinds that need no path: text, TIFF, CBF, EDF, MIB.

    Parameters
    ----------
    opener : callable () -> file
    name : str
        With its suffix.
    size : int
        Bytes that the file claims to have.

    Raises
    ------
    RecordingError
    """
    inner = unpacked_name(name)
    if inner != name:  # its size says nothing of what is inside
        opener, name, size = unpacked(opener, name), inner, LARGEST_TEXT_BYTES
    suffix = Path(name).suffix.lower()
    if suffix in TIFF_SUFFIXES:
        try:
            return image_store(TiffSource(opener, name), name, [])
        except RecordingError as error:
            if type(error.__cause__).__name__ != "UnidentifiedImageError":
                raise
            try:  # doubles and 64-bit counts, which Pillow does not know
                return image_store(FabioSource(opener, name), name, [])
            except RecordingError:
                raise error from None
    if suffix in FABIO_SUFFIXES:
        return image_store(FabioSource(opener, name), name, [])
    if suffix == ".mib":
        return image_store(MibSource(opener, name), name, [])
    if suffix in TEXT_SUFFIXES:
        with opener() as file:
            return read_text(file.read(min(size, LARGEST_TEXT_BYTES) + 1), name, suffix)
    raise refusal(name, suffix)


def open_in_memory(file: BinaryIO, path: Path) -> Store:
    """Open an HDF5 or .npz file that lies inside an archive.

    Raises
    ------
    RecordingError
    """
    data = io.BytesIO(file.read())
    if path.suffix.lower() == ".npz":
        return NpzStore(path, data)
    if data.getvalue()[:8] == _HDF5_MAGIC:
        store = H5Store(path, data)
        describe(store)
        return store
    raise refusal(path.name, path.suffix.lower())
