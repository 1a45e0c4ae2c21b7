"""One door to ptychography: pick the method from what is known about the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from ..base import Batch, Quantity
from ..experiment import Experiment
from .alignment import Alignment
from .canvas_size import density_step
from .centring import Centring
from .iterative import IterativePtychography
from .lens import framed, refocused
from .live_drift import LiveDrift
from .results import MIN_FRAMES
from .single_sideband import SingleSideband
from .solve import METHODS as ENGINES
from .trial import best_explained, misfits
from .usable import usable

METHODS = ("auto", "single_sideband", *ENGINES)
_DIRECT = ("eps", "weighting", "bins_across", "centre_px", "also", "canvas_memory_gb")
_ITERATIVE = (
    "iterations",
    "rpie_alpha",
    "likelihood",
    "probe_modes",
    "object_modes",
    "source_size_nm",
    "update_probe",
    "probe_aperture",
    "probe_support",
    "probe_power",
    "background",
    "slices",
    "slice_thickness_nm",
    "slice_regularisation",
    "object_upsampling",
    "detector_upsampling",
    "position_bound_px",
    "held_out",
    "frc",
    "noise_filter",
    "preview_recent",
    "seed",
)
_BOTH = ("aberrations", "workers")
_CLEARLY = 0.9
_EARLY = (
    "the direct method keeps frames where they were first put, and before the drift was known"
    " that was where the scan had them; another method moves all of them"
)
_LOST = (
    "hold NaN or infinity, or have no finite position; give bad_pixels for pixels that always do"
)
SETTINGS = (*_BOTH, *_DIRECT, *_ITERATIVE)


class Ptychography:
    """Ptychography by the method that suits the experiment.

    "auto" is rPIE for X-rays, for a given probe and for defocused electrons. For electrons in
    focus the live preview is single side band and `converge` runs rPIE over all frames.

    What the run does not state of the electron microscope is found from the frames, and said: the
    disk gives zero frequency, and the camera's scale or the convergence angle (`Centring`); the
    centre of mass, or the displacement of bright-field images, gives rotation and transposition,
    passes the drift (`Alignment`), the bright field the defocus (`lens`). The preview follows as
    they become known; the final reconstruction starts anew with all of it.

    Parameters
    ----------
    experiment : Experiment
    method : {"auto", "single_sideband", "rpie", "epie", "lsqml", "dm"}
    drift : {"auto", "off"}
        Whether positions follow a drift that the frames show.
    **settings
        Of `SingleSideband` and of `IterativePtychography`, as `SETTINGS` lists them.

    Raises
    ------
    ValueError
        When the method or a setting is unknown; the message lists what there is.
    """

    def __init__(
        self, experiment: Experiment, method: str = "auto", drift: str = "auto", **settings: Any
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        allowed = SETTINGS
        unknown = sorted(set(settings) - set(allowed))
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}; known are {', '.join(allowed)}")
        self.method = method
        self.drift = drift
        self._settings = settings
        self.centring = Centring(experiment)
        self._lost = self._empty = 0
        self.direct: SingleSideband | None = None
        self.iterative: IterativePtychography | None = None
        self._build(self.centring.foreseen())

    def _build(self, experiment: Experiment) -> None:
        settings, method = self._settings, self.method
        self.experiment = experiment
        self.alignment = Alignment(experiment, self.drift)
        self.live_drift = LiveDrift(self.alignment)
        self._known, self._drift = experiment, None
        self._notes: list[str] = []
        self._doubts: list[str] = []
        self._aligned = False
        direct = {k: v for k, v in settings.items() if k in (*_BOTH, *_DIRECT)}
        iterative = {k: v for k, v in settings.items() if k in (*_BOTH, *_ITERATIVE)}
        in_focus = method == "auto" and suits_single_sideband(experiment, iterative)
        # a preview at the wrong rotation shows nothing; the direct one can be turned later
        turning = not experiment.scan_rotation_stated and can_single_sideband(experiment)
        self.direct = self.iterative = None
        if method == "single_sideband" or in_focus or turning:
            self.direct = SingleSideband(experiment, **direct)
        if method != "single_sideband":
            engine = "rpie" if method == "auto" else method
            if self.direct is not None:
                iterative["preview"] = False
            self.iterative = IterativePtychography(experiment, method=engine, **iterative)

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames; see the method's own `partial_fit`."""
        if len(batch):
            batch, lost, empty = usable(batch, self.experiment.units)
            self._lost, self._empty = self._lost + lost, self._empty + empty
        if len(batch):
            self._feed(self.centring.take(batch))
        return self

    def _feed(self, batches: list[Batch]) -> None:
        self._aligned = self._aligned and not batches
        if batches and self.experiment is not self.centring.experiment:
            self._build(self.centring.experiment)
        for part in (part for batch in batches for part in self.live_drift.parts(batch)):
            moved = self.live_drift.moved(part)
            if self.direct is not None:
                self.direct.partial_fit(moved)
            if self.iterative is not None:
                self.iterative.partial_fit(moved)
            self.alignment.take(part)

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames."""
        self._lost, self._empty = self._lost + other._lost, self._empty + other._empty
        if other.centring.decided and not self.centring.decided:
            self._feed(self.centring.adopt(other.centring))
        if not other.centring.decided:
            for batch in other.centring.held:
                self.partial_fit(batch)
            return self
        if self.direct is not None and other.direct is not None:
            self.direct.merge(other.direct)
        if self.iterative is not None and other.iterative is not None:
            self.iterative.merge(other.iterative)
        self.alignment.merge(other.alignment)
        self._aligned = False
        return self

    def converge(self) -> Self:
        """Run the final reconstruction; single side band alone needs no more than its optics."""
        self._feed(self.centring.flush())
        if self._lost and not self.frames_seen:
            raise ValueError(f"no frame can be used: {self._lost} {_LOST}")
        if self.alignment.seen:
            self._align()
        if self.iterative is not None:
            self.iterative.converge()
        return self

    def _align(self) -> None:
        """Find what all frames tell of the scan and the lens."""
        known, notes, doubts = self.alignment.frame()
        if self.alignment.unsure and self.direct is not None:
            found = framed(known, self.direct)
            if found is not None:
                known, notes, doubts = found[0], [found[1]], []
        positions, drift, said = self.alignment.positions()
        self._known, self._notes, self._doubts = known, notes + said, doubts
        if self.direct is not None:
            self._set_optics(known)
            if not self.experiment.defocus_stated:
                self._refocus(known, positions)
                self._set_optics(self._known)
        if self.iterative is not None:
            self._drift, moved = drift, drift is not None or self.live_drift.since is not None
            if self._known is not self.experiment or moved:
                self.iterative.align(self._known, positions)
            self._doubts = [*self._doubts, *self._wrong_side(positions)]
        else:
            self._drift, self._notes = self.live_drift.drift, notes + self.live_drift.notes()
            if drift is not None:
                self._doubts = [*doubts, f"drift: {_EARLY}"]
        self._aligned = True

    def _wrong_side(self, positions: np.ndarray) -> list[str]:
        """Return whether the frames speak for the other side of focus than was stated."""
        known, model = self._known, self.iterative
        angle, wavelength = known.semi_convergence_angle_rad, known.wavelength_m
        if not (known.defocus_stated and model and angle and wavelength and known.probe is None):
            return []
        near = abs(known.defocus_m) <= wavelength / (2 * angle**2)
        # told a wrong scale, the frames say nothing of the sign
        unclear = self.centring.reasons or self._settings.get("aberrations")
        if near or unclear or len(positions) < MIN_FRAMES:
            return []
        other = replace(known, defocus_m=-known.defocus_m)
        here, there = misfits(model, positions, [known, other])
        if there > _CLEARLY * here:
            return []
        return [
            f"defocus: the frames are explained better by defocus_nm {other.defocus_m * 1e9:.3g}"
            f" than by the stated {known.defocus_m * 1e9:.3g}; check its sign (positive is"
            " underfocus)"
        ]

    def _refocus(self, known: Experiment, positions: np.ndarray) -> None:
        """Take the defocus that the bright field shows, where it explains the frames better."""
        assert self.direct is not None  # noqa: S101  (for the type checker)
        found, words = refocused(known, self.direct)
        flat = replace(known, defocus_m=0.0)
        model = self.iterative
        if found.defocus_m and model and best_explained(model, positions, [found, flat]) == 1:
            words += "; the frames are explained better without, it is taken as 0"
            if not suits_single_sideband(found):
                words = f"defocus unknown: {words}"
            found = flat
        self._known = found
        (self._doubts if "unknown" in words else self._notes).append(words)

    def _set_optics(self, known: Experiment) -> None:
        assert self.direct is not None  # noqa: S101  (for the type checker)
        lens = dict(self._settings.get("aberrations") or {})
        # the direct method adds the defocus that it was made with
        lens["C10"] = lens.get("C10", 0.0) + self.experiment.defocus_m - known.defocus_m
        self.direct.set_optics(
            scan_rotation_rad=known.scan_rotation_rad,
            transposed=bool(known.transposed),
            aberrations=lens,
        )

    @property
    def frames_seen(self) -> int:
        """How many frames the methods have taken in."""
        model = self.direct if self.iterative is None else self.iterative
        return 0 if model is None else model.n_frames

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far: the keys of `results.shared_result`, and of the calibration.

        ``scan_rotation_deg``, ``transposed``, ``defocus_nm``, ``angular_sampling_mrad`` and
        ``semi_convergence_angle_mrad`` are what the result rests on, stated or found;
        ``drift_m`` and ``drift_time_s`` where positions were moved; ``flags`` says what was
        found, ``trust_reasons`` what is doubtful.
        """
        final = self.iterative is not None and (self.direct is None or self.iterative.converged_)
        known, notes, doubts = self._known, self._notes, self._doubts
        drift = self._drift
        if self.iterative is not None and final:
            result = self.iterative.result_
        elif self.direct is not None and self.direct.n_frames:
            if not self._aligned:
                known, notes, doubts = self.alignment.frame()
                notes, drift = notes + self.live_drift.notes(), self.live_drift.drift
                self._set_optics(known)
            result = self.direct.result_
        else:
            return {}
        if not result:
            return {}
        reasons = list(result["trust_reasons"].value)
        if self._lost:
            reasons.append(f"not finite: {self._lost} frames {_LOST}; they are left out")
        if self._empty:
            reasons.append(f"dark frames: {self._empty} hold no counts; was the beam blanked?")
        said = {reason.split(":")[0] for reason in reasons}
        reasons += [r for r in (*self.centring.reasons, *doubts) if r.split(":")[0] not in said]
        return result | {
            **self.alignment.quantities(known, drift),
            "trust": Quantity(not reasons),
            "trust_reasons": Quantity(reasons, "", ("reason",)),
            "flags": Quantity([*self.centring.notes, *notes], "", ("flag",)),
        }


def suits_single_sideband(
    experiment: Experiment, settings: Mapping[str, Any] | None = None
) -> bool:
    """Return whether in-focus electrons are measured, with all that direct ptychography needs.

    Focus is within ``wavelength / (2 angle^2)``, where the phase at the aperture's edge is pi/2.
    """
    angle, wavelength = experiment.semi_convergence_angle_rad, experiment.wavelength_m
    if not can_single_sideband(experiment) or angle is None or wavelength is None:
        return False
    defocus = -(settings or {}).get("aberrations", {}).get("C10", -experiment.defocus_m)
    return abs(defocus) <= wavelength / (2 * angle**2)


def can_single_sideband(experiment: Experiment) -> bool:
    """Return whether all is known that direct ptychography of electrons needs."""
    return (
        experiment.radiation == "electron"
        and experiment.units == "m"
        and experiment.probe is None
        and experiment.wavelength_m is not None
        and experiment.semi_convergence_angle_rad is not None
        and experiment.angular_sampling_rad is not None
        and density_step(experiment) is not None
    )
