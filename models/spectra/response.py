"""What a detector makes of lines: width, escape peaks, tails; energies and channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import log_ndtr, ndtr

from .lines import Family, _database

FWHM = 2 * np.sqrt(2 * np.log(2))
MN_KA_KEV = 5.8951
# mean energy of an electron-hole pair in eV, escaping K line in keV
_MATERIALS = {"Si": (3.65, (1.740,)), "Ge": (2.96, (9.876, 10.984))}


@dataclass(frozen=True)
class Response:
    """Energy scale and resolution of a detector.

    Parameters
    ----------
    offset_kev, slope_kev : float, keV
        Energy of channel 0, and of one channel.
    noise_kev : float, keV
        Electronic noise, full width at half maximum.
    fano : float
        Fano factor.
    tail : float
        Fraction of a line in its exponential tail towards low energy.
    tail_kev : float, keV
        Decay length of the tail.
    shelf : float
        Fraction of a line in a shelf from its peak down to zero energy. Gaussian, tail and shelf
        are the function Hypermet: Phillips & Marlow, Nucl. Instrum. Methods 137, 525 (1976).
    material : "Si" or "Ge"
    escape : bool
        Whether lines have escape peaks.
    """

    offset_kev: float
    slope_kev: float
    noise_kev: float = 0.1
    fano: float = 0.115
    tail: float = 0.0
    tail_kev: float = 0.3
    shelf: float = 0.0
    material: str = "Si"
    escape: bool = True

    def __post_init__(self) -> None:
        if self.material not in _MATERIALS:
            raise ValueError(
                f"detector must be {' or '.join(map(repr, _MATERIALS))}, got {self.material!r}"
            )
        if not (self.tail >= 0 and self.shelf >= 0 and self.tail + self.shelf < 1):
            raise ValueError(
                "tail and shelf must not be negative and add up to less than 1, got "
                f"{self.tail:g} and {self.shelf:g}"
            )
        if not self.tail_kev > 0:
            raise ValueError(f"tail_kev must be positive, got {self.tail_kev:g} keV")

    def energies(self, channels: int) -> np.ndarray:
        """Return the energies of the channels' middles, (channels,) float64, keV."""
        return self.offset_kev + self.slope_kev * np.arange(channels)

    def sigma_kev(self, energy_kev: np.ndarray | float) -> np.ndarray:
        """Return the standard deviation of lines at these energies."""
        pair = _MATERIALS[self.material][0] * 1e-3
        spread = pair * self.fano * np.maximum(energy_kev, 0.0)
        return np.sqrt((self.noise_kev / FWHM) ** 2 + spread)

    def fwhm_kev(self, energy_kev: float = MN_KA_KEV) -> float:
        """Return the full width at half maximum at an energy, by default that of Mn Ka."""
        return float(FWHM * self.sigma_kev(energy_kev))

    def with_widths(self, energies_kev: np.ndarray, fwhm_kev: np.ndarray) -> Response:
        """Return the response that has these two widths at these two energies."""
        pair = _MATERIALS[self.material][0] * 1e-3
        variance = (np.asarray(fwhm_kev) / FWHM) ** 2
        slope = (variance[1] - variance[0]) / (energies_kev[1] - energies_kev[0])
        slope = min(max(slope, 0.0), variance.min() / energies_kev[1])
        noise = variance.mean() - slope * np.mean(energies_kev)
        return replace(self, fano=slope / pair, noise_kev=FWHM * float(np.sqrt(max(noise, 1e-8))))

    def lines(self, found: Family) -> tuple[np.ndarray, np.ndarray]:
        """Return energies and intensities of a family with its escape peaks; the family sums to 1.

        Escaping fraction after Reed & Ware, J. Phys. E 5, 582 (1972).
        """
        if not self.escape:
            return found.energy_kev, found.intensity
        return _with_escape(found, self.material)

    def column(self, found: Family, channels: int) -> np.ndarray:
        """Return a family's spectrum, (channels,) float64; its lines proper hold 1 count."""
        return self.peaks(*self.lines(found), channels)

    def peaks(
        self,
        energy_kev: np.ndarray,
        intensity: np.ndarray,
        channels: int,
        sigma_kev: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the spectrum of lines, each integrated over the width of a channel.

        Parameters
        ----------
        energy_kev, intensity : (n,) float64
        channels : int
        sigma_kev : (n,) float64, keV, optional
            Widths other than the detector's.

        Returns
        -------
        (channels,) float64
        """
        edges = self.offset_kev + self.slope_kev * (np.arange(channels + 1) - 0.5)
        sigma = self.sigma_kev(energy_kev) if sigma_kev is None else np.asarray(sigma_kev)
        out = np.zeros(channels)
        reach = 8 * sigma + (12 * self.tail_kev if self.tail else 0.0)
        for e, i, s, r in zip(energy_kev, intensity, sigma, reach, strict=True):
            low = min(e - r, 0.0) if self.shelf else e - r
            a, b = np.searchsorted(edges, (low, e + 8 * s))
            a, b = max(int(a) - 1, 0), min(int(b) + 1, channels + 1)
            if b - a < 2:
                continue
            whole = self._cumulative((edges[a:b] - e) / s, s)
            if self.shelf and e > 0:
                whole = whole + self.shelf * _shelved(edges[a:b], e, s)
            out[a : b - 1] += i * np.diff(whole)
        return out

    def _cumulative(self, u: np.ndarray, sigma: float) -> np.ndarray:
        gaussian = ndtr(u)
        if not self.tail:
            return (1 - self.shelf) * gaussian
        # an exponential towards low energy, smeared by the Gaussian
        g = sigma / self.tail_kev
        smeared = gaussian + np.exp(u * g + 0.5 * g**2 + log_ndtr(-u - g))
        return (1 - self.tail - self.shelf) * gaussian + self.tail * smeared


def _shelved(edges_kev: np.ndarray, energy_kev: float, sigma_kev: float) -> np.ndarray:
    """Return the integral of a level line from 0 to a peak that is smeared there."""
    at = np.maximum(edges_kev, 0.0)

    def step(u: np.ndarray | float) -> np.ndarray:
        # integral of the normal distribution function
        return u * ndtr(u) + np.exp(-0.5 * np.square(u)) / np.sqrt(2 * np.pi)

    risen = step((at - energy_kev) / sigma_kev) - step(-energy_kev / sigma_kev)
    return (at - sigma_kev * risen) / energy_kev


@lru_cache(maxsize=1024)
def _with_escape(found: Family, material: str) -> tuple[np.ndarray, np.ndarray]:
    energies, intensities = [found.energy_kev], [found.intensity]
    for escaping in _escape_lines(material):
        fraction = _escaping(found.energy_kev, material, escaping)
        there = fraction > 0
        energies.append(found.energy_kev[there] - escaping)
        intensities.append(found.intensity[there] * fraction[there])
    return np.concatenate(energies), np.concatenate(intensities)


def _escape_lines(material: str) -> tuple[float, ...]:
    return _MATERIALS[material][1]


def _escaping(energy_kev: np.ndarray, material: str, escaping_kev: float) -> np.ndarray:
    """Return which fraction of photons leaves a K photon's energy missing."""
    xraydb = _database()
    edge = xraydb.xray_edges(material)["K"]
    lines = xraydb.xray_lines(material)
    first = abs(escaping_kev - min(_escape_lines(material))) < 1e-6
    share = sum(
        line.intensity for name, line in lines.items() if name.startswith("Ka" if first else "Kb")
    )
    if len(_escape_lines(material)) == 1:
        share = 1.0
    above = energy_kev * 1e3 > edge.energy
    mu_in = np.asarray(xraydb.mu_elam(material, np.maximum(energy_kev, 0.2) * 1e3), float)
    mu_k = float(xraydb.mu_elam(material, escaping_kev * 1e3))
    ratio = mu_k / mu_in
    fraction = 0.5 * (1 - ratio * np.log1p(1 / ratio))
    fraction *= edge.fyield * (1 - 1 / edge.jump_ratio) * share
    return np.where(above, fraction / (1 - fraction), 0.0)
