"""Ionisation edges in electron energy loss: where they lie and what shape they have.

Onsets and near-edge peaks are rounded values of the EELS Atlas (Ahn & Krivanek, 1983) and of common
reference spectra; the continuum follows the photoabsorption of XrayDB (Chantler, J. Phys. Chem.
Ref. Data 24, 71 (1995)) in the dipole approximation (Egerton, Electron Energy-Loss Spectroscopy).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .lines import ElementError, _database, parse
from .response import FWHM

_SHELLS = {"K": ("K",), "L": ("L3", "L2"), "M": ("M5", "M4"), "N": ("N7", "N6"), "O": ("O3", "O2")}
_NAME = re.compile(r"([A-Za-z]{1,2})[ _-]([KLMNO])$")
_REST_EV = 510_998.95

ONSETS_EV: dict[str, float] = {
    "Li K": 55.0, "Be K": 111.0, "B K": 188.0, "C K": 284.0, "N K": 401.0, "O K": 532.0,
    "F K": 685.0, "Na K": 1072.0, "Mg K": 1305.0, "Al K": 1560.0, "Si K": 1839.0, "Al L": 73.0,
    "Si L": 99.0, "P L": 132.0, "S L": 165.0, "Cl L": 200.0, "K L": 294.0, "Ca L": 346.0,
    "Sc L": 402.0, "Ti L": 456.0, "V L": 513.0, "Cr L": 575.0, "Mn L": 640.0, "Fe L": 708.0,
    "Co L": 779.0, "Ni L": 855.0, "Cu L": 931.0, "Zn L": 1020.0, "La M": 832.0, "Pt O": 52.0,
    "Pt N": 71.0,
}  # fmt: skip
"""First rise of each edge, eV; others are taken from XrayDB."""

NEAR_EDGE_EV: dict[str, tuple[tuple[float, float], ...]] = {
    "Li K": ((61.0, 4.0), (69.0, 6.0)),
    "C K": ((285.3, 2.0), (290.3, 2.0), (300.0, 8.0)),
    "O K": ((532.5, 3.0), (538.0, 6.0)),
    "F K": ((692.0, 6.0),),
    "Ti L": ((458.0, 1.4), (460.25, 1.7), (463.4, 2.0), (465.3, 2.2)),
    "Mn L": ((642.0, 3.0), (653.0, 3.5)),
    "Fe L": ((709.5, 3.0), (722.5, 3.5)),
    "Co L": ((780.0, 3.0), (795.0, 3.5)),
    "Ni L": ((854.0, 3.0), (871.5, 3.5)),
}
"""Peaks (energy, width) in eV of common oxides that an edge may have besides its continuum."""

COMPOUNDS: dict[str, tuple[tuple[str, float, tuple[tuple[float, float, float], ...]], ...]] = {
    "Li2CO3": (
        ("Li K", 2.0, ((62.5, 4.0, 0.5), (68.0, 7.0, 0.6))),
        ("C K", 1.0, ((290.3, 1.6, 0.9), (300.5, 8.0, 1.2))),
        ("O K", 3.0, ((533.7, 1.8, 0.25), (540.0, 6.0, 0.6))),
    ),
    "LiF": (
        ("Li K", 1.0, ((61.8, 2.2, 0.6), (69.5, 4.0, 0.7))),
        ("F K", 1.0, ((692.0, 4.0, 0.5), (701.0, 6.0, 0.3))),
    ),
    "Li2O": (
        ("Li K", 2.0, ((58.5, 2.5, 0.5), (63.5, 5.0, 0.6))),
        ("O K", 1.0, ((535.0, 2.5, 0.5), (540.5, 5.0, 0.5))),
    ),
}
"""Edge, atoms a formula, and peaks (energy, width, height in units of 10 eV of continuum).

