"""Files of detectors' makers, through RosettaSciIO where the extra `formats` is installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from .recording_store import LARGEST_BYTES, RecordingError

FORMAT_SUFFIXES = frozenset(
    {
        ".mib",
        ".blo",
        ".emd",
        ".dm3",
        ".dm4",
        ".hspy",
        ".zspy",
        ".mrc",
        ".prz",
        ".tvips",
    }
)
_LENGTHS_M = {"m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "nm": 1e-9, "A": 1e-10, "Å": 1e-10}
_ANGLES_MRAD = {"mrad": 1.0, "rad": 1e3}
_ENERGIES_KEV = {"eV": 1e-3, "keV": 1.0}


class FormatStore:
    """The largest data set of a file that RosettaSciIO reads, under our names.

    Parameters
    ----------
    path : Path

    Raises
    ------
    RecordingError
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.stat().st_size > LARGEST_BYTES:
            raise RecordingError(
                f"{path.name} is larger than {LARGEST_BYTES / 1e9:.0f} GB; convert it to HDF5."
            )
        self.notes: list[str] = []
        self.grid: tuple[int, int] | None = None
        self._arrays = _arrays(path)
        self.names = set(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self._arrays[name].shape

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of an array."""
        return self._arrays[name].dtype

    def array(self, name: str) -> np.ndarray:
        """Return an array."""
        return self._arrays[name]

    def lazy(self, name: str) -> Any:
        """Return an array."""
        return self._arrays[name]

    def close(self) -> None:
        """Let go of the arrays."""
        self._arrays = {}


def _reader(path: Path) -> Any:
    try:
        rsciio = importlib.import_module("rsciio")
    except ImportError:
        raise RecordingError(
            f"{path.name} needs the extra 'formats': pip install 'flyback[formats]'."
        ) from None
    suffix = path.suffix.lower().lstrip(".")
    plugins = [p for p in rsciio.IO_PLUGINS if suffix in p["file_extensions"]]
    if not plugins:
        raise RecordingError(f"RosettaSciIO has no reader for .{suffix} files.")
    return [importlib.import_module(plugin["api"]) for plugin in plugins]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    reasons = []
    for reader in _reader(path):
        try:
            found = reader.file_reader(str(path))
        except Exception as error:  # readers of other people raise anything
            reasons.append(str(error) or type(error).__name__)
            continue
        stacks = [item for item in found if _is_stack(item)]
        if stacks:
            return _named(max(stacks, key=lambda item: np.size(item["data"])))
        reasons.append("it holds no stack of frames and no spectra")
    raise RecordingError(f"{path.name} cannot be read: {'; '.join(dict.fromkeys(reasons))}.")


def _signal_axes(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [axis for axis in item["axes"] if not axis.get("navigate")]


def _is_stack(item: dict[str, Any]) -> bool:
    """Return whether it is frames, or spectra with an axis of energies."""
    if np.ndim(item["data"]) in (3, 4) and len(_signal_axes(item)) != 1:
        return True
    axis = item["axes"][-1] if item["axes"] else {}
    return str(axis.get("units")) in _ENERGIES_KEV and 1 <= np.ndim(item["data"]) <= 3


def _named(item: dict[str, Any]) -> dict[str, np.ndarray]:
    last = item["axes"][-1]
    if str(last.get("units")) in _ENERGIES_KEV and last.get("scale") is not None:
        data = np.asarray(item["data"])
        channels = float(last.get("offset") or 0) + float(last["scale"]) * np.arange(data.shape[-1])
        factor = _ENERGIES_KEV[str(last["units"])]
        out = {"spectra": data, "energy_kev_axis": channels * factor}
    else:
        out = {"frames": np.asarray(item["data"])}
    # these are the formats of electron microscopes, whatever they detect
    out["radiation"] = np.asarray("electron")
    for axis in item["axes"]:
        units, scale = str(axis.get("units")), axis.get("scale")
        if scale is None:
            continue
        if axis.get("navigate") and units in _LENGTHS_M:
            out.setdefault("step_m", np.asarray(float(scale) * _LENGTHS_M[units]))
        elif not axis.get("navigate") and units in _ANGLES_MRAD:
            sampling = float(scale) * _ANGLES_MRAD[units]
            out.setdefault("angular_sampling_mrad", np.asarray(sampling))
    microscope = item.get("metadata", {}).get("Acquisition_instrument", {}).get("TEM", {})
    for theirs, ours in (
        ("beam_energy", "energy_kev"),
        ("convergence_angle", "semi_convergence_angle_mrad"),
    ):
        if isinstance(microscope.get(theirs), (int, float)):
            out[ours] = np.asarray(float(microscope[theirs]))
    return out
