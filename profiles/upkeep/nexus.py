"""Groups of a NeXus file, as plain h5py reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

# HDF5's own filters: who opens the file needs no plugin.
PACKING: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


def group(parent: h5py.Group, name: str, kind: str, **attributes: Any) -> h5py.Group:
    """Make a group of a NeXus class; slashes do not divide its name."""
    made = parent.create_group(name.replace("/", "_"))
    made.attrs["NX_class"] = kind
    for key, value in attributes.items():
        made.attrs[key] = value
    return made


def field(parent: h5py.Group, name: str, value: Any, units: str = "") -> h5py.Dataset:
    """Write numbers or text, with their unit where they have one."""
    array = np.asarray(value)
    if array.dtype.kind in "UO":
        text = [str(item) for item in array.ravel()]
        array = np.array(text, h5py.string_dtype()).reshape(array.shape)
    packing = PACKING if array.dtype.kind in "biufc" and array.size > 1000 else {}
    made = parent.create_dataset(name.replace("/", "_"), data=array, **packing)
    if units:
        made.attrs["units"] = units
    return made


def note(parent: h5py.Group, name: str, content: Mapping[str, Any]) -> None:
    """Write a dictionary as JSON in an NXnote."""
    made = group(parent, name, "NXnote")
    field(made, "type", "application/json")
    field(made, "data", json.dumps(content, default=_plain))


def data(
    parent: h5py.Group, name: str, signal: str, axes: Sequence[str], **attributes: Any
) -> h5py.Group:
    """Make an NXdata group whose signal will be written."""
    return group(parent, name, "NXdata", signal=signal, axes=list(axes), **attributes)


class Growing:
    """A dataset that is written row by row.

    Parameters
    ----------
    parent : h5py.Group
    name : str
    first : (n, ...) array
        Its first rows; they fix the shape of the others and the dtype.
    units : str
    """

    def __init__(self, parent: h5py.Group, name: str, first: np.ndarray, units: str = "") -> None:
        shape = first.shape[1:]
        self._dataset = parent.create_dataset(
            name,
            data=first,
            maxshape=(None, *shape),
            chunks=(1 if len(shape) > 1 else 1024, *(n or 1 for n in shape)),
            **PACKING,
        )
        if units:
            self._dataset.attrs["units"] = units

    def append(self, rows: np.ndarray) -> None:
        """Add rows."""
        n = len(self._dataset)
        self._dataset.resize(n + len(rows), axis=0)
        self._dataset[n:] = rows


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
