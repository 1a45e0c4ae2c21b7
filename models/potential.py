"""The phase that a thin crystal gives to an electron wave, from its CIF.

In the projection approximation the phase is sigma times the potential integrated along the beam.
Of an infinite crystal seen along a zone axis only the reflections of the zero-order Laue zone
survive that integral, so the phase is a short Fourier series, evaluated on any grid of pixels,
commensurate with the lattice or not.

Scattering factors are gemmi's `c4322` table: electron scattering factors, International Tables
for Crystallography C (2011), table 4.3.2.2, valid to s = 2 / angstrom.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from .physics import ELECTRON_MASS_KG, ELEMENTARY_CHARGE_C, PLANCK_J_S, interaction_parameter
from .structure import read_structure

# V_g = (h^2 / 2 pi m e) F_g / cell volume, in V angstrom^2 (Kirkland, eq. 5.17 ff.)
MOTT_V_A2 = PLANCK_J_S**2 / (2 * np.pi * ELECTRON_MASS_KG * ELEMENTARY_CHARGE_C) * 1e20
_MAX_S_PER_A = 2.0
_DEFAULT_U_ISO_A2 = 0.006


def projected_phase(
    cif_path: str | Path,
    shape: tuple[int, int],
    pixel_m: float | tuple[float, float],
    thickness_m: float,
    energy_kev: float,
    *,
    zone_axis: tuple[int, int, int] = (0, 0, 1),
    rotation_rad: float = 0.0,
    origin_m: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Return the phase of the transmitted wave on a grid of pixels.

    Parameters
    ----------
    cif_path : path
        The structure; the space group, occupancies and thermal factors in it are used. A site
        without a thermal factor gets U = 0.006 angstrom^2.
    shape : (H, W)
        Pixels of the result.
    pixel_m : float or (y, x), m
        Size of a pixel. Detail beyond the pixels' Nyquist frequency is left out.
    thickness_m : float, m
        Length of crystal along the beam.
    energy_kev : float, keV
        Kinetic energy of the electrons.
    zone_axis : three int
        Lattice direction [u v w] that points along the beam.
    rotation_rad : float, rad
        Turns the crystal in the plane from +x towards +y. At zero the lattice vector a (or b
        where a is the beam's direction), projected, points along +x.
    origin_m : (y, x), m
        Where in the crystal pixel [0, 0] lies.

    Returns
    -------
    (H, W) float32, rad
        Positive where atoms are; the mean is sigma times the mean inner potential times the
        thickness.

    Raises
    ------
    ValueError
        When the file holds no structure, or a quantity is out of range.
    """
    pixel = np.broadcast_to(np.asarray(pixel_m, float), (2,)) * 1e10
    if not (np.all(pixel > 0) and np.all(pixel < 1e3)):
        raise ValueError(f"pixel_m must lie between 0 and 1e-7 metres, got {pixel_m}")
    if not 0 <= thickness_m < 1e-6:
        raise ValueError(f"thickness_m must lie between 0 and 1e-6 metres, got {thickness_m:g}")
    if not any(zone_axis):
        raise ValueError("zone_axis must have a non-zero index, such as (0, 0, 1)")
    structure = read_structure(cif_path)
    frame = _frame(structure.cell, zone_axis, rotation_rad)
    plane, coefficient = _zero_order_zone(structure, zone_axis, frame, pixel)
    origin = np.asarray(origin_m, float) * 1e10
    y = origin[0] + pixel[0] * np.arange(shape[0])
    x = origin[1] + pixel[1] * np.arange(shape[1])
    along_y = np.exp(2j * np.pi * np.outer(y, plane[:, 0])) * coefficient
    along_x = np.exp(2j * np.pi * np.outer(plane[:, 1], x))
    volts = np.real(along_y @ along_x)
    return (interaction_parameter(energy_kev) * thickness_m * volts).astype(np.float32)


def mean_inner_potential_v(cif_path: str | Path) -> float:
    """Return the mean inner potential of a structure, V, for neutral free atoms."""
    structure = read_structure(cif_path)
    total = sum(
        site.occ * site.element.c4322.calculate_sf(0.0)
        for site in structure.get_all_unit_cell_sites()
    )
    return MOTT_V_A2 * total / structure.cell.volume


def _frame(cell: Any, zone_axis: tuple[int, int, int], rotation_rad: float) -> np.ndarray:
    """Return unit vectors (z, y, x) of the picture as rows, in gemmi's Cartesian angstrom."""
    lattice = np.array(cell.orth.mat.tolist())  # columns a, b, c
    z = lattice @ np.asarray(zone_axis, float)
    z /= np.linalg.norm(z)
    for column in range(3):
        x = lattice[:, column] - z * (lattice[:, column] @ z)
        if np.linalg.norm(x) > 1e-3 * np.linalg.norm(lattice[:, column]):
            break
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    cos, sin = math.cos(rotation_rad), math.sin(rotation_rad)
    # the crystal turns by +rotation, so the picture's axes turn the other way in the crystal
    return np.array([z, y * cos + x * sin, x * cos - y * sin])


def _zero_order_zone(
    structure: Any, zone_axis: tuple[int, int, int], frame: np.ndarray, pixel_a: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return in-plane frequencies (g, 2) yx in 1/angstrom and their coefficients (g,) in V."""
    cell = structure.cell
    reciprocal = np.array(cell.frac.mat.tolist())  # rows a*, b*, c*
    nyquist = 0.5 / pixel_a
    limit = min(float(np.hypot(*nyquist)), 2 * _MAX_S_PER_A)
    spans = [int(limit * length) for length in (cell.a, cell.b, cell.c)]
    indices = np.stack(
        np.meshgrid(*(np.arange(-n, n + 1) for n in spans), indexing="ij"), -1
    ).reshape(-1, 3)
    indices = indices[indices @ np.asarray(zone_axis) == 0]
    vectors = indices @ reciprocal
    plane = vectors @ frame[1:].T
    length = np.hypot(plane[:, 0], plane[:, 1])
    keep = (length < limit) & np.all(np.abs(plane) < nyquist, axis=1)
    indices, vectors, plane, length = indices[keep], vectors[keep], plane[keep], length[keep]
    factor = np.zeros(len(indices), complex)
    for site in structure.get_all_unit_cell_sites():
        shape_factor = _shape_factor(site, length) * _thermal(site, cell, indices, length)
        position = np.array(site.fract.tolist())
        factor += site.occ * shape_factor * np.exp(-2j * np.pi * (indices @ position))
    return plane, MOTT_V_A2 * factor / cell.volume


def _shape_factor(site: Any, length_per_a: np.ndarray) -> np.ndarray:
    coefficients = np.array(site.element.c4322.get_coefs()).reshape(2, -1)
    s2 = (length_per_a / 2) ** 2
    return np.exp(-np.outer(s2, coefficients[1])) @ coefficients[0]


def _thermal(site: Any, cell: Any, indices: np.ndarray, length_per_a: np.ndarray) -> np.ndarray:
    if site.aniso.nonzero():
        u = site.aniso
        tensor = np.array([[u.u11, u.u12, u.u13], [u.u12, u.u22, u.u23], [u.u13, u.u23, u.u33]])
        reciprocal = cell.reciprocal()
        scaled = indices * np.array([reciprocal.a, reciprocal.b, reciprocal.c])
        return np.exp(-2 * np.pi**2 * np.einsum("gi,ij,gj->g", scaled, tensor, scaled))
    u_iso = site.u_iso if site.u_iso > 0 else _DEFAULT_U_ISO_A2
    return np.exp(-2 * np.pi**2 * u_iso * length_per_a**2)
