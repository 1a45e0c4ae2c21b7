"""What the simulated potentiostat's amplifier can do to the cell, and how it reads it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from ...models.steps import Limits
from ..potentiostat_records import COMPLIANCE_FLAG, OVERLOAD_FLAG
from .cell import CellMode
from .cell_choice import DrivenCell


@dataclass(frozen=True)
class Hardware:
    """What the instrument can, and its noise.

    Parameters
    ----------
    limits : Limits
        Of the device: nothing that is sent to it goes beyond.
    compliance_v : float, V
        It cannot drive the cell beyond plus or minus this.
    voltage_noise_v : float, V
        Standard deviation of a reading.
    current_noise : float
        Standard deviation of a reading, relative to the range.
    bits : int
        Of the converters, over plus or minus the compliance and the range.
    """

    limits: Limits = field(
        default_factory=lambda: Limits(lower_v=-2.0, upper_v=5.0, current_ma=100.0, power_mw=500.0)
    )
    compliance_v: float = 10.0
    voltage_noise_v: float = 2e-5
    current_noise: float = 1e-5
    bits: int = 20


class Amplifier:
    """Drives a cell within its range and compliance, and reads it with noise.

    Parameters
    ----------
    cell : DrivenCell
        Such as `devices.sim.cell.Cell`.
    hardware : Hardware
    seed : int
        Of the noise.
    """

    def __init__(self, cell: DrivenCell, hardware: Hardware, seed: int = 0) -> None:
        self.cell, self.hardware = cell, hardware
        self._random = random.Random(seed)

    def drive(self, dt_s: float, mode: CellMode, setpoint: float, range_ma: float) -> int:
        """Let time pass for the cell.

        Parameters
        ----------
        dt_s : float, s
        mode, setpoint
            As of `Cell.advance`.
        range_ma : float, mA
            More than this cannot flow.

        Returns
        -------
        flags : int
            What could not be done.
        """
        before, cell = self.cell.state, self.cell
        cell.advance(dt_s, mode, setpoint)
        if mode == "voltage" and abs(cell.current_ma) > range_ma:
            most = math.copysign(range_ma, cell.current_ma)
            cell.state = before
            cell.advance(dt_s, "current", most)
            return OVERLOAD_FLAG
        compliance = self.hardware.compliance_v
        if mode == "current" and abs(cell.voltage_v) > compliance:
            most = math.copysign(compliance, cell.voltage_v)
            cell.state = before
            cell.advance(dt_s, "voltage", most)
            return COMPLIANCE_FLAG
        return 0

    def measured_v(self, voltage_v: float) -> float:
        """Return a reading of a voltage, V."""
        hardware = self.hardware
        return self._digits(voltage_v, hardware.voltage_noise_v, hardware.compliance_v)

    def measured_ma(self, current_ma: float, range_ma: float) -> float:
        """Return a reading of a current, mA, in a range."""
        return self._digits(current_ma, self.hardware.current_noise * range_ma, range_ma)

    def _digits(self, value: float, noise: float, full_scale: float) -> float:
        digit = full_scale * 2.0 ** (1 - self.hardware.bits)
        return round((value + noise * self._random.gauss(0.0, 1.0)) / digit) * digit
