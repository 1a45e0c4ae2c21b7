"""Several files that each hold stacks of frames (HDF5, .npz, ...) as one series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .recording_choice import Choice, choose
from .recording_frames import Joined
from .recording_names import PER_FRAME
from .recording_store import RecordingError, Store

_KEYS = {
    ("ky", "kx"): "frames",
    ("bin",): "patterns",
    ("channel",): "spectra",
    ("element", "channel"): "element_spectra",
}


class JoinedStore:
    """The frames of several stores one after the other; all else is the first one's.

    Arrays that go by frame (times, positions, sigma) are joined too, where all files have them.

    Parameters
    ----------
    stores : sequence of Store
    names : sequence of str
        Of their files.

    Raises
    ------
    RecordingError
        When frames differ in kind or shape, or a file holds a raster of its own.
    """

    def __init__(self, stores: Sequence[Store], names: Sequence[str]) -> None:
        self._stores = list(stores)
        self.grid: tuple[int, int] | None = None
        chosen = [choose(store, name) for store, name in zip(stores, names, strict=True)]
        key, parts = _parts(chosen, names)
        self.notes = [f"series: {len(names)} files, {names[0]} to {names[-1]}"]
        said = [*stores[0].notes, *chosen[0].notes]
        self.notes += list(dict.fromkeys(said))[:6]
        taken = {name for choice in chosen for name in choice.taken}
        joined = {key: Joined(parts)}
        lengths = [int(part.shape[0]) for part in parts]
        for quantity in PER_FRAME:
            found = _joined(stores, quantity, lengths)
            if quantity == "time_s" and found is not None and (np.diff(found.ravel()) < 0).any():
                self.notes.append("time_s: it begins anew in each file and was left out")
            elif found is not None:
                joined[quantity] = found  # type: ignore[assignment]
        by_frame = {spelling for spellings in PER_FRAME.values() for spelling in spellings}
        self._joined: dict[str, Any] = joined
        self._others = {name for name in stores[0].names - taken - by_frame if name not in joined}
        self.names = self._others | set(joined)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        return tuple(self._joined[name].shape) if name in self._joined else self._of(name, "shape")

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array without reading it."""
        return (
            np.dtype(self._joined[name].dtype) if name in self._joined else self._of(name, "dtype")
        )

    def array(self, name: str) -> np.ndarray:
        """Read an array."""
        if name in self._joined:
            return np.asarray(self._joined[name][:])
        return self._of(name, "array")

    def lazy(self, name: str) -> Any:
        """Return an array of which parts can be read."""
        return self._joined[name] if name in self._joined else self._of(name, "lazy")

    def _of(self, name: str, what: str) -> Any:
        return getattr(self._stores[0], what)(name)

    def close(self) -> None:
        """Let go of the files."""
        for store in self._stores:
            store.close()


def _parts(chosen: Sequence[Choice], names: Sequence[str]) -> tuple[str, list[Any]]:
    if len({choice.dims for choice in chosen}) > 1:
        listed = ", ".join(f"{n} {c.dims}" for n, c in list(zip(names, chosen, strict=True))[:4])
        raise RecordingError(f"the files hold different things ({listed}); play them one by one.")
    parts = []
    for choice, name in zip(chosen, names, strict=True):
        if choice.scan_axes > 1:
            raise RecordingError(
                f"{name} holds a raster of frames; such files are played one by one, a series has "
                "frames (n, h, w)."
            )
        alone = choice.scan_axes == 0
        parts.append(np.asarray(choice.source[()])[None] if alone else choice.source)
    return _KEYS[chosen[0].dims], parts


def _joined(stores: Sequence[Store], quantity: str, lengths: Sequence[int]) -> np.ndarray | None:
    """Return what all files say by frame under one of the spellings."""
    for spelling in PER_FRAME[quantity]:
        if all(
            spelling in store.names and store.shape(spelling)[:1] == (n,)
            for store, n in zip(stores, lengths, strict=True)
        ):
            return np.concatenate([store.array(spelling) for store in stores])
    return None
