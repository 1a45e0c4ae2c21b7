"""Powder lines from CIFs: where they lie and how strong they are.

Structure factors are gemmi's (M. Wojdyr, J. Open Source Softw. 7, 4200 (2022)): form factors of
the International Tables C (1992), the sites' thermal factors, and, where the energy is given, the
anomalous terms of Cromer & Liberman. They are computed once a phase; while a cell changes by
a per cent, only the positions of its lines move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..structure import read_structure
from .lattice import Lattice, q_of, setting_of_metric, volume_a3

DEFAULT_U_ISO_A2 = 0.006
_MOST_LINES = 200_000


@dataclass(frozen=True, eq=False)
class PowderPhase:
    """The powder lines of a crystal, in order of q.

    Parameters
    ----------
    name : str
    crystal_system : str
        cubic, hexagonal, trigonal, tetragonal, orthorhombic, monoclinic or triclinic.
    space_group : str
        Hermann-Mauguin symbol.
    lattice : Lattice
        Which of the cell's parameters are free.
    cell : (6,) float, angstrom and degrees
        a, b, c, alpha, beta, gamma.
    hkl : (n, 3) int
        One of the planes behind each line.
    multiplicity : (n,) int
        How many planes are behind each line.
    intensity : (n,) float, electrons^2 a cell
        Multiplicity times |F|^2, thermal motion included. What a powder of volume V in a beam
        scatters into a line is proportional to ``V * intensity / cell volume^2 * Lorentz
        polarisation factor``.
    atoms : mapping of str to float
        How many of each element are in the cell.
    """

    name: str
    crystal_system: str
    space_group: str
    lattice: Lattice
    cell: np.ndarray
    hkl: np.ndarray
    multiplicity: np.ndarray
    intensity: np.ndarray
    atoms: Mapping[str, float]

    @cached_property
    def q_per_a(self) -> np.ndarray:
        """Where the lines lie, (n,), 1/angstrom."""
        return self.q_at(self.cell)

    @cached_property
    def volume_a3(self) -> float:
        """The cell's volume, angstrom^3."""
        return volume_a3(self.cell)

    def q_at(self, cell: np.ndarray) -> np.ndarray:
        """Return where the lines lie, (n,), 1/angstrom, if the cell were another (6,)."""
        return q_of(self._forms, self.lattice.metric(np.asarray(cell, float)))

    @cached_property
    def _forms(self) -> np.ndarray:
        return self.lattice.forms(self.hkl)


def read_phase(
    cif_path: str | Path,
    *,
    q_max_per_a: float = 9.0,
    energy_kev: float | None = None,
    weakest: float = 1e-4,
    name: str | None = None,
) -> PowderPhase:
    """Return the powder lines of the crystal in a CIF.

    Parameters
    ----------
    cif_path : path
        A site without a thermal factor gets U = 0.006 angstrom^2.
    q_max_per_a : float, 1/angstrom
        Lines up to here.
    energy_kev : float, keV, optional
        Of the photons: adds the anomalous terms.
    weakest : float
        Lines below this part of the strongest are left out.
    name : str, optional
        By default the file's.

    Returns
    -------
    PowderPhase

    Raises
    ------
    ValueError
        When the file has no cell, no sites or no line below `q_max_per_a`.
    """
    path = Path(cif_path)
    structure = _structure(path)
    group = structure.spacegroup
    cell = np.array(structure.cell.parameters, float)
    setting = _setting(group, cell)
    lattice = Lattice(setting)
    cell = lattice.cell_of(lattice.free_of(cell), cell)
    hkl, multiplicity = _planes(path, structure, q_max_per_a)
    intensity = multiplicity * _squared_factors(structure, hkl, energy_kev)
    form, first, family = np.unique(
        lattice.forms(hkl), axis=0, return_index=True, return_inverse=True
    )
    family = family.reshape(-1)
    total = np.bincount(family, intensity, len(form))
    planes = np.bincount(family, multiplicity, len(form)).astype(np.int64)
    # a line is named after one of its stronger planes, so that none is named that is extinct
    peak = np.zeros(len(form))
    np.maximum.at(peak, family, intensity)
    strong = np.flatnonzero(intensity >= 0.1 * peak[family])
    named = first.copy()
    order = strong[_plainness(hkl[strong])]
    named[family[order]] = order
    q = lattice.q_per_a(hkl[named], cell)
    keep = np.flatnonzero((total > weakest * total.max(initial=0.0)) & (q <= q_max_per_a))
    if not len(keep):
        raise ValueError(
            f"{path} has no line up to {q_max_per_a:g} 1/angstrom; its cell is too small for it"
        )
    keep = keep[np.argsort(q[keep], kind="stable")]
    return PowderPhase(
        name=name or path.stem,
        crystal_system=setting.split("_")[0] if group.number == 1 else group.crystal_system_str(),
        space_group=group.hm,
        lattice=lattice,
        cell=cell,
        hkl=hkl[named[keep]],
        multiplicity=planes[keep],
        intensity=total[keep],
        atoms=_atoms(structure),
    )


