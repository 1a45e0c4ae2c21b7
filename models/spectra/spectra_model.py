"""What models of spectra have in common: a preview while spectra arrive, one scale at the end."""

from __future__ import annotations

from typing import Self

import numpy as np

from ..base import Batch, Quantity
from ..experiment import Experiment
from ..scan_image import NearestImage, ScanImage, place
from .held_spectra import HeldSpectra

Rows = dict[str, np.ndarray]


class SpectraModel:
    """Fit spectra by columns that are made from the sum of those seen.

    While frames arrive the columns are made anew each time the counts have doubled, and what is
    shown is a preview; `converge` makes them from the sum of all and fits every spectrum again, so
    that the result does not depend on how frames were batched.

    Parameters
    ----------
    experiment : Experiment
        Where the frames lie.
    """

    coordinates: tuple[str, ...] = ("time_s", "dwell_s")
    """Coordinates of frames that are kept beside their positions."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._held = HeldSpectra()
        self._fitted_rows: list[Rows] = []
        self._made_at: float | None = None
        self._final = False

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next spectra.

        Parameters
        ----------
        batch : Batch
            Frames (n, channels) or (n, detectors, channels).

        Raises
        ------
        ValueError
            When frames are no spectra, or nothing that was asked for lies on their axis.
        """
        if len(batch) == 0:
            return self
        position = f"positions_{self.experiment.units}"
        spectra = self._held.add(batch, (position, *self.coordinates))
        counts = float(self._held.total.sum())
        if self._made_at is None or counts >= 2 * self._made_at:
            self._make()
            self._made_at = counts
        self._fitted_rows.append(self._fit(spectra))
        self._final = False
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other spectra."""
        self._held.merge(other._held)
        self._fitted_rows += other._fitted_rows
        self._final = False
        return self

    def converge(self) -> Self:
        """Make the columns from the sum of all spectra and fit each of them.

        Raises
        ------
        ValueError
            When no energy scale was stated and none can be found.
        """
        if self._held.shape is None:
            return self
        self._make()
        self._look()
        self._fitted_rows = [self._fit(block) for block in self._held.blocks()]
        self._final = True
        return self

    def _make(self) -> None:
        """Make the columns from the spectra so far."""
        raise NotImplementedError

    def _look(self) -> None:
        """Raise where the columns are not good enough for a result."""

    def _fit(self, spectra: np.ndarray) -> Rows:
        """Return named arrays (n, ...) for spectra (n, detectors, channels)."""
        raise NotImplementedError

    def _ordered(self) -> tuple[Rows, Rows]:
        """Return what is known of all spectra and what was fitted, in order of scan index."""
        rows = self._held.rows()
        order = np.argsort(rows["index"], kind="stable")
        rows = {name: values[order] for name, values in rows.items()}
        found = {
            name: np.concatenate([each[name] for each in self._fitted_rows])[order]
            for name in self._fitted_rows[0]
        }
        for values in found.values():
            values[rows["broken"]] = np.nan
        return rows, found

    def _times(self, rows: Rows) -> dict[str, Quantity]:
        """Return when each frame was taken, by which a cell's samples are joined."""
        if "time_s" not in rows:
            return {}
        return {"time_s": Quantity(rows["time_s"], "s", ("frame",))}

    def _place(self, rows: Rows) -> ScanImage | NearestImage | None:
        """Return where the spectra lie in a picture, or None where there is none."""
        positions = rows.get(f"positions_{self.experiment.units}")
        n = len(rows["index"])
        image = place(self.experiment, rows["index"], positions) if n > 1 else None
        return image if image is not None and min(image.shape) > 1 else None

    def _broken(self, rows: Rows) -> list[str]:
        flags = []
        if rows["broken"].any():
            flags.append(
                f"{int(rows['broken'].sum())} of {len(rows['broken'])} spectra hold values that "
                "are NaN or infinite and were left out"
            )
        if self._held.negative:
            flags.append("some channels are negative: variances assume counted quanta")
        return flags


def geometry(image: ScanImage | NearestImage) -> dict[str, Quantity]:
    """Return pixel and origin of a picture as quantities."""
    return {
        f"image_pixel_{image.units}": Quantity(image.pixel, image.units, ("yx",)),
        f"image_origin_{image.units}": Quantity(image.origin, image.units, ("yx",)),
    }
