"""What the simulated potentiostat does by itself: it carries out a table of steps by its own clock.

No network and no wall clock here: `advance_to` lets the instrument's time pass.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

from ...models.steps import MODES, Limits, Step
from ..potentiostat_records import (
    DONE,
    IDLE,
    LAST_FLAG,
    PAUSED,
    PAUSED_FLAG,
    RUNNING,
    TRIPPED,
)
from .amplifier import Amplifier, Hardware
from .cell import CellMode
from .cell_choice import DrivenCell

_NAN = float("nan")
_LONGEST_SOLVE_S = 5.0
_IDLE_SOLVE_S = 60.0
_MOST_CHANGE_V, _SHORTEST_SOLVE_S = 0.01, 0.01


class Instrument:
    """A potentiostat with one cell.

    Parameters
    ----------
    cell : DrivenCell
        Such as `devices.sim.cell.Cell`.
    hardware : Hardware
    seed : int
        Of the noise.
    log : callable
        Called with what happens and its details: ``log("open_circuit", reason="stop")``.

    Attributes
    ----------
    clock_s : float, s
        The instrument's own clock; it never stands still.
    state : str
        "idle", "running", "paused", "done" or "tripped".
    message : str
        Why it is in that state.
    samples : deque of tuple
        Rows of `FIELDS`, the newest last.
    """

    def __init__(
        self,
        cell: DrivenCell,
        hardware: Hardware | None = None,
        *,
        seed: int = 0,
        log: Callable[..., None] = lambda event, **details: None,
    ) -> None:
        self.cell = cell
        self.hardware = hardware or Hardware()
        self.amplifier = Amplifier(cell, self.hardware, seed)
        self.log = log
        self.clock_s = 0.0
        self.state, self.message = IDLE, "switched on"
        self.samples: deque[tuple[float, ...]] = deque(maxlen=1_000_000)
        self.range_ma = 1.0
        self.charge_mah = 0.0
        self._steps: list[Step] = []
        self._limits = self.hardware.limits
        self._sample_s = 1.0
        self._step = 0
        self._next_index = 0
        self._held_v: float | None = None
        self._began_s = self._elapsed_s = self._step_charge_mah = 0.0
        self._sweep_from_v = self._since_sample_s = 0.0
        self._flags = 0

    @property
    def driving(self) -> bool:
        """Whether the cell is connected to the amplifier."""
        if self.state == PAUSED:
            return self._held_v is not None
        return self.state == RUNNING and self._steps[self._step].mode != "open"

    @property
    def programmed(self) -> bool:
        """Whether a protocol is going on or waits in a pause."""
        return self.state in (RUNNING, PAUSED)

    @property
    def step(self) -> Step | None:
        """The step of the protocol, if one is going on."""
        return self._steps[self._step] if self.programmed else None

    @property
    def step_number(self) -> int:
        """Of the present step, from 1; 0 without a protocol."""
        return self._step + 1 if self.programmed else 0

    @property
    def taken(self) -> int:
        """How many samples this protocol has."""
        return self._next_index

    @property
    def interval_s(self) -> float:
        """Longest time to the next sample; an impedance takes one at its end."""
        step = self.step
        if step is not None and step.mode == "impedance" and self.state == RUNNING:
            return step.duration_s or 0.0
        return self._sample_s if self.programmed else 0.0

    def start(
        self, steps: Sequence[Step], limits: Limits, *, sample_s: float, range_ma: float
    ) -> None:
        """Begin a protocol at the present time.

        Parameters
        ----------
        steps : sequence of Step
        limits : Limits
            Beside those of the hardware.
        sample_s : float, s
        range_ma : float, mA
            Full scale of the current.

        Raises
        ------
        RuntimeError
            When one is going on.
        """
        if self.programmed:
            raise RuntimeError("a protocol is going on; stop it first.")
        self._steps, self._limits, self._sample_s = list(steps), limits, float(sample_s)
        self.range_ma = float(range_ma)
        self.samples.clear()
        self._next_index = 0
        self.charge_mah, self._began_s, self._flags = 0.0, self.clock_s, 0
        self.state, self.message = RUNNING, "running"
        self.log("start", steps=len(self._steps), limits=limits.to_dict(), range_ma=range_ma)
        self._enter(0)

    def open_circuit(self, reason: str, state: str = TRIPPED) -> None:
        """Disconnect the cell and end the protocol.

        Parameters
        ----------
        reason : str
        state : str
            "idle" when asked for, "done" at the end, "tripped" otherwise.
        """
        if self.programmed:
            self.state, self.message = state, reason
        self._held_v = None
        self.log("open_circuit", reason=reason)

    def pause(self, *, hold: bool) -> None:
        """Stop to count the protocol's time; the cell's goes on.

        Parameters
        ----------
        hold : bool
            Hold the present voltage; else open the circuit.
        """
        if self.state != RUNNING:
            return
        self.state, self.message = PAUSED, "paused, " + ("held" if hold else "open circuit")
        self._held_v = self.cell.voltage_v if hold else None
        self.log("hold" if hold else "open_circuit", reason="pause")

    def resume(self) -> None:
        """Go on with the step where it was."""
        if self.state == PAUSED:
            self.state, self.message, self._held_v = RUNNING, "running", None
            if self._steps[self._step].mode == "sweep":
                self._elapsed_s, self._sweep_from_v = 0.0, self.cell.voltage_v
            self.log("resume")

    def advance_to(self, clock_s: float, *, wholly: bool = False) -> None:
        """Let time pass, and take the samples that are due.

        Parameters
        ----------
        clock_s : float, s
        wholly : bool
            Also the time after the last sample that is due: before a command is obeyed.
        """
        while self.clock_s < clock_s - 1e-9:
            if not self.programmed:
                self._pass(min(clock_s - self.clock_s, _IDLE_SOLVE_S))
                continue
            left_s = self._due_s()
            if self.clock_s + left_s > clock_s + 1e-9:
                if wholly:
                    self._flags |= self._pass(clock_s - self.clock_s)
                return
            self._flags |= self._pass(left_s)
            self._take()

    def reading(self) -> tuple[float, ...]:
        """Return a row of `FIELDS` for now; its index is that of the next sample."""
        return self._row(0)

    def _enter(self, number: int) -> None:
        self._step = number
        self._elapsed_s = self._step_charge_mah = self._since_sample_s = 0.0
        self._sweep_from_v = self.cell.voltage_v
        step = self._steps[number]
        self.log("step", number=number + 1, mode=step.mode, cycle=step.cycle)

    def _due_s(self) -> float:
        """Return how long it is to the next sample."""
        sample_s = max(self._sample_s - self._since_sample_s, 1e-6)
        if self.state == PAUSED:
            return sample_s
        step = self._steps[self._step]
        left = [math.inf if step.mode == "impedance" else sample_s]
        if step.duration_s is not None:
            left.append(step.duration_s - self._elapsed_s)
        if step.mode == "current" and step.capacity_mah is not None and step.current_ma:
            charge = step.capacity_mah - abs(self._step_charge_mah)
            left.append(charge / abs(step.current_ma) * 3600)
        if step.mode == "sweep":
            left.append(self._sweep_s(step) - self._elapsed_s)
        return max(min(left), 1e-6)

    def _sweep_s(self, step: Step) -> float:
        return abs((step.voltage_v or 0.0) - self._sweep_from_v) / (step.rate_v_s or 1.0)

    def _pass(self, dt_s: float) -> int:
        """Let the cell live for a while, or until a voltage is reached at which it must act.

        Returns
        -------
        flags : int
            What the amplifier could not do.
        """
        flags, until_s = 0, self.clock_s + dt_s
        charge = self.cell.state.charge_mah
        part_s = _LONGEST_SOLVE_S if self.programmed else _IDLE_SOLVE_S
        while (left_s := until_s - self.clock_s) > 1e-9:
            part_s = min(part_s, left_s)
            before, voltage = self.cell.state, self.cell.voltage_v
            flag = self.amplifier.drive(part_s, *self._demand(part_s), self.range_ma)
            moved = abs(self.cell.voltage_v - voltage)
            if part_s > _SHORTEST_SOLVE_S and self.driving and moved > self._most_change_v(voltage):
                self.cell.state, self.cell.voltage_v = before, voltage
                part_s *= 0.25
                continue
            flags |= flag
            self.clock_s += part_s
            self._since_sample_s += part_s
            if self.state == RUNNING:
                self._elapsed_s += part_s
            if self.driving and self._crossed():
                break
            part_s = min(2 * part_s, _LONGEST_SOLVE_S if self.programmed else _IDLE_SOLVE_S)
        passed = self.cell.state.charge_mah - charge
        self.charge_mah += passed
        if self.state == RUNNING:
            self._step_charge_mah += passed
        return flags

    def _most_change_v(self, voltage_v: float) -> float:
        """Return how far the voltage may go at once: little where it soon has to act."""
        ends = [limits.lower_v for limits in (self.hardware.limits, self._limits)]
        ends += [limits.upper_v for limits in (self.hardware.limits, self._limits)]
        if self.state == RUNNING:
            step = self._steps[self._step]
            ends += [step.below_v, step.above_v]
        nearest = min((abs(voltage_v - end) for end in ends if end is not None), default=1.0)
        return max(_MOST_CHANGE_V, 0.25 * nearest)

    def _crossed(self) -> bool:
        """Whether the voltage is where the step ends or a limit is broken."""
        voltage, current = self.cell.voltage_v, self.cell.current_ma
        if self.state == RUNNING:
            step = self._steps[self._step]
            if step.below_v is not None and voltage <= step.below_v:
                return True
            if step.above_v is not None and voltage >= step.above_v:
                return True
        return self._broken(voltage, current, turned=False) is not None

    def _demand(self, dt_s: float) -> tuple[CellMode, float]:
        if self._held_v is not None:
            return "voltage", self._held_v
        if self.state != RUNNING:
            return "open", 0.0
        step = self._steps[self._step]
        if step.mode == "current":
            return "current", step.current_ma or 0.0
        if step.mode == "sweep":
            whole = self._sweep_s(step)
            part = 1.0 if whole <= 0 else min((self._elapsed_s + dt_s) / whole, 1.0)
            target = step.voltage_v or 0.0
            return "voltage", self._sweep_from_v + part * (target - self._sweep_from_v)
        if step.voltage_v is not None:
            return "voltage", step.voltage_v
        return "open", 0.0

    def _row(self, flags: int) -> tuple[float, ...]:
        step, current = self.step, 0.0
        if self.driving:
            current = self.amplifier.measured_ma(self.cell.current_ma, self.range_ma)
        frequency, z = _NAN, complex(_NAN, _NAN)
        if step is not None and step.mode == "impedance" and step.frequency_hz is not None:
            frequency, z = step.frequency_hz, self.cell.impedance_ohm(step.frequency_hz)
        return (
            float(self._next_index),
            self.clock_s,
            self.amplifier.measured_v(self.cell.voltage_v),
            current,
            self.charge_mah,
            float(step.cycle if step is not None else 0),
            float(self.step_number),
            float(MODES.index(step.mode) if step is not None else 0),
            float(flags),
            frequency,
            z.real,
            z.imag,
        )

    def _take(self) -> None:
        paused = self.state == PAUSED
        row = self._row(self._flags | (PAUSED_FLAG if paused else 0))
        self._flags, self._since_sample_s = 0, 0.0
        voltage, current = row[2], row[3]
        ended = None if paused else self._ended(voltage, current)
        if ended:
            row = (*row[:8], float(int(row[8]) | LAST_FLAG), *row[9:])
        self.samples.append(row)
        self._next_index += 1
        broken = self._broken(voltage, current, turned=ended == "voltage")
        if broken:
            self.open_circuit(f"limit: {broken}")
        elif ended:
            self._leave(ended == "voltage")

    def _ended(self, voltage_v: float, current_ma: float) -> str | None:
        """Return what ended the present step, if it has ended."""
        step = self._steps[self._step]
        if step.below_v is not None and voltage_v <= step.below_v:
            return "voltage"
        if step.above_v is not None and voltage_v >= step.above_v:
            return "voltage"
        if step.below_ma is not None and abs(current_ma) <= step.below_ma:
            return "current"
        if step.duration_s is not None and self._elapsed_s >= step.duration_s - 1e-6:
            return "time"
        charge = abs(self._step_charge_mah)
        if step.capacity_mah is not None and charge >= step.capacity_mah * (1 - 1e-9):
            return "capacity"
        if step.mode == "sweep" and self._elapsed_s >= self._sweep_s(step) - 1e-6:
            return "time"
        return None

    def _broken(self, voltage_v: float, current_ma: float, *, turned: bool) -> str | None:
        """Return which limit is broken; a step that has turned at a voltage has not broken it."""
        since_s, slack_ma = self.clock_s - self._began_s, 1e-3 * self.range_ma
        for limits in (self.hardware.limits, self._limits):
            broken = limits.broken_by(
                None if turned else voltage_v, current_ma, self.charge_mah, since_s, slack_ma
            )
            if broken:
                return broken
        return None

    def _leave(self, by_voltage: bool) -> None:
        group, number = self._steps[self._step].group, self._step + 1
        while by_voltage and group is not None and number < len(self._steps):
            if self._steps[number].group != group:
                break
            number += 1
        if number < len(self._steps):
            self._enter(number)
        else:
            self.open_circuit("end of the protocol", DONE)
