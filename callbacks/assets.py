"""Rows of the HDF5 files that stream_resource documents name, also while they are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4 with h5py
import numpy as np

from ..models.base import Corrections

DETECTOR_GROUP = "/entry/instrument/detector"
AXES = ("two_theta_deg", "q_per_a", "energy_kev_axis", "axis")
SIGMA = "sigma"


class AssetError(OSError):
    """A file that a document names cannot be read as the document says."""


def path_of(uri: str) -> Path:
    """Return the local path of a ``file://`` URI, on Windows too."""
    parsed = urlparse(uri)
    if parsed.scheme != "file":
        raise AssetError(f"only file:// assets can be read here, got {uri!r}")
    return Path(url2pathname(unquote(parsed.path)))


class AssetReader:
    """Open each named file once and read rows of its datasets."""

    def __init__(self) -> None:
        self._resources: dict[str, Mapping[str, Any]] = {}
        self._files: dict[Path, h5py.File] = {}
        self._corrections: dict[Path, Corrections] = {}
        self._known: dict[tuple[str, str], Any] = {}

    def add(self, stream_resource: Mapping[str, Any]) -> None:
        """Remember a stream_resource document."""
        self._resources[stream_resource["uid"]] = stream_resource

    def key(self, resource_uid: str) -> str:
        """Return the data key that a resource belongs to."""
        return self._resources[resource_uid]["data_key"]

    def read(self, resource_uid: str, start: int, stop: int) -> np.ndarray:
        """Return rows [start, stop) of a resource's dataset.

        Raises
        ------
        AssetError
            If the file is missing or unreadable, or holds fewer rows than were announced.
        """
        resource = self._resources[resource_uid]
        path, dataset = path_of(resource["uri"]), resource["parameters"]["dataset"]
        try:
            rows: Any = self._file(path)[dataset]  # h5py's types know nothing of what it is
            if len(rows) < stop:
                rows.refresh()
            if len(rows) < stop:
                raise AssetError(
                    f"{path} holds {len(rows)} rows of {dataset}, but {stop} were announced"
                )
            return rows[start:stop]
        except (KeyError, OSError) as error:
            if isinstance(error, AssetError):
                raise
            raise AssetError(f"{path} cannot be read at {dataset}: {error}") from error

    def corrections(self, resource_uid: str) -> Corrections:
        """Return the dark, gain and bad pixels stored beside a camera's frames."""
        path = path_of(self._resources[resource_uid]["uri"])
        if path not in self._corrections:
            group: Any = self._file(path).get(DETECTOR_GROUP, {})
            found: dict[str, Any] = {
                k: group[k][()] for k in ("dark", "gain", "bad_pixels") if k in group
            }
            if "bad_pixels" in found:
                found["bad_pixels"] = found["bad_pixels"].astype(bool)
            self._corrections[path] = Corrections(**found)
        return self._corrections[path]

    def axes(self, resource_uid: str) -> dict[str, np.ndarray]:
        """Return what goes with the bins or channels of a detector: `AXES` beside its frames."""
        group = self._detector(resource_uid)
        return {name: group[name][()] for name in AXES if name in group}

    def sigma(self, resource_uid: str, start: int, stop: int) -> np.ndarray | None:
        """Return the stated sigma of rows [start, stop), or None where the file has none."""
        stated = self._beside(SIGMA, resource_uid)
        if stated is not None and len(stated.shape) < 2:  # one for all frames
            return np.broadcast_to(stated[()], (stop - start, *stated.shape))
        return self.by_frame(SIGMA, resource_uid, start, stop)

    def by_frame(self, name: str, resource_uid: str, start: int, stop: int) -> np.ndarray | None:
        """Return rows [start, stop) of numbers by frame beside the frames, or None."""
        rows = self._beside(name, resource_uid)
        if rows is not None and len(rows) < stop:
            rows.refresh()
        return None if rows is None or len(rows) < stop else rows[start:stop]

    def close(self) -> None:
        """Close every file."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._known.clear()

    def _beside(self, name: str, resource_uid: str) -> Any:
        """Return a dataset beside the frames, or None, looked up once: each batch asks for it."""
        which = (resource_uid, name)
        if which not in self._known:
            # a file that is there to be read gets no further dataset
            self._known[which] = self._detector(resource_uid).get(name)
        return self._known[which]

    def _detector(self, resource_uid: str) -> Any:
        path = path_of(self._resources[resource_uid]["uri"])
        return self._file(path).get(DETECTOR_GROUP, {})

    def _file(self, path: Path) -> h5py.File:
        if path not in self._files:
            try:
                self._files[path] = h5py.File(path, "r", libver="latest", swmr=True)
            except (OSError, ValueError):
                # a file that was not written for single-writer-multiple-readers
                self._files[path] = h5py.File(path, "r")
        return self._files[path]
