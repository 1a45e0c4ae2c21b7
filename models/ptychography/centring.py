"""The camera as its bright-field disk shows it: where zero frequency lies, and the scale.

Decided once, from the first frames, before anything is made of them. Frames are moved by whole
pixels only, so that counts stay counts; what is left, at most half a pixel, is a phase ramp on
the probe.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import numpy as np

from ..base import Batch, Corrections
from ..calibration_disk import Disk, fit_disk
from ..corrections import corrected, tables
from ..experiment import Experiment
from .descan import descanned, round_the_edge
from .pattern_check import camera_length

FIRST_FRAMES = 64
_SURE_PX = 0.5


class Centring:
    """Hold the first frames back until they have shown the disk; move frames to its centre.

    Parameters
    ----------
    experiment : Experiment
        Without electrons there is no disk to look for, and frames pass as they come.

    Attributes
    ----------
    experiment : Experiment
        With the camera's scale, or the convergence angle, where the disk gave it.
    offset_px : (y, x) int
        How far from ``[h // 2, w // 2]`` zero frequency lay.
    notes, reasons : list of str
        What was found, and what speaks against the result.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.offset_px = (0, 0)
        self.disk: Disk | None = None
        self.notes: list[str] = []
        self.reasons: list[str] = []
        self.decided = experiment.radiation != "electron"
        self._first: list[Batch] = []
        self._moved: tuple[Corrections, Corrections] | None = None

    @property
    def held(self) -> list[Batch]:
        """The batches held back."""
        return self._first

    def foreseen(self) -> Experiment:
        """Return the experiment with a stand-in for the scale that the disk will give."""
        known = self.experiment
        angle, sampling = known.semi_convergence_angle_rad, known.angular_sampling_rad
        if self.decided or (angle is None) == (sampling is None):
            return known
        if sampling is None and angle is not None:
            return replace(known, angular_sampling_rad=(angle / 16, angle / 16))
        assert sampling is not None  # noqa: S101  (for the type checker)
        return replace(known, semi_convergence_angle_rad=16 * min(sampling))

    def adopt(self, other: Self) -> list[Batch]:
        """Take over what `other` has decided; return the batches held back, centred."""
        for name in ("experiment", "offset_px", "disk", "notes", "reasons", "decided"):
            setattr(self, name, getattr(other, name))
        return self.flush()

    def take(self, batch: Batch) -> list[Batch]:
        """Return the batches that are ready, centred."""
        batch = descanned(batch, self.experiment)
        if self.decided:
            return [self._centred(batch)]
        self._first.append(batch)
        if sum(map(len, self._first)) < FIRST_FRAMES:
            return []
        return self.flush()

    def flush(self) -> list[Batch]:
        """Decide with the frames there are, and return those held back."""
        held, self._first = self._first, []
        if held and not self.decided:
            self._decide(held)
        return [self._centred(batch) for batch in held]

    def _decide(self, batches: list[Batch]) -> None:
        self.decided = True
        frames = np.concatenate([corrected(batch) for batch in batches])[:FIRST_FRAMES]
        shape = frames.shape[1:]
        try:
            mean = frames.mean(axis=0, dtype=np.float64)
            disk = fit_disk(mean, tables(batches[0].corrections, shape)[2])
        except ValueError:
            return
        if not (disk.centre_sigma_px < _SURE_PX and disk.radius_sigma_px < _SURE_PX):
            return
        self.disk = disk
        self._centre(disk, shape)
        self._scale(disk)

    def _centre(self, disk: Disk, shape: tuple[int, ...]) -> None:
        off = [round(c - n // 2) for c, n in zip(disk.centre_px, shape, strict=True)]
        # half a pixel rounds either way; one whole pixel is a fact
        if max(abs(c - n // 2) for c, n in zip(disk.centre_px, shape, strict=True)) < 0.75:
            return
        self.offset_px = (off[0], off[1])
        self.notes.append(
            f"estimated: zero frequency lies {off[0]}, {off[1]} px (y, x) from the detector's"
            " middle; the frames were moved by that"
        )

    def _scale(self, disk: Disk) -> None:
        known = self.experiment
        angle, sampling = known.semi_convergence_angle_rad, known.angular_sampling_rad
        if angle is not None and sampling is None:
            found = disk.angular_sampling_mrad(angle * 1e3)
            self.experiment = replace(
                known, angular_sampling_rad=(found[0] * 1e-3, found[1] * 1e-3)
            )
            self.notes.append(
                f"estimated: angular_sampling_mrad {found[0]:.4g}, {found[1]:.4g} (y, x) from the"
                f" disk's radius of {disk.radius_px:.1f} px"
            )
        elif sampling is not None:
            seen = disk.radius_px * math.sqrt(sampling[0] * sampling[1])
            if angle is None:
                self.experiment = replace(known, semi_convergence_angle_rad=seen)
                self.notes.append(
                    f"estimated: semi_convergence_angle_mrad {seen * 1e3:.4g} from the disk's"
                    f" radius of {disk.radius_px:.1f} px"
                )
            else:
                self.reasons += camera_length(disk, sampling, angle)

    def _centred(self, batch: Batch) -> Batch:
        if not any(self.offset_px):
            return batch
        if self._moved is None or self._moved[0] is not batch.corrections:
            shape = batch.frames.shape[1:]
            self._moved = batch.corrections, self._corrections(batch.corrections, shape)
        shift = (0, -self.offset_px[0], -self.offset_px[1])
        frames = np.roll(batch.frames, shift, axis=(0, 1, 2))
        return Batch(frames, batch.scan_index, batch.coordinates, self._moved[1])

    def _corrections(self, given: Corrections, shape: tuple[int, ...]) -> Corrections:
        """Return the corrections of moved frames; what comes round the edge was not measured."""
        dark, gain, good = tables(given, (shape[0], shape[1]))
        shift = (-self.offset_px[0], -self.offset_px[1])
        bad = np.roll(~good, shift, axis=(0, 1)) | round_the_edge(shape, shift)
        return Corrections(
            None if given.dark is None else np.roll(dark, shift, axis=(0, 1)),
            None if given.gain is None else np.roll(gain, shift, axis=(0, 1)),
            bad,
        )
