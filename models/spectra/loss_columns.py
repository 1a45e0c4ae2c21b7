"""The columns of an energy-loss spectrum: edges, their peaks, references, power laws under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .edges import COMPOUNDS, Edge, compound, continuum, edge, peak
from .lines import ElementError

_FEWEST = 8
_SPREAD = 1.0

Spectrum = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Asked:
    """What is to be told apart.

    Parameters
    ----------
    edges : sequence of Edge
    compounds : sequence of str
        Of `edges.COMPOUNDS`.
    spectra : mapping of name to (energy_ev, intensity)
        Reference spectra without background.
    resolution_ev : float, eV
    beam_kev, collection_mrad : float or None
    """

    edges: Sequence[Edge]
    compounds: Sequence[str] = ()
    spectra: Mapping[str, Spectrum] | None = None
    resolution_ev: float = 1.0
    beam_kev: float | None = None
    collection_mrad: float | None = None

    @property
    def names(self) -> list[str]:
        """One for each area: edges, compounds, reference spectra."""
        return [e.name for e in self.edges] + list(self.compounds) + list(self.spectra or {})

    def onsets_ev(self) -> list[float]:
        """Return the onsets of all edges that are involved."""
        found = [each.onset_ev for each in self.edges]
        for name in self.compounds:
            if name not in COMPOUNDS:
                raise ElementError(
                    f"there is no reference {name!r}; there are {', '.join(COMPOUNDS)}"
                )
            found += [edge(part[0]).onset_ev for part in COMPOUNDS[name]]
        for energy_ev, intensity in (self.spectra or {}).values():
            above = energy_ev[intensity > 0.05 * np.max(intensity)]
            found.append(float(above[0]))
        return sorted(set(found))


@dataclass(frozen=True)
class Columns:
    """Columns and what they belong to.

    Parameters
    ----------
    values : (channels, k) float64
    use : (channels,) bool
        Channels of the windows round the edges.
    sums : (areas, k) float64
        Which columns make up each area.
    background : (k,) bool
        Columns of the power laws.
    """

    values: np.ndarray
    use: np.ndarray
    sums: np.ndarray
    background: np.ndarray


def windows(onsets_ev: Sequence[float], energy_ev: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the windows (low, first onset, high) in eV round edges; those that touch are one.

    Raises
    ------
    ElementError
        When no edge lies on the axis with some of the background before it.
    """
    low_ev, high_ev = float(energy_ev[0]), float(energy_ev[-1])
    step = float(energy_ev[1] - energy_ev[0])
    found: list[tuple[float, float, float]] = []
    for onset in onsets_ev:
        low = max(onset - float(np.clip(0.12 * onset, 7.0, 60.0)), low_ev)
        high = min(onset + float(np.clip(0.3 * onset, 25.0, 150.0)), high_ev)
        outside = onset - low < _FEWEST * step or high - onset < _FEWEST * step
        if outside and (not found or found[-1][2] < onset + _FEWEST * step):
            continue
        if found and low <= found[-1][2]:
            found[-1] = (found[-1][0], found[-1][1], max(high, found[-1][2]))
        else:
            found.append((low, onset, high))
    if not found:
        listed = ", ".join(f"{onset:g}" for onset in onsets_ev)
        raise ElementError(
            f"no edge (at {listed} eV) lies on the energy axis, {low_ev:.4g} to {high_ev:.4g} eV, "
            "with the background before it; check the edges and the axis"
        )
    return found


def exponent(energy_ev: np.ndarray, mean: np.ndarray, low: float, onset: float) -> float:
    """Return r of the power law E**-r before an edge, from the mean spectrum."""
    before = (energy_ev >= low) & (energy_ev < onset - 0.15 * (onset - low)) & (mean > 0)
    before &= energy_ev > 0
    if before.sum() < 4:
        return 3.0
    weight = np.sqrt(mean[before])
    slope, _ = np.polyfit(np.log(energy_ev[before]), np.log(mean[before]), 1, w=weight)
    return float(np.clip(-slope, 1.0, 9.0))


def build(asked: Asked, energy_ev: np.ndarray, mean: np.ndarray, offset_ev: float) -> Columns:
    """Return the columns of spectra on an axis that is off by `offset_ev`.

    Under each window lie power laws of the exponent found before its first edge and one more and
    one less (linear combination of power laws, Cueva et al., Microsc. Microanal. 18, 667 (2012)):
    with coefficients that are never negative they follow a background that varies over a map.

    Parameters
    ----------
    asked : Asked
    energy_ev : (channels,) float64, eV
        As stated by the run.
    mean : (channels,) float64, counts
    offset_ev : float, eV
        True energy minus stated energy.

    Raises
    ------
    ElementError
    """
    true_ev = energy_ev + offset_ev
    ranges = windows(asked.onsets_ev(), true_ev)
    use = np.zeros(len(true_ev), bool)
    shapes: list[np.ndarray] = []
    owner: list[int] = []
    for low, onset, high in ranges:
        inside = (true_ev >= low) & (true_ev <= high) & (true_ev > 0)
        use |= inside
        r = exponent(true_ev, mean, low, onset)
        for each in (r - _SPREAD, r, r + _SPREAD):
            shapes.append(np.where(inside, np.maximum(true_ev / onset, 1e-3) ** -each, 0.0))
            owner.append(-1)
    for number, each in enumerate(asked.edges):
        wide = continuum(
            each.name, true_ev, asked.resolution_ev, asked.beam_kev, asked.collection_mrad
        )
        shapes.append(wide)
        owner.append(number)
        for centre, width in each.peaks_ev:
            shapes.append(peak(true_ev, centre, float(np.hypot(width, asked.resolution_ev))))
            owner.append(number)
    for name in asked.compounds:
        owner.append(max(owner) + 1)
        shapes.append(compound(name, true_ev, asked.resolution_ev))
    for known_ev, intensity in (asked.spectra or {}).values():
        owner.append(max(owner) + 1)
        shapes.append(np.interp(true_ev, known_ev, intensity, left=0.0, right=0.0))
    values = np.where(use[:, None], np.stack(shapes, axis=1), 0.0)
    total = values.sum(axis=0)
    values = values / np.where(total > 0, total, 1.0)
    belongs = np.asarray(owner)
    sums = (belongs[None] == np.arange(len(asked.names))[:, None]).astype(float)
    return Columns(values, use, sums, belongs < 0)
