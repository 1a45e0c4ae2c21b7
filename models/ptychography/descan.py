"""Frames put back where descan coils that do not quite follow the beam have moved them from.

By whole pixels, so that counts stay counts; what is left is a phase ramp of at most half a pixel.
"""

from __future__ import annotations

import numpy as np

from ..base import Batch, Corrections
from ..corrections import corrected, tables
from ..experiment import Experiment
from .geometry import batch_positions


def descanned(batch: Batch, experiment: Experiment) -> Batch:
    """Return a batch whose patterns are centred alike.

    Parameters
    ----------
    batch : Batch
        With positions in the experiment's units.
    experiment : Experiment
        Its ``descan_px`` says how the pattern moves with the beam; None leaves the batch as it is.
    """
    if experiment.descan_px is None or not len(batch):
        return batch
    places = batch_positions(batch, experiment.units)
    middle = np.zeros(2) if experiment.extent is None else np.mean(experiment.extent, axis=0)
    moves = np.rint((places - middle) @ np.array(experiment.descan_px).T).astype(int)
    if not moves.any():
        return batch
    shape = batch.frames.shape[1:]
    frames = corrected(batch)  # a pixel's dark and gain stay with the pixel
    out = np.empty_like(frames)
    bad = ~tables(batch.corrections, (shape[0], shape[1]))[2]
    somewhere = np.zeros(shape, bool)
    for move in np.unique(moves, axis=0):
        rows = (moves == move).all(axis=1)
        back = (-int(move[0]), -int(move[1]))
        out[rows] = np.roll(frames[rows], back, axis=(1, 2))
        somewhere |= np.roll(bad, back, axis=(0, 1))
        somewhere |= round_the_edge(shape, back)
    corrections = Corrections(bad_pixels=somewhere)
    return Batch(out, batch.scan_index, batch.coordinates, corrections)


def round_the_edge(shape: tuple[int, ...], move_px: tuple[int, int]) -> np.ndarray:
    """Return which pixels of a rolled frame (h, w) came round its edge, bool."""
    wrapped = np.zeros(shape, bool)
    for axis, move in enumerate(move_px):
        edge = np.moveaxis(wrapped, axis, 0)
        edge[:move] |= move > 0
        edge[len(edge) + move :] |= move < 0
    return wrapped
