"""How many counts a camera gives for an electron, from how its spectra scatter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_FEWEST_BINS = 6
_WIDTHS = (8, 4, 2, 1)
_WANTED, _USABLE = 0.1, 0.25
_ENOUGH = 30
# of second differences: neighbours share bins, which leaves so much less to average over
_SHARED = 1 + 2 * ((4 / 6) ** 2 + (1 / 6) ** 2)


@dataclass(frozen=True)
class Gain:
    """Variance a count.

    Parameters
    ----------
    value, sigma : float, counts
        Of one electron; sigma is NaN where it was given or is unknown.
    source : str
        How it was found.
    known : bool
        False where 1 was taken for want of anything better.
    """

    value: float
    sigma: float
    source: str
    known: bool = True


def estimate(blocks: Iterable[np.ndarray], order: np.ndarray, use: np.ndarray) -> Gain:
    """Return the variance of counts relative to their mean, where a spectrum is smooth.

    Counts of a camera that gives g counts an electron have the variance g times the mean. It is
    read from second differences over bins of channels: what is smooth leaves nothing there, and
    what remains of the mean spectrum's own curvature is taken off each spectrum in proportion. The
    bins are as wide as the channels allow, because a camera's point spread couples neighbouring
    channels and hides noise from differences of them.

    Parameters
    ----------
    blocks : iterable of (n, channels) array, counts
        All spectra.
    order : (N,) int
        Which of them to sum first, so that batches change no bit. Those left out are not used.
    use : (channels,) bool
        Where the spectra are smooth: before the first edge.

    Returns
    -------
    Gain
    """
    channels = np.flatnonzero(use)
    n = len(order)
    width = 0
    for each in _WIDTHS:
        bins = len(channels) // each
        if bins < _FEWEST_BINS or n == 0:
            continue
        width = each
        if np.sqrt(2 * _SHARED / (n * (bins - 2))) <= _WANTED:
            break
    if not width:
        return Gain(
            1.0, np.nan, "unknown: too few channels before the first edge; taken as 1", False
        )
    last = channels[len(channels) - len(channels) // width * width :]
    binned = np.concatenate([_binned(block, last, width) for block in blocks])[order]
    mean = binned.sum(axis=0) / n
    # of each spectrum, how bright it is; row by row, so that no bit depends on the neighbours
    bright = np.array([row.sum() for row in binned]) / max(float(mean.sum()), 1e-300)
    expected = mean[:-2] + 4 * mean[1:-1] + mean[2:]
    if not (expected > 0).all():
        return Gain(1.0, np.nan, "unknown: no counts before the first edge; taken as 1", False)
    second = binned[:, :-2] - 2 * binned[:, 1:-1] + binned[:, 2:]
    shared = 0.0
    if n > 1:
        curved = mean[:-2] - 2 * mean[1:-1] + mean[2:]
        second = second - bright[:, None] * curved
        shared = float(np.sum(bright**2)) / n**2
    found = np.array([row.sum() for row in second**2 / expected])
    degrees = n * len(expected) * max(1.0 - shared, 1e-3)
    value = float(found.sum()) / degrees
    sigma = value * float(np.sqrt(2 * _SHARED / degrees))
    if n >= _ENOUGH:
        # few counts scatter more than a normal distribution's
        scatter = found - value * bright * len(expected)
        sigma = max(sigma, float(np.std(scatter)) * np.sqrt(n) / degrees)
    if not value > 0 or sigma > _USABLE * value:
        return Gain(1.0, np.nan, "unknown: too few spectra to tell; taken as 1", False)
    said = f"scatter of {len(last)} channels before the first edge in {n} spectra"
    return Gain(value, sigma, said)


def _binned(block: np.ndarray, channels: np.ndarray, width: int) -> np.ndarray:
    """Return sums over bins of channels, (n, bins) float64."""
    part = block[:, channels].astype(np.float64)
    return part.reshape(len(part), -1, width).sum(axis=2)
