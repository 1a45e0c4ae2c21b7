"""What HDF5 files say beside their frames: EMD (Prismatic, py4DSTEM), ptypy, ptychodus, NeXus.

Each finding is added to the store under our name, with a note of where it stood.
"""

from __future__ import annotations

import re

import numpy as np

from ..models.physics import electron_wavelength_m, photon_energy_kev
from .recording_dates import moment
from .recording_store import H5Store

LENGTHS_M = {
    "m": 1.0, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "micron": 1e-6, "microns": 1e-6,
    "nm": 1e-9, "n_m": 1e-9, "a": 1e-10, "å": 1e-10, "angstrom": 1e-10, "angstroms": 1e-10,
    "pm": 1e-12, "meter": 1.0, "metre": 1.0,
}  # fmt: skip
_ENERGIES_KEV = {"kev": 1.0, "ev": 1e-3, "j": 1 / 1.602176634e-16, "v": 1e-3, "kv": 1.0}
_ANGLES_MRAD = {"mrad": 1.0, "rad": 1e3}
_PER_LENGTH = {"a^-1": 1e10, "å^-1": 1e10, "1/a": 1e10, "1/å": 1e10, "n_m^-1": 1e9, "nm^-1": 1e9,
               "1/nm": 1e9}  # fmt: skip


def length_in_m(units: str) -> float | None:
    """Return a unit of length in metres, or None where it is none."""
    return LENGTHS_M.get(units.strip(" []").lower())


def energy_kev_of(wavelength_m: float, radiation: str) -> float:
    """Return the energy of a wavelength.

    Parameters
    ----------
    wavelength_m : float, m
    radiation : "electron" or "xray"
    """
    if radiation == "xray":
        return photon_energy_kev(wavelength_m)
    low, high = 0.01, 1e4
    for _ in range(80):  # the wavelength falls with the energy
        middle = (low * high) ** 0.5
        if electron_wavelength_m(middle) > wavelength_m:
            low = middle
        else:
            high = middle
    return (low * high) ** 0.5


def describe(store: H5Store) -> None:
    """Add to a store what its layout says.

    Parameters
    ----------
    store : H5Store
    """
    for step in (
        _energy,
        _prismatic,
        _calibration,
        _dims,
        _nexus,
        _chunks,
        _detector_numbers,
        _detector_mask,
        _dates,
    ):
        try:
            step(store)
        except (ValueError, TypeError, KeyError, IndexError, OSError, RuntimeError, OverflowError):
            continue  # a layout that is only nearly the expected one tells nothing


def _value(store: H5Store, name: str) -> float | None:
    if name in store.attributes:
        array = store.attributes[name]
    elif name in store.names and int(np.prod(np.array(store.shape(name), object))) == 1:
        array = store.array(name)
    else:
        return None
    try:
        number = float(np.asarray(array).ravel()[0])
    except (ValueError, TypeError, IndexError):
        return None
    return number if np.isfinite(number) else None


def _text(store: H5Store, name: str) -> str:
    if name in store.attributes:
        value = store.attributes[name].ravel()
    elif name in store.names and int(np.prod(np.array(store.shape(name), object))) == 1:
        value = store.array(name).ravel()
    else:
        return ""
    if value.size != 1:
        return ""
    first = value[0]
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def _ending(store: H5Store, ending: str) -> list[str]:
    every = list(store.attributes) + sorted(store.names)
    return [name for name in every if name == ending or name.endswith(f"/{ending}")]


def _energy(store: H5Store) -> None:
    for ending, factor in (
        ("photon_energy", None), ("incident_energy", None), ("probe_energy_in_eV", 1e-3),
        ("probe_energy_eV", 1e-3), ("meta/energy", 1.0), ("info/energy", 1.0),
        ("accelerating_voltage", 1e-3), ("High Tension", 1e-3),
    ):  # fmt: skip
        for name in _ending(store, ending):
            value = _value(store, name)
            units = store.units(name).lower() or "ev"
            scale = factor if factor is not None else _ENERGIES_KEV.get(units, 1e-3)
            if value is not None and value > 0:
                store.add("energy_kev", value * scale, name)
                return


