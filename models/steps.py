"""What a potentiostat is asked to do, as plain data: limits, steps, and their checks.

A protocol (`models.protocol`) becomes a flat table of steps, which is what the instrument
carries out by its own clock. Every step must end by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Mode = Literal["open", "current", "voltage", "sweep", "impedance"]
MODES: tuple[Mode, ...] = ("open", "current", "voltage", "sweep", "impedance")
MOST_STEPS = 20_000
_SLACK_V = 1e-3


class ProtocolError(ValueError):
    """A protocol asks for what cannot or must not be done."""


@dataclass(frozen=True)
class Limits:
    """What must not be exceeded, whatever a protocol says; None is no limit.

    Parameters
    ----------
    lower_v, upper_v : float, V
        Against the reference electrode.
    current_ma : float, mA
        Magnitude.
    power_mw : float, mW
        Magnitude of voltage times current.
    capacity_mah : float, mAh
        Magnitude of the charge passed since the protocol began.
    time_s : float, s
        Since the protocol began.

    Raises
    ------
    ProtocolError
        When a limit is not a number of the right sign, or leaves no room.
    """

    lower_v: float | None = None
    upper_v: float | None = None
    current_ma: float | None = None
    power_mw: float | None = None
    capacity_mah: float | None = None
    time_s: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if not is_number(value):
                raise ProtocolError(f"{field.name} must be a finite number or None, not {value!r}.")
            if not field.name.endswith("_v") and value <= 0:
                raise ProtocolError(f"{field.name} must be positive, not {value!r}.")
        if self.lower_v is not None and self.upper_v is not None and self.lower_v >= self.upper_v:
            raise ProtocolError(
                f"the limits leave no room: lower_v = {self.lower_v:g} V must be below "
                f"upper_v = {self.upper_v:g} V."
            )

    def to_dict(self) -> dict[str, float]:
        """Return the limits that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def broken_by(
        self,
        voltage_v: float | None,
        current_ma: float,
        charge_mah: float = 0.0,
        since_s: float = 0.0,
        slack_ma: float = 0.0,
    ) -> str | None:
        """Say which limit a sample breaks.

        A voltage breaks its limit only where the current drives it further out: a cell that
        stands beyond its window at open circuit cannot be helped by opening the circuit.

        Parameters
        ----------
        voltage_v : float, V, or None
            None is not looked at.
        current_ma : float, mA
        charge_mah : float, mAh
            Since the protocol began.
        since_s : float, s
        slack_ma : float, mA
            So much more is noise; for a voltage it is 1 mV.

        Returns
        -------
        str or None
            The number and the limit.
        """
        v, i = voltage_v, abs(current_ma)
        if v is not None:
            low, high = self.lower_v, self.upper_v
            if low is not None and current_ma < 0 and v < low - _SLACK_V:
                return f"{v:.4f} V is below lower_v = {low:g} V"
            if high is not None and current_ma > 0 and v > high + _SLACK_V:
                return f"{v:.4f} V is above upper_v = {high:g} V"
            if self.power_mw is not None and abs(v) * i > self.power_mw:
                return f"{abs(v) * i:.4g} mW is more than power_mw = {self.power_mw:g} mW"
        if self.current_ma is not None and i > self.current_ma + slack_ma:
            return f"{current_ma:.4g} mA is more than current_ma = {self.current_ma:g} mA"
        if self.capacity_mah is not None and abs(charge_mah) > self.capacity_mah:
            return f"{charge_mah:.4g} mAh is more than capacity_mah = {self.capacity_mah:g} mAh"
        if self.time_s is not None and since_s > self.time_s:
            return f"{since_s:.4g} s is more than time_s = {self.time_s:g} s"
        return None


def strictest(layers: Mapping[str, Limits]) -> Limits:
    """Return the limits that keep every layer's.

    Parameters
    ----------
    layers : mapping of str to Limits
        Such as ``{"device": ..., "profile": ..., "plan": ...}``.

    Raises
    ------
    ProtocolError
        When two layers contradict each other; the message names them.
    """
    held: dict[str, tuple[float, str]] = {}
    for layer, limits in layers.items():
        for name, value in limits.to_dict().items():
            known = held.get(name)
            tighter = max if name == "lower_v" else min
            if known is None or tighter(value, known[0]) != known[0]:
                held[name] = (value, layer)
    if "lower_v" in held and "upper_v" in held and held["lower_v"][0] >= held["upper_v"][0]:
        (low, first), (high, second) = held["lower_v"], held["upper_v"]
        raise ProtocolError(
            f"the limits contradict each other: lower_v = {low:g} V of the {first} is not below "
            f"upper_v = {high:g} V of the {second}."
        )
    return Limits(**{name: value for name, (value, _) in held.items()})


