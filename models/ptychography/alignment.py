"""Where the beam was on the specimen, as far as the frames tell what the run does not state.

Rotation and transposition come from the curl of the centre of mass, drift from places that were
visited more than once. All of it is found from all frames when it is asked for, so that batching
cannot change it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..base import Batch, Quantity
from ..drift import MIN_FRAMES, Drift, find_drift
from ..experiment import Experiment
from ..trajectories import Random
from ..virtual_images import VirtualImages
from .geometry import batch_positions, median_spacing

DRIFT = ("auto", "off")
_SURVEYED = ("uint8", "uint16", "uint32", "int32", "float32")
STRETCH_FRAMES = 256
_SURE = 3.0
_FINE = 0.5
_LOOSE_RAD = 0.05


class Alignment:
    """Gather what tells a scan's frame and its drift.

    Parameters
    ----------
    experiment : Experiment
    drift : {"auto", "off"}
        "auto" moves positions where a scan of several passes, or of random positions, shows a
        drift of more than 3 standard errors.

    Raises
    ------
    ValueError
        When `drift` is neither.
    """

    def __init__(self, experiment: Experiment, drift: str = "auto") -> None:
        if drift not in DRIFT:
            raise ValueError(f"drift must be one of {', '.join(DRIFT)}, got {drift!r}")
        self.experiment = experiment
        self.drift = drift
        electrons = experiment.radiation == "electron"
        self._survey = VirtualImages(experiment) if electrons else None
        self._index: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._time: list[np.ndarray] = []
        self.unsure = False

    @property
    def seen(self) -> bool:
        """Whether frames have been asked; those of electrons are."""
        return bool(self._index)

    def take(self, batch: Batch) -> None:
        """Take in a centred batch."""
        if self._survey is None:
            return
        frames = batch.frames
        if frames.dtype.name not in _SURVEYED:
            frames = frames.astype(np.float32)
        self._survey.partial_fit(
            Batch(frames, batch.scan_index, batch.coordinates, batch.corrections)
        )
        self._index.append(np.array(batch.scan_index, np.int64))
        self._positions.append(batch_positions(batch, self.experiment.units).copy())
        self._time.append(_time(batch))

    def merge(self, other: Self) -> None:
        """Take in what `other` has seen."""
        if self._survey is None or other._survey is None:
            return
        self._survey.merge(other._survey)
        self._index += other._index
        self._positions += other._positions
        self._time += other._time

    def frame(self) -> tuple[Experiment, list[str], list[str]]:
        """Return the experiment in its scan's frame, what was found, and what is doubtful.

        `unsure` is then whether other signs of the frame are worth more than these.
        """
        experiment = self.experiment
        found = None if self._survey is None else self._survey.scan_frame()
        if found is None:
            return experiment, [], []
        unknown = any("unknown" in text for text in found.flags)
        self.unsure = not experiment.scan_rotation_stated and (
            unknown or found.sigma_rad > _LOOSE_RAD
        )
        known = experiment
        if not experiment.scan_rotation_stated:
            known = replace(
                experiment, scan_rotation_rad=found.rotation_rad, transposed=found.transposed
            )
        notes = [text for text in found.flags if text.startswith("estimated")]
        return known, notes, [text for text in found.flags if text not in notes]

    def positions(self) -> tuple[np.ndarray, Drift | None, list[str]]:
        """Return positions (n, 2) in order of scan index, less drift; the drift, what was found.

        Without several visits to a place, or with "off", positions are those given.
        """
        index, given, time = self._visits()
        drift = self._drift(index, given, time)
        if drift is None:
            return given, None, []
        note = f"drift: {self.extent_of(drift)}; positions were moved"
        return given + drift(time), drift, [note]

    @property
    def looks_for_drift(self) -> bool:
        """Whether places are visited more than once, and drift may be found from that."""
        experiment = self.experiment
        several = experiment.passes is not None or experiment.trajectory_type == Random.type
        return self.drift == "auto" and self._survey is not None and several

    def drift_so_far(self, first: int) -> tuple[Drift, float] | None:
        """Return the drift, and the mean time of the frames before index `first`, s.

        None where no drift shows, or where none of those frames was seen.
        """
        if not any((index < first).any() for index in self._index):
            return None
        index, given, time = self._visits()
        early, drift = index < first, self._drift(index, given, time)
        return None if drift is None else (drift, float(time[early].mean()))

    def time_of(self, batch: Batch) -> np.ndarray:
        """Return the times (n,) float64 of a batch's frames, s since the first frame seen."""
        began = min(float(time.min()) for time in self._time)
        return _time(batch) - began

    def extent_of(self, drift: Drift) -> str:
        """Return how far a drift went, in words."""
        scale, unit = (1e9, "nm") if drift.units == "m" else (1.0, "px")
        far = np.ptp(drift.displacement, axis=0) * scale
        sigma = float(np.median(drift.sigma)) * scale
        return (
            f"{far[0]:.3g}, {far[1]:.3g} {unit} (y, x) over the scan, +- {sigma:.2g},"
            f" from {len(drift.time_s)} parts of it"
        )

    def _visits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices (n,), positions (n, 2) and times (n,) from the first, by index."""
        index = np.concatenate(self._index)
        order = np.argsort(index, kind="stable")
        time = np.concatenate(self._time)[order]
        return index[order], np.concatenate(self._positions)[order], time - time.min()

    def _drift(self, index: np.ndarray, given: np.ndarray, time: np.ndarray) -> Drift | None:
        group = self._groups(index)
        survey, experiment = self._survey, self.experiment
        if survey is None or group is None or len(index) < MIN_FRAMES:
            return None
        step = experiment.step or median_spacing(given)
        blur = _blur_px(given, group, step)
        best: Drift | None = None
        for name, values in survey.signals().items():
            if name == "com" or not np.ptp(values) > 0:
                continue
            try:
                found = find_drift(
                    values, given, time, group, pixel=step, blur_px=blur, units=experiment.units
                )
            except ValueError:
                continue
            if best is None or np.median(found.sigma) < np.median(best.sigma):
                best = found
        if best is None or not _believed(best, step):
            return None
        return best

    def _groups(self, index: np.ndarray) -> Any:
        """Return each frame's pass, or into how many stretches random positions are cut."""
        experiment = self.experiment
        if not self.looks_for_drift:
            return None  # one spiral or raster is turned and stretched by a drift, no more
        if experiment.passes is not None:
            inside = index < len(experiment.passes)
            return np.where(inside, experiment.passes[np.where(inside, index, 0)], -1)
        stretches = len(index) // STRETCH_FRAMES
        return stretches if stretches >= 4 else None

    def quantities(self, known: Experiment, drift: Drift | None) -> dict[str, Quantity]:
        """Return the calibration that a result rests on, for its provenance."""
        out = {
            "scan_rotation_deg": Quantity(math.degrees(known.scan_rotation_rad), "deg"),
            "transposed": Quantity(bool(known.transposed)),
        }
        if known.radiation == "electron":
            out["defocus_nm"] = Quantity(known.defocus_m * 1e9, "nm")
        if known.angular_sampling_rad is not None:
            sampling = np.array(known.angular_sampling_rad) * 1e3
            out["angular_sampling_mrad"] = Quantity(sampling, "mrad", ("yx",))
        if known.semi_convergence_angle_rad is not None:
            angle = known.semi_convergence_angle_rad * 1e3
            out["semi_convergence_angle_mrad"] = Quantity(angle, "mrad")
        if drift is not None:
            out[f"drift_{drift.units}"] = Quantity(drift.displacement, drift.units, ("part", "yx"))
            out["drift_time_s"] = Quantity(drift.time_s, "s", ("part",))
        return out


def _time(batch: Batch) -> np.ndarray:
    """Return when frames were taken, s; without a clock, in frames."""
    return np.array(batch.coordinates.get("time_s", batch.scan_index), np.float64)


def _blur_px(given: np.ndarray, group: np.ndarray | int, step: float) -> float:
    """Return how far a part's picture must be blurred to close the gaps between its points."""
    part = given[group == np.unique(group)[0]] if isinstance(group, np.ndarray) else given
    share = 1.0 if isinstance(group, np.ndarray) else math.sqrt(group)
    return float(np.clip(0.6 * share * median_spacing(part) / step, 0.7, 6))


def _believed(drift: Drift, step: float) -> bool:
    """Whether the drift is larger than its error, and that error smaller than half a step."""
    sigma = float(np.median(drift.sigma))
    spread = float(np.abs(drift.displacement - drift.displacement.mean(axis=0)).max())
    return bool(np.isfinite(sigma) and sigma < _FINE * step and spread > _SURE * sigma)
