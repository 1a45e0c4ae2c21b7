"""A detector whose frames are spectra: an energy-dispersive X-ray detector, an energy filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ophyd import Component as Cpt

from .frame_writer import Field
from .pixel_detector import FrameDriver, PixelDetector
from .signals import UnitSignal


class Spectrometer(PixelDetector):
    """A pixelated detector of one line of channels, with the energies of the channels.

    The axis is written beside the spectra at each run, so that a replay knows it.

    Parameters
    ----------
    name : str
    driver : FrameDriver
        Its shape is (channels,) or (elements, channels).
    energy_start_kev, energy_step_kev : float, keV
        Of channel 0, and of one channel; in energy loss too.
    **kwargs
        As of `PixelDetector`.
    """

    energy_start_kev = Cpt(UnitSignal, value=0.0, units="keV", limits=(-10, 1e3), kind="config")
    energy_step_kev = Cpt(UnitSignal, value=0.01, units="keV", limits=(1e-7, 1.0), kind="config")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        driver: FrameDriver,
        energy_start_kev: float = 0.0,
        energy_step_kev: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, driver=driver, **kwargs)
        self.energy_start_kev.put(float(energy_start_kev))
        self.energy_step_kev.put(float(energy_step_kev))
        self._describe_axis()

    def stage(self) -> list[object]:
        """Make ready for a run, with the axis as it is set now."""
        self._describe_axis()
        return super().stage()

    def _describe_axis(self) -> None:
        channels = np.arange(int(self.driver.shape[-1]))
        axis = float(self.energy_start_kev.get()) + float(self.energy_step_kev.get()) * channels
        self.corrections["energy_kev_axis"] = axis

    def _fields(self) -> list[Field]:
        first, *others = super()._fields()
        dims = ("channel",) if len(first.shape) == 1 else ("element", "channel")
        return [replace(first, dims=dims), *others]