def _prismatic(store: H5Store) -> None:
    """Read the parameters of a Prismatic simulation: E in keV, alpha in mrad, steps in angstrom."""
    group = next((n for n in store.attributes if n.endswith("simulation_parameters/E")), None)
    if group is None:
        return
    stem = group.removesuffix("E")
    for name, ours, factor in (
        ("E", "energy_kev", 1.0),
        ("sa", "semi_convergence_angle_mrad", 1.0),
        ("df", "defocus_nm", 0.1),
    ):
        value = _value(store, stem + name)
        if value is not None:
            store.add(ours, value * factor, stem + name)
    store.add("radiation", "electron", "a Prismatic simulation")
    step = [_value(store, stem + name) for name in ("py", "px")]
    if step[0] and step[1]:
        store.add("step_m", np.array([v * 1e-10 for v in step if v]), f"{stem}px, py")


def _calibration(store: H5Store) -> None:
    """Read py4DSTEM's calibration, of its old and its new files."""
    for ending, ours in (("R_pixel_size", "step_m"), ("Q_pixel_size", "angular_sampling_mrad")):
        for name in _ending(store, ending):
            value = _value(store, name)
            stem = name.removesuffix("_size")
            units = _text(store, f"{stem}_units") or _text(store, f"{stem}_size_units")
            if value is None or value <= 0:
                continue
            if ours == "step_m" and length_in_m(units):
                store.add(ours, value * float(length_in_m(units) or 0), name)
            elif ours != "step_m":
                _add_sampling(store, value, units, name)
    for ending, ours, factor in (
        ("convergence_semiangle_mrad", "semi_convergence_angle_mrad", 1.0),
        ("probe_semiangle_mrad", "semi_convergence_angle_mrad", 1.0),
        ("QR_rotation_degrees", "scan_rotation_deg", 1.0),
        ("scan_rotation_deg", "scan_rotation_deg", 1.0),
    ):
        for name in _ending(store, ending):
            value = _value(store, name)
            if value is not None:
                store.add(ours, value * factor, name)


def _add_sampling(store: H5Store, value: float, units: str, name: str) -> None:
    units = units.strip(" []").lower()
    if units in _ANGLES_MRAD:
        store.add("angular_sampling_mrad", value * _ANGLES_MRAD[units], name)
    elif units in _PER_LENGTH and "energy_kev" in store.names:
        energy = float(store.array("energy_kev").ravel()[0])
        sampling = value * _PER_LENGTH[units] * electron_wavelength_m(energy) * 1e3
        store.add("angular_sampling_mrad", sampling, name)


def _dims(store: H5Store) -> None:
    """Read the axes that EMD files keep beside an array as dim1..dim4 or dim0..dim3."""
    cubes = [n for n in sorted(store.names) if len(store.shape(n)) == 4 and "/" in n]
    for cube in cubes[:1]:
        stem = cube.rpartition("/")[0]
        first = 0 if f"{stem}/dim0" in store.names else 1
        axes = [f"{stem}/dim{first + k}" for k in range(4)]
        if not all(axis in store.names for axis in axes):
            return
        steps = []
        for axis in axes:
            values = store.array(axis).astype(float).ravel()
            steps.append(abs(float(values[1] - values[0])) if values.size > 1 else 0.0)
        scale = length_in_m(store.units(axes[0]))
        if scale and steps[0] > 0 and steps[1] > 0:
            store.add("step_m", np.array(steps[:2]) * scale, f"{axes[0]}, {axes[1]}")
        if steps[2] > 0:
            _add_sampling(store, steps[2], store.units(axes[2]), axes[2])


