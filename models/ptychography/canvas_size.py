"""How fine a canvas is, into how many super-pixels, and what memory that takes."""

from __future__ import annotations

import math

from ..experiment import Experiment
from .side_bands import refresh_bytes

_LARGE_PX = 300**2


def canvas_memory_bytes(shape: tuple[int, int], super_pixels: int) -> float:
    """Return what a canvas and its refresh need at most, beside a remembered overlap function.

    ``H W (4 K + 4)`` for the canvas and ``H W (12 min(K, 8) + 64)`` for a refresh, which works on
    8 super-pixels at a time where the canvas is large; a small one may take up to 0.15 GB more.
    While a canvas grows, the old one lives beside the new. Where it fits, the overlap function is
    remembered: another ``2 H W K``, with aberrations ``4 H W K``. 2048 x 2048 with 58 super-pixels,
    8 across, is 1.7 GB.

    Parameters
    ----------
    shape : (H, W)
        Canvas pixels.
    super_pixels : int
        K, about ``0.785 (bins_across + 0.6)^2``.
    """
    spare = refresh_bytes(shape, super_pixels)
    return float(shape[0] * shape[1]) * 4 * (super_pixels + 1) + spare


def bytes_a_pixel(super_pixels: int) -> float:
    """Return what a pixel of a large canvas costs."""
    large = (4096, 4096)
    return canvas_memory_bytes(large, super_pixels) / (large[0] * large[1])


def canvas_step(experiment: Experiment) -> float:
    """Return the canvas pixel, the scan's step or what its density amounts to, m.

    Raises
    ------
    MissingMetadata
        When neither is known, as of a single place or of places on one line.
    """
    step = density_step(experiment)
    return experiment.need("step") if step is None else step


def density_step(experiment: Experiment) -> float | None:
    """Return the scan's step or what its density amounts to, m; None where neither is known."""
    if experiment.step is not None:
        return experiment.step
    if experiment.extent is not None and experiment.n_points:
        (y0, x0), (y1, x1) = experiment.extent
        area = (y1 - y0) * (x1 - x0)
        if area > 0:
            return math.sqrt(area / experiment.n_points)
    return None


def choose_bins(experiment: Experiment, step_m: float, memory_bytes: float) -> int:
    """Choose the super-pixels so that canvas and refresh stay small and within memory."""
    if experiment.extent is None:
        return 16
    (y0, x0), (y1, x1) = experiment.extent
    pixels = ((y1 - y0) / step_m + 4) * ((x1 - x0) / step_m + 4)
    for bins in (16, 8, 6):
        fits = pixels * bytes_a_pixel(round(0.785 * (bins + 0.6) ** 2)) <= memory_bytes
        if fits and (bins < 16 or pixels < _LARGE_PX):
            return bins
    return 4
