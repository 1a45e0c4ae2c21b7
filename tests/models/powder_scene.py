"""Simulated powder series with known volumes and cells, from structures written here."""

import numpy as np

from flyback.models.diffraction.pattern_axis import Axis
from flyback.models.diffraction.pattern_model import PatternModel
from flyback.models.diffraction.powder import read_phase

Q = np.linspace(1.2, 6.2, 1200)
STRUCTURES = {
    "Pt": ("F m -3 m", (3.9231, 3.9231, 3.9231, 90, 90, 90), (("Pt", 0, 0, 0),)),
    "LiPt": (
        "P -6 m 2",
        (2.728, 2.728, 4.226, 90, 90, 120),
        (("Pt", 0, 0, 0), ("Li", 1 / 3, 2 / 3, 0.5)),
    ),
    "Al": ("F m -3 m", (4.0496, 4.0496, 4.0496, 90, 90, 90), (("Al", 0, 0, 0),)),
}
NAMES = ("a", "b", "c", "alpha", "beta", "gamma")


def write_cif(folder, name, scale=1.0):
    """Write a structure, its lengths multiplied, and return the path."""
    group, cell, sites = STRUCTURES[name]
    lines = [f"data_{name}"]
    for key, value in zip(NAMES, cell, strict=True):
        kind = "length" if key in "abc" else "angle"
        lines.append(f"_cell_{kind}_{key} {value * (scale if kind == 'length' else 1)}")
    lines += [f"_symmetry_space_group_name_H-M '{group}'", "loop_"]
    lines += ["_atom_site_label", "_atom_site_fract_x", "_atom_site_fract_y"]
    lines += ["_atom_site_fract_z", "_atom_site_U_iso_or_equiv"]
    lines += [f"{e} {x:.6f} {y:.6f} {z:.6f} 0.005" for e, x, y, z in sites]
    path = folder / f"{name}.cif"
    path.write_text("\n".join(lines) + "\n")
    return path


def read(folder, *names, scale=1.0):
    return [read_phase(write_cif(folder, n, scale), q_max_per_a=6.6) for n in names]


def background(q):
    return 60 * np.exp(-(((q - 1.9) / 1.1) ** 2)) + 25 + 8 * q


class Scene:
    """Patterns of phases whose truth is known.

    `width` and `mixing` of all lines are alike; the cell of each phase is stretched by `strain`.
    """

    def __init__(self, phases, q=Q, width=0.03, mixing=0.4, zero=0.0, counts=3000):
        self.model = PatternModel(phases, Axis(q), width_per_a=width)
        self.q, self.width, self.mixing, self.zero = q, width, mixing, zero
        full = self.columns([0.0] * len(phases))
        self.scale = counts / max(full[0].max(), 1e-300)

    def theta(self, strains):
        theta = self.model.start.copy()
        for p, strain in enumerate(strains):
            rows, shape = self.model.cell_rows(p), self.model.shape_row(p)
            length = np.array([n in "abc" for n in self.model.phases[p].lattice.free])
            theta[rows] *= np.where(length, 1 + strain, 1)
            theta[shape : shape + 3] = self.width**2, 1e-6, self.mixing
        theta[-1] = self.zero
        return theta

    def columns(self, strains):
        return self.model.columns(self.theta(strains))

    def mean(self, volumes, strains=None):
        """Return the expected counts, (m,), for volumes of the phases."""
        strains = [0.0] * len(volumes) if strains is None else strains
        theta = self.theta(strains)
        ratio = [self.model.volume_of_amount(theta, p) for p in range(len(volumes))]
        amount = self.scale * np.asarray(volumes, float) / ratio
        return amount @ self.columns(strains) + background(self.q)