def _nexus(store: H5Store) -> None:
    """Join what DECTRIS and NeXus files spread over data_000001, data_000002, ..."""
    numbered = sorted(n for n in store.names if re.fullmatch(r"entry/data/data_\d+", n))
    lost = [n for n in store.dangling if re.fullmatch(r"entry/data/data_\d+", n)]
    if numbered and lost:
        store.notes.append(f"frames: {len(lost)} linked files are missing, such as {lost[0]}")


def _chunks(store: H5Store) -> None:
    """Read what ptypy keeps in a .ptyd file."""
    if "chunks/0/data" not in store.names:
        return
    for ending, ours in (("distance", "detector_distance_m"), ("psize", "detector_pixel_m")):
        for stem in ("meta", "info"):
            name = f"{stem}/{ending}"
            found = store.names | set(store.attributes)
            if name in found:
                array = store.attributes[name] if name in store.attributes else store.array(name)
                if array.dtype.kind in "fiu" and array.size in (1, 2) and np.all(array > 0):
                    store.add(ours, array, name)


def _detector_mask(store: H5Store) -> None:
    """Read the mask of DECTRIS, NeXus and CXI, in all of which zero is a good pixel."""
    for ending in ("detectorSpecific/pixel_mask", "detector/pixel_mask", "detector_1/mask"):
        for name in _ending(store, ending):
            if name in store.names and len(store.shape(name)) == 2:
                store.add("bad_pixels", store.array(name) != 0, name)


def _detector_numbers(store: H5Store) -> None:
    """Read distance and pixel of NeXus, CXI and ptychodus; zero means that nobody filled it in."""
    for ending in (
        "detector_distance",
        "detector_object_distance_m",
        "detector_1/distance",
        "instrument/detector/distance",
    ):
        for name in _ending(store, ending):
            value = _value(store, name)
            if value is not None and value > 0:
                store.add(
                    "detector_distance_m", value * (length_in_m(store.units(name)) or 1.0), name
                )
    for x in _ending(store, "x_pixel_size"):
        y = x.removesuffix("x_pixel_size") + "y_pixel_size"
        pixel = [_value(store, y), _value(store, x)]
        if pixel[0] and pixel[1] and min(pixel[0], pixel[1]) > 0:
            scale = length_in_m(store.units(x)) or 1.0
            sizes = [float(v) * scale for v in pixel if v]
            store.add("detector_pixel_m", sizes[0] if sizes[0] == sizes[1] else sizes, x)
    for name in _ending(store, "instrument/detector/saturation_value"):
        value = _value(store, name)
        if value is not None and value > 0:
            store.add("saturation_counts", value, name)
    for name in _ending(store, "instrument/detector/frame_time"):
        value = _value(store, name)
        if value is not None and value > 0:
            store.add("dwell_ms", value * 1e3, name)


def _dates(store: H5Store) -> None:
    """Place the frames of DECTRIS and NeXus in time: the first one's date, then one after another.

    A clock without a zone is marked as such: whoever needs the times knows where it stood.
    """
    numbered = [n for n in store.names if re.fullmatch(r"entry/data/data_\d+", n)]
    stacks = numbered or [n for n in ("entry/data/data",) if n in store.names]
    n = sum(store.shape(name)[0] for name in stacks if len(store.shape(name)) == 3)
    every_s = next((_value(store, name) for name in _ending(store, "detector/frame_time")), None)
    exposed_s = next((_value(store, name) for name in _ending(store, "detector/count_time")), None)
    every_s = every_s or exposed_s
    if not n or not (every_s or n == 1):
        return
    for ending in ("data_collection_date", "entry/start_time"):
        for name in _ending(store, ending):
            found = moment(_text(store, name))
            if found is not None:
                middles = np.arange(n) * (every_s or 0.0) + 0.5 * (exposed_s or every_s or 0.0)
                store.add("taken_utc_s", found[0] + middles, name)
                store.add("taken_with_zone", np.full(n, found[1]), name)
                return