@dataclass(frozen=True)
class Step:
    """One thing that the instrument does until one of its ends is reached.

    Parameters
    ----------
    mode : "open", "current", "voltage", "sweep" or "impedance"
    current_ma : float, mA
        For "current"; negative takes lithium up.
    voltage_v : float, V
        For "voltage" and "impedance"; where a "sweep" goes to. None in "impedance": at open
        circuit.
    rate_v_s : float, V/s
        For "sweep"; positive, it starts from the voltage that the cell has.
    frequency_hz, amplitude_v : float
        For "impedance".
    duration_s : float, s
    below_v, above_v : float, V
        Ends once the voltage is at or beyond this.
    below_ma : float, mA
        Ends once the magnitude of the current is at or below this.
    capacity_mah : float, mAh
        Magnitude of the charge passed in this step.
    cycle : int
        Reported with the samples.
    group : int or None
        Where a step ends by its voltage, the rest of its group is left out.
    """

    mode: Mode
    current_ma: float | None = None
    voltage_v: float | None = None
    rate_v_s: float | None = None
    frequency_hz: float | None = None
    amplitude_v: float | None = None
    duration_s: float | None = None
    below_v: float | None = None
    above_v: float | None = None
    below_ma: float | None = None
    capacity_mah: float | None = None
    cycle: int = 0
    group: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ProtocolError(f"a step's mode is one of {', '.join(MODES)}, not {self.mode!r}.")
        for name, value in self.to_dict().items():
            if name != "mode" and not is_number(value):
                raise ProtocolError(f"{name} of a step must be a finite number, not {value!r}.")
        needs = {
            "open": (),
            "current": ("current_ma",),
            "voltage": ("voltage_v",),
            "sweep": ("voltage_v", "rate_v_s"),
            "impedance": ("frequency_hz", "amplitude_v"),
        }[self.mode]
        for name in needs:
            if getattr(self, name) is None:
                raise ProtocolError(f"a step of mode {self.mode!r} needs {name}.")
        for name in ("rate_v_s", "frequency_hz", "amplitude_v", "duration_s", "capacity_mah"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ProtocolError(f"{name} of a step must be positive, not {value!r}.")
        if not self._ends_surely():
            raise ProtocolError(
                f"a step of mode {self.mode!r} has no sure end; give duration_s"
                + (" or capacity_mah." if self.mode == "current" else ".")
            )

    def _ends_surely(self) -> bool:
        """Whether it ends even where a voltage or a current is never reached."""
        if self.duration_s is not None or self.mode == "sweep":
            return True
        return self.mode == "current" and bool(self.current_ma) and self.capacity_mah is not None

    def to_dict(self) -> dict[str, Any]:
        """Return what is set, as JSON-able numbers and texts."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def longest_s(self) -> float:
        """Return an upper bound of its duration, s; a sweep's from 10 V away."""
        ends = [math.inf if self.duration_s is None else self.duration_s]
        if self.mode == "current" and self.capacity_mah is not None and self.current_ma:
            ends.append(self.capacity_mah / abs(self.current_ma) * 3600)
        if self.mode == "sweep" and self.rate_v_s is not None:
            ends.append(10.0 / self.rate_v_s)
        return min(ends)


def check_steps(steps: Iterable[Step], limits: Limits, layer: str = "limits") -> list[Step]:
    """Return the steps if they stay within the limits, as far as can be told beforehand.

    Parameters
    ----------
    steps : iterable of Step
    limits : Limits
    layer : str
        How the limits are called in a message.

    Raises
    ------
    ProtocolError
        When there is no step, there are too many, or one asks for more than a limit allows.
    """
    listed = list(steps)
    if not listed:
        raise ProtocolError("the protocol has no steps.")
    if len(listed) > MOST_STEPS:
        raise ProtocolError(
            f"the protocol has {len(listed)} steps, more than the {MOST_STEPS} that fit; "
            "use fewer cycles, pulses or frequencies."
        )
    for step in listed:
        for name in ("voltage_v", "below_v", "above_v"):
            wanted = getattr(step, name)
            if wanted is None:
                continue
            if limits.lower_v is not None and wanted < limits.lower_v - 1e-12:
                raise ProtocolError(
                    f"the protocol goes to {wanted:g} V, below lower_v = {limits.lower_v:g} V of "
                    f"the {layer}."
                )
            if limits.upper_v is not None and wanted > limits.upper_v + 1e-12:
                raise ProtocolError(
                    f"the protocol goes to {wanted:g} V, above upper_v = {limits.upper_v:g} V of "
                    f"the {layer}."
                )
        current = abs(step.current_ma or 0.0)
        if limits.current_ma is not None and current > limits.current_ma * (1 + 1e-12):
            raise ProtocolError(
                f"the protocol asks for {current:g} mA, more than current_ma = "
                f"{limits.current_ma:g} mA of the {layer}."
            )
    return listed


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