def _atoms(structure: Any) -> dict[str, float]:
    """Return how many of each element are in a cell; occupancies are crystallographic."""
    images = sum(1 for _ in structure.spacegroup.operations())
    counts: dict[str, float] = {}
    for site in structure.sites:
        symbol = site.element.name
        counts[symbol] = counts.get(symbol, 0.0) + images * float(site.occ)
    return counts


def _structure(path: Path) -> Any:
    """Return gemmi's structure with its symmetry and thermal factors set up."""
    structure = read_structure(path)
    if structure.spacegroup is None:
        structure.spacegroup_hm = "P 1"
        structure.determine_and_set_spacegroup("h")
    for site in structure.sites:
        if site.u_iso <= 0 and not site.aniso.nonzero():
            site.u_iso = DEFAULT_U_ISO_A2
    # without these two, atoms on special positions are counted several times
    structure.setup_cell_images()
    structure.change_occupancies_to_crystallographic()
    return structure


def _setting(group: Any, cell: np.ndarray) -> str:
    system = group.crystal_system_str()
    if system == "trigonal":
        hexagonal = abs(cell[5] - 120) < 0.5 and abs(cell[3] - 90) < 0.5
        return "hexagonal" if hexagonal else "rhombohedral"
    if system == "monoclinic":
        return "monoclinic_" + (group.monoclinic_unique_axis() or "b")
    if group.number == 1:
        return setting_of_metric(cell)
    return system


def _planes(path: Path, structure: Any, q_max_per_a: float) -> tuple[np.ndarray, np.ndarray]:
    """Return planes that symmetry does not join, (n, 3), and how many each stands for."""
    import gemmi  # heavy, and only those who ask for phases need it

    expected = structure.cell.volume * q_max_per_a**3 / (6 * np.pi**2)
    if not 0 < expected < _MOST_LINES:
        raise ValueError(
            f"{path} would have about {expected:.0f} lines up to {q_max_per_a:g} 1/angstrom; at"
            f" most {_MOST_LINES} can be told apart: lower q_max_per_a"
        )
    group = structure.spacegroup
    spacing = 2 * np.pi / (q_max_per_a * 1.02)
    hkl = np.asarray(gemmi.make_miller_array(structure.cell, group, spacing), np.int64)
    hkl = hkl.reshape(-1, 3)
    operations = group.operations().sym_ops
    turned = np.array([[op.apply_to_hkl(list(plane)) for op in operations] for plane in hkl])
    turned = turned.reshape(len(hkl), len(operations), 3)
    both = np.concatenate([turned, -turned], axis=1)
    distinct = [np.unique(planes, axis=0) for planes in both]
    named = np.array([p[_plainness(p)[-1]] for p in distinct], np.int64).reshape(-1, 3)
    return named, np.array([len(planes) for planes in distinct], np.int64)


def _plainness(hkl: np.ndarray) -> np.ndarray:
    """Return an order of planes that ends with the one to name: few minus signs, 200 not 020."""
    return np.lexsort([*hkl.T[::-1], -(hkl < 0).sum(axis=1)])


def _squared_factors(structure: Any, hkl: np.ndarray, energy_kev: float | None) -> np.ndarray:
    """Return |F|^2 of planes, mean of a plane and its opposite."""
    import gemmi  # heavy, and only those who ask for phases need it

    def factors(part: int | None) -> np.ndarray:
        calculator = gemmi.StructureFactorCalculatorX(structure.cell)
        if part is not None and energy_kev is not None:
            for symbol in {site.element.name for site in structure.sites}:
                element = gemmi.Element(symbol)
                if element.atomic_number > 2:  # the tables begin at lithium
                    terms = gemmi.cromer_liberman(element.atomic_number, 1e3 * energy_kev)
                    calculator.addends.set(element, terms[part])
        return np.array(
            [calculator.calculate_sf_from_small_structure(structure, list(h)) for h in hkl],
            complex,
        )

    if energy_kev is None:
        return np.abs(factors(None)) ** 2
    absorbing = factors(1) - factors(None)
    return np.abs(factors(0)) ** 2 + np.abs(absorbing) ** 2
