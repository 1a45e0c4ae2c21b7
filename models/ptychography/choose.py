"""One door to ptychography: pick the method from what is known about the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ..base import Batch, Quantity
from ..experiment import Experiment
from .iterative import IterativePtychography
from .single_sideband import SingleSideband
from .solve import METHODS as ENGINES

METHODS = ("auto", "single_sideband", *ENGINES)
_DIRECT = ("eps", "bins_across", "centre_px")
_ITERATIVE = (
    "iterations",
    "rpie_alpha",
    "likelihood",
    "probe_modes",
    "update_probe",
    "position_bound_px",
    "held_out",
    "frc",
    "preview_recent",
    "seed",
)
_BOTH = ("aberrations", "workers")
SETTINGS = (*_BOTH, *_DIRECT, *_ITERATIVE)


class Ptychography:
    """Ptychography by the method that suits the experiment.

    "auto" is rPIE for X-rays, for a given probe and for defocused electrons. For electrons in
    focus the live preview is single side band and `converge` runs rPIE over all frames.

    Parameters
    ----------
    experiment : Experiment
    method : {"auto", "single_sideband", "rpie", "epie", "lsqml", "dm"}
    **settings
        Of `SingleSideband` and of `IterativePtychography`, as `SETTINGS` lists them.

    Raises
    ------
    ValueError
        When the method or a setting is unknown; the message lists what there is.
    """

    def __init__(self, experiment: Experiment, method: str = "auto", **settings: Any) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        allowed = SETTINGS
        unknown = sorted(set(settings) - set(allowed))
        if unknown:
            raise ValueError(f"unknown setting {unknown[0]!r}; known are {', '.join(allowed)}")
        self.experiment = experiment
        self.method = method
        direct = {k: v for k, v in settings.items() if k in (*_BOTH, *_DIRECT)}
        iterative = {k: v for k, v in settings.items() if k in (*_BOTH, *_ITERATIVE)}
        in_focus = method == "auto" and suits_single_sideband(experiment, iterative)
        self.direct: SingleSideband | None = None
        self.iterative: IterativePtychography | None = None
        if method == "single_sideband" or in_focus:
            self.direct = SingleSideband(experiment, **direct)
        if method != "single_sideband":
            engine = "rpie" if method == "auto" else method
            if self.direct is not None:
                iterative["preview"] = False
            self.iterative = IterativePtychography(experiment, method=engine, **iterative)

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next frames; see the method's own `partial_fit`."""
        if self.direct is not None:
            self.direct.partial_fit(batch)
        if self.iterative is not None:
            self.iterative.partial_fit(batch)
        return self

    def merge(self, other: Self) -> Self:
        """Take in what `other` has learnt from other frames."""
        if self.direct is not None and other.direct is not None:
            self.direct.merge(other.direct)
        if self.iterative is not None and other.iterative is not None:
            self.iterative.merge(other.iterative)
        return self

    def converge(self) -> Self:
        """Run the final reconstruction; single side band alone is final as it is."""
        if self.iterative is not None:
            self.iterative.converge()
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; the keys of `results.shared_result`."""
        if self.iterative is not None and (self.direct is None or self.iterative.converged_):
            return self.iterative.result_
        return {} if self.direct is None else self.direct.result_


def suits_single_sideband(
    experiment: Experiment, settings: Mapping[str, Any] | None = None
) -> bool:
    """Return whether in-focus electrons are measured, with all that direct ptychography needs.

    Focus is within ``wavelength / (2 angle^2)``, where the phase at the aperture's edge is pi/2.
    """
    angle, wavelength = experiment.semi_convergence_angle_rad, experiment.wavelength_m
    known = (
        experiment.radiation == "electron"
        and experiment.units == "m"
        and experiment.probe is None
        and experiment.angular_sampling_rad is not None
        and (experiment.step is not None or experiment.extent is not None)
    )
    if not known or angle is None or wavelength is None:
        return False
    defocus = -(settings or {}).get("aberrations", {}).get("C10", -experiment.defocus_m)
    return abs(defocus) <= wavelength / (2 * angle**2)
