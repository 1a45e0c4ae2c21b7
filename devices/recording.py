"""A recorded scan: frames, positions and what is known about them, whatever they are called.

Names of several programs are accepted and what was taken for what is said in `notes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..models.physics import wavelength_m
from ..models.trajectories import Points, Raster, Trajectory
from .recording_choice import choose
from .recording_facts import Facts
from .recording_frames import Frames, corner_centred, remarks
from .recording_kinds import open_file
from .recording_layouts import energy_kev_of
from .recording_names import ARRAYS, AXES, CALIBRATION, MONITORS, NUMBERS, TEXTS
from .recording_positions import find_positions
from .recording_series import inside_zip, open_files, open_folder, open_zip
from .recording_store import RecordingError, Store
from .recording_zarr import ZarrStore, is_zarr

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
    "saturation_counts",
)


def _open_store(path: Path) -> Store:
    if path.is_dir():
        return ZarrStore(path) if is_zarr(path) else open_folder(path)
    if not path.is_file():
        member = inside_zip(path)
        if member is None:
            raise RecordingError(f"there is no file {path}.")
        return open_zip(*member)
    return open_zip(path) if path.suffix.lower() == ".zip" else open_file(path)


class Recording:
    """A recorded scan.

    Parameters
    ----------
    path : path, or sequence of path
        HDF5 (also CXI, NeXus, EMD), `.npz`, `.zarr`, TIFF, MIB, text, what RosettaSciIO reads;
        or a folder or `.zip` of them, or one file inside a `.zip`. Several files of one kind are
        one series, in the order in which they are given.
    **known : float, str
        Values that the file lacks or has wrong, such as ``energy_kev=80``.

    Attributes
    ----------
    path : Path
        The first file.
    files : tuple of Path
    name : str
        What messages call it.
    frames : Frames
        (n, h, w), (n, bins) or (n, elements, channels), read from the file when asked for.
    dims : tuple of str
        Names of the frames' axes: ("ky", "kx"), ("bin",), ("element", "channel"), ...
    positions : (n, 2) float64 or None
        yx, in `units`.
    units : "nm" or "px"
    grid_shape : (ny, nx) or None
    time_s : (n,) float64 or None
    taken_utc_s : (n,) float64 or None
        When the frames were taken, where that shall be told instead of when they are played.
    monitor : (n,) float64 or None
        By which intensities are to be divided.
    dated_utc_s : (n,) float64 or None
        The middle of each exposure by the headers' dates; a date without a zone is read as UTC.
    dated_with_zone : bool
        Whether the headers state a zone.
    probe : (modes, h, w) complex64 or None
    corrections : dict
        `dark`, `gain`, `bad_pixels` as far as they are known.
    axes : dict
        Arrays that go with the bins or channels: `two_theta_deg`, `q_per_a`, `energy_kev_axis`.
    taken : dict
        Our name of each quantity to the name in the file.
    notes : list of str
        What was assumed, converted or ignored.

    Raises
    ------
    RecordingError
    """

    def __init__(self, path: str | Path | Sequence[str | Path], **known: Any) -> None:
        self.files = tuple(Path(p) for p in ([path] if isinstance(path, str | Path) else path))
        if not self.files:
            raise RecordingError("a recording needs at least one file.")
        self.path = self.files[0]
        self.name = self.path.name
        if len(self.files) > 1:
            self.name += f" to {self.files[-1].name}"
        self.taken: dict[str, str] = {}
        self.notes: list[str] = []
        self._known = dict(known)
        self._settings: dict[str, Any] = {}
        self.taken_utc_s: np.ndarray | None = None
        self.store = _open_store(self.path) if len(self.files) == 1 else open_files(self.files)
        self._facts = Facts(self.store, self._known, self.taken, self.notes)
        try:
            self._read()
        except RecordingError:
            self.close()
            raise
        except Exception as error:  # what others wrote can be wrong in any way
            self.close()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RecordingError(f"{self.name} cannot be understood: {reason}.") from error

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
        self.notes += self.store.notes
        self._settings |= {name: self._facts.number(name) for name in NUMBERS}
        self._texts()
        self.frames = self._frames()
        n = len(self.frames)
        places = find_positions(self.store, n, self.frames.grid)
        self.units, self.positions = places.units, places.listed
        self.taken |= {name: name for name in places.taken}
        self.notes += places.notes
        self.grid_shape = self.store.grid or (
            self.frames.grid if len(self.frames.grid) == 2 else None
        )
        if self.positions is None:
            self._raster()
        self.time_s = self._times(n)
        self._dates(n)
        self.monitor = self._monitor(n)
        self.probe = self._probe()
        self.corrections = self._corrections()
        self.axes = self._axes()
        self._radiation()
        self._remark_on_step()
        unused = self.store.names - set(self.taken.values()) - self.frames_from
        if unused:
            shown = sorted(unused)
            more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
            self.notes.append(f"ignored: {', '.join(shown[:8])}{more}")

    def _texts(self) -> None:
        for quantity, spellings in TEXTS.items():
            value = self._known.pop(quantity, None)
            name = None if value is not None else self._facts.name(quantity, spellings)
            if name is not None:
                raw = self._facts.array(name).ravel()
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
            x_rays = self._settings["semi_convergence_angle_mrad"] is None and (
                (energy is not None and energy < 29) or self.dims != ("ky", "kx")
            )
            self._settings["radiation"] = "xray" if x_rays else "electron"
            self.notes.append(f"radiation: assumed to be {self._settings['radiation']!r}")
        if self._settings["radiation"] not in ("electron", "xray"):
            raise RecordingError(
                f"radiation is 'electron' or 'xray', not {self._settings['radiation']!r}."
            )
        length = self._settings.pop("wavelength_m")
        if length and self._settings["energy_kev"] is None:
            self._settings["energy_kev"] = energy_kev_of(float(length), self._settings["radiation"])

    def _frames(self) -> Frames:
        choice = choose(self.store, self.name)
        self.dims, self.frames_from = choice.dims, set(choice.taken)
        self.notes += choice.notes
        frames = Frames(choice.source, choice.scan_axes)
        center = self._settings.pop("center_px")
        if self.dims == ("ky", "kx"):
            frames.shift = self._shift(frames, center)
        self.notes += remarks(frames, np.dtype(choice.source.dtype))
        return frames

    def _shift(self, frames: Frames, center: Any) -> tuple[int, int]:
        sides = np.asarray(frames.shape[1:])
        if center is not None:
            dy, dx = np.rint(sides // 2 - np.broadcast_to(center, 2)).astype(int).tolist()
            if dy or dx:
                self.notes.append(f"frames were rolled by {(dy, dx)} pixels to centre them")
            return dy, dx
        if corner_centred(frames):
            self.notes.append(
                "frames: zero frequency lies in the corner and was moved to the centre"
            )
            return int(sides[0] // 2), int(sides[1] // 2)
        return 0, 0

    def _raster(self) -> None:
        """Place frames without positions by their step; one that differs in y and x is listed."""
        step = self._settings["step_m"]
        self.units = "px" if step is None else "nm"
        pair = np.ravel(np.asarray(1.0 if step is None else step, float))
        if not np.all(np.isfinite(pair)) or not np.all(pair > 0):
            raise RecordingError(f"step_m must be positive, got {step!r}.")
        if pair.size == 2 and not np.isclose(pair[0], pair[1], atol=0):
            ny, nx = self.grid_shape or (1, len(self.frames))
            rows, columns = np.divmod(np.arange(ny * nx), nx)
            self.positions = np.stack([rows * pair[0], columns * pair[1]], axis=1) * 1e9

    def _axes(self) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        if self.dims == ("ky", "kx"):
            return out
        shapes = (self.frames.shape[-1:], self.frames.shape[1:], self.frames.shape)
        for quantity, spellings in AXES.items():
            for name, factor in spellings:
                if name in self.store.names and self.store.shape(name) in shapes:
                    out[quantity] = self._facts.array(name) * factor
                    self.taken[quantity] = name
                    break
        offset, slope = (self._constant(name) for name in CALIBRATION)
        if slope is not None and "energy_kev_axis" not in out:
            out["energy_kev_axis"] = (offset or 0.0) + slope * np.arange(self.frames.shape[-1])
        return out

    def _constant(self, name: str) -> float | None:
        if name not in self.store.names or self.store.shape(name) != ():
            return None
        self.taken[name] = name
        return float(self._facts.array(name))

    def _remark_on_step(self) -> None:
        """Say where neighbouring places are farther apart than the window that a frame shows."""
        sampling, step = self._settings["angular_sampling_mrad"], self._settings["step_m"]
        energy = self._settings["energy_kev"]
        if sampling is None or step is None or energy is None or self.dims != ("ky", "kx"):
            return
        wavelength = wavelength_m(self._settings["radiation"], float(energy))
        window = wavelength / (np.max(sampling) * 1e-3)
        if np.max(step) > window:
            self.notes.append(
                f"step: {np.max(step) * 1e9:.3g} nm is larger than the {window * 1e9:.3g} nm that "
                "a frame resolves; places do not overlap and ptychography will not work"
            )

    def _times(self, n: int) -> np.ndarray | None:
        name = self._facts.name("time_s", ARRAYS["time_s"])
        if name is None:
            return None
        times = self._facts.array(name).astype(float).ravel()
        if times.shape != (n,) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise RecordingError(f"{name!r} must be {n} finite times in ascending order.")
        return times

    def _dates(self, n: int) -> None:
        self.dated_utc_s, self.dated_with_zone = None, False
        names = ("taken_utc_s", "taken_with_zone")
        if all(name in self.store.names and self.store.shape(name) == (n,) for name in names):
            self.taken |= {name: name for name in names}
            self.dated_utc_s = self._facts.array("taken_utc_s").astype(float)
            self.dated_with_zone = bool(self._facts.array("taken_with_zone").all())

    def _monitor(self, n: int) -> np.ndarray | None:
        name = self._facts.name("monitor", MONITORS)
        if name is None:
            return None
        values = self._facts.array(name)
        if values.size != n or values.dtype.kind not in "uif":
            self.notes.append(f"{name!r} is not one number for each frame and was ignored")
            return None
        return values.astype(float).ravel()

    def _probe(self) -> np.ndarray | None:
        name = self._facts.name("probe", ARRAYS["probe"])
        if name is None or self.dims != ("ky", "kx"):
            return None
        probe = self._facts.array(name).astype(np.complex64)
        probe = probe.reshape(-1, *probe.shape[-2:]) if probe.ndim >= 2 else probe
        if probe.ndim != 3 or probe.shape[1:] != self.frames.shape[1:]:
            raise RecordingError(
                f"the probe {name!r} has shape {probe.shape}, the frames {self.frames.shape[1:]}."
            )
        return probe

    def _corrections(self) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        for quantity in ("dark", "gain", "bad_pixels", "good_pixels"):
            name = self._facts.name(quantity, ARRAYS[quantity])
            if name is None:
                continue
            array = self._facts.array(name)
            if array.shape != self.frames.shape[1:]:
                self.notes.append(f"{name!r} does not have the shape of a frame and was ignored")
                continue
            if quantity == "good_pixels":
                out.setdefault("bad_pixels", array == 0)
                self.notes.append(f"{name!r} was taken to mark good pixels")
            else:
                out[quantity] = array != 0 if quantity == "bad_pixels" else array.astype("<f4")
        if any(self.frames.shift):
            out = {n: np.roll(array, self.frames.shift, (0, 1)) for n, array in out.items()}
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
        out["recording"] = self.name
        if self.dims != ("ky", "kx"):
            out["frame_dims"] = list(self.dims)
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
