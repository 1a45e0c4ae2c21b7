"""What a perfect crystal diffracts into each beam, over incident direction and thickness.

Plane waves through one cell, repeated along the beam, by multislice. Absorption and diffuse
scattering are left out but for the thermal factors; what is scattered beyond the multislice's band
limit is lost.

Signs: a tilt of (y, x) says where the incident wave travels to, relative to the zone axis, so that
the centre of the Laue circle lies at -tilt of the undiffracted beam.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import next_fast_len

from ..physics import electron_wavelength_m
from .crystal import Cell, variants
from .kernels import propagate

TILT_STEP_MRAD = 0.75


class PatternTable:
    """Intensities of a crystal's beams over incident direction and thickness.

    Made once by multislice (seconds), then read by `simulate_patterns`.

    Parameters
    ----------
    cell : Cell
    energy_kev : float, keV
    thickness_limit_nm : float, nm
        Largest thickness.
    angle_limit_mrad : float, mrad
        Largest angle between an incident plane wave and the zone axis, that is the largest tilt
        plus the convergence angle.
    detector_mrad : float, mrad
        Beams up to this angle along either axis are kept.
    step_mrad : float, mrad
        Step of the incident directions.
    pixel_a, slices
        See `diffracted`.

    Attributes
    ----------
    intensity : (beams, cells + 1, k, k) float32
        Over thickness, y and x of the incident direction.
    orders : (beams, 2) int64
        Indices of the beams along the cell's edges y and x.
    g_mrad : (beams, 2) float64, mrad, yx
    lost : float
        Largest share of the intensity that went beyond the multislice's band limit.
    """

    def __init__(
        self,
        cell: Cell,
        energy_kev: float,
        thickness_limit_nm: float,
        angle_limit_mrad: float,
        detector_mrad: float = 18.0,
        *,
        step_mrad: float = TILT_STEP_MRAD,
        pixel_a: float | None = None,
        slices: int | None = None,
    ) -> None:
        self.cell, self.energy_kev = cell, float(energy_kev)
        self.step_mrad, self.cell_nm = float(step_mrad), float(cell.size_a[0]) / 10
        self.thickness_limit_nm = float(thickness_limit_nm)
        self.angle_limit_mrad = float(angle_limit_mrad)
        wavelength = electron_wavelength_m(energy_kev)
        edges_m = cell.size_a[1:] * 1e-10
        reach = np.floor(detector_mrad * 1e-3 * edges_m / wavelength).astype(int)
        self.orders = np.stack(
            np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1
        ).reshape(-1, 2)
        self.g_mrad = self.orders / edges_m * wavelength * 1e3
        half = math.ceil(angle_limit_mrad / step_mrad) + 1
        cells = max(math.ceil(thickness_limit_nm / self.cell_nm), 3)
        directions = np.arange(-half, half + 1) * step_mrad
        tilts = np.stack(np.meshgrid(directions, directions, indexing="ij"), -1).reshape(-1, 2)
        # the cubic reads two points beyond; the corners are never asked for
        near = np.hypot(*tilts.T) <= angle_limit_mrad + 3 * step_mrad
        some, total = diffracted(
            cell,
            energy_kev,
            tilts[near],
            cells,
            self.orders,
            pixel_a=pixel_a,
            slices=slices,
            dtype=np.complex64,
        )
        self.lost = float(1 - total.min())
        every = np.zeros((len(self.orders), cells + 1, len(tilts)), np.float32)
        every[:, :, near] = some.transpose(1, 0, 2)
        self.intensity = every.reshape(*every.shape[:2], len(directions), len(directions))
        kept = self.intensity.max(axis=(1, 2, 3)) > 1e-6  # the rest is forbidden by symmetry
        self.intensity, self.orders = self.intensity[kept], self.orders[kept]
        self.g_mrad = np.ascontiguousarray(self.g_mrad[kept])


def diffracted(
    cell: Cell,
    energy_kev: float,
    tilt_mrad: np.ndarray,
    cells: int,
    orders: np.ndarray,
    *,
    pixel_a: float | None = None,
    slices: int | None = None,
    dtype: type = np.complex128,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the intensities that a perfect crystal diffracts out of plane waves.

    Parameters
    ----------
    cell : Cell
    energy_kev : float, keV
    tilt_mrad : (m, 2) float, mrad, yx
        Directions of the incident waves relative to the zone axis.
    cells : int
        Cells along the beam.
    orders : (b, 2) int
        Indices of the wanted beams along y and x.
    pixel_a : float or None, angstrom
        Largest pixel; detail beyond 2/3 of its Nyquist frequency is left out. None takes the
        cell's own.
    slices : int or None
        Of one cell.
    dtype : complex64 or complex128
        Of the wave.

    Returns
    -------
    intensity : (cells + 1, b, m) float32
        After 0, 1, ... cells; the incident wave has 1.
    total : (cells + 1, m) float64
        Summed over all beams: 1 less what went beyond the band limit.
    """
    pixel_a = pixel_a or cell.natural_pixel_a
    height, width = (_even_fast(edge / pixel_a) for edge in cell.size_a[1:])
    phases = cell.slice_phases((height, width), energy_kev, slices or cell.natural_slices)
    return diffracted_by_phases(
        phases, cell.size_a, energy_kev, tilt_mrad, cells, orders, dtype=dtype
    )


