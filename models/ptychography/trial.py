"""A short trial on a few frames: which of several views of the experiment explains them best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base import Batch, Corrections
from ..experiment import Experiment
from .iterative import IterativePtychography

FRAMES, PASSES = 400, 4


def best_explained(
    model: IterativePtychography, positions: np.ndarray, views: Sequence[Experiment]
) -> int:
    """Return the number of the view whose short reconstruction misses the frames least."""
    return int(np.argmin(misfits(model, positions, views)))


def misfits(
    model: IterativePtychography, positions: np.ndarray, views: Sequence[Experiment]
) -> list[float]:
    """Return the ``fourier_error`` of each view's short reconstruction.

    Parameters
    ----------
    model : IterativePtychography
        With all frames; it is not changed.
    positions : (n, 2) float64, yx
        Of the frames in order of scan index, in the experiment's units.
    views : sequence of Experiment
    """
    counts, _ = model.measured.in_order()
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    rows = np.sort(np.argsort(((positions - middle) ** 2).sum(axis=1), kind="stable")[:FRAMES])
    frames = np.fft.fftshift(counts[rows], axes=(1, 2))
    bad = np.fft.fftshift(model.measured.good()) == 0
    name = f"positions_{model.experiment.units}"
    batch = Batch(frames, rows, {name: positions[rows]}, Corrections(bad_pixels=bad))
    errors = []
    for view in views:
        # a probe that may change would make up for a wrong one
        trial = IterativePtychography(
            view, iterations=PASSES, preview=False, update_probe=False, frc=False
        )
        errors.append(trial.partial_fit(batch).converge().fourier_error_)
    return errors
