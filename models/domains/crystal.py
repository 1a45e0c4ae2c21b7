"""Unit cells of ferroelectrics as the beam meets them: one for each direction of polarization.

The frame is the picture's: x to the right, y down, z along the beam. A variant is named by the
direction in which the polarization points, from the negative charges to the positive,
`+x -x +y -y` in the plane and `+z -z` along the beam. Of a tetragonal perovskite the polar axis
is turned into that direction; note that it need not be +c, see `polar_sense`. Of boracite the
cubic frame stays and the polar displacement is turned.

The perovskites' coordinates are refinements; the CIFs name them, and say that BaTiO3's are from
memory. **Boracite's polar coordinates are a model**: the cubic refinement of Mg boracite, its cell
kept, with copper on the metal's site, the metal moved along the polarization and chlorine against
it by `METAL_SHIFT_A` and `HALOGEN_SHIFT_A`. Such moves of a few tenths of an angstrom are what
makes the orthorhombic phases polar (Dowty & Clark, Z. Kristallogr. 138, 64 (1973)), but these
belong to no refinement; the orthorhombic strain and the moves of boron and oxygen are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ..physics import interaction_parameter
from ..potential import MOTT_V_A2
from ..structure import read_structure

STRUCTURES = Path(__file__).parent / "structures"
PEROVSKITES = ("PbTiO3", "BaTiO3")
MATERIALS = (*PEROVSKITES, "boracite")
IN_PLANE = ("+x", "-x", "+y", "-y")
ALONG_BEAM = ("+z", "-z")
CHARGES = {"Pb": 2.0, "Ba": 2.0, "Ti": 4.0, "O": -2.0}
METAL_SHIFT_A, HALOGEN_SHIFT_A = 0.20, -0.10
_DEFAULT_U_ISO_A2 = 0.006
_SLICE_A = 2.1
_HEAVY = 50


@dataclass(frozen=True, eq=False)
class Cell:
    """Atoms of an orthogonal cell whose edges lie along z (the beam), y and x.

    Parameters
    ----------
    size_a : (3,) float, angstrom
        Edges along z, y, x.
    elements : tuple of str, n
    positions : (n, 3) float
        Fractions of the edges, z, y, x, each in [0, 1).
    occupancy : (n,) float
    u_iso_a2 : (n,) float, angstrom^2
        Mean square displacement of an atom along any direction.
    """

    size_a: np.ndarray
    elements: tuple[str, ...]
    positions: np.ndarray
    occupancy: np.ndarray
    u_iso_a2: np.ndarray

    def turned(self, quarters: int) -> Cell:
        """Return the cell turned about the beam from +x towards +y, by quarters of a turn."""
        cell = self
        for _ in range(quarters % 4):
            z, y, x = cell.positions.T
            cell = Cell(
                cell.size_a[[0, 2, 1]],
                cell.elements,
                np.stack([z, x, -y], 1) % 1.0,
                cell.occupancy,
                cell.u_iso_a2,
            )
        return cell

    def without_motion(self) -> Cell:
        """Return the cell with its atoms at rest."""
        return Cell(
            self.size_a,
            self.elements,
            self.positions,
            self.occupancy,
            np.zeros_like(self.u_iso_a2),
        )

    def is_like(self, other: Cell, tolerance_a: float = 1e-3) -> bool:
        """Whether the other cell is this one, moved in the plane or not at all."""
        if len(self.elements) != len(other.elements) or not np.allclose(
            self.size_a, other.size_a, atol=tolerance_a
        ):
            return False
        kind, other_kind = np.array(self.elements), np.array(other.elements)
        # the rarest element has the fewest places to which the first of its atoms may have gone
        rarest = min(set(self.elements), key=self.elements.count)
        start = self.positions[kind == rarest][0]
        moves = other.positions[other_kind == rarest] - start
        for move in moves[np.abs(moves[:, 0] - np.rint(moves[:, 0])) < 1e-4]:
            gap = (self.positions + move)[:, None] - other.positions[None]
            gap = np.linalg.norm((gap - np.rint(gap)) * self.size_a, axis=-1)
            gap[kind[:, None] != other_kind[None]] = np.inf
            near = gap.argmin(axis=1)
            if (
                gap.min(axis=1).max() < tolerance_a
                and len(set(near)) == len(near)
                and np.allclose(self.occupancy, other.occupancy[near])
                and np.allclose(self.u_iso_a2, other.u_iso_a2[near])
            ):
                return True
        return False

    def slice_phases(self, shape: tuple[int, int], energy_kev: float, slices: int) -> np.ndarray:
        """Return the phase that each slice of the cell gives to the wave.

        Slices are centred on multiples of the cell's height divided by their number; an atom's
        whole projected potential belongs to the slice that holds its centre.

        Parameters
        ----------
        shape : (h, w)
            Grid over the cell, its origin at [0, 0].
        energy_kev : float, keV
        slices : int

        Returns
        -------
        (slices, h, w) float64, rad
        """
        _, height, width = self.size_a
        gy = np.fft.fftfreq(shape[0], height / shape[0])
        gx = np.fft.fftfreq(shape[1], width / shape[1])
        g2 = gy[:, None] ** 2 + gx[None] ** 2
        index = np.floor(self.positions[:, 0] * slices + 0.5).astype(int) % slices
        potential = np.zeros((slices, *shape), complex)
        kinds = {
            (element, u): scattering_factor(element, g2) * np.exp(-2 * np.pi**2 * u * g2)
            for element, u in zip(self.elements, self.u_iso_a2, strict=True)
        }
        for n, element in enumerate(self.elements):
            _, y, x = self.positions[n]
            along_y = np.exp(-2j * np.pi * np.fft.fftfreq(shape[0], 1 / shape[0]) * y)
            along_x = np.exp(-2j * np.pi * np.fft.fftfreq(shape[1], 1 / shape[1]) * x)
            potential[index[n]] += (
                self.occupancy[n]
                * kinds[element, self.u_iso_a2[n]]
                * along_y[:, None]
                * along_x[None]
            )
        for axis, size in enumerate(shape, start=1):
            if size % 2 == 0:  # a lone Nyquist frequency has no mate and would break symmetries
                potential[(slice(None),) * axis + (size // 2,)] = 0
        scale = MOTT_V_A2 * shape[0] * shape[1] / (height * width)
        volts_a = np.real(np.fft.ifft2(potential)) * scale
        return interaction_parameter(energy_kev) * volts_a * 1e-10

    @property
    def natural_slices(self) -> int:
        """How many slices of about 2 angstrom the cell has."""
        return max(1, round(float(self.size_a[0]) / _SLICE_A))

    @property
    def natural_pixel_a(self) -> float:
        """The pixel, angstrom, that brings beams within .01 of the incident one after 40 nm.

        The heavier the atoms, the sharper their potential (measured for PbTiO3 and boracite).
        """
        import gemmi  # heavy, and only a simulation needs it

        heaviest = max(gemmi.Element(name).atomic_number for name in self.elements)
        return 0.08 if heaviest > _HEAVY else 0.13


def scattering_factor(element: str, g2_per_a2: np.ndarray) -> np.ndarray:
    """Return an atom's electron scattering factor, angstrom.

    Parameters
    ----------
    element : str
    g2_per_a2 : ndarray, 1/angstrom^2
        Square of the spatial frequency.

    Returns
    -------
    ndarray, angstrom
        From gemmi's table `c4322`, see `models.potential`.
    """
    import gemmi  # heavy, and only a simulation needs it

    coefficients = np.array(gemmi.Element(element).c4322.get_coefs()).reshape(2, -1)
    terms = coefficients[0] * np.exp(-np.multiply.outer(g2_per_a2, coefficients[1]) / 4)
    return terms.sum(axis=-1)


def read_cell(cif_path: str | Path, frame: np.ndarray | None = None) -> Cell:
    """Return the unit cell of a structure in the picture's frame.

    Parameters
    ----------
    cif_path : path
        A site without a thermal factor gets U = 0.006 angstrom^2; of an anisotropic factor the
        mean is taken.
    frame : (3, 3) float or None
        Rows: where a, b and c point, as unit vectors z, y, x along the picture's axes. None lays
        a along x, b along y, c along z.

    Returns
    -------
    Cell

    Raises
    ------
    ValueError
        When the file holds no structure or its cell is not orthogonal.
    """
    structure = read_structure(cif_path)
    cell = structure.cell
    if max(abs(angle - 90) for angle in (cell.alpha, cell.beta, cell.gamma)) > 1e-3:
        raise ValueError(
            f"{cif_path} must have a cell with angles of 90 degrees, got {cell.alpha:g},"
            f" {cell.beta:g}, {cell.gamma:g}; give it in an orthogonal setting"
        )
    turn = np.eye(3)[::-1] if frame is None else np.asarray(frame, float)
    sites = structure.get_all_unit_cell_sites()
    positions = np.array([site.fract.tolist() for site in sites]) @ turn % 1.0
    positions[np.abs(positions - 1) < 1e-9] = 0.0

    def u_of(site: object) -> float:
        tensor = site.aniso  # pyright: ignore[reportAttributeAccessIssue]
        if tensor.nonzero():
            return (tensor.u11 + tensor.u22 + tensor.u33) / 3
        u_iso = site.u_iso  # pyright: ignore[reportAttributeAccessIssue]
        return u_iso if u_iso > 0 else _DEFAULT_U_ISO_A2

    return Cell(
        np.abs(np.array([cell.a, cell.b, cell.c]) @ turn),
        tuple(site.element.name for site in sites),
        positions,
        np.array([site.occ for site in sites]),
        np.array([u_of(site) for site in sites]),
    )


@cache
def variants(material: str) -> Mapping[str, Cell]:
    """Return the cell of each direction of polarization.

    Parameters
    ----------
    material : str
        PbTiO3, BaTiO3 or boracite.

    Returns
    -------
    mapping of str to Cell
        Keys `+x -x +y -y +z -z`.

    Raises
    ------
    ValueError
        When the material is not one of those.
    """
    if material not in MATERIALS:
        raise ValueError(f"material must be one of {', '.join(MATERIALS)}, got {material!r}")
    path = STRUCTURES / f"{material}.cif"
    names = (*IN_PLANE, *ALONG_BEAM)
    parent = read_cell(path)
    if material in PEROVSKITES:
        sense = polar_sense(parent)
        return MappingProxyType(
            {name: read_cell(path, _frame(sense * direction(name))) for name in names}
        )
    return MappingProxyType({name: _polar_boracite(parent, direction(name)) for name in names})


def direction(variant: str) -> np.ndarray:
    """Return where a variant's polarization points, a unit vector z, y, x.

    Parameters
    ----------
    variant : str
        A sign and an axis.

    Raises
    ------
    ValueError
        When it is not one of the six.
    """
    if variant not in (*IN_PLANE, *ALONG_BEAM):
        raise ValueError(
            f"variant must be one of {', '.join((*IN_PLANE, *ALONG_BEAM))}, got {variant!r}"
        )
    vector = np.zeros(3)
    vector["zyx".index(variant[1])] = 1.0 if variant[0] == "+" else -1.0
    return vector


def class_of(variant: str) -> str:
    """Return a variant's class: its own, or `c` for both senses along the beam."""
    return "c" if variant in ALONG_BEAM else variant


