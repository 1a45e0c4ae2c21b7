"""Sums of patterns of one line and of spectra: what virtual images are to them."""

from __future__ import annotations

from typing import Self

import numpy as np

from .base import Batch, Quantity
from .experiment import Experiment
from .scan_image import place


class PatternSums:
    """The sum of each frame, the mean frame, and the map of the sums where there is a scan.

    Values that are NaN or infinite are left out and flagged.

    Parameters
    ----------
    experiment : Experiment
        Where the frames lie.
    dims : tuple of str
        Names of a frame's axes, such as ("bin",) or ("element", "channel").
    """

    def __init__(self, experiment: Experiment, dims: tuple[str, ...] = ("bin",)) -> None:
        self.experiment = experiment
        self.dims = tuple(dims)
        self._total: np.ndarray | None = None
        self._count: np.ndarray | None = None
        self._rows: list[dict[str, np.ndarray]] = []

    @property
    def n_frames(self) -> int:
        """How many frames have been taken in."""
        return sum(len(rows["index"]) for rows in self._rows)

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames.

        Parameters
        ----------
        batch : Batch
            Frames (n, bins) or (n, elements, channels) of any real dtype.

        Raises
        ------
        ValueError
            When frames have other axes than before.
        """
        if len(batch) == 0:
            return self
        frames = batch.frames
        if frames.ndim != 1 + len(self.dims) or frames.dtype.kind not in "uif":
            raise ValueError(
                f"frames must be (n, {', '.join(self.dims)}) real numbers, got {frames.shape} of"
                f" {frames.dtype}"
            )
        if self._total is None or self._count is None:
            self._total = np.zeros(frames.shape[1:])
            self._count = np.zeros(frames.shape[1:], np.int64)
        if frames.shape[1:] != self._total.shape:
            raise ValueError(
                f"frames changed shape from {self._total.shape} to {frames.shape[1:]}; start a new"
                " run for that"
            )
        finite = np.isfinite(frames)
        values = np.where(finite, frames, 0).astype(np.float64)
        self._total = self._total + values.sum(axis=0)
        self._count = self._count + finite.sum(axis=0)
        axes = tuple(range(1, frames.ndim))
        rows = {
            "index": np.array(batch.scan_index, np.int64),
            "sum": values.sum(axis=axes),
            "missing": ~finite.all(axis=axes),
            "negative": (values < 0).any(axis=axes),
        }
        name = f"positions_{self.experiment.units}"
        if name in batch.coordinates:
            rows["positions"] = np.array(batch.coordinates[name], np.float64)
        self._rows.append(rows)
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames.

        Raises
        ------
        ValueError
            When its frames have another shape.
        """
        if other._total is None or other._count is None:
            return self
        if self._total is None or self._count is None:
            self._total, self._count = np.zeros_like(other._total), np.zeros_like(other._count)
        if self._total.shape != other._total.shape:
            raise ValueError(
                f"frames of shape {self._total.shape} and {other._total.shape} do not add"
            )
        self._total, self._count = self._total + other._total, self._count + other._count
        self._rows += other._rows
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far.

        Returns
        -------
        dict of Quantity
            ``sum`` and ``scan_index`` a frame, in order of scan index; ``mean``, the mean frame;
            ``sum_image`` (y, x) with ``image_pixel_m`` and ``image_origin_m`` (or ``_px``) where
            there is a scan of more than one frame; ``flags``.
        """
        if self._total is None or self._count is None:
            return {}
        names = set.intersection(*(set(rows) for rows in self._rows))
        rows = {name: np.concatenate([each[name] for each in self._rows]) for name in names}
        order = np.argsort(rows["index"], kind="stable")
        rows = {name: values[order] for name, values in rows.items()}
        with np.errstate(invalid="ignore"):
            mean = np.where(self._count > 0, self._total / np.maximum(self._count, 1), np.nan)
        result = {
            "sum": Quantity(rows["sum"], "counts", ("frame",)),
            "scan_index": Quantity(rows["index"], "", ("frame",)),
            "mean": Quantity(mean, "counts", self.dims),
        }
        n = len(rows["index"])
        image = place(self.experiment, rows["index"], rows.get("positions")) if n > 1 else None
        if image is not None:
            result["sum_image"] = Quantity(image(rows["sum"]), "counts", ("y", "x"))
            result[f"image_pixel_{image.units}"] = Quantity(image.pixel, image.units, ("yx",))
            result[f"image_origin_{image.units}"] = Quantity(image.origin, image.units, ("yx",))
        flags = [
            f"{int(bad.sum())} of {n} frames {what}"
            for what, bad in (
                ("hold values that are NaN or infinite, which were left out", rows["missing"]),
                ("are empty", rows["sum"] == 0),
                ("hold negative values", rows["negative"]),
            )
            if bad.any()
        ]
        result["flags"] = Quantity(flags, "", ("flag",))
        return result
