"""Patterns of a run's frames: I(q) with sigma for each, as they come."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import repeat
from typing import Self

import numpy as np

from ..base import Batch, Corrections, Quantity
from .geometry import LABELS
from .shared_integrator import SharedIntegrator

Make = Callable[[tuple[int, int], Corrections], SharedIntegrator]
MONITOR = "monitor"
_KEPT = ("time_s",)


def named(batch: Batch) -> Iterator[tuple[np.ndarray, Hashable]]:
    """Yield the frames of a batch with their names, None where they have none."""
    return zip(batch.frames, batch.names or repeat(None), strict=False)


class Integration:
    """Integrate each frame; frames do not know of each other.

    Parameters
    ----------
    make : callable ((h, w), Corrections) -> SharedIntegrator
        Called once, when the first frames say their shape and the camera its corrections.
    monitor : str
        What the coordinate ``monitor`` of the batches is, a beam current for each frame, by which
        intensities are divided where they have it. Where one is named and is not there, a flag
        says so.
    """

    def __init__(self, make: Make, *, monitor: str = MONITOR) -> None:
        self._make, self.monitor = make, monitor
        self.integrator: SharedIntegrator | None = None
        self._rows: dict[str, list[np.ndarray]] = {}

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames.

        Parameters
        ----------
        batch : Batch
            Frames (n, h, w).

        Raises
        ------
        ValueError
            When frames are no images of the integrator's shape.
        """
        if batch.frames.ndim != 3:
            raise ValueError(
                f"integration needs images (n, h, w), got frames of shape {batch.frames.shape};"
                " frames of one line are patterns already"
            )
        if self.integrator is None:
            h, w = batch.frames.shape[1:]
            self.integrator = self._make((h, w), batch.corrections)
        integrator = self.integrator
        n, bins = len(batch), integrator.bins
        intensity, sigma = np.empty((n, bins)), np.empty((n, bins))
        lost = np.zeros(n, np.int64)
        for i, (frame, name) in enumerate(named(batch)):
            intensity[i], sigma[i], lost[i] = integrator(frame, name)
        by = np.ones(n)
        stated = batch.coordinates.get(MONITOR)
        if stated is not None:
            stated = np.asarray(stated, float).reshape(n, -1)[:, 0]
            by = np.where(np.isfinite(stated) & (stated > 0), stated, np.nan)
        rows = {
            "intensity": intensity / by[:, None],
            "sigma": sigma / by[:, None],
            "lost": lost,
            "unlit": np.array([not frame.any() for frame in batch.frames], bool),
            "scan_index": np.asarray(batch.scan_index, np.int64),
            "dark_beam": ~np.isfinite(by),
            "divided": np.full(n, stated is not None),
            "monitor": np.full(n, np.nan) if stated is None else stated,
        }
        for name in _KEPT:
            given = batch.coordinates.get(name)
            rows[name] = np.full(n, np.nan) if given is None else np.asarray(given, float)
        for name, values in rows.items():
            self._rows.setdefault(name, []).append(values)
        return self

    def merge(self, other: Self) -> Self:
        """Take in the patterns of other frames.

        Raises
        ------
        ValueError
            When they have another axis.
        """
        if other.integrator is None:
            return self
        if self.integrator is None:
            self.integrator = other.integrator
        if not np.array_equal(self.integrator.axis, other.integrator.axis):
            raise ValueError("only integrations with the same axis can be joined")
        for name, values in other._rows.items():
            self._rows.setdefault(name, []).extend(values)
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far, in order of scan index.

        Returns
        -------
        dict of Quantity
            ``q_per_a`` or ``two_theta_deg`` (bin), centres; ``intensity`` and ``sigma``
            (frame, bin), counts for a pixel that faces the specimen, divided by the monitor where
            there is one, NaN in a bin without pixels; ``pixels_lost`` (frame), negative,
            saturated or NaN; ``monitor`` (frame) where there is one; ``scan_index``; ``time_s``
            (frame) where it is known; ``flags``.
        """
        if self.integrator is None:
            return {}
        rows = {name: np.concatenate(parts) for name, parts in self._rows.items()}
        order = np.argsort(rows["scan_index"], kind="stable")
        rows = {name: values[order] for name, values in rows.items()}
        unit = self.integrator.geometry.unit
        counts = "counts/monitor" if rows["divided"].any() else "counts"
        result = {
            unit: Quantity(self.integrator.axis, LABELS[unit], ("bin",)),
            "intensity": Quantity(rows["intensity"], counts, ("frame", "bin")),
            "sigma": Quantity(rows["sigma"], counts, ("frame", "bin")),
            "pixels_lost": Quantity(rows["lost"], "pixels", ("frame",)),
            "scan_index": Quantity(rows["scan_index"], "", ("frame",)),
            "flags": Quantity(_flags(rows, self.integrator.pixels_used), "", ("flag",)),
        }
        if rows["divided"].any():
            result[MONITOR] = Quantity(rows[MONITOR], "", ("frame",))
        if self.monitor != MONITOR and not rows["divided"].any():
            flags = [*result["flags"].value]
            flags.append(f"the run has no readings of {self.monitor}; nothing was divided by it")
            result["flags"] = Quantity(flags, "", ("flag",))
        for name in _KEPT:
            if np.isfinite(rows[name]).any():
                result[name] = Quantity(rows[name], "s", ("frame",))
        return result


def _flags(rows: dict[str, np.ndarray], used: int) -> list[str]:
    lost, n = rows["lost"], len(rows["lost"])
    flags = []
    if rows["unlit"].any():
        flags.append(f"{int(rows['unlit'].sum())} of {n} frames hold nothing but zeros")
    if lost.any():
        flags.append(
            f"{int((lost > 0).sum())} of {n} frames hold pixels beside the mask that are negative,"
            f" saturated or NaN, at most {int(lost.max())} of {used} in one; these were left out"
        )
    blind = ~np.isfinite(rows["intensity"]).any(axis=1) & ~rows["dark_beam"]
    if blind.any():
        flags.append(f"{int(blind.sum())} of {n} frames hold no pixel that can be believed")
    if rows["dark_beam"].any():
        flags.append(
            f"{int(rows['dark_beam'].sum())} of {n} frames have no reading of the monitor, or one"
            " that is not positive; their intensity is NaN"
        )
    if rows["divided"].any() and not rows["divided"].all():
        flags.append("only some frames have a monitor; the others were not divided by one")
    return flags