def polar_sense(cell: Cell) -> float:
    """Return +1 where a perovskite's polarization points along its axis z, else -1.

    By formal charges and the atoms' moves off the ideal sites. Which it is depends on the
    refinement's origin: with lead at 0, PbTiO3 is usually given with oxygen moved along +c, so its
    polarization points along -c; BaTiO3 is usually given with titanium moved along +c.

    Parameters
    ----------
    cell : Cell
        Of atoms in `CHARGES`.
    """
    z = cell.positions[:, 0]
    moves = z - np.rint(2 * z) / 2
    charges = np.array([CHARGES[element] for element in cell.elements])
    return float(np.sign(charges @ (moves - moves.mean())))


def _frame(c: np.ndarray) -> np.ndarray:
    """Return where a, b, c point (rows, z y x), right-handed, for a given direction of c."""
    a = np.array([0.0, 0.0, 1.0]) if c[0] else np.array([1.0, 0.0, 0.0])
    b = np.cross(c[::-1], a[::-1])[::-1]
    return np.array([a, b, c])


def _polar_boracite(parent: Cell, polarization: np.ndarray) -> Cell:
    positions = parent.positions.copy()
    elements = np.array(parent.elements)
    for element, shift in (("Mg", METAL_SHIFT_A), ("Cl", HALOGEN_SHIFT_A)):
        positions[elements == element] += shift * polarization / parent.size_a
    elements[elements == "Mg"] = "Cu"
    return Cell(
        parent.size_a, tuple(elements.tolist()), positions % 1.0, parent.occupancy, parent.u_iso_a2
    )
