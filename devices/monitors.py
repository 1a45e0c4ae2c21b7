"""Slow readings beside a scan: beam current and temperature."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from .signals import ReadOnlySignal


class BeamCurrent(Device):
    """An ammeter for the beam.

    Hardware calls ``current_pa.report(value)`` with each new reading; a plan may read the device
    or monitor the signal.

    Parameters
    ----------
    name : str
    current_pa : float, pA
        First reading.
    """

    current_pa = Cpt(ReadOnlySignal, value=0.0, units="pA", limits=(0.0, 1e6), kind="hinted")

    def __init__(
        self, prefix: str = "", *, name: str, current_pa: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.current_pa.report(float(current_pa))


class Temperature(Device):
    """A thermometer on the specimen's holder.

    Parameters
    ----------
    name : str
    temperature_k : float, K
        First reading.
    """

    temperature_k = Cpt(ReadOnlySignal, value=295.0, units="K", limits=(0.0, 3000.0), kind="hinted")

    def __init__(
        self, prefix: str = "", *, name: str, temperature_k: float = 295.0, **kwargs: Any
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.temperature_k.report(float(temperature_k))
