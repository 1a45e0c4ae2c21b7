"""Where the beam was, out of the many ways to write it down."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .recording_layouts import length_in_m
from .recording_store import H5Store, RecordingError, Store

_SUFFIXES = {
    "m": 1.0, "mm": 1e-3, "um": 1e-6, "nm": 1e-9, "A": 1e-10, "angstrom": 1e-10, "pm": 1e-12,
    "px": None, "pix": None, "pixels": None,
}  # fmt: skip
_TOGETHER = (
    "positions", "scan_positions", "probe_positions", "probe_position", "position", "scan_position",
    "translation", "translations", "scan", "coordinates", "coords", "chunks/0/positions",
    "entry/data/positions", "entry_1/data_1/translation",
    "entry_1/sample_1/geometry_1/translation", "entry_1/sample_1/geometry/translation",
)  # fmt: skip
_APART = (
    ("probe_position_y", "probe_position_x"), ("positions_y", "positions_x"),
    ("position_y", "position_x"), ("pos_y", "pos_x"), ("scan_y", "scan_x"),
    ("stage_y", "stage_x"), ("y", "x"), ("ypos", "xpos"), ("posy", "posx"),
)  # fmt: skip
_IN_METRES = ("chunks/0/positions", "translation", "translations")
_BASIS = "entry_1/instrument_1/detector_1/basis_vectors"


@dataclass
class Places:
    """Positions as found.

    Parameters
    ----------
    units : "nm" or "px"
    listed : (n, 2) float64 or None
    taken : list of str
        Names in the file.
    notes : list of str
    """

    units: str = "px"
    listed: np.ndarray | None = None
    taken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_positions(store: Store, n: int, grid: tuple[int, ...]) -> Places:
    """Return the positions of a file.

    Parameters
    ----------
    store : Store
    n : int
        Number of frames.
    grid : tuple of int
        Shape of the scan, (n,) or (ny, nx).

    Raises
    ------
    RecordingError
        When their number is another than that of the frames, or some are not finite.
    """
    for base in _TOGETHER:
        for name, metres in _spelled(store, base):
            return _checked(_together(store, name, metres, n), n)
    for base_y, base_x in _APART:
        for name, metres in _spelled(store, base_y):
            other = base_x + name.removeprefix(base_y)
            if other in store.names and _is_numeric(store, other):
                return _checked(_apart(store, name, other, metres, n, grid), n)
    return Places()


def _is_numeric(store: Store, name: str) -> bool:
    shape = store.shape(name)
    return 0 < len(shape) <= 4 and 0 not in shape and store.dtype(name).kind in "fiu"


def _spelled(store: Store, base: str) -> list[tuple[str, float | str | None]]:
    """Return the names that mean `base`, each with its unit in metres, None for pixels."""
    found: list[tuple[str, float | str | None]] = [
        (f"{base}_{suffix}", metres)
        for suffix, metres in _SUFFIXES.items()
        if f"{base}_{suffix}" in store.names and _is_numeric(store, f"{base}_{suffix}")
    ]
    if base in store.names and _is_numeric(store, base):
        units = length_in_m(store.units(base)) if isinstance(store, H5Store) else None
        if units is None and (base in _IN_METRES or base.startswith("entry_1")):
            units = 1.0
        if base == "scan":
            found.append((base, None))
        else:
            found.append((base, "unknown" if units is None else units))
    return found


def _unit(metres: float | str | None, values: np.ndarray, name: str, places: Places) -> float:
    """Return the factor to nm or px and say in which of them the positions are."""
    if metres == "unknown":
        small = np.nanmax(np.abs(values), initial=0.0) < 0.01
        metres = 1.0 if small else None
        places.notes.append(f"positions: {name!r} were taken to be in {'m' if small else 'pixels'}")
    places.units = "px" if metres is None else "nm"
    return 1.0 if metres is None else float(metres) * 1e9


def _together(store: Store, name: str, metres: float | str | None, n: int) -> Places:
    places = Places(taken=[name])
    if name not in ("positions_m", "positions_px"):
        places.notes.append(f"positions: taken from {name!r}")
    found = store.array(name).astype(float)
    if found.ndim > 2:
        found = found.reshape(-1, found.shape[-1])
    if found.ndim == 2 and found.shape == (2, n) and n != 2:
        found = found.T
        places.notes.append(f"positions: {name!r} is (2, n) and was turned")
    if found.ndim == 2 and found.shape[1] == 3 and "translation" in name:
        found = _from_cxi(store, found, places)
    if found.shape != (n, 2):
        raise RecordingError(
            f"{name!r} has shape {found.shape} for {n} frames; expected ({n}, 2), one yx a frame."
        )
    places.listed = found * _unit(metres, found, name, places)
    return places


def _from_cxi(store: Store, xyz: np.ndarray, places: Places) -> np.ndarray:
    """Return yx along the detector's axes.

    CXI lists where the specimen went, in x, y, z with y up. Without basis vectors the detector's
    rows run along -y and its columns along -x, so that the beam moves by (y, x).
    """
    if _BASIS in store.names and store.shape(_BASIS) == (3, 2):
        basis = store.array(_BASIS).astype(float)
        size = np.linalg.norm(basis, axis=0)
        if np.all(size > 0):
            places.taken.append(_BASIS)
            places.notes.append("positions: the specimen's, turned by the detector's basis vectors")
            return -(xyz @ (basis / size))
    places.notes.append("positions: the specimen's x, y, z, along a detector in CXI's standard way")
    return xyz[:, 1::-1]


def _apart(
    store: Store,
    name_y: str,
    name_x: str,
    metres: float | str | None,
    n: int,
    grid: tuple[int, ...],
) -> Places:
    places = Places(taken=[name_y, name_x])
    places.notes.append(f"positions: taken from {name_y!r} and {name_x!r}")
    y, x = (store.array(name).astype(float) for name in (name_y, name_x))
    if len(grid) == 2:
        ny, nx = grid
        y = np.broadcast_to(y[:, None], grid) if y.shape == (ny,) and n != ny else y
        x = np.broadcast_to(x[None], grid) if x.shape == (nx,) and n != nx else x
    y, x = y.ravel(), x.ravel()
    if y.size != n or x.size != n:
        raise RecordingError(
            f"{name_y!r} and {name_x!r} hold {y.size} and {x.size} values for {n} frames; one "
            "of each a frame is needed."
        )
    listed = np.stack([y, x], axis=1)
    places.listed = listed * _unit(metres, listed, name_y, places)
    return places


def _checked(places: Places, n: int) -> Places:
    listed = places.listed
    if listed is None:
        return places
    good = np.isfinite(listed).all(axis=1) & (np.abs(listed) < 1e15).all(axis=1)
    if not good.all():
        raise RecordingError(
            f"{int((~good).sum())} of the {n} positions in {places.taken[0]!r} are NaN or "
            "infinite; leave these frames out."
        )
    repeated = n - len(np.unique(listed, axis=0))
    if repeated:
        places.notes.append(f"positions: {repeated} of {n} places were visited before")
    return places
