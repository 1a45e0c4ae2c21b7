"""Which array of a file is the frames, and which of its axes are the scan's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from .recording_frames import ElementsLast, Joined
from .recording_names import ARRAYS, AXES
from .recording_store import RecordingError, Store

_MOST_ELEMENTS = 64
_NUMBERED = re.compile(r"(entry/data/data_|chunks/)(\d+)(/data)?")
_NEVER = {name for key in ("probe", "dark", "gain") for name in ARRAYS[key]}
_LINES = ("patterns", "intensity", "spectra", "spectrum")


@dataclass
class Choice:
    """What is played.

    Parameters
    ----------
    source : array-like
        Scan axes first.
    scan_axes : int
        0, 1 or 2.
    dims : tuple of str
        ("ky", "kx"), ("bin",), ("channel",) or ("element", "channel").
    taken : list of str
        Names in the file.
    notes : list of str
    """

    source: Any
    scan_axes: int
    dims: tuple[str, ...]
    taken: list[str]
    notes: list[str]


def stacks(store: Store) -> list[str]:
    """Return the names of arrays that may be frames."""
    shapes = {name: store.shape(name) for name in sorted(store.names)}
    named = [name for name in ARRAYS["frames"] if name in shapes]
    loose = [name for name, s in shapes.items() if len(s) in (3, 4) and min(s[-2:]) >= 4]
    return named or loose


def choose(store: Store, where: str) -> Choice:
    """Return the frames of a file.

    Parameters
    ----------
    store : Store
    where : str
        Name of the file, for messages.

    Raises
    ------
    RecordingError
        When there are none, or their shape or dtype is none of frames.
    """
    notes: list[str] = []
    names = _numbered(store)
    if names:
        name = names[0]
        notes.append(f"frames: taken from {name!r}" + (f" to {names[-1]!r}" * (len(names) > 1)))
    else:
        name = _name(store, where, notes)
        names = [name]
    shape = store.shape(name)
    if 0 in shape:
        raise RecordingError(f"{name!r} in {where} holds no frames.")
    source = store.lazy(name) if len(names) == 1 else Joined([store.lazy(n) for n in names])
    kind = np.dtype(source.dtype)
    if kind.kind not in "uif":
        what = {"c": "complex numbers", "b": "yes or no"}.get(kind.kind, str(kind))
        raise RecordingError(
            f"{name!r} in {where} holds {what}, not numbers of counts; save intensities."
        )
    scan_axes, dims = _axes(store, name, shape)
    if scan_axes > 2 and 1 in shape[: -len(dims)] and name != "spectra":
        raise_if_large(shape)
        source = np.asarray(source[:])
        shape = _squeezed(shape, len(dims))
        source = source.reshape(shape)
        scan_axes = len(shape) - len(dims)
    if name == "spectra" and len(shape) == 4:
        dims = ("element", "channel")
        if _elements_first(store, shape):
            source = ElementsLast(source)
            notes.append(f"frames: {shape[0]} elements, the first axis of {name!r}")
        scan_axes = 2
    if scan_axes not in (0, 1, 2) or (scan_axes == 0 and len(dims) == 2 and min(shape) < 4):
        raise RecordingError(
            f"{name!r} in {where} has shape {shape}; frames are (n, h, w) or (ny, nx, h, w), "
            "series of lines (n, bins), spectra (..., channels)."
        )
    if scan_axes == 0:
        notes.append("frames: there is a single one")
    return Choice(source, scan_axes, dims, names, notes)


def raise_if_large(shape: tuple[int, ...]) -> None:
    """Refuse arrays that would have to be read whole.

    Raises
    ------
    RecordingError
    """
    if float(np.prod(shape, dtype=float)) > 5e8:
        raise RecordingError(f"frames of shape {shape} have too many axes; reshape the array.")


def _squeezed(shape: tuple[int, ...], frame_axes: int) -> tuple[int, ...]:
    scan = [side for side in shape[:-frame_axes] if side != 1] or [1]
    return (*scan, *shape[-frame_axes:])


def _numbered(store: Store) -> list[str]:
    """Return the pieces that DECTRIS (data_000001, ...) and ptypy (chunks/0, ...) write."""
    if "frames" in store.names:
        return []
    found = [(int(m[2]), name) for name in store.names if (m := _NUMBERED.fullmatch(name))]
    return [name for _, name in sorted(found) if len(store.shape(name)) >= 3]


def _name(store: Store, where: str, notes: list[str]) -> str:
    for name in ARRAYS["frames"]:
        if name in store.names and len(store.shape(name)) >= 1:
            if name not in ("frames", "patterns", "spectra", "element_spectra"):
                notes.append(f"frames: taken from {name!r}")
            return name
    loose = [n for n in stacks(store) if store.dtype(n).kind in "uif" and n not in _NEVER]
    if not loose:
        raise RecordingError(_nothing(store, where))
    name = max(loose, key=lambda stack: np.prod(store.shape(stack), dtype=float))
    notes.append(f"frames: the largest stack was taken, {name!r}")
    return name


def _nothing(store: Store, where: str) -> str:
    dangling = getattr(store, "dangling", [])
    if dangling:
        return (
            f"{where} holds no frames: its link {dangling[0]!r} leads to a file that is missing; "
            "put the data files beside it."
        )
    sizes = {name: store.shape(name) for name in store.names}
    largest = sorted(sizes, key=lambda n: -float(np.prod(sizes[n], dtype=float)))[:3]
    has = ", ".join(f"{name} {sizes[name]}" for name in largest) or "no arrays"
    return (
        f"{where} holds no frames (its largest arrays: {has}); they are looked for under the names "
        f"{', '.join(ARRAYS['frames'][:4])} and so on, or as any stack (n, h, w)."
    )


def _axes(store: Store, name: str, shape: tuple[int, ...]) -> tuple[int, tuple[str, ...]]:
    """Return the number of scan axes and the names of the others."""
    if name == "element_spectra":
        return len(shape) - 2, ("element", "channel")
    if name in ("spectra", "spectrum"):
        return len(shape) - 1, ("channel",)
    axis = any(
        spelling in store.names and store.shape(spelling) == shape[-1:]
        for spellings in AXES.values()
        for spelling, _ in spellings
    )
    if (axis and len(shape) <= 3) or (name in _LINES and len(shape) <= 2):
        return len(shape) - 1, ("bin",)
    return len(shape) - 2, ("ky", "kx")


def _elements_first(store: Store, shape: tuple[int, ...]) -> bool:
    """Return whether spectra of four axes are (elements, ny, nx, channels).

    The maps that a file keeps beside them have the shape of the scan.
    """
    maps = {store.shape(name) for name in store.names if len(store.shape(name)) == 2}
    if shape[1:3] in maps and shape[0:2] not in maps:
        return True
    if shape[0:2] in maps:
        return False
    return shape[0] <= _MOST_ELEMENTS and shape[0] < min(shape[1:3])
