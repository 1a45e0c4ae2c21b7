"""The spectra of a run, kept small, with their sum: a scale is found when all have been seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import numpy as np

from ..base import Batch

_AT_A_TIME = 4096


def narrow(spectra: np.ndarray) -> np.ndarray:
    """Return spectra in the smallest dtype that holds them: counts of a map are few.

    Parameters
    ----------
    spectra : array of any real dtype
        Finite.

    Returns
    -------
    array of uint8, uint16 or float32
    """
    if spectra.size == 0:
        return spectra.astype(np.uint8)
    low, high = float(spectra.min()), float(spectra.max())
    whole = spectra.dtype.kind in "ui" or bool(np.all(spectra == np.rint(spectra)))
    if whole and low >= 0:
        for kind in (np.uint8, np.uint16):
            if high <= np.iinfo(kind).max:
                return spectra.astype(kind)
    return spectra.astype(np.float32)


class HeldSpectra:
    """Spectra (n, detectors, channels), their sum, and where and when they were taken.

    Attributes
    ----------
    shape : (detectors, channels) or None
        None before the first.
    total : (detectors, channels) float64
        Sum of all spectra.
    negative : bool
        Whether some channel was negative.
    """

    def __init__(self) -> None:
        self.shape: tuple[int, int] | None = None
        self.total = np.zeros((0, 0))
        self.negative = False
        self._spectra: list[np.ndarray] = []
        self._rows: list[dict[str, np.ndarray]] = []

    def __len__(self) -> int:
        return sum(len(rows["index"]) for rows in self._rows)

    def add(self, batch: Batch, coordinates: tuple[str, ...]) -> np.ndarray:
        """Take in the next spectra and return them, (n, detectors, channels).

        Parameters
        ----------
        batch : Batch
            Frames (n, channels) or (n, detectors, channels); (n, 1, channels) is one detector.
        coordinates : tuple of str
            Those to keep, as far as the batch has them.

        Raises
        ------
        ValueError
            When frames are no spectra or of another shape than before.
        """
        frames = batch.frames
        if frames.ndim not in (2, 3) or frames.dtype.kind not in "uif":
            raise ValueError(
                "spectra must be (n, channels) or (n, detectors, channels) real numbers, got "
                f"{frames.shape} of {frames.dtype}"
            )
        frames = frames[:, None] if frames.ndim == 2 else frames
        if self.shape is None:
            self.shape = (int(frames.shape[1]), int(frames.shape[2]))
            self.total = np.zeros(self.shape)
        if frames.shape[1:] != self.shape:
            raise ValueError(
                f"spectra changed shape from {self.shape} to {frames.shape[1:]}; start a new run "
                "for that"
            )
        broken = np.zeros(len(frames), bool)
        if frames.dtype.kind == "f":
            finite = np.isfinite(frames)
            broken = ~finite.all(axis=(1, 2))
            frames = np.where(finite, frames, 0) if broken.any() else frames
        if frames.dtype.kind != "u":
            self.negative |= bool((frames < 0).any())
        small = narrow(frames)
        self._spectra.append(small)
        self.total = self.total + small[~broken].sum(axis=0, dtype=np.float64)
        rows = {"index": np.array(batch.scan_index, np.int64), "broken": broken}
        for name in coordinates:
            if name in batch.coordinates:
                rows[name] = np.array(batch.coordinates[name], np.float64)
        self._rows.append(rows)
        return small

    def merge(self, other: Self) -> None:
        """Take in what `other` holds.

        Raises
        ------
        ValueError
            When its spectra have another shape.
        """
        if other.shape is None:
            return
        if self.shape is None:
            self.shape, self.total = other.shape, np.zeros(other.shape)
        if self.shape != other.shape:
            raise ValueError(f"spectra of shape {self.shape} and {other.shape} do not add")
        self.total = self.total + other.total
        self.negative |= other.negative
        self._spectra += other._spectra
        self._rows += other._rows

    def rows(self) -> dict[str, np.ndarray]:
        """Return index, broken and coordinates of all spectra, in the order of `blocks`."""
        if not self._rows:
            return {"index": np.empty(0, np.int64), "broken": np.empty(0, bool)}
        names = set.intersection(*(set(rows) for rows in self._rows))
        return {name: np.concatenate([rows[name] for rows in self._rows]) for name in names}

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all spectra, (n, detectors, channels) a block."""
        for spectra in self._spectra:
            for start in range(0, len(spectra), _AT_A_TIME):
                yield spectra[start : start + _AT_A_TIME]

    def mean(self) -> np.ndarray:
        """Return the mean spectrum of the whole ones, (detectors, channels) float64."""
        whole = len(self) - int(self.rows()["broken"].sum())
        return self.total / max(whole, 1)
