"""What an analysis knows about the measurement before the first frame, in SI units.

`Experiment.from_metadata` reads the start document's keys (units in their names) once; models
then ask for what they need and a quantity that is missing is asked for by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from .physics import wavelength_m
from .trajectories import KINDS, TrajectoryError, from_dict

_HOW = {
    "wavelength_m": ("radiation and energy_kev", "--set radiation=electron --set energy_kev=80"),
    "angular_sampling_rad": ("angular_sampling_mrad", "--set angular_sampling_mrad=0.65"),
    "semi_convergence_angle_rad": (
        "semi_convergence_angle_mrad",
        "--set semi_convergence_angle_mrad=21",
    ),
    "dose_e_per_pattern": ("dose_e_per_pattern", "--set dose_e_per_pattern=30000"),
    "grid_shape": ("trajectory.grid_shape", "scan with a plan that has a grid"),
    "step": (
        "trajectory.step",
        "positions that span an area, or a plan that states its step; rpie needs neither",
    ),
    "probe": ("probe_file", "--set probe_file=probe.npy, complex of shape (modes, h, w)"),
}
_ENERGIES_KEV = {"electron": (0.5, 5000.0), "xray": (0.01, 1000.0)}
_AUTO = ("scan_rotation_deg", "defocus_nm")
_SCALE = {"nm": ("m", 1e-9), "px": ("px", 1.0)}


class MissingMetadata(ValueError):  # noqa: N818  (reads as what it says)
    """A quantity that the analysis needs and that the run does not state."""

    def __init__(self, quantity: str, fix: str) -> None:
        super().__init__(f"{quantity} is needed and not known; give it with {fix}")
        self.quantity = quantity


@dataclass(frozen=True, eq=False)
class Experiment:
    """The measurement, as far as it is known; None is "unknown".

    Parameters
    ----------
    radiation : {"electron", "xray"} or None
    energy_kev, wavelength_m : float or None
    angular_sampling_rad : (y, x) or None, rad per detector pixel
    semi_convergence_angle_rad : float or None, rad
    defocus_m : float, m
        Positive is underfocus, C10 = -defocus; 0 where unknown.
    defocus_stated : bool
        Whether the run states it; "auto" is not a statement.
    scan_rotation_rad : float, rad
        Angle from the detector's +x axis to the scan's, positive towards +y; 0 where unknown.
    scan_rotation_stated : bool
        Whether the run states it; "auto" is not a statement.
    transposed : bool or None
        Whether the detector's rows and columns are to be swapped before it is turned.
    descan_px : ((yy, yx), (xy, xx)) or None, detector pixels per unit of position
        How the pattern moves with the beam; rows are the detector's axes, columns the scan's.
    dose_e_per_pattern : float or None
    units : {"m", "px"}
        Of `extent` and `step`; "px" is object pixels of unknown scale.
    extent : ((y0, x0), (y1, x1)) or None
        Bounding box of the scan's positions.
    grid_shape : (ny, nx) or None
    trajectory_type : str
        Of `trajectories.KINDS`, or whatever another program calls its own.
    scan_order : str
        "raster" and "serpentine" place a frame by its scan index; others by its position.
    step : float or None
    n_points : int or None
    passes : (n_points,) int64 or None
        Pass of each scan index, where the scan has several.
    probe : (modes, h, w) complex64 or None
        Initial illumination, centre at ``[h // 2, w // 2]``.
    """

    radiation: str | None = None
    energy_kev: float | None = None
    wavelength_m: float | None = None
    angular_sampling_rad: tuple[float, float] | None = None
    semi_convergence_angle_rad: float | None = None
    defocus_m: float = 0.0
    defocus_stated: bool = False
    scan_rotation_rad: float = 0.0
    scan_rotation_stated: bool = False
    transposed: bool | None = None
    descan_px: tuple[tuple[float, float], tuple[float, float]] | None = None
    dose_e_per_pattern: float | None = None
    units: str = "m"
    extent: tuple[tuple[float, float], tuple[float, float]] | None = None
    grid_shape: tuple[int, int] | None = None
    trajectory_type: str = ""
    scan_order: str = "free"
    step: float | None = None
    n_points: int | None = None
    passes: np.ndarray | None = field(default=None, repr=False)
    probe: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], *, probe: Any = None) -> Self:
        """Read a start document.

        Parameters
        ----------
        metadata : mapping
            The keys of ``docs/architecture.md``; all are optional, others are ignored.
        probe : (modes, h, w) or (h, w) complex or None

        Raises
        ------
        ValueError
            When a value is out of its range; the message names it.
        """
        known: dict[str, Any] = {}
        energy = _number(metadata, "energy_kev", 0.01, 1e4)
        radiation = metadata.get("radiation")
        if radiation not in (None, "electron", "xray"):
            raise ValueError(f'radiation must be "electron" or "xray", got {radiation!r}')
        low, high = _ENERGIES_KEV.get(str(radiation), (0.0, math.inf))
        if energy is not None and not low <= energy <= high:
            raise ValueError(
                f"energy_kev must lie between {low:g} and {high:g} for {radiation}s that go through"
                f" matter, got {energy:g}"
            )
        if radiation and energy:
            known["wavelength_m"] = wavelength_m(radiation, energy)
        rotation = _number(metadata, "scan_rotation_deg", -3600, 3600)
        defocus = _number(metadata, "defocus_nm", -1e6, 1e6)
        angle = _number(metadata, "semi_convergence_angle_mrad", 0.001, 500)
        return cls(
            radiation=radiation,
            energy_kev=energy,
            angular_sampling_rad=_angular_sampling(metadata),
            semi_convergence_angle_rad=None if angle is None else angle * 1e-3,
            defocus_m=(defocus or 0.0) * 1e-9,
            defocus_stated=defocus is not None,
            scan_rotation_rad=math.radians(rotation or 0.0),
            scan_rotation_stated=rotation is not None,
            transposed=_flag(metadata, "transposed"),
            descan_px=_descan(metadata),
            dose_e_per_pattern=_number(metadata, "dose_e_per_pattern", 0, 1e18),
            probe=None if probe is None else _probe(probe),
            **known,
            **_trajectory(metadata.get("trajectory") or {}),
        )

    def need(self, name: str) -> Any:
        """Return the quantity `name`.

        Raises
        ------
        MissingMetadata
            When it is unknown; the message says how to give it.
        """
        value = getattr(self, name)
        if value is None:
            raise MissingMetadata(*_HOW.get(name, (name, f"--set {name}=...")))
        return value

    def without_probe(self) -> Self:
        """Return the same experiment without an initial probe."""
        return replace(self, probe=None)

    def grid_rows_columns(self, scan_index: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the grid row and column of frames, where their scan index tells them.

        Parameters
        ----------
        scan_index : (n,) int64

        Returns
        -------
        two (n,) int64, or None
            None where the scan has no grid or its order is not by lines.
        """
        if self.grid_shape is None or self.scan_order not in ("raster", "serpentine"):
            return None
        rows, columns = np.divmod(scan_index, self.grid_shape[1])
        if self.scan_order == "serpentine":
            columns = np.where(rows % 2 == 1, self.grid_shape[1] - 1 - columns, columns)
        return rows, columns


def _number(metadata: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = metadata.get(name)
    if value is None or (isinstance(value, str) and value == "auto" and name in _AUTO):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None
    if not low <= number <= high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {number:g}")
    return number


def _flag(metadata: Mapping[str, Any], name: str) -> bool | None:
    value = metadata.get(name)
    if value is None or (isinstance(value, str) and value == "auto"):
        return None
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f'{name} must be true, false or "auto", got {value!r}')
    return bool(value)


def _pair(metadata: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    value = metadata.get(name)
    if value is None:
        return None
    pair = np.asarray(value, float).ravel()
    if pair.size not in (1, 2) or not np.all(np.isfinite(pair)) or not np.all(pair > 0):
        raise ValueError(f"{name} must be one or two positive numbers (y, x), got {value!r}")
    return float(pair[0]), float(pair[-1])


def _descan(metadata: Mapping[str, Any]) -> Any:
    for unit, scale in (("nm", 1e9), ("px", 1.0)):
        name = f"descan_px_per_{unit}"
        if metadata.get(name) is not None:
            slope = np.asarray(metadata[name], float) * scale
            if slope.shape != (2, 2) or not np.all(np.isfinite(slope)):
                raise ValueError(
                    f"{name} must be [[yy, yx], [xy, xx]], four finite numbers, got"
                    f" {metadata[name]!r}"
                )
            return tuple(map(tuple, slope.tolist()))
    return None


def _angular_sampling(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    sampling = _pair(metadata, "angular_sampling_mrad")
    if sampling is not None:
        return sampling[0] * 1e-3, sampling[1] * 1e-3
    pixel, distance = (
        _pair(metadata, "detector_pixel_m"),
        _number(metadata, "detector_distance_m", 1e-6, 1e6),
    )
    if pixel is None or distance is None:
        return None
    return pixel[0] / distance, pixel[1] / distance


def _trajectory(trajectory: Mapping[str, Any]) -> dict[str, Any]:
    units, scale = _SCALE.get(str(trajectory.get("units", "nm")), (None, 0.0))
    if units is None:
        raise ValueError(f'trajectory.units must be "nm" or "px", got {trajectory["units"]!r}')
    extent, grid = trajectory.get("extent"), trajectory.get("grid_shape")
    step, n_points = trajectory.get("step"), trajectory.get("n_points")
    known: dict[str, Any] = {
        "units": units,
        "trajectory_type": str(trajectory.get("type") or ""),
        "scan_order": str(trajectory.get("scan_order") or "free"),
        "step": None if step is None else float(step) * scale,
        "n_points": None if n_points is None else int(n_points),
    }
    if extent is not None:
        corners = np.asarray(extent, float) * scale
        if corners.shape != (2, 2):
            raise ValueError(f"trajectory.extent must be [[y0, x0], [y1, x1]], got {extent!r}")
        known["extent"] = tuple(map(tuple, corners.tolist()))
    if grid is not None:
        ny, nx = (int(side) for side in grid)
        known["grid_shape"] = (ny, nx)
    if trajectory.get("type") in KINDS and trajectory.get("passes", 1) != 1:
        with suppress(TrajectoryError):  # another program's trajectory of the same name
            known["passes"] = from_dict(trajectory).pass_index
    return known


def _probe(probe: Any) -> np.ndarray:
    array = np.asarray(probe)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not np.all(np.isfinite(array)) or not np.any(array):
        raise ValueError(
            f"probe must be finite, not all zero, of shape (modes, h, w), got {array.shape}"
        )
    return array.astype(np.complex64)