Approximate; a measured reference spectrum is better where there is one.
"""


@dataclass(frozen=True)
class Edge:
    """One ionisation edge.

    Parameters
    ----------
    name : str
        Such as "Ti L".
    onset_ev : float, eV
    peaks_ev : tuple of (energy, width)
        Near-edge peaks that it may have.
    """

    name: str
    onset_ev: float
    peaks_ev: tuple[tuple[float, float], ...] = ()


def edge(name: str) -> Edge:
    """Return an edge by a name such as "Ti_L" or "O K".

    Raises
    ------
    ElementError
        For what is no edge.
    """
    found = _NAME.fullmatch(str(name).strip())
    if not found:
        raise ElementError(f"{name!r} is no edge; write element and shell, such as Ti_L or O_K")
    symbol, _ = parse(found[1])
    full = f"{symbol} {found[2]}"
    if full in ONSETS_EV:
        return Edge(full, ONSETS_EV[full], NEAR_EDGE_EV.get(full, ()))
    edges = _database().xray_edges(symbol)
    levels = [level for level in _SHELLS[found[2]] if level in edges]
    if not levels:
        raise ElementError(f"{symbol} has no edge {found[2]}; choose another shell")
    return Edge(full, float(edges[levels[0]].energy), NEAR_EDGE_EV.get(full, ()))


@lru_cache(maxsize=256)
def _absorption(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return energies above the onset, eV, and the absorption of one shell alone, per atom."""
    symbol, shell = name.split()
    xraydb = _database()
    levels = [xraydb.xray_edges(symbol)[level] for level in _SHELLS[shell]
              if level in xraydb.xray_edges(symbol)]  # fmt: skip
    onset = min(level.energy for level in levels)
    grid = np.geomspace(max(onset * 0.85, 12.0), max(onset * 3, onset + 300), 500)
    mu = np.asarray(xraydb.mu_chantler(symbol, grid), float) * xraydb.atomic_mass(symbol)
    # the shell is complete above its last subshell
    below, top = grid < onset * 0.985, max(level.energy for level in levels) * 1.06
    slope, level = np.polyfit(np.log(grid[below]), np.log(mu[below]), 1)
    own = np.maximum(mu - np.exp(level) * grid**slope, 0.0)
    above = (grid > top) & (own > 0.02 * mu)
    if above.sum() < 20:  # no jump stands out, as for 4f electrons
        fine = np.geomspace(onset, grid[-1], 400)
        return fine - onset, 0.3 * mu[np.searchsorted(grid, onset)] * (fine / onset) ** -2.5
    fall, height = np.polyfit(np.log(grid[above]), np.log(own[above]), 1)
    fine = np.geomspace(onset, grid[-1], 400)
    return fine - onset, np.exp(height) * fine**fall


def continuum(
    name: str,
    energy_ev: np.ndarray,
    resolution_ev: float = 1.0,
    beam_kev: float | None = None,
    collection_mrad: float | None = None,
) -> np.ndarray:
    """Return the continuum of an edge, per atom in arbitrary but common units.

    Parameters
    ----------
    name : str
        Of `edge`.
    energy_ev : (channels,) float64, eV
        Equally spaced.
    resolution_ev : float, eV
        Full width at half maximum.
    beam_kev, collection_mrad : float, optional
        Energy and collection semi-angle: which angles are collected changes the fall slightly.

    Returns
    -------
    (channels,) float64
    """
    found = edge(name)
    onset = found.onset_ev
    above, mu = _absorption(found.name)
    width = max(resolution_ev, float(energy_ev[1] - energy_ev[0])) / FWHM
    shape = np.interp(energy_ev - onset, above, mu, left=mu[0], right=mu[-1])
    far = energy_ev - onset > above[-1]
    if far.any():
        shape[far] = mu[-1] * ((energy_ev[far]) / (onset + above[-1])) ** -3.0
    shape /= np.maximum(energy_ev, 1.0)
    if beam_kev and collection_mrad:
        voltage = beam_kev * 1e3
        # characteristic angle of a relativistic electron
        theta = energy_ev / voltage * (voltage + _REST_EV) / (voltage + 2 * _REST_EV)
        shape *= np.log1p((collection_mrad * 1e-3 / theta) ** 2)
    rise = 0.5 * (1 + np.tanh((energy_ev - onset) / (1.2 * width)))
    return shape * rise


def peak(energy_ev: np.ndarray, centre_ev: float, width_ev: float) -> np.ndarray:
    """Return a Gaussian that sums to 1, (channels,) float64; `width_ev` at half maximum."""
    sigma = max(width_ev / FWHM, 0.4 * float(energy_ev[1] - energy_ev[0]))
    shape = np.exp(-0.5 * ((energy_ev - centre_ev) / sigma) ** 2)
    return shape / (sigma * np.sqrt(2 * np.pi)) * float(energy_ev[1] - energy_ev[0])


def compound(name: str, energy_ev: np.ndarray, resolution_ev: float = 1.0) -> np.ndarray:
    """Return the shape of a compound of `COMPOUNDS`, per formula, (channels,) float64.

    Raises
    ------
    ElementError
        When there is none of this name.
    """
    if name not in COMPOUNDS:
        raise ElementError(f"there is no reference {name!r}; there are {', '.join(COMPOUNDS)}")
    out = np.zeros(len(energy_ev))
    step = float(energy_ev[1] - energy_ev[0])
    for edge_name, atoms, peaks in COMPOUNDS[name]:
        shape = continuum(edge_name, energy_ev, resolution_ev)
        onset = edge(edge_name).onset_ev
        level = float(continuum(edge_name, onset + np.array([5.0, 5.0 + step]))[0])
        for centre, width, height in peaks:
            shape = shape + height * 10 * level / step * peak(energy_ev, centre, width)
        out += atoms * shape
    return out
