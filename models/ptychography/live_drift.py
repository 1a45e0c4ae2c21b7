"""Positions that follow a drift while the scan runs.

The final reconstruction moves all positions by the drift that all frames show. A preview cannot
wait for them: at fixed places of the scan, each at least a seventh further than the last and at
whole or half passes (the picture of a smaller part is placed badly), the drift is found from the
frames so far, and the frames to come are moved by it, relative to where the specimen was in the
first pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..base import Batch
from ..drift import Drift
from .alignment import STRETCH_FRAMES, Alignment

_FURTHER = 1.15


class LiveDrift:
    """Move each batch by the drift that the frames before it show.

    Where drift is looked for depends on scan indices alone, so that batching changes nothing. A
    model that did not see the scan's beginning leaves positions as they are: parts that are
    merged must agree about where the specimen was.

    Parameters
    ----------
    alignment : Alignment
        Of the frames so far; `take` must be called for each part after `moved`.

    Attributes
    ----------
    drift : Drift or None
        The newest.
    since : int or None
        Scan index of the first frame that was moved.
    """

    def __init__(self, alignment: Alignment) -> None:
        self.drift: Drift | None = None
        self.since: int | None = None
        self._alignment = alignment
        self._anchor = 0.0
        self._first = first_visit(alignment)
        self._next = math.inf if self._first is None else self._after(self._first)

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """Yield the batch in pieces, with the drift brought up to date between them."""
        while len(batch) and batch.scan_index[-1] >= self._next:
            cut = int(np.searchsorted(batch.scan_index, self._next))
            if cut:
                yield batch[slice(0, cut)]
            batch = batch[slice(cut, None)]
            self._look()
        if len(batch):
            yield batch

    def moved(self, batch: Batch) -> Batch:
        """Return the batch at its frames' places on the specimen of the first pass."""
        if self.drift is None:
            return batch
        if self.since is None:
            self.since = int(batch.scan_index[0])
        name = f"positions_{self.drift.units}"
        time = self._alignment.time_of(batch)
        there = self.drift(np.append(time, self._anchor))
        places = np.asarray(batch.coordinates[name], float) + there[:-1] - there[-1]
        return replace(batch, coordinates={**batch.coordinates, name: places})

    def notes(self) -> list[str]:
        """Return what was done, for the result's flags."""
        if self.drift is None or self.since is None:
            return []
        return [
            f"drift: {self._alignment.extent_of(self.drift)}; positions follow it from frame"
            f" {self.since} on"
        ]

    def _after(self, index: float) -> int:
        """Return where drift is looked for next."""
        several = self._alignment.experiment.passes is not None
        part = (self._first or 1) / 2 if several else STRETCH_FRAMES
        return math.ceil(math.ceil(_FURTHER * index / part) * part)

    def _look(self) -> None:
        self._next = self._after(self._next)
        found = None if self._first is None else self._alignment.drift_so_far(self._first)
        if found is not None:
            self.drift, self._anchor = found


def first_visit(alignment: Alignment) -> int | None:
    """Return how many frames a scan makes before it comes back, or None where it does not."""
    experiment = alignment.experiment
    if not alignment.looks_for_drift:
        return None
    if experiment.passes is None:
        return 4 * STRETCH_FRAMES
    other = np.flatnonzero(experiment.passes != experiment.passes[0])
    return int(other[0]) if len(other) else None
