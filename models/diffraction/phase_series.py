"""Phases of a series of powder patterns: the model behind the analysis `phases`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Self

import numpy as np

from ..base import Batch, Event, Quantity
from ..mass_balance import mass_balance
from .hypotheses import compile_kernels
from .integration import MONITOR, Make, named
from .lattice import volumes_a3
from .moving_verdict import MovingVerdict
from .noise import gain_of, steadied, weights
from .pattern_axis import PatternAxis, pattern_axis
from .peaks import PeakTracks
from .powder import PowderPhase
from .shared_integrator import SharedIntegrator
from .tracked import Tracked
from .tracker import PhaseTracker
from .verdict import UNDECIDED, Verdicts

MOST_UNKNOWN = 8
_UNSEEN = np.nan


class PhaseSeries:
    """Follow phases and lines through patterns of one line.

    Parameters
    ----------
    read : callable (q_max_per_a, energy_kev) -> sequence of PowderPhase
        Gives the phases once the axis is known; none for lines alone.
    window : sequence of str
        Names of phases that do not count among the volumes.
    wavelength_a : float, angstrom, optional
    polarised, q_min_per_a, q_max_per_a
        Of `pattern_axis`.
    lines : int
        Lines to follow without any crystal.
    integrator : callable ((h, w), Corrections) -> SharedIntegrator, optional
        Makes patterns over q of images.
    mass : str, optional
        An element whose mass in the crystals, windows aside, is compared with its first value.
    mass_first : int
        Frames whose mean is the first value.
    verdict_every : int
        Frames between judgements while frames come; 0 for one at the end alone.
    verdict_window : int
        Frames that each of these looks back.
    **settings
        Of `PhaseTracker`.

    Attributes
    ----------
    events_ : list of Event
        ``phase_onset``, ``phase_gone``, ``unknown_line`` and ``verdict``.
    tracker : PhaseTracker or None
        Made with the first frame.
    """

    def __init__(
        self,
        read: Callable[[float, float | None], Sequence[PowderPhase]] | None = None,
        *,
        window: Sequence[str] = (),
        wavelength_a: float | None = None,
        polarised: bool = False,
        q_min_per_a: float | None = None,
        q_max_per_a: float | None = None,
        lines: int = 12,
        integrator: Make | None = None,
        mass: str | None = None,
        mass_first: int = 1,
        verdict_every: int = 0,
        verdict_window: int = 32,
        **settings: Any,
    ) -> None:
        self._moving_settings = (int(verdict_every), int(verdict_window))
        self._mass, self._mass_first = mass, int(mass_first)
        self._read = read
        self._make = integrator
        self._integrator: SharedIntegrator | None = None
        self._window = list(window)
        self._axis_settings = {
            "wavelength_a": wavelength_a,
            "polarised": polarised,
            "q_min_per_a": q_min_per_a,
            "q_max_per_a": q_max_per_a,
        }
        self._settings = settings
        self.axis: PatternAxis | None = None
        self.tracker: PhaseTracker | None = None
        self.verdicts: Verdicts | None = None
        self._moving: MovingVerdict | None = None
        self.events_: list[Event] = []
        self.frames: list[Tracked] = []
        self._index: list[int] = []
        self._times_s: list[float] = []
        self._tracks = PeakTracks(lines)
        self._gain = 1.0
        self._first_monitor: float | None = None
        self._unknown: list[float] = []

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next patterns.

        Parameters
        ----------
        batch : Batch
            Frames (n, bins), with ``q_per_a`` or ``two_theta_deg`` among its axes; or images
            (n, h, w), where there is an integrator; these are divided by the coordinate
            ``monitor``, over its first reading, where they have it.

        Raises
        ------
        ValueError
            When frames are no patterns, or the phases cannot be placed on their axis.
        """
        with nullcontext() if self._moving is None else self._moving.patterns_first():
            self._fit(batch)
        return self

    def _fit(self, batch: Batch) -> None:
        times = batch.coordinates.get("time_s")
        if times is not None:
            self._times_s += np.asarray(times, float).tolist()
        if batch.frames.ndim == 3 and self._make is not None:
            if self._integrator is None:
                h, w = batch.frames.shape[1:]
                self._integrator = self._make((h, w), batch.corrections)
            axes = {"q_per_a": self._integrator.centres}
            beam = self._beam_at(batch)
            for row, (image, name) in enumerate(named(batch)):
                intensity, sigma, _ = self._integrator(image, name)
                sigma = steadied(sigma, self._integrator.norm)
                by = beam[row]
                self.add(intensity / by, int(batch.scan_index[row]), sigma / by, axes)
            return
        if batch.frames.ndim != 2:
            raise ValueError(
                f"patterns of one line are needed, (n, bins), got frames {batch.frames.shape};"
                " of images give the geometry, phases.poni"
            )
        sigmas = batch.coordinates.get("sigma")
        for row, pattern in enumerate(batch.frames):
            sigma = None if sigmas is None else np.asarray(sigmas[row], float)
            self.add(np.asarray(pattern, float), int(batch.scan_index[row]), sigma, batch.axes)

    def _beam_at(self, batch: Batch) -> np.ndarray:
        """Return the monitor over its first reading, (n,); 1 where there is none."""
        stated = batch.coordinates.get(MONITOR)
        if stated is None:
            return np.ones(len(batch))
        values = np.asarray(stated, float)
        good = np.isfinite(values) & (values > 0)
        if self._first_monitor is None and good.any():
            self._first_monitor = float(values[good][0])
        return np.where(good, values / (self._first_monitor or 1.0), 1.0)

    def add(
        self, pattern: np.ndarray, index: int, sigma: np.ndarray | None, axes: Any
    ) -> Tracked | None:
        """Take in one pattern (bins,); see `partial_fit`."""
        if self.axis is None:
            self._begin(pattern, sigma, axes)
        assert self.axis is not None  # noqa: S101  made above
        order = self.axis.order
        pattern = pattern[order]
        sigma = None if sigma is None else sigma[order]
        if sigma is not None and not (np.isfinite(sigma) & (sigma > 0)).any():
            sigma = None
        self._index.append(index)
        self._tracks.add(self.axis.recorded, *weights(pattern, sigma, self._gain))
        if self.tracker is None:
            return None
        before = _present(self.frames[-1]) if self.frames else set()
        tracked = self.tracker.add(pattern, sigma)
        self.frames.append(tracked)
        self._tell(tracked, before, index)
        if self.verdicts is not None:
            self.verdicts.add(pattern, sigma, tracked)
        if self._moving is not None:
            self.events_ += self._moving.add(pattern, sigma, tracked, index)
        return tracked

    def warm(self) -> None:
        """Compile what weighs hypotheses: only frames in which phases change reach it."""
        compile_kernels()

    def converge(self) -> Self:
        """Weigh what the whole run says of two phases or one."""
        if self._moving is not None:
            self.events_ += self._moving.settle()
        if self.verdicts is not None and self.frames:
            self.verdicts.judge()
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """All that is known so far, by frame."""
        result = {"n_frames": Quantity(len(self._index))}
        if self._index and len(self._times_s) == len(self._index):
            result["time_s"] = Quantity(np.array(self._times_s), "s", ("frame",))
        if self.axis is not None:
            result |= self._of_lines(self.axis)
        if self.tracker is not None and self.frames:
            result |= self._of_phases(self.tracker)
            if self.verdicts is not None:
                result |= self.verdicts.result_
            if self._moving is not None:
                result |= self._moving.result_
        return {"verdict": Quantity(UNDECIDED), **result}

    def _begin(self, pattern: np.ndarray, sigma: np.ndarray | None, axes: Any) -> None:
        of_images = self._integrator
        blunting = None if of_images is None else of_images.blunting
        self.axis = pattern_axis(axes, len(pattern), blunting=blunting, **self._axis_settings)
        order = self.axis.order
        self._gain = 1.0 if sigma is not None else gain_of(pattern[order])
        if self._read is None:
            return
        if self.axis.axis is None:
            what = "the energy, energy_kev" if self.axis.name == "two_theta_deg" else "an axis"
            raise ValueError(
                f"to place phases on {self.axis.name} {what}, is needed (give --set energy_kev=...)"
            )
        from_wavelength = self.axis.axis.wavelength_a
        energy = None if from_wavelength is None else 12.39841984 / from_wavelength
        phases = list(self._read(float(self.axis.axis.q_per_a[-1]) * 1.06, energy))
        names = [phase.name for phase in phases]
        strange = [name for name in self._window if name not in names]
        if strange:
            raise ValueError(f"window names {strange[0]!r}, which is none of {', '.join(names)}")
        if self._mass is not None and not any(phase.atoms.get(self._mass) for phase in phases):
            raise ValueError(f"mass names {self._mass}, which none of {', '.join(names)} holds")
        window = [names.index(name) for name in self._window]
        self.tracker = PhaseTracker(phases, self.axis.axis, window=window, **self._settings)
        self.verdicts = Verdicts(self.tracker)
        every, window_frames = self._moving_settings
        if every:
            self._moving = MovingVerdict(self.tracker, every, window_frames)

    def _tell(self, tracked: Tracked, before: set[int], index: int) -> None:
        assert self.tracker is not None  # noqa: S101  only called with one
        names = [phase.name for phase in self.tracker.phases]
        now = _present(tracked)
        for phase in sorted(now - before):
            says = {
                "volume": float(np.nan_to_num(tracked.volume[phase])),
                "volume_sigma": float(np.nan_to_num(tracked.volume_sigma[phase])),
                "evidence": float(tracked.evidence[phase]),
            }
            self.events_.append(Event("phase_onset", index, names[phase], says))
        for phase in sorted(before - now):
            self.events_.append(Event("phase_gone", index, names[phase], {}))
        reach = 3 * self.tracker.model.width_per_a if self.tracker.model else 0.0
        for q in tracked.unknown.tolist():
            if all(abs(q - known) > reach for known in self._unknown):
                self._unknown.append(q)
                says = {"q_per_a": float(q)}
                self.events_.append(Event("unknown_line", index, f"{q:.3f} 1/angstrom", says))

    def _of_lines(self, axis: PatternAxis) -> dict[str, Quantity]:
        table, by = self._tracks.table(), ("frame", "line")
        result = {
            "peak_tracks": Quantity(table["at"], axis.units, by),
            "peak_tracks_sigma": Quantity(table["at_sigma"], axis.units, by),
            "peak_widths": Quantity(table["width"], axis.units, by),
            "peak_widths_sigma": Quantity(table["width_sigma"], axis.units, by),
            "peak_areas": Quantity(table["area"], f"counts {axis.units}".strip(), by),
            "peak_areas_sigma": Quantity(table["area_sigma"], f"counts {axis.units}".strip(), by),
            "scan_index": Quantity(np.array(self._index, np.int64), "", ("frame",)),
            axis.name: Quantity(axis.recorded, axis.units, ("bin",)),
        }
        q = axis.in_q()
        if q is not None:
            result["q_per_a"] = Quantity(q, "1/angstrom", ("bin",))
        return result

    def _of_phases(self, tracker: PhaseTracker) -> dict[str, Quantity]:
        def gathered(name: str) -> np.ndarray:
            return np.array([getattr(frame, name) for frame in self.frames])

        by = ("frame", "phase")
        result = {
            "names": Quantity([phase.name for phase in tracker.phases], "", ("phase",)),
            "volume": Quantity(gathered("volume"), "", by),
            "volume_sigma": Quantity(gathered("volume_sigma"), "", by),
            "amount": Quantity(gathered("amount"), "counts", by),
            "amount_sigma": Quantity(gathered("amount_sigma"), "counts", by),
            "present": Quantity(gathered("present").astype(np.int8), "", by),
            "evidence": Quantity(gathered("evidence"), "sigma", by),
            "lattice_angstrom": Quantity(gathered("cell"), "angstrom, deg", (*by, "parameter")),
            "lattice_angstrom_sigma": Quantity(
                gathered("cell_sigma"), "angstrom, deg", (*by, "parameter")
            ),
            "size_width_per_a": Quantity(gathered("size_width"), "1/angstrom", by),
            "size_width_per_a_sigma": Quantity(gathered("size_width_sigma"), "1/angstrom", by),
            "microstrain": Quantity(gathered("strain"), "", by),
            "microstrain_sigma": Quantity(gathered("strain_sigma"), "", by),
            "zero": Quantity(gathered("zero"), self.axis.units if self.axis else "", ("frame",)),
            "zero_sigma": Quantity(
                gathered("zero_sigma"), self.axis.units if self.axis else "", ("frame",)
            ),
            "background": Quantity(gathered("background"), "counts", ("frame", "term")),
            "reduced_chi2": Quantity(gathered("reduced_chi2"), "", ("frame",)),
            "restarted": Quantity(gathered("restarted").astype(np.int8), "", ("frame",)),
            "residual": Quantity(
                gathered("residual").astype(np.float32), "counts", ("frame", "bin")
            ),
            "onset_index": Quantity(self._indexed(tracker.onset), "", ("phase",)),
            "gone_index": Quantity(self._indexed(tracker.gone), "", ("phase",)),
        }
        unknown = np.full((len(self.frames), MOST_UNKNOWN), _UNSEEN)
        for row, frame in zip(unknown, self.frames, strict=True):
            found = frame.unknown[:MOST_UNKNOWN]
            row[: len(found)] = found
        result["unknown_lines"] = Quantity(unknown, "1/angstrom", ("frame", "unknown"))
        result["unknown"] = Quantity(
            np.isfinite(unknown).any(axis=1).astype(np.int8), "", ("frame",)
        )
        result["chi2"] = Quantity(float(self.frames[-1].reduced_chi2))
        return result | self._of_mass(tracker, gathered("amount"), gathered("amount_sigma"))

    def _of_mass(
        self, tracker: PhaseTracker, amount: np.ndarray, sigma: np.ndarray
    ) -> dict[str, Quantity]:
        """Return how much of an element the crystals hold, against the first frames."""
        if self._mass is None:
            return {}
        each = np.array([phase.atoms.get(self._mass, 0.0) for phase in tracker.phases])
        known = np.array([phase.volume_a3 for phase in tracker.phases])
        now = volumes_a3(np.array([frame.cell for frame in self.frames]))
        density = each * tracker.counted / np.where(np.isfinite(now), now, known)
        mass = np.nansum(amount * density, axis=1)
        if not np.mean(mass[: self._mass_first]) > 0:
            return {}
        spread = np.sqrt(np.nansum((sigma * density) ** 2, axis=1))
        timed = len(self._times_s) == len(self._index)
        times = np.array(self._times_s) if timed else None
        return mass_balance(mass, spread, times, first=self._mass_first)

    def _indexed(self, frames: np.ndarray) -> np.ndarray:
        """Return scan indices for numbers of frames, -1 where there is none."""
        index = np.append(self._index, -1)
        return index[np.where(frames >= 0, frames, len(self._index))]


def _present(tracked: Tracked) -> set[int]:
    return {int(phase) for phase in np.flatnonzero(tracked.present)}