def diffracted_by_phases(
    phases: np.ndarray,
    size_a: np.ndarray,
    energy_kev: float,
    tilt_mrad: np.ndarray,
    cells: int,
    orders: np.ndarray,
    *,
    dtype: type = np.complex128,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `diffracted` does, of a cell given by its slices' phases.

    Parameters
    ----------
    phases : (slices, h, w) float, rad
        Equally thick slices from where the beam comes in; complex where they absorb.
    size_a : (3,) float, angstrom
        Edges of the cell along z, y, x.
    energy_kev, tilt_mrad, cells, orders, dtype
        See `diffracted`.

    Raises
    ------
    ValueError
        When a beam lies beyond the grid.
    """
    slices, *rest = phases.shape
    shape = (int(rest[0]), int(rest[1]))
    edges_m = np.asarray(size_a[1:]) * 1e-10
    inside = band_limit(shape, edges_m)
    transmission = np.fft.ifft2(np.fft.fft2(np.exp(1j * phases)) * inside)
    gy, gx = (np.fft.fftfreq(n, edge / n) for n, edge in zip(shape, edges_m, strict=True))
    wavelength = electron_wavelength_m(energy_kev)
    orders = np.asarray(orders, np.int64)
    if np.any(2 * np.abs(orders) >= np.array(shape)):
        raise ValueError(f"orders must stay below half of the grid {shape}; give a smaller pixel_a")
    incident = np.ascontiguousarray(np.asarray(tilt_mrad, float) * 1e-3 / wavelength)
    out = np.empty((cells + 1, len(orders), len(incident)), np.float32)
    total = np.empty((cells + 1, len(incident)))
    propagate(
        np.ascontiguousarray(transmission, dtype),
        inside,
        gy,
        gx,
        incident,
        wavelength * float(size_a[0]) * 1e-10 / slices,
        np.ascontiguousarray(orders % np.array(shape)),
        out,
        total,
    )
    return out, total


def _even_fast(least: float) -> int:
    """Return an even length, not below `least`, that transforms fast."""
    size = 2 * math.ceil(least / 2)
    while any(size % prime == 0 for prime in (7, 11, 13)) or next_fast_len(size) != size:
        size += 2
    return size


def band_limit(shape: tuple[int, int], edges_m: np.ndarray) -> np.ndarray:
    """Return 1 inside 2/3 of the lesser Nyquist frequency and 0 beyond, (h, w) float64."""
    gy, gx = (np.fft.fftfreq(n, edge / n) for n, edge in zip(shape, edges_m, strict=True))
    limit = 2 / 3 * min(n / edge / 2 for n, edge in zip(shape, edges_m, strict=True))
    return (gy[:, None] ** 2 + gx[None] ** 2 < limit**2).astype(float)


@dataclass(frozen=True, eq=False)
class Placed:
    """A table, and by how many quarters of a turn it stands for a variant."""

    table: PatternTable
    quarters: int


@lru_cache(maxsize=8)
def tables(
    material: str,
    energy_kev: float,
    thickness_limit_nm: float,
    angle_limit_mrad: float,
    detector_mrad: float,
) -> Mapping[str, Placed]:
    """Return the tables of a material's variants; those that are turns of another share its table.

    Parameters
    ----------
    material : str
        See `crystal.variants`.
    energy_kev, thickness_limit_nm, angle_limit_mrad, detector_mrad : float
        See `PatternTable`.
    """
    placed: dict[str, Placed] = {}
    for name, cell in variants(material).items():
        placed[name] = next(
            (
                Placed(other.table, quarters)
                for other in placed.values()
                for quarters in range(4)
                if other.table.cell.turned(quarters).is_like(cell)
            ),
            None,
        ) or Placed(
            PatternTable(cell, energy_kev, thickness_limit_nm, angle_limit_mrad, detector_mrad), 0
        )
    return placed
