"""X-ray lines of the elements: energies and relative intensities by family K, L, M.

Energies, intensities, edges, yields and Coster-Kronig probabilities are those of XrayDB (public
domain; Elam, Ravel & Sieber, Radiat. Phys. Chem. 63, 121 (2002)).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

FAMILIES = ("K", "L", "M")
_ELEMENT = re.compile(r"([A-Za-z]{1,2})(?:[ _-]?([KLM]))?$")
_LEAST_INTENSITY = 1e-4


class ElementError(ValueError):
    """No such element, or one without lines where they are looked for."""


@dataclass(frozen=True, eq=False)
class Family:
    """Lines that appear together.

    Parameters
    ----------
    element : str
    shell : "K", "L" or "M"
    energy_kev : (n,) float64, keV
    intensity : (n,) float64
        Sums to 1.
    """

    element: str
    shell: str
    energy_kev: np.ndarray
    intensity: np.ndarray

    @property
    def name(self) -> str:
        """Such as "Pt L"."""
        return f"{self.element} {self.shell}"

    @property
    def main_kev(self) -> float:
        """Energy of the strongest line."""
        return float(self.energy_kev[np.argmax(self.intensity)])


def _database() -> Any:
    import xraydb

    return xraydb


def parse(name: str) -> tuple[str, str | None]:
    """Return element and shell of a name such as "Fe", "Pt L", "Pt_L" or "pt-L".

    Raises
    ------
    ElementError
    """
    found = _ELEMENT.fullmatch(str(name).strip())
    symbol = found[1].capitalize() if found else ""
    if not found or not _known(symbol):
        raise ElementError(
            f"{name!r} is no element; write symbols such as Fe, or Pt_L for one family of lines"
        )
    return symbol, found[2]


@lru_cache(maxsize=256)
def _known(symbol: str) -> bool:
    try:
        return 1 <= _database().atomic_number(symbol) <= 98
    except (ValueError, KeyError):
        return False


@lru_cache(maxsize=1024)
def family(symbol: str, shell: str, excitation_kev: float | None = None) -> Family | None:
    """Return the lines of one shell.

    Holes are shared among subshells as their jumps of absorption at the excitation energy say,
    move by Coster-Kronig transitions, and shine with the subshell's yield.

    Parameters
    ----------
    symbol : str
    shell : "K", "L" or "M"
    excitation_kev : float, keV, or None
        None: above all edges.

    Returns
    -------
    Family or None
        None where the energy excites none of its lines.
    """
    xraydb = _database()
    edges = xraydb.xray_edges(symbol)
    levels = [name for name in edges if name.startswith(shell)]
    holes = _holes(edges, levels, excitation_kev)
    for position, upper in enumerate(levels):
        for lower in levels[position + 1 :]:
            holes[lower] += holes[upper] * _coster_kronig(symbol, upper, lower)
    energy, intensity = [], []
    for line in xraydb.xray_lines(symbol).values():
        begins = [name for name in _initial(line.initial_level) if name in holes]
        strength = sum(holes[name] * edges[name].fyield for name in begins) * line.intensity
        if strength > 0:
            energy.append(line.energy * 1e-3)
            intensity.append(strength)
    if not energy:
        return None
    found, weight = np.array(energy), np.array(intensity) / np.sum(intensity)
    kept = weight > _LEAST_INTENSITY
    order = np.argsort(found[kept])
    weight = weight[kept][order] / weight[kept].sum()
    return Family(symbol, shell, found[kept][order], weight)


def _holes(edges: Any, levels: list[str], excitation_kev: float | None) -> dict[str, float]:
    """Return how the absorbed photons are shared among the subshells of one shell."""
    left, holes = 1.0, dict.fromkeys(levels, 0.0)
    for name, edge in sorted(edges.items(), key=lambda item: -item[1].energy):
        if excitation_kev is not None and edge.energy * 1e-3 >= excitation_kev:
            continue
        jump = max(float(edge.jump_ratio), 1.0)
        if name in holes:
            holes[name] = left * (1 - 1 / jump)
        left /= jump
    return holes


def _coster_kronig(symbol: str, upper: str, lower: str) -> float:
    try:
        return float(_database().ck_probability(symbol, upper, lower, total=False) or 0.0)
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0


def _initial(level: str) -> list[str]:
    """Return the levels that XrayDB's "M4,5" stands for; the first has the yield's place."""
    head, _, _ = level.partition(",")
    return [head]


def visible(
    name: str, low_kev: float, high_kev: float, excitation_kev: float | None
) -> list[Family]:
    """Return the families of an element whose strongest line lies in a range, K before L before M.

    Parameters
    ----------
    name : str
        An element, or one family of it such as "Pt_L".
    low_kev, high_kev : float, keV
    excitation_kev : float, keV, or None

    Raises
    ------
    ElementError
        When there is none.
    """
    symbol, shell = parse(name)
    shells = (shell,) if shell else FAMILIES
    found = [family(symbol, each, excitation_kev) for each in shells]
    families = [each for each in found if each and low_kev <= each.main_kev <= high_kev]
    if not families:
        excited = "" if excitation_kev is None else f" excited at {excitation_kev:g} keV"
        raise ElementError(
            f"{name} has no lines between {low_kev:.3g} and {high_kev:.3g} keV{excited}; leave it "
            "out, or check energy_kev and the energy axis"
        )
    return families
