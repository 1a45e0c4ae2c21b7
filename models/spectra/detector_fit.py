"""One detector's linear fit: its refined scale, its families, its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import TERMS, Refined, background_of, columns_of, near_lines, refine
from .linear_fit import LinearFit
from .lines import Family
from .response import FWHM, Response

_SEEN = 0.01
ELECTRON_KEV = 510.99895


@dataclass(frozen=True)
class Scatter:
    """Elastic and Compton scattering of the exciting radiation.

    Parameters
    ----------
    energy_kev : float, keV
    angle_deg : float, deg
    """

    energy_kev: float
    angle_deg: float = 90.0

    def column(self, response: Response, channels: int) -> list[np.ndarray]:
        """Return the two peaks, the Compton peak twice as wide as a line."""
        turn = 1 - np.cos(np.deg2rad(self.angle_deg))
        inelastic = self.energy_kev / (1 + self.energy_kev / ELECTRON_KEV * turn)
        one = np.ones(1)
        return [
            response.peaks(np.array([self.energy_kev]), one, channels),
            response.peaks(
                np.array([inelastic]), one, channels, 2 * response.sigma_kev(np.array([inelastic]))
            ),
        ]


class DetectorFit:
    """The fit of one detector's spectra, made from their sum.

    Parameters
    ----------
    total : (channels,) float64, counts
    n : int
        Spectra in the sum.
    stated : Response
        The scale to begin with; with a slope of 0 it is unknown and nothing is fitted.
    asked : sequence of Family
        The families whose areas are wanted, in order.
    others : sequence of Family
        Taken into account where they reach the channels of those.
    scatter : Scatter or None
    refine_scale : bool
    pileup : bool
        Whether two photons may be counted as one.

    Attributes
    ----------
    refined : Refined
    families : list of Family
        Those in the fit; the asked ones first.
    linear : LinearFit or None
        None where no scale is known.
    """

    def __init__(
        self,
        total: np.ndarray,
        n: int,
        stated: Response,
        asked: Sequence[Family],
        others: Sequence[Family] = (),
        *,
        scatter: Scatter | None = None,
        refine_scale: bool = True,
        pileup: bool = True,
    ) -> None:
        self.linear: LinearFit | None = None
        self.families = list(asked)
        if stated.slope_kev <= 0:
            self.refined = Refined(stated, 0.0, "the energy scale is unknown")
        elif refine_scale:
            self.refined = refine(total, asked, stated, others)
        else:
            self.refined = Refined(stated, 0.0)
        response = self.refined.response
        if response.slope_kev <= 0:
            return
        channels = len(total)
        use = near_lines(response, asked, channels)
        if not use.any():
            return
        reach = [float(response.column(each, channels)[use].sum()) for each in others]
        self.families += [each for each, r in zip(others, reach, strict=True) if r > _SEEN]
        where = np.flatnonzero(use)
        low, high = int(where[0]), int(where[-1]) + 1
        background = background_of(total, response)
        columns = columns_of(response, self.families, background, use)
        extra = scatter.column(response, channels) if scatter is not None else []
        if pileup:
            extra.append(_piled(np.maximum(total, 0.0), response))
        extra = [each for each in extra if each[use].sum() > _SEEN * each.sum() > 0]
        columns = np.concatenate([columns, *(each[:, None] for each in extra)], axis=1)
        self.linear = LinearFit(
            columns[low:high], total[low:high] / max(n, 1), first=low, use=use[low:high]
        )
        self.terms = TERMS

    def spectrum(self, coefficients: np.ndarray, channels: int) -> np.ndarray:
        """Return the fitted spectrum (channels,), NaN outside the channels of the fit."""
        out = np.full(channels, np.nan)
        if self.linear is not None:
            used = self.linear.weights > 0
            low = self.linear.first
            out[low : low + len(used)] = np.where(used, self.linear.model(coefficients)[0], np.nan)
        return out

    def residual_lines(self, mean: np.ndarray, n: int, fitted: np.ndarray) -> list[float]:
        """Return the energies in keV at which the mean spectrum has a peak that is not explained.

        A peak counts where it rises ten standard deviations, and a tenth of the strongest line,
        above the fit, or above the smooth background where nothing was fitted.
        """
        response = self.refined.response
        if self.linear is None:
            return []
        total = mean * n
        level = background_of(total, response)
        level = np.where(np.isfinite(fitted), np.maximum(fitted * n, level), level)
        energies = response.energies(len(mean))
        width = FWHM * response.sigma_kev(energies) / response.slope_kev
        half = int(max(np.median(width) / 2, 1))
        kernel = np.ones(2 * half + 1)
        excess = np.convolve(total - level, kernel, "same")
        noise = np.sqrt(np.convolve(total, kernel, "same") + 1)
        strongest = np.convolve(total, kernel, "same").max()
        high = (excess > 10 * noise) & (excess > 0.1 * strongest) & (energies > 1.0)
        found = []
        for c in np.flatnonzero(high):
            a, b = max(c - 2 * half, 0), c + 2 * half + 1
            if excess[c] == excess[a:b].max():
                found.append(round(float(energies[c]), 3))
        return found


def _piled(total: np.ndarray, response: Response) -> np.ndarray:
    """Return the shape of pairs of photons that were counted as one."""
    from scipy.signal import fftconvolve

    channels = len(total)
    pairs = np.maximum(fftconvolve(total, total), 0.0)
    shift = int(np.rint(response.offset_kev / response.slope_kev))
    # channel i + j has the energy 2 offset + slope (i + j)
    out = np.zeros(channels)
    for_channel = np.arange(channels) - shift
    inside = (for_channel >= 0) & (for_channel < len(pairs))
    out[inside] = pairs[for_channel[inside]]
    return out / max(float(out.sum()), 1e-300)
