"""Energy scale and resolution of a detector, from its sum spectrum and the elements in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares, nnls

from .background import hats, snip
from .lines import Family
from .response import FWHM, Response

_REACH = 1.7  # of a line's full width at half maximum, on either side
_LEAST_COUNTS = 200.0
_MODEL_ERROR = 0.02
_SHIFT_KEV = 0.05
_FARTHEST = 0.04  # of an energy, beside 0.1 keV
_SLOPES_KEV = np.geomspace(2e-3, 40e-3, 500)
_OFFSETS_KEV = np.linspace(-0.12, 0.12, 7)
_LEAST_LIKENESS = 0.85
TERMS = 3


@dataclass(frozen=True)
class Refined:
    """A response that fits a sum spectrum.

    Parameters
    ----------
    response : Response
    shift_kev : float, keV
        How far the strongest line moved from the stated scale.
    why_not : str
        Why the stated response was kept; empty where it was refined.
    """

    response: Response
    shift_kev: float
    why_not: str = ""


def near_lines(response: Response, families: Sequence[Family], channels: int) -> np.ndarray:
    """Return the channels near the lines of families, (channels,) bool.

    Far from them a spectrum may hold lines of other elements, which say nothing of these.
    """
    energies = response.energies(channels)
    use = np.zeros(channels, bool)
    for found in families:
        for energy in found.energy_kev[found.intensity > 0.004]:
            reach = _REACH * response.fwhm_kev(energy)
            use |= np.abs(energies - energy) <= reach
    return use


def background_of(spectrum: np.ndarray, response: Response) -> np.ndarray:
    """Return the smooth part of a spectrum, (channels,) float64."""
    energies = response.energies(len(spectrum))
    return snip(spectrum, FWHM * response.sigma_kev(energies) / response.slope_kev)


def columns_of(
    response: Response,
    families: Sequence[Family],
    background: np.ndarray,
    use: np.ndarray,
    terms: int = TERMS,
) -> np.ndarray:
    """Return the families' spectra and the background's terms, (channels, families + terms)."""
    shapes = [response.column(found, len(background)) for found in families]
    where = np.flatnonzero(use)
    low, high = (int(where[0]), int(where[-1]) + 1) if len(where) else (0, len(use))
    tents = np.zeros((len(use), terms))
    tents[low:high] = hats(high - low, terms)
    level = background + max(float(background[use].mean()), 1e-6) * 1e-3
    return np.concatenate([np.stack(shapes, axis=1), tents * level[:, None]], axis=1)


def refine(
    total: np.ndarray,
    families: Sequence[Family],
    start: Response,
    others: Sequence[Family] = (),
) -> Refined:
    """Fit offset, slope, noise and Fano factor to a sum spectrum.

    The amplitudes are solved for at each step (variable projection); what the lines do not
    determine, such as the slope where there is one line, stays where it was.

    Parameters
    ----------
    total : (channels,) float64, counts
    families : sequence of Family
    start : Response
    others : sequence of Family
        Lines that may lie under those, in the same channels.
    """
    stated, start = start, _nearest(total, families, start)
    use = near_lines(start, families, len(total))
    if not use.any() or total[use].sum() < _LEAST_COUNTS:
        return Refined(stated, 0.0, "the sum spectrum holds too few counts near the lines")
    energies = start.energies(len(total))
    ends = np.array([energies[use].min(), energies[use].max()])
    background = background_of(total, start)
    error = np.sqrt(total + 1 + (_MODEL_ERROR * total) ** 2)[use]
    widths = np.array([start.fwhm_kev(e) for e in ends])

    def response(p: np.ndarray) -> Response:
        low, high = ends + p[:2]
        slope = start.slope_kev * (high - low) / (ends[1] - ends[0])
        offset = low - (ends[0] - start.offset_kev) / start.slope_kev * slope
        moved = replace(start, offset_kev=float(offset), slope_kev=float(slope))
        return moved.with_widths(ends, widths * np.exp(p[2:]))

    def residuals(p: np.ndarray) -> np.ndarray:
        shapes = (
            columns_of(response(p), [*families, *others], background, use)[use] / error[:, None]
        )
        found, _ = nnls(shapes, total[use] / error)
        left = shapes @ found - total[use] / error
        return np.concatenate([left, p[:2] / _SHIFT_KEV, p[2:] / 0.3])

    bound = np.array([3 * _SHIFT_KEV, 3 * _SHIFT_KEV, 0.7, 0.7])
    found = least_squares(
        residuals, np.zeros(4), bounds=(-bound, bound), x_scale=[0.01, 0.01, 0.1, 0.1],
        diff_step=1e-4, xtol=1e-6, ftol=1e-8, max_nfev=40,
    )  # fmt: skip
    best = response(found.x)
    if (np.abs(found.x) > 0.97 * bound).any():
        return Refined(stated, 0.0, "the lines do not lie where the stated scale has them")
    main = max(families, key=lambda each: _counts(best, each, total)).main_kev
    channel = (main - best.offset_kev) / best.slope_kev
    return Refined(best, float(main - stated.offset_kev - stated.slope_kev * channel))


def _nearest(total: np.ndarray, families: Sequence[Family], start: Response) -> Response:
    """Return the scale near the stated one on which spectrum and lines are most alike."""
    net = np.sqrt(np.maximum(total - background_of(total, start), 0.0))
    best = (_likeness(net, families, start) + 0.02, start)
    for factor in np.linspace(1 - _FARTHEST, 1 + _FARTHEST, 33):
        for shift in np.linspace(-0.1, 0.1, 9):
            moved = replace(
                start,
                offset_kev=start.offset_kev + float(shift),
                slope_kev=start.slope_kev * float(factor),
            )
            likeness = _likeness(net, families, moved)
            likeness -= 0.1 * abs(factor - 1) / _FARTHEST + 0.1 * abs(shift) / 0.1
            if likeness > best[0]:
                best = (likeness, moved)
    return best[1]


def _counts(response: Response, found: Family, total: np.ndarray) -> float:
    channel = int(np.rint((found.main_kev - response.offset_kev) / response.slope_kev))
    return float(total[channel]) if 0 <= channel < len(total) else 0.0


def find(total: np.ndarray, families: Sequence[Family], start: Response) -> Response | None:
    """Find the energy scale of a sum spectrum from the elements alone.

    Scales from 2 to 40 eV a channel are compared by how alike the spectrum and each family's lines
    are; the best are refined.

    Parameters
    ----------
    total : (channels,) float64, counts
    families : sequence of Family
        At least two; one line fits any scale.
    start : Response
        Its resolution is the first guess.

    Returns
    -------
    Response or None
        None where no scale makes the lines alike.
    """
    if len(families) < 2:
        return None
    channels = len(total)
    candidates = []
    net, made_for = total, 0.0
    for slope in _SLOPES_KEV:
        first = replace(start, offset_kev=0.0, slope_kev=float(slope))
        if max(f.main_kev for f in families) > 0.98 * slope * channels:
            continue
        if slope > 1.15 * made_for:
            net = np.sqrt(np.maximum(total - background_of(total, first), 0.0))
            made_for = slope
        scored = (
            (_likeness(net, families, replace(first, offset_kev=float(offset))), offset, slope)
            for offset in _OFFSETS_KEV
        )
        candidates.append(max(scored))
    best: tuple[float, Response] | None = None
    for _, offset, slope in sorted(candidates, reverse=True)[:6]:
        tried = replace(start, offset_kev=float(offset), slope_kev=float(slope))
        refined = refine(total, families, tried)
        net = np.sqrt(np.maximum(total - background_of(total, refined.response), 0.0))
        likeness = _likeness(net, families, refined.response)
        likeness -= 0.2 * abs(refined.response.offset_kev)
        if not refined.why_not and (best is None or likeness > best[0]):
            best = (likeness, refined.response)
    return best[1] if best is not None and best[0] > _LEAST_LIKENESS else None


def _likeness(net: np.ndarray, families: Sequence[Family], response: Response) -> float:
    """Return the least cosine between the spectrum and one family's lines, square-rooted."""
    least = 1.0
    for found in families:
        strong = found.intensity > 0.02
        e, i = found.energy_kev[strong], found.intensity[strong]
        sigma = response.sigma_kev(e)
        low = int(np.floor((e.min() - 4 * sigma[0] - response.offset_kev) / response.slope_kev))
        high = int(np.ceil((e.max() + 4 * sigma[-1] - response.offset_kev) / response.slope_kev))
        if low < 0 or high >= len(net) or high - low < 6:
            return 0.0
        at = response.offset_kev + response.slope_kev * np.arange(low, high)
        shape = np.sqrt((i / sigma * np.exp(-0.5 * ((at[:, None] - e) / sigma) ** 2)).sum(axis=1))
        there = net[low:high]
        size = np.linalg.norm(there) * np.linalg.norm(shape)
        least = min(least, float(there @ shape / size) if size > 0 else 0.0)
    return least
