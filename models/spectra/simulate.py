"""Spectra as a detector would see them: X-rays of a thin film, energy losses of an interphase."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.signal import fftconvolve

from .detector_fit import Scatter
from .edges import COMPOUNDS, compound, continuum
from .lines import FAMILIES, _database, _holes, family
from .response import Response


def emission(symbol: str, shell: str, excitation_kev: float) -> float:
    """Return how strongly one shell of an element shines per mass, in cm2/g.

    Absorption by the shell times its mean yield (thin film: no absorption of what is emitted).
    """
    xraydb = _database()
    edges = xraydb.xray_edges(symbol)
    levels = [name for name in edges if name.startswith(shell)]
    holes = _holes(edges, levels, excitation_kev)
    absorbed = float(xraydb.mu_elam(symbol, excitation_kev * 1e3, kind="photo"))
    return absorbed * sum(holes[name] * float(edges[name].fyield) for name in levels)


def film_spectrum(
    masses_ug_cm2: Mapping[str, float],
    response: Response,
    channels: int,
    excitation_kev: float,
    *,
    counts_per_ug: float,
    scattered: float = 0.0,
    pileup_s: float = 0.0,
) -> np.ndarray:
    """Return the expected count rate of a thin film, (channels,) float64, counts/s.

    Parameters
    ----------
    masses_ug_cm2 : mapping of element to float, ug/cm2
    response : Response
    channels : int
    excitation_kev : float, keV
    counts_per_ug : float
        Counts a second for 1 ug/cm2 that emits 100 cm2/g: flux, solid angle and efficiency.
    scattered : float, counts/s
        Elastic and Compton counts, half each, with a tenth of them in a smooth background.
    pileup_s : float, s
        Two photons within this time are counted as one of the sum of their energies.
    """
    rate = np.zeros(channels)
    for name, mass in masses_ug_cm2.items():
        for shell in FAMILIES:
            lines = family(name, shell, excitation_kev)
            if lines is not None:
                strength = counts_per_ug * mass * emission(name, shell, excitation_kev) / 100
                rate += strength * response.column(lines, channels)
    if scattered:
        elastic, inelastic = Scatter(excitation_kev).column(response, channels)
        energies = response.energies(channels)
        smooth = np.where(energies < excitation_kev, np.exp(-energies / 4), 0.0)
        rate += scattered / 2 * (elastic + inelastic) + 0.1 * scattered * smooth / smooth.sum()
    if pileup_s:
        total = rate.sum()
        shift = int(np.rint(response.offset_kev / response.slope_kev))
        pairs = np.maximum(fftconvolve(rate, rate), 0.0)
        at = np.arange(channels) - shift
        piled = np.where((at >= 0) & (at < len(pairs)), pairs[np.clip(at, 0, len(pairs) - 1)], 0.0)
        rate = rate * np.exp(-2 * total * pileup_s) + piled * pileup_s
    return rate


class LossSpectra:
    """Expected energy-loss spectra from the amounts of edges and compounds.

    Parameters
    ----------
    energy_ev : (channels,) float64, eV
        As the spectrometer states it.
    offset_ev : float, eV
        True minus stated energy.
    names : sequence of str
        Edges such as "Pt_O" and compounds such as "LiF".
    resolution_ev : float, eV
    background : float
        Counts a channel and second at 50 eV.
    exponent : float
        Of the power law.
    """

    def __init__(
        self,
        energy_ev: np.ndarray,
        names: tuple[str, ...],
        *,
        offset_ev: float = 0.0,
        resolution_ev: float = 1.0,
        background: float = 1e5,
        exponent: float = 2.6,
    ) -> None:
        true_ev = np.asarray(energy_ev, float) + offset_ev
        self.names = names
        shapes = [
            compound(name, true_ev, resolution_ev)
            if name in COMPOUNDS
            else continuum(name, true_ev, resolution_ev)
            for name in names
        ]
        self.shapes = np.stack([shape / max(shape.sum(), 1e-300) for shape in shapes])
        self.background = background * (np.maximum(true_ev, 5.0) / 50.0) ** -exponent

    def __call__(self, amounts: np.ndarray) -> np.ndarray:
        """Return count rates (n, channels) for amounts (n, names) in counts/s."""
        return amounts @ self.shapes + self.background
