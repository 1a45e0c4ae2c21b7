"""Electrochemical techniques as data, and the steps that each of them is.

The names are the trade's: open-circuit voltage (OCV), chronoamperometry (CA), cyclic voltammetry
(CV), galvanostatic cycling with potential limits (GCPL; CCCV with a hold), galvanostatic
intermittent titration (GITT; Weppner and Huggins, J. Electrochem. Soc. 124, 1569 (1977)), and
potentio-electrochemical impedance spectroscopy (PEIS). A `Fiducial` is none of theirs: it marks the
time for every clock that sees the current.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from .steps import Limits, ProtocolError, Step, is_number

_GOLDEN_SECTION = (math.sqrt(5) - 1) / 2
_MOST_PAIRS = 8


@dataclass(frozen=True)
class Technique:
    """A part of a protocol."""

    def steps(self) -> Iterator[Step]:
        """Yield what the instrument does."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data; `technique_from` reads it."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {"technique": type(self).__name__, **given}

    def _positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not (is_number(value) and value > 0):
                raise ProtocolError(
                    f"{type(self).__name__}: {name} must be positive and finite, not {value!r}."
                )

    def _count(self, name: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ProtocolError(
                f"{type(self).__name__}: {name} must be a whole number from 1 on, not {value!r}."
            )

    def _flowing(self, name: str) -> None:
        value = getattr(self, name)
        if not (is_number(value) and value != 0):
            raise ProtocolError(
                f"{type(self).__name__}: {name} must be finite and not zero, not {value!r}."
            )

    def _window(self) -> None:
        lower, upper = getattr(self, "lower_v", None), getattr(self, "upper_v", None)
        Limits(lower_v=lower, upper_v=upper)
        if lower is None or upper is None:
            raise ProtocolError(f"{type(self).__name__} needs lower_v and upper_v.")


@dataclass(frozen=True)
class OCV(Technique):
    """Watch the cell at open circuit.

    Parameters
    ----------
    duration_s : float, s
    """

    duration_s: float

    def __post_init__(self) -> None:
        self._positive("duration_s")

    def steps(self) -> Iterator[Step]:
        """Yield one step."""
        yield Step("open", duration_s=self.duration_s)


@dataclass(frozen=True)
class CA(Technique):
    """Hold a voltage.

    Parameters
    ----------
    voltage_v : float, V
    duration_s : float, s
    until_ma : float, mA, optional
        Ends earlier once the current is so small.
    """

    voltage_v: float
    duration_s: float
    until_ma: float | None = None

    def __post_init__(self) -> None:
        self._positive("duration_s", "until_ma")

    def steps(self) -> Iterator[Step]:
        """Yield one step."""
        yield Step(
            "voltage",
            voltage_v=self.voltage_v,
            duration_s=self.duration_s,
            below_ma=self.until_ma,
        )


@dataclass(frozen=True)
class CV(Technique):
    """Sweep between two voltages, first down.

    Parameters
    ----------
    lower_v, upper_v : float, V
    rate_mv_s : float, mV/s
    cycles : int
    """

    lower_v: float
    upper_v: float
    rate_mv_s: float
    cycles: int = 1

    def __post_init__(self) -> None:
        self._window()
        self._positive("rate_mv_s")
        self._count("cycles")

    def steps(self) -> Iterator[Step]:
        """Yield two steps a cycle."""
        for cycle in range(self.cycles):
            for target in (self.lower_v, self.upper_v):
                yield Step(
                    "sweep", voltage_v=target, rate_v_s=self.rate_mv_s * 1e-3, cycle=cycle + 1
                )


@dataclass(frozen=True)
class GCPL(Technique):
    """Cycle at constant current between two voltages, lithiating first.

    Parameters
    ----------
    current_ma : float, mA
        Magnitude.
    lower_v, upper_v : float, V
        Where the current turns.
    capacity_mah : float, mAh, optional
        A half cycle ends at the latest after this charge.
    half_cycle_s : float, s, optional
        And after this time. One of the two must be given: a voltage may never be reached.
    cycles : int
    first : "lithiation" or "delithiation"
    hold_ma : float, mA, optional
        Hold the voltage at each turn until the current is so small (CCCV).
    hold_s : float, s, optional
        And no longer than this; needed with `hold_ma`.
    rest_s : float, s
        At open circuit after each half cycle.
    """

    current_ma: float
    lower_v: float
    upper_v: float
    capacity_mah: float | None = None
    half_cycle_s: float | None = None
    cycles: int = 1
    first: Literal["lithiation", "delithiation"] = "lithiation"
    hold_ma: float | None = None
    hold_s: float | None = None
    rest_s: float = 0.0

    def __post_init__(self) -> None:
        self._window()
        self._positive("current_ma", "capacity_mah", "half_cycle_s", "hold_ma", "hold_s")
        self._count("cycles")
        if self.first not in ("lithiation", "delithiation"):
            raise ProtocolError(
                f"GCPL: first is 'lithiation' or 'delithiation', not {self.first!r}."
            )
        if self.capacity_mah is None and self.half_cycle_s is None:
            raise ProtocolError(
                "GCPL has no sure end, since a voltage may never be reached; give capacity_mah or "
                "half_cycle_s for each half cycle."
            )
        if self.hold_ma is not None and self.hold_s is None:
            raise ProtocolError(
                "GCPL: a hold has no sure end, since the current may never fall to hold_ma; give "
                "hold_s."
            )
        if not (is_number(self.rest_s) and self.rest_s >= 0):
            raise ProtocolError(f"GCPL: rest_s must not be negative, not {self.rest_s!r}.")

    def steps(self) -> Iterator[Step]:
        """Yield two to six steps a cycle."""
        turns = ["lithiation", "delithiation"]
        if self.first == "delithiation":
            turns.reverse()
        for cycle in range(1, self.cycles + 1):
            for turn in turns:
                down = turn == "lithiation"
                target = self.lower_v if down else self.upper_v
                yield Step(
                    "current",
                    current_ma=-self.current_ma if down else self.current_ma,
                    below_v=target if down else None,
                    above_v=None if down else target,
                    capacity_mah=self.capacity_mah,
                    duration_s=self.half_cycle_s,
                    cycle=cycle,
                )
                if self.hold_s is not None:
                    yield Step(
                        "voltage",
                        voltage_v=target,
                        duration_s=self.hold_s,
                        below_ma=self.hold_ma,
                        cycle=cycle,
                    )
                if self.rest_s:
                    yield Step("open", duration_s=self.rest_s, cycle=cycle)


@dataclass(frozen=True)
class GITT(Technique):
    """Pulses of current, each followed by a rest, until a voltage is reached.

    Parameters
    ----------
    current_ma : float, mA
        Negative lithiates.
    pulse_s, rest_s : float, s
    pulses : int
    lower_v, upper_v : float, V
        A pulse that reaches one of them is the last; its rest is left out too.
    """

    current_ma: float
    pulse_s: float
    rest_s: float
    pulses: int
    lower_v: float
    upper_v: float

    def __post_init__(self) -> None:
        self._window()
        self._positive("pulse_s", "rest_s")
        self._count("pulses")
        self._flowing("current_ma")

    def steps(self) -> Iterator[Step]:
        """Yield two steps a pulse."""
        for pulse in range(1, self.pulses + 1):
            yield Step(
                "current",
                current_ma=self.current_ma,
                duration_s=self.pulse_s,
                below_v=self.lower_v if self.current_ma < 0 else None,
                above_v=self.upper_v if self.current_ma > 0 else None,
                cycle=pulse,
                group=0,
            )
            yield Step("open", duration_s=self.rest_s, cycle=pulse, group=0)


@dataclass(frozen=True)
class Fiducial(Technique):
    """Pulses of current, each followed by its opposite, by which logs of two clocks are joined.

    The rests get longer by the golden section of a pulse: a log that begins or ends amid them fits
    in one way only, and the edges fall at different places between the samples of a logger, which
    narrows the bounds of `models.time_axis.fit_clock`. No charge is left behind.

    Parameters
    ----------
    current_ma : float, mA
        Of every other pulse, from the first on; negative lithiates.
    pulse_s : float, s
        At least four samples of the slowest log.
    pairs : int
        A pulse and its opposite, so many times; at most 8.
    """

    current_ma: float
    pulse_s: float = 4.0
    pairs: int = 2

    def __post_init__(self) -> None:
        self._positive("pulse_s")
        self._count("pairs")
        if self.pairs > _MOST_PAIRS:
            raise ProtocolError(f"Fiducial: pairs is at most {_MOST_PAIRS}, not {self.pairs}.")
        self._flowing("current_ma")

    def rests_s(self) -> list[float]:
        """Return the rests before, between and after the pulses, s."""
        between = [1.3 + _GOLDEN_SECTION * pulse for pulse in range(1, 2 * self.pairs)]
        return [self.pulse_s * rest for rest in (2.0, *between, 2.0)]

    def steps(self) -> Iterator[Step]:
        """Yield a rest, and for each pulse itself and a rest."""
        first, *others = self.rests_s()
        yield Step("open", duration_s=first)
        for pulse, rest_s in enumerate(others):
            sign = 1 if pulse % 2 == 0 else -1
            yield Step(
                "current",
                current_ma=sign * self.current_ma,
                duration_s=self.pulse_s,
                cycle=1 + pulse // 2,
            )
            yield Step("open", duration_s=rest_s, cycle=1 + pulse // 2)


@dataclass(frozen=True)
class PEIS(Technique):
    """Impedance at some frequencies, from high to low.

    Parameters
    ----------
    lowest_hz, highest_hz : float, Hz
    per_decade : int
    amplitude_mv : float, mV
    voltage_v : float, V, optional
        Bias; open circuit where it is left out.
    periods : float
        Each frequency takes so many periods, and at least 0.1 s.
    """

    lowest_hz: float = 0.1
    highest_hz: float = 1e5
    per_decade: int = 6
    amplitude_mv: float = 10.0
    voltage_v: float | None = None
    periods: float = 3.0

    def __post_init__(self) -> None:
        self._positive("lowest_hz", "highest_hz", "amplitude_mv", "periods")
        self._count("per_decade")
        if self.lowest_hz >= self.highest_hz:
            raise ProtocolError(
                f"PEIS: lowest_hz = {self.lowest_hz:g} must be below highest_hz = "
                f"{self.highest_hz:g}."
            )

    def steps(self) -> Iterator[Step]:
        """Yield a step for each frequency."""
        decades = math.log10(self.highest_hz / self.lowest_hz)
        count = max(2, round(decades * self.per_decade) + 1)
        for index in range(count):
            frequency = self.highest_hz * 10 ** (-decades * index / (count - 1))
            yield Step(
                "impedance",
                frequency_hz=frequency,
                amplitude_v=self.amplitude_mv * 1e-3,
                voltage_v=self.voltage_v,
                duration_s=max(self.periods / frequency, 0.1),
            )


TECHNIQUES: dict[str, type[Technique]] = {
    kind.__name__: kind for kind in (OCV, CA, CV, GCPL, GITT, Fiducial, PEIS)
}


def technique_from(given: Mapping[str, Any]) -> Technique:
    """Read a technique from ``{"technique": "CA", "voltage_v": ...}``.

    Raises
    ------
    ProtocolError
        For an unknown technique, or settings that it does not have or lacks.
    """
    if not isinstance(given, Mapping) or "technique" not in given:
        raise ProtocolError(f"a technique is a mapping with the key 'technique', not {given!r}.")
    settings = dict(given)
    name = settings.pop("technique")
    kind = TECHNIQUES.get(name)
    if kind is None:
        raise ProtocolError(f"there is no technique {name!r}, but {', '.join(TECHNIQUES)}.")
    known = {one.name for one in fields(kind)}
    for key in settings:
        if key not in known:
            raise ProtocolError(f"{name} has no setting {key!r}, but {', '.join(sorted(known))}.")
    try:
        return kind(**settings)
    except TypeError as error:
        raise ProtocolError(f"{name}: {error}.") from error
