"""Simulated readings that wander a little, the same way for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from ophyd.status import Status

from ..monitors import BeamCurrent, Temperature
from .beam import SimBeam


class SimBeamCurrent(BeamCurrent):
    """Reads the current of a `SimBeam` with noise; zero while it is blanked.

    Parameters
    ----------
    name : str
    beam : SimBeam
    noise : float
        Relative standard deviation of a reading.
    """

    def __init__(
        self, prefix: str = "", *, name: str, beam: SimBeam, noise: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.beam, self.noise = beam, float(noise)
        self._rng = np.random.default_rng([beam.seed, 11])

    def trigger(self) -> Status:
        """Take a reading."""
        current = float(self.beam.column.beam_current_pa.get()) if self.beam.on else 0.0
        reading = current * (1 + self.noise * self._rng.standard_normal())
        self.current_pa.report(max(0.0, reading))
        status = Status(self)
        status.set_finished()
        return status


class SimTemperature(Temperature):
    """A temperature that walks at random around its start.

    Parameters
    ----------
    name : str
    temperature_k : float, K
    step_k : float, K
        Standard deviation of the change between readings.
    seed : int
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        temperature_k: float = 295.0,
        step_k: float = 0.01,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, temperature_k=temperature_k, **kwargs)
        self.step_k = float(step_k)
        self._rng = np.random.default_rng([seed, 13])

    def trigger(self) -> Status:
        """Take a reading."""
        now = float(self.temperature_k.get())
        self.temperature_k.report(max(0.0, now + self.step_k * self._rng.standard_normal()))
        status = Status(self)
        status.set_finished()
        return status


class SimRingCurrent(BeamCurrent):
    """The current of a storage ring: it decays from trigger to trigger and is filled up again.

    A simulated detector that was given it as its `beam` counts in proportion; it is to stand
    before that detector in a plan, so that both see the same reading.

    Parameters
    ----------
    name : str
    current_pa : float, pA
        When the ring is full.
    decay : float
        Share that is lost between two triggers.
    lowest : float
        Share of the full current at which the ring is filled up.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        current_pa: float = 200.0,
        decay: float = 0.07,
        lowest: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, current_pa=current_pa, **kwargs)
        if not (0 <= decay < 1 and 0 < lowest <= 1):
            raise ValueError(f"decay lies in [0, 1) and lowest in (0, 1], got {decay}, {lowest}")
        self.full_pa, self.decay, self.lowest = float(current_pa), float(decay), float(lowest)

    def trigger(self) -> Status:
        """Take a reading."""
        now = float(self.current_pa.get()) * (1 - self.decay)
        self.current_pa.report(self.full_pa if now < self.lowest * self.full_pa else now)
        status = Status(self)
        status.set_finished()
        return status
