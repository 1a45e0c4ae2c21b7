"""Frames in a Zarr folder, as abTEM writes them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from .recording_store import RecordingError, refuse_large

_MOST_ARRAYS = 1000


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr hierarchy."""
    return any((path / name).is_file() for name in (".zgroup", ".zarray", "zarr.json"))


class ZarrStore:
    """Arrays of a Zarr folder.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RecordingError
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.grid: tuple[int, int] | None = None
        self._added: dict[str, np.ndarray] = {}
        try:
            zarr = importlib.import_module("zarr")
        except ImportError:
            raise RecordingError(
                f"{path.name} is a Zarr folder: pip install zarr, or convert it to HDF5."
            ) from None
        try:
            root = zarr.open(str(path), mode="r")
            arrays = {"data": root} if hasattr(root, "shape") else dict(root.arrays())
            self._arrays: dict[str, Any] = dict(list(arrays.items())[:_MOST_ARRAYS])
            attributes = dict(root.attrs)
        except Exception as error:  # a damaged hierarchy raises anything
            raise RecordingError(f"{path.name} is no readable Zarr folder: {error}.") from error
        self._abtem(attributes)
        self.names = set(self._arrays) | set(self._added)

    def _abtem(self, attributes: dict[str, Any]) -> None:
        """Read abTEM's axes (angstrom, mrad) and energy (eV) where they are stated."""
        described = attributes.get("kwargs0")
        if not isinstance(described, dict):
            return
        metadata = described.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        for theirs, ours, factor in (
            ("energy", "energy_kev", 1e-3),
            ("semiangle_cutoff", "semi_convergence_angle_mrad", 1.0),
            ("defocus", "defocus_nm", 0.1),
        ):
            value = metadata.get(theirs)
            if isinstance(value, (int, float)) and np.isfinite(value):
                self._add(ours, float(value) * factor, f"metadata/{theirs}")
        axes = described.get("ensemble_axes_metadata")
        steps = [a.get("sampling") for a in axes or [] if isinstance(a, dict)]
        steps = [float(s) for s in steps if isinstance(s, (int, float)) and s > 0]
        if len(steps) == 2:
            self._add("step_m", np.array(steps) * 1e-10, "ensemble_axes_metadata")
        sampling = described.get("angular_sampling") or described.get("sampling")
        if "energy_kev" in self._added and _is_pair(sampling):
            from ..models.physics import electron_wavelength_m

            wavelength = electron_wavelength_m(float(self._added["energy_kev"])) * 1e10
            angles = np.asarray(sampling, float) * wavelength * 1e3
            self._add("angular_sampling_mrad", angles, "sampling")
        if described.get("fftshift") is False:
            self.notes.append("frames: abTEM says that zero frequency lies in the corner")
        self._added["radiation"] = np.asarray("electron")

    def _add(self, name: str, value: Any, source: str) -> None:
        self._added[name] = np.asarray(value)
        self.notes.append(f"{name}: taken from {source!r}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        return tuple(self.lazy(name).shape)

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array without reading it."""
        return np.dtype(self.lazy(name).dtype)

    def array(self, name: str) -> np.ndarray:
        """Read an array.

        Raises
        ------
        RecordingError
        """
        found = self.lazy(name)
        refuse_large(self.path, name, found.shape, np.dtype(found.dtype))
        try:
            return np.asarray(found[...])
        except Exception as error:
            raise RecordingError(
                f"{name!r} in {self.path.name} cannot be read, it may be incomplete: {error}."
            ) from error

    def lazy(self, name: str) -> Any:
        """Return an array of which parts can be read."""
        return self._added[name] if name in self._added else self._arrays[name]

    def close(self) -> None:
        """Let go of the arrays."""
        self._arrays = {}


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(v, (int, float)) and v > 0 for v in value)
    )
