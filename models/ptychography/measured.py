"""The frames of an iterative reconstruction, gathered batch by batch and kept small.

Counts of cameras that write unsigned integers up to 16 bits are kept as they are, two bytes a
pixel; all others as float32. So n frames of (h, w) take ``2 n h w`` or ``4 n h w`` bytes, and
twice that for the moment in which `in_order` joins what came in batches.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from ..base import Batch
from ..corrections import check_frames, corrected, tables
from ..experiment import Experiment
from .engine_kernels import to_counts
from .geometry import batch_positions, positions_in_pixels
from .pattern_check import dead_reasons
from .visits import visit_reasons


class Measured:
    """Counts, positions and scan indices of all frames so far.

    Parameters
    ----------
    experiment : Experiment
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.shape: tuple[int, int] | None = None
        self.pixel_m = np.full(2, np.nan)
        self.clipped = 0
        self.negative = 0
        self._good: np.ndarray | None = None
        self._total = np.zeros((0, 0))
        self._counts: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._given: list[np.ndarray] = []
        self._index: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(len(index) for index in self._index)

    def take(self, batch: Batch) -> None:
        """Take in a batch.

        Raises
        ------
        MissingMetadata
            When a needed quantity is unknown.
        ValueError
            When frames or positions do not fit, or are not finite.
        """
        shape = check_frames(batch, self.shape)
        given = batch_positions(batch, self.experiment.units)
        positions, pixel_m = positions_in_pixels(given, self.experiment, shape)
        frames = corrected(batch)
        if frames.dtype.kind == "f" and not np.all(np.isfinite(frames)):
            raise ValueError("frames hold NaN or infinity; mask those pixels as bad_pixels")
        good = tables(batch.corrections, shape)[2]
        small = frames.dtype in (np.uint8, np.uint16)
        counts = np.empty(frames.shape, np.uint16 if small else np.float32)
        self.negative += int(to_counts(frames, good, counts))
        if batch.frames.dtype.kind in "ui":
            ceiling = np.iinfo(batch.frames.dtype).max
            self.clipped += int((batch.frames.max(axis=(1, 2)) == ceiling).sum())
        self.shape, self.pixel_m = shape, pixel_m
        self._good = good if self._good is None else self._good & good
        total = counts.sum(axis=0, dtype=np.float64)
        self._total = self._total + total if self._total.size else total
        self._counts.append(counts)
        self._positions.append(positions)
        self._given.append(given.copy())
        self._index.append(np.array(batch.scan_index, np.int64))

    def merge(self, other: Self) -> None:
        """Take in the frames of `other`.

        Raises
        ------
        ValueError
            When the frames of the two differ in shape.
        """
        if other.shape is None:
            return
        if self.shape not in (None, other.shape):
            raise ValueError(f"frames of {self.shape} do not join frames of {other.shape}")
        self.shape, self.pixel_m = other.shape, other.pixel_m
        assert other._good is not None  # noqa: S101  (for the type checker)
        self._good = other._good if self._good is None else self._good & other._good
        for name in ("_counts", "_positions", "_given", "_index"):
            getattr(self, name).extend(getattr(other, name))
        self._total = self._total + other._total if self._total.size else other._total
        self.clipped += other.clipped
        self.negative += other.negative

    def last(self, back: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return counts and positions of the last batch, or of the one `back` - 1 before it."""
        return self._counts[-back], self._positions[-back]

    @property
    def batches(self) -> int:
        """How many batches are kept apart."""
        return len(self._index)

    def in_order(self) -> tuple[np.ndarray, np.ndarray]:
        """Return counts (n, h, w) and positions (n, 2), pixels, by scan index; joined once."""
        index = np.concatenate(self._index)
        if len(self._index) > 1 or np.any(np.diff(index) < 0):
            order = np.argsort(index, kind="stable")
            self._index = [index[order]]
            for name in ("_counts", "_positions", "_given"):
                setattr(self, name, [np.concatenate(getattr(self, name))[order]])
        return self._counts[0], self._positions[0]

    def align(self, experiment: Experiment, positions: np.ndarray) -> None:
        """Put frames, in order of scan index, where the beam is now known to have been.

        Parameters
        ----------
        experiment : Experiment
            With the scan's frame as it is now known.
        positions : (n, 2) float64, yx
            In the experiment's units.
        """
        self.in_order()
        assert self.shape is not None  # noqa: S101  (for the type checker)
        self.experiment = experiment
        self._given = [positions]
        turned, self.pixel_m = positions_in_pixels(positions, experiment, self.shape)
        self._positions = [turned]

    def given(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scan indices (n,) and the given positions (n, 2), in order of scan index."""
        index = np.concatenate(self._index)
        order = np.argsort(index, kind="stable")
        return index[order], np.concatenate(self._given)[order]

    def all_positions(self) -> np.ndarray:
        """Return positions (n, 2) in pixels, in the order of arrival."""
        return np.concatenate(self._positions)

    def good(self) -> np.ndarray:
        """Return (h, w) float32: 1 where all frames measured; zero frequency at [0, 0]."""
        assert self._good is not None  # noqa: S101  (for the type checker)
        return np.fft.ifftshift(self._good).astype(np.float32)

    def mean_frame(self) -> np.ndarray:
        """Return the mean counts (h, w) float64, zero frequency at ``[h // 2, w // 2]``."""
        return np.fft.fftshift(self._total / len(self))

    def reasons(self) -> list[str]:
        """Return what is wrong with the frames."""
        n, out = len(self), []
        if self.clipped:
            out.append(
                f"clipped: {self.clipped} of {n} frames reach the top of their number format"
            )
        if self.negative:
            out.append(f"negative counts: in {self.negative} of {n} frames, taken as 0")
        out += dead_reasons(self.mean_frame() * n, np.fft.fftshift(self.good()) > 0)
        return out + visit_reasons(*self.given(), self.experiment.passes)
