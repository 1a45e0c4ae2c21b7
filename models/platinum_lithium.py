"""Lithium in platinum: phases, volumes, and the potentials at which one becomes another.

The story is that of arXiv:2511.16382: the first lithiation forms Li2Pt; with cycling a stable LiPt
remains, which takes up and gives back lithium by a solid-solution type reaction. The potentials
are parameters of a simulation, taken from the ranges that are reported (lithiation about 0.2 to
0.5 V, delithiation about 0.6 to 1.0 V against Li/Li+), and not measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PHASES = ("Pt", "LiPt", "Li2Pt")
VOLUME_PER_PT = {"Pt": 1.0, "LiPt": 1.80, "Li2Pt": 2.68}
"""Volume for each platinum atom, relative to the metal: +80 % and +168 %, which are the cells
a 2.728, c 4.226 (P-6m2, one Pt) and a 4.186, c 2.661 (P6/mmm, one Pt) against a 3.9231 (four)."""
LITHIUM_PER_PT = {"Pt": 0.0, "LiPt": 1.0, "Li2Pt": 2.0}
BOLTZMANN_V = 8.314462618 * 298.15 / 96485.33212
"""RT/F at 25 degrees Celsius, V."""


@dataclass(frozen=True)
class Potentials:
    """Where the reactions stand, V against Li/Li+.

    Parameters
    ----------
    take_up : float, V
        Pt + 2 Li -> Li2Pt.
    nucleation : float, V
        So much lower before there is any Li2Pt.
    from_lipt : float, V
        LiPt + Li -> Li2Pt, of platinum that is not stable LiPt yet.
    give_back : float, V
        Li2Pt -> LiPt + Li.
    empty : float, V
        LiPt -> Pt + Li.
    middle : float, V
        Of the sloping solid solution, at LiPt.
    slope : float, V
        Of the solid solution, for each Li per Pt.
    least, most : float
        Lithium per platinum between which LiPt is a solid solution.
    """

    take_up: float = 0.32
    nucleation: float = 0.06
    from_lipt: float = 0.28
    give_back: float = 0.62
    empty: float = 0.92
    middle: float = 0.60
    slope: float = 0.60
    least: float = 0.4
    most: float = 1.6

    def solid_solution_v(self, lithium: float) -> float:
        """Return the equilibrium potential of LiyPt: falls with y, steeply at its ends.

        Parameters
        ----------
        lithium : float
            y, between `least` and `most`.
        """
        entropy = BOLTZMANN_V * math.log((self.most - lithium) / (lithium - self.least))
        return self.middle - self.slope * (lithium - 1.0) + entropy

    def solid_solution_lithium(self, voltage_v: float) -> float:
        """Return y at equilibrium: the inverse of `solid_solution_v`, by bisection.

        Parameters
        ----------
        voltage_v : float, V
        """
        low, high = self.least + 1e-9, self.most - 1e-9
        if voltage_v >= self.solid_solution_v(low):
            return low
        if voltage_v <= self.solid_solution_v(high):
            return high
        while high - low > 1e-10:
            middle = 0.5 * (low + high)
            if self.solid_solution_v(middle) > voltage_v:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)


STRAIN_PER_LITHIUM = 0.01
"""Linear strain of LiyPt for each Li per Pt, after Vegard; a parameter of the simulation."""


def cell_scale(phase_name: str, lithium: float = 1.0) -> float:
    """Return the linear scale of a phase's unit cell, relative to its CIF.

    Parameters
    ----------
    phase_name : str
        One of `PHASES`.
    lithium : float
        y in LiyPt; the others are stoichiometric.
    """
    return 1.0 + STRAIN_PER_LITHIUM * (lithium - 1.0) if phase_name == "LiPt" else 1.0


def volumes(
    share_of_pt: dict[str, float], lithium_in_lipt: float = 1.0
) -> tuple[list[tuple[str, float, float]], float]:
    """Return what diffraction sees of an electrode.

    Parameters
    ----------
    share_of_pt : dict of phase name to float
        Of the platinum atoms, adding up to one.
    lithium_in_lipt : float
        y in LiyPt.

    Returns
    -------
    phases : list of (phase name, volume fraction, cell scale)
        In the order of `PHASES`; the fractions add up to one.
    swelling : float
        Volume of the electrode, relative to the metal. Platinum is conserved: for each phase,
        volume fraction times swelling is its share of the platinum times the volume per Pt.
    """
    parts = []
    for name in PHASES:
        scale = cell_scale(name, lithium_in_lipt)
        parts.append((name, share_of_pt.get(name, 0.0) * VOLUME_PER_PT[name] * scale**3, scale))
    swelling = sum(part for _, part, _ in parts)
    return [(name, part / swelling, scale) for name, part, scale in parts], swelling
