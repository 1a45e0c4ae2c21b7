"""The settings of iterative ptychography, checked once, before any frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from .solve import METHODS

LIKELIHOODS = ("auto", "poisson", "amplitude")
STRIPED = ("rpie", "epie")
_CHOICES = {"method": METHODS, "likelihood": LIKELIHOODS}
_RANGES = {
    "iterations": (1, 100_000),
    "probe_modes": (1, 4),
    "object_modes": (1, 3),
    "slices": (1, 20),
    "slice_regularisation": (0, 1),
    "object_upsampling": (1, 4),
    "detector_upsampling": (1, 4),
    "probe_support": (0, 1),
    "source_size_nm": (0, 1000),
    "position_bound_px": (0, 16),
    "held_out": (0, 0.5),
    "workers": (1, 256),
    "preview_recent": (0, 10),
}
_WHOLE = (
    "iterations", "probe_modes", "object_modes", "slices", "object_upsampling",
    "detector_upsampling", "workers",
)  # fmt: skip
_FLAGS = ("update_probe", "probe_power", "background", "frc", "preview")


@dataclass(frozen=True)
class Settings:
    """How to reconstruct.

    Parameters
    ----------
    method : {"rpie", "epie", "lsqml", "dm"}
        Previews are rPIE's (ePIE's) whatever the method.
    iterations : int
        Passes over all frames in `converge`, at most; see `solve.solve` for when it stops.
    rpie_alpha : float or (first, last) or None
        Regularisation between 0 (fast, fits the noise) and 1 (ePIE); two numbers are the first
        and the last pass's, geometric in between; None chooses from the dose, `solve.alphas_for`.
    likelihood : {"auto", "poisson", "amplitude"}
        See `engine_kernels.constrain`: the amplitude's contrast is too low where counts are few.
        "auto" is the amplitude for X-rays, whose frames are bright and whose optics the model
        knows less well, but for the difference map; else Poisson.
    probe_modes : int
        1 to 4 mutually incoherent modes.
    object_modes : int
        1 to 3 mutually incoherent states of the object, such as those of its vibrations. rPIE and
        ePIE, one slice.
    source_size_nm : float, nm
        Full width at half maximum of the demagnified source: the modes start as its own. 0 starts
        them as weak gradients of the first. Needs 2 or more modes.
    update_probe : bool
    aberrations : mapping or None
        Of the initial probe, as `probe.chi` takes them.
    probe_aperture : bool or "auto"
        Keep the probe's spectrum within the semi-convergence angle after each pass; "auto" where
        it is known and no probe is given.
    probe_support : float
        Keep the probe within a disk after each pass: its diameter as a fraction, up to 1, of the
        box's shorter side; 0 does not.
    probe_power : bool
        Keep the probe's power at the counts of the mean frame after each pass, the object taking
        up what the probe gives.
    background : bool
        Estimate a static, additive, non-negative background; see `background.estimate`.
    slices : int
        1 to 20 slices of a thick object; rPIE and ePIE.
    slice_thickness_nm : float, nm
        From one slice to the next along the beam; needed where there are several.
    slice_regularisation : float
        From 0 (none) to 1: how much of what the far field cannot tell apart in depth is shared by
        all slices; see `multislice.depth_filter`.
    object_upsampling : int
        1 to 4: makes the object's pixels finer, with unmeasured pixels round the detector. Frames
        take the square of it more memory.
    detector_upsampling : int
        1 to 4: makes the probe's box larger, each detector pixel the sum of that many squared
        (Batey et al., Phys. Rev. A 89, 043812 (2014)); rPIE and ePIE.
    position_bound_px : float, object pixels
        How far a position may be moved by rPIE, ePIE and LSQ-ML; 0 leaves positions as they are.
    held_out : float
        Fraction of frames, 0 to 0.5, that `converge` does not learn from and is measured on.
    frc : bool
        Whether `converge` also reconstructs odd and even frames apart, at twice the cost.
    noise_filter : bool or "auto"
        Take from the object what odd and even frames do not share (`merit.denoised`); needs
        `frc`. "auto" does so for electrons.
    preview : bool
        Whether `partial_fit` sweeps at all.
    preview_recent : float
        How many earlier frames a preview sweeps over, as a fraction of the new ones.
    seed : int
        Seed of the order of the frames.
    workers : int
        Threads; the result is the same with any number.

    Raises
    ------
    ValueError
        When a setting is out of range or does not go with another.
    """

    method: str = "rpie"
    iterations: int = 20
    rpie_alpha: float | tuple[float, float] | None = None
    likelihood: str = "auto"
    probe_modes: int = 1
    object_modes: int = 1
    source_size_nm: float = 0.0
    update_probe: bool = True
    aberrations: Mapping[str, float] | None = None
    probe_aperture: bool | str = False
    probe_support: float = 0.0
    probe_power: bool = False
    background: bool = False
    slices: int = 1
    slice_thickness_nm: float = 0.0
    slice_regularisation: float = 0.0
    object_upsampling: int = 1
    detector_upsampling: int = 1
    position_bound_px: float = 0.0
    held_out: float = 0.0
    frc: bool = True
    noise_filter: bool | str = "auto"
    preview: bool = True
    preview_recent: float = 0.5
    seed: int = 0
    workers: int = 2
    alphas: tuple[float, float] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._check_each()
        self._check_together()
        object.__setattr__(self, "alphas", self._both_alphas())

    def _check_each(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
        for name in _WHOLE:
            value = getattr(self, name)
            if value != int(value):
                raise ValueError(f"{name} must be a whole number, got {value}")
        self._check_switches()

    def _check_switches(self) -> None:
        for name in _FLAGS:
            value = getattr(self, name)
            if not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name} must be true or false, got {value!r}")
        for name in ("probe_aperture", "noise_filter"):
            value = getattr(self, name)
            if value not in (True, False, "auto"):
                raise ValueError(f'{name} must be true, false or "auto", got {value!r}')

    @property
    def thick(self) -> bool:
        """Whether the object has slices or states, or detector pixels are split."""
        return self.slices > 1 or self.object_modes > 1 or self.detector_upsampling > 1

    def for_radiation(self, radiation: str | None) -> Self:
        """Return the settings with the likelihood that "auto" means for this radiation."""
        if self.likelihood != "auto":
            return self
        bright = radiation == "xray" and self.method != "dm"
        return replace(self, likelihood="amplitude" if bright else "poisson")

    def filters(self, radiation: str | None) -> bool:
        """Whether an object of this radiation goes through the noise filter."""
        wanted = radiation == "electron" if self.noise_filter == "auto" else self.noise_filter
        return bool(self.frc and wanted)

    def _check_together(self) -> None:
        if self.noise_filter is True and not self.frc:
            raise ValueError("noise_filter must be false where frc is; give frc=true")
        if self.slices > 1 and not 0 < self.slice_thickness_nm < np.inf:
            raise ValueError(
                "slice_thickness_nm must lie above 0 where slices is more than 1, got"
                f" {self.slice_thickness_nm}; give the distance from one slice to the next"
            )
        if self.slice_regularisation and self.slices == 1:
            raise ValueError("slice_regularisation must be 0 where slices is 1; give more slices")
        if self.slices > 1 and self.object_modes > 1:
            raise ValueError("object_modes must be 1 where slices is more than 1; choose one")
        for name in ("slices", "object_modes", "detector_upsampling"):
            if getattr(self, name) > 1 and self.method not in STRIPED:
                raise ValueError(
                    f"{name} must be 1 for method {self.method!r}; more is for rpie and epie"
                )
        if self.source_size_nm and self.probe_modes < 2:
            raise ValueError(
                "source_size_nm must be 0 where probe_modes is 1; a source of finite size needs"
                " probe_modes of 2 to 4"
            )
        if self.position_bound_px and self.method == "dm":
            raise ValueError(
                f"position_bound_px is for rpie, epie and lsqml, method is {self.method!r}"
            )

    def _both_alphas(self) -> tuple[float, float] | None:
        alphas = None
        if self.rpie_alpha is not None:
            first, last = np.broadcast_to(np.asarray(self.rpie_alpha, float), (2,)).tolist()
            alphas = (first, last)
            if not all(0 < alpha <= 1 for alpha in alphas):
                raise ValueError(f"rpie_alpha must lie above 0 and up to 1, got {self.rpie_alpha}")
        return (1.0, 1.0) if self.method == "epie" else alphas
