"""A detector whose frames are spectra: an energy-dispersive X-ray detector, an energy filter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ophyd import Component as Cpt

from ..models.spectra.dead_time import DeadTime, check, input_rate
from .frame_writer import Field
from .pixel_detector import Block, FrameDriver, PixelDetector
from .signals import ReadOnlySignal, UnitSignal


class Spectrometer(PixelDetector):
    """A pixelated detector of one line of channels, with the energies of the channels.

    The axis is written beside the spectra at each run, so that a replay knows it. Of the last
    spectrum it reads `output_rate`, `input_rate` (corrected for the dead time; NaN where no rate
    gives so many counts) and `live_time_s`, by which counts are divided for a true rate.

    Parameters
    ----------
    name : str
    driver : FrameDriver
        Its shape is (channels,) or (elements, channels).
    energy_start_kev, energy_step_kev : float, keV
        Of channel 0, and of one channel; in energy loss too.
    dead_time_us : float, us
        After each photon; 0 for none.
    dead_time : "extending" or "non_extending"
        As of `models.spectra.dead_time`.
    **kwargs
        As of `PixelDetector`.
    """

    energy_start_kev = Cpt(UnitSignal, value=0.0, units="keV", limits=(-10, 1e3), kind="config")
    energy_step_kev = Cpt(UnitSignal, value=0.01, units="keV", limits=(1e-7, 1.0), kind="config")

    dead_time_us = Cpt(UnitSignal, value=0.0, units="us", limits=(0, 1e6), kind="config")
    output_rate = Cpt(ReadOnlySignal, value=0.0, units="counts/s", kind="normal")
    input_rate = Cpt(ReadOnlySignal, value=0.0, units="counts/s", kind="normal")
    live_time_s = Cpt(ReadOnlySignal, value=0.0, units="s", kind="normal")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        driver: FrameDriver,
        energy_start_kev: float = 0.0,
        energy_step_kev: float = 0.01,
        dead_time_us: float = 0.0,
        dead_time: DeadTime = "extending",
        **kwargs: Any,
    ) -> None:
        check(dead_time_us * 1e-6, dead_time)
        super().__init__(prefix, name=name, driver=driver, **kwargs)
        self.energy_start_kev.put(float(energy_start_kev))
        self.energy_step_kev.put(float(energy_step_kev))
        self.dead_time_us.put(float(dead_time_us))
        self._dead_time: DeadTime = dead_time
        self._describe_axis()

    def _take(self, block: Block) -> int:
        done = super()._take(block)
        exposure_s = float(self.exposure_s.get())
        # each element of the detector has its own dead time
        counted = np.atleast_2d(block[2][-1]).sum(axis=-1, dtype=np.float64) / exposure_s
        arrived = input_rate(counted, float(self.dead_time_us.get()) * 1e-6, self._dead_time)
        output, total = float(counted.sum()), float(arrived.sum())
        self.output_rate.report(output)
        self.input_rate.report(total)
        self.live_time_s.report(exposure_s * output / total if total > 0 else exposure_s)
        return done

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
