"""A recorded scan: frames, positions and what is known about them, whatever they are called.

Names of several programs are accepted and what was taken for what is said in `notes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np

from ..models.physics import electron_wavelength_m, photon_energy_kev
from ..models.trajectories import Points, Raster, Trajectory
from .recording_formats import SUFFIXES, FormatStore
from .recording_names import AMBIGUOUS, ARRAYS, AXES, NUMBERS, TEXTS
from .recording_store import Frames, H5Store, NpzStore, RecordingError, Store

__all__ = ["Recording", "RecordingError"]

_SETTINGS = (
    "energy_kev",
    "semi_convergence_angle_mrad",
    "defocus_nm",
    "angular_sampling_mrad",
    "detector_distance_m",
    "detector_pixel_m",
    "scan_rotation_deg",
    "dose_e_per_pattern",
    "beam_current_pa",
)


def _open_store(path: Path) -> Store:
    if not path.is_file():
        raise RecordingError(f"there is no file {path}.")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return NpzStore(path)
    with path.open("rb") as file:
        is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
    if is_hdf5:
        store = H5Store(path)
        if suffix not in SUFFIXES or _stacks(store):
            return store
        store.close()
    elif suffix not in SUFFIXES:
        raise RecordingError(
            f"{path.name} is neither HDF5 nor .npz, or is cut short; other formats are told by "
            f"their suffix: {', '.join(sorted(SUFFIXES))}."
        )
    return FormatStore(path)


def _stacks(store: Store) -> list[str]:
    shapes = {name: store.shape(name) for name in sorted(store.names)}
    named = [name for name in ARRAYS["frames"] if name in shapes]
    loose = [name for name, s in shapes.items() if len(s) in (3, 4) and min(s[-2:]) >= 4]
    return named or loose


class Recording:
    """A recorded scan.

    Parameters
    ----------
    path : path
        HDF5 (also CXI), `.npz`, or what RosettaSciIO reads.
    **known : float, str
        Values that the file lacks or has wrong, such as ``energy_kev=80``.

    Attributes
    ----------
    frames : Frames
        (n, h, w) or (n, bins), read from the file when asked for.
    positions : (n, 2) float64 or None
        yx, in `units`.
    units : "nm" or "px"
    grid_shape : (ny, nx) or None
    time_s : (n,) float64 or None
    probe : (modes, h, w) complex64 or None
    corrections : dict
        `dark`, `gain`, `bad_pixels` as far as they are known.
    taken : dict
        Our name of each quantity to the name in the file.
    notes : list of str
        What was assumed, converted or ignored.

    Raises
    ------
    RecordingError
    """

    def __init__(self, path: str | Path, **known: Any) -> None:
        self.path = Path(path)
        self.taken: dict[str, str] = {}
        self.notes: list[str] = []
        self._known = dict(known)
        self._settings: dict[str, Any] = {}
        self.store = _open_store(self.path)
        try:
            self._read()
        except RecordingError:
            self.close()
            raise
        except (ValueError, TypeError, OSError, KeyError) as error:
            self.close()
            raise RecordingError(f"{self.path.name} cannot be understood: {error}.") from error

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.frames)

    def _read(self) -> None:
        self._settings |= {name: self._number(name) for name in NUMBERS}
        self._texts()
        self.frames = self._frames()
        n = len(self.frames)
        self.units, self.positions = self._positions()
        self.grid_shape = self.frames.grid if len(self.frames.grid) == 2 else None
        self.time_s = self._times(n)
        self.probe = self._probe()
        self.corrections = self._corrections()
        self.axes = {name: self._array(name) for name in AXES if name in self.store.names}
        self._radiation()
        unused = self.store.names - set(self.taken.values()) - set(self.axes)
        if unused:
            shown = sorted(unused)
            more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
            self.notes.append(f"ignored: {', '.join(shown[:8])}{more}")

    def _name(self, quantity: str, spellings: tuple[str, ...]) -> str | None:
        found = [name for name in spellings if name in self.store.names]
        if not found:
            return None
        self.taken[quantity] = found[0]
        if found[0] != quantity:
            self.notes.append(f"{quantity}: taken from {found[0]!r}")
        return found[0]

    def _array(self, name: str) -> np.ndarray:
        return np.asarray(self.store.array(name))

    def _number(self, quantity: str) -> Any:
        if quantity in self._known:
            return self._known.pop(quantity)
        factors = dict(NUMBERS[quantity])
        name = self._name(quantity, tuple(factors))
        if name is None:
            loose = next((a for a, q in AMBIGUOUS.items() if q == quantity), None)
            return self._loose(quantity, loose) if loose in self.store.names else None
        value = self._array(name).astype(float).ravel() * factors[name]
        if value.size not in (1, 2) or not np.isfinite(value).all():
            if name == quantity or value.size in (1, 2):
                raise RecordingError(f"{name!r} must be one or two finite numbers.")
            self.notes.append(f"{name!r} is not one number and was ignored")
            return None
        return float(value[0]) if value.size == 1 else value.tolist()

    def _loose(self, quantity: str, name: str | None) -> float | None:
        value = self._array(str(name)).astype(float).ravel()
        if value.size != 1 or not np.isfinite(value[0]):
            return None
        number = float(value[0])
        unit, factor = {
            "defocus_nm": ("angstrom", 0.1),
            "detector_distance_m": ("m", 1.0),
        }.get(quantity, ("keV", 1.0))
        if quantity == "energy_kev" and number > 2000:
            unit, factor = "eV", 1e-3
        elif quantity == "energy_kev" and number < 1e-6:
            unit, factor = "J", 1 / 1.602176634e-16
        self.taken[quantity] = str(name)
        self.notes.append(f"{quantity}: {name!r} = {number:g} was taken to be in {unit}")
        return number * factor

    def _texts(self) -> None:
        for quantity, spellings in TEXTS.items():
            value = self._known.pop(quantity, None)
            name = None if value is not None else self._name(quantity, spellings)
            if name is not None:
                raw = self._array(name).ravel()
                value = raw[0].decode() if raw.dtype.kind == "S" else str(raw[0])
            self._settings[quantity] = value

    def _radiation(self) -> None:
        if self._known:
            raise RecordingError(
                f"nothing is called {sorted(self._known)[0]!r}; what can be set is "
                f"{', '.join((*_SETTINGS, 'step_m', 'radiation', 'sample'))}."
            )
        if self._settings["radiation"] is None:
            energy = self._settings["energy_kev"]
            x_rays = (
                self._settings["semi_convergence_angle_mrad"] is None
                and energy is not None
                and energy < 29
            )
            self._settings["radiation"] = "xray" if x_rays else "electron"
            self.notes.append(f"radiation: assumed to be {self._settings['radiation']!r}")
        if self._settings["radiation"] not in ("electron", "xray"):
            raise RecordingError(
                f"radiation is 'electron' or 'xray', not {self._settings['radiation']!r}."
            )
        wavelength_m = self._settings.pop("wavelength_m")
        if wavelength_m and self._settings["energy_kev"] is None:
            self._settings["energy_kev"] = self._energy_of(float(wavelength_m))

    def _energy_of(self, wavelength_m: float) -> float:
        if self._settings["radiation"] == "xray":
            return photon_energy_kev(wavelength_m)
        low, high = 0.01, 1e4
        for _ in range(80):  # the wavelength falls with the energy
            middle = (low * high) ** 0.5
            if electron_wavelength_m(middle) > wavelength_m:
                low = middle
            else:
                high = middle
        return (low * high) ** 0.5

    def _frames(self) -> Frames:
        name = self._name("frames", ARRAYS["frames"])
        if name is None:
            name = self._largest()
        shape = self.store.shape(name)
        if 0 in shape:
            raise RecordingError(f"{name!r} in {self.path.name} holds no frames.")
        lines = name in ("patterns", "spectra") and (len(shape) == 2 or name == "spectra")
        frame_axes = 1 if lines else 2
        scan_axes = len(shape) - frame_axes
        if scan_axes not in (1, 2):
            raise RecordingError(
                f"{name!r} in {self.path.name} has shape {shape}; frames are (n, h, w) or "
                "(ny, nx, h, w), series of lines (n, bins)."
            )
        source = self.store.lazy(name)
        if np.dtype(source.dtype).kind not in "uif":
            raise RecordingError(f"{name!r} holds {source.dtype}, not numbers of counts.")
        shift = (0, 0)
        center = self._settings.pop("center_px")
        if center is not None and frame_axes == 2:
            wanted = np.asarray(shape[-2:]) // 2
            dy, dx = np.rint(wanted - np.broadcast_to(center, 2)).astype(int).tolist()
            shift = (dy, dx)
            if any(shift):
                self.notes.append(f"frames were rolled by {shift} pixels to centre them")
        return Frames(source, scan_axes, shift)

    def _largest(self) -> str:
        stacks = _stacks(self.store)
        if not stacks:
            raise RecordingError(
                f"{self.path.name} holds no frames; they are looked for under the names "
                f"{', '.join(ARRAYS['frames'][:4])} and so on."
            )
        name = max(stacks, key=lambda stack: np.prod(self.store.shape(stack), dtype=float))
        self.taken["frames"] = name
        self.notes.append(f"frames: the largest stack was taken, {name!r}")
        return name

    def _positions(self) -> tuple[str, np.ndarray | None]:
        n = len(self.frames)
        for quantity, units, factor in (
            ("positions_m", "nm", 1e9),
            ("positions_px", "px", 1.0),
            ("translation", "nm", 1e9),
        ):
            name = self._name(quantity, ARRAYS[quantity])
            if name is None:
                continue
            found = self._array(name).astype(float)
            if quantity == "translation":
                found = found.reshape(-1, found.shape[-1])[:, 1::-1]  # CXI lists x, y, z
                self.notes.append("translation: taken as the beam's position on the specimen")
            found = found.reshape(-1, found.shape[-1]) if found.ndim == 3 else found
            if found.shape != (n, 2):
                raise RecordingError(
                    f"{name!r} has shape {found.shape} for {n} frames; expected ({n}, 2)."
                )
            if not np.isfinite(found).all():
                bad = int((~np.isfinite(found).all(axis=1)).sum())
                raise RecordingError(f"{bad} of the {n} positions in {name!r} are NaN or infinite.")
            return units, found * factor
        return ("nm" if self._settings["step_m"] else "px"), None

    def _times(self, n: int) -> np.ndarray | None:
        name = self._name("time_s", ARRAYS["time_s"])
        if name is None:
            return None
        times = self._array(name).astype(float).ravel()
        if times.shape != (n,) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise RecordingError(f"{name!r} must be {n} finite times in ascending order.")
        return times

    def _probe(self) -> np.ndarray | None:
        name = self._name("probe", ARRAYS["probe"])
        if name is None:
            return None
        probe = self._array(name).astype(np.complex64)
        probe = probe.reshape(-1, *probe.shape[-2:]) if probe.ndim >= 2 else probe
        if probe.ndim != 3 or probe.shape[1:] != self.frames.shape[1:]:
            raise RecordingError(
                f"the probe {name!r} has shape {probe.shape}, the frames {self.frames.shape[1:]}."
            )
        return probe

    def _corrections(self) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        for quantity in ("dark", "gain", "bad_pixels", "good_pixels"):
            name = self._name(quantity, ARRAYS[quantity])
            if name is None:
                continue
            array = self._array(name)
            if array.shape != self.frames.shape[1:]:
                self.notes.append(f"{name!r} does not have the shape of a frame and was ignored")
                continue
            if quantity == "good_pixels":
                out.setdefault("bad_pixels", array == 0)
                self.notes.append(f"{name!r} was taken to mark good pixels")
            else:
                out[quantity] = array != 0 if quantity == "bad_pixels" else array.astype("<f4")
        return out

    @property
    def dwell_ms(self) -> float | None:
        """Time of one frame, ms, where it is known."""
        if self.time_s is not None and len(self.time_s) > 1:
            return float(np.median(np.diff(self.time_s))) * 1e3 or None
        dwell = self._settings["dwell_ms"]
        return None if dwell is None else float(dwell)

    @property
    def missing(self) -> list[str]:
        """What ptychography or centre-of-mass maps in real units would still need."""
        has = self._settings
        out = []
        if self.positions is None and not has["step_m"]:
            out.append("step_m")
        if has["energy_kev"] is None and self.units == "nm":
            out.append("energy_kev")
        in_space = has["detector_distance_m"] is not None and has["detector_pixel_m"] is not None
        if has["angular_sampling_mrad"] is None and not in_space and self.units == "nm":
            out.append("angular_sampling_mrad")
        return out

    def metadata(self) -> dict[str, Any]:
        """Return what is known under the flat keys of a start document."""
        out: dict[str, Any] = {"radiation": self._settings["radiation"]}
        out |= {name: self._settings[name] for name in _SETTINGS}
        out["sample"] = self._settings["sample"]
        out["recording"] = self.path.name
        return {name: value for name, value in out.items() if value is not None}

    def trajectory(self) -> Trajectory:
        """Return the path of the beam: a raster where only a step is known, else points."""
        if self.positions is not None:
            return Points(listed=self.positions, units="nm" if self.units == "nm" else "px")
        n = len(self.frames)
        grid = self.grid_shape or (1, n)
        step = self._settings["step_m"]
        size = float(np.ravel(step)[0]) * 1e9 if step else 1.0
        if step is None:
            self.notes.append("no positions and no step: places are counted in steps")
        return Raster(fov=(grid[0] * size, grid[1] * size), step=size, units="nm" if step else "px")
