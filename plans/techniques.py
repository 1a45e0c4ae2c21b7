"""A plan for each technique of a potentiostat, carried out as `operando` does.

The annotations here are objects, as in `scanning`.
"""

from collections.abc import Sequence
from typing import Any, Optional

from bluesky.protocols import Flyable, Readable
from bluesky.utils import MsgGenerator

from ..models.electrochemistry import current_ma
from ..models.protocol import Protocol
from ..models.steps import Limits, ProtocolError
from ..models.techniques import CA, GCPL, GITT, OCV, Fiducial
from .operando import run_protocol

MOST_OF_CAPACITY = 1.5
"""A half cycle of `cycle` ends at the latest after so many times the capacity."""
_FEWEST_SAMPLES = 4
"""Of a pulse of `fiducial`."""


def cycle(
    potentiostat: Flyable,
    detectors: Sequence[Readable] = (),
    *,
    c_rate: float = 0.5,
    capacity_mah: float,
    lower_v: float,
    upper_v: float,
    cycles: int = 1,
    rest_s: float = 0.0,
    hold_s: Optional[float] = None,  # noqa: UP045
    hold_c_rate: Optional[float] = None,  # noqa: UP045
    every_s: float = 30.0,
    sample_s: float = 1.0,
    suspenders: Optional[list] = None,  # noqa: UP045
    rules: Optional[Any] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Cycle at constant current between two voltages, lithiating first (GCPL, or CCCV).

    Parameters
    ----------
    potentiostat, detectors, every_s, suspenders, rules, md
        As of `operando`.
    c_rate : float, 1/h
    capacity_mah : float, mAh
        To which the C-rate refers. A half cycle that never reaches its voltage ends after 1.5
        times this charge.
    lower_v, upper_v : float, V
    cycles : int
    rest_s : float, s
        At open circuit after each half cycle.
    hold_s, hold_c_rate : float, s and 1/h, optional
        Hold the voltage at each turn, for so long at most, until the current has fallen so far.
    sample_s : float, s
        The cell is sampled so often.

    Returns
    -------
    uid : str
    """
    gcpl = GCPL(
        current_ma=current_ma(c_rate, capacity_mah),
        lower_v=lower_v,
        upper_v=upper_v,
        capacity_mah=MOST_OF_CAPACITY * capacity_mah,
        cycles=cycles,
        hold_s=hold_s,
        hold_ma=None if hold_c_rate is None else current_ma(hold_c_rate, capacity_mah),
        rest_s=rest_s,
    )
    protocol = Protocol([gcpl], Limits(lower_v=lower_v, upper_v=upper_v), sample_s)
    start = {"c_rate": c_rate, "capacity_mah": capacity_mah, **(md or {})}
    return (
        yield from run_protocol(
            "cycle", potentiostat, protocol, detectors, every_s, suspenders, rules, start
        )
    )


def hold(
    potentiostat: Flyable,
    detectors: Sequence[Readable] = (),
    *,
    voltage_v: float,
    duration_s: float,
    until_ma: Optional[float] = None,  # noqa: UP045
    every_s: float = 30.0,
    sample_s: float = 1.0,
    suspenders: Optional[list] = None,  # noqa: UP045
    rules: Optional[Any] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Hold a voltage (CA).

    Parameters
    ----------
    voltage_v : float, V
    duration_s : float, s
    until_ma : float, mA, optional
        Ends earlier once the current is so small. The others are as of `cycle`.

    Returns
    -------
    uid : str
    """
    protocol = Protocol([CA(voltage_v, duration_s, until_ma)], sample_s=sample_s)
    return (
        yield from run_protocol(
            "hold", potentiostat, protocol, detectors, every_s, suspenders, rules, md
        )
    )


def ocv(
    potentiostat: Flyable,
    detectors: Sequence[Readable] = (),
    *,
    duration_s: float,
    every_s: float = 30.0,
    sample_s: float = 1.0,
    suspenders: Optional[list] = None,  # noqa: UP045
    rules: Optional[Any] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Watch the cell at open circuit (OCV).

    Parameters
    ----------
    duration_s : float, s
        The others are as of `cycle`.

    Returns
    -------
    uid : str
    """
    protocol = Protocol([OCV(duration_s)], sample_s=sample_s)
    return (
        yield from run_protocol(
            "ocv", potentiostat, protocol, detectors, every_s, suspenders, rules, md
        )
    )


def gitt(
    potentiostat: Flyable,
    detectors: Sequence[Readable] = (),
    *,
    c_rate: float = -0.1,
    capacity_mah: float,
    pulse_s: float,
    rest_s: float,
    pulses: int,
    lower_v: float,
    upper_v: float,
    every_s: float = 30.0,
    sample_s: float = 1.0,
    suspenders: Optional[list] = None,  # noqa: UP045
    rules: Optional[Any] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Pulse the current and let the cell rest, again and again (GITT).

    Parameters
    ----------
    c_rate : float, 1/h
        Negative lithiates.
    capacity_mah : float, mAh
        To which the C-rate refers.
    pulse_s, rest_s : float, s
    pulses : int
    lower_v, upper_v : float, V
        A pulse that reaches one of them is the last. The others are as of `cycle`.

    Returns
    -------
    uid : str
    """
    technique = GITT(
        current_ma(c_rate, capacity_mah), pulse_s, rest_s, pulses, lower_v=lower_v, upper_v=upper_v
    )
    protocol = Protocol([technique], Limits(lower_v=lower_v, upper_v=upper_v), sample_s)
    start = {"c_rate": c_rate, "capacity_mah": capacity_mah, **(md or {})}
    return (
        yield from run_protocol(
            "gitt", potentiostat, protocol, detectors, every_s, suspenders, rules, start
        )
    )


def fiducial(
    potentiostat: Flyable,
    detectors: Sequence[Readable] = (),
    *,
    current_ma: float,
    pulse_s: float = 4.0,
    pairs: int = 2,
    every_s: float = 30.0,
    sample_s: float = 0.05,
    suspenders: Optional[list] = None,  # noqa: UP045
    rules: Optional[Any] = None,  # noqa: UP045
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Mark the time by pulses of current for every clock that sees it.

    Once before an experiment and once after it: from both, offset and drift of a clock are found
    (``docs/cell-files.md``).

    Parameters
    ----------
    current_ma : float, mA
        Of the first pulse; negative lithiates, which a fresh cell needs. Each is followed by its
        opposite.
    pulse_s : float, s
        At least four samples, here and in the other log.
    pairs : int
        A pulse and its opposite, so many times.
    sample_s : float, s
        The clocks will be known within half of it. The others are as of `cycle`.

    Returns
    -------
    uid : str

    Raises
    ------
    ProtocolError
        Before anything happens, as of `operando`, or when a pulse is too short for its samples.
    """
    technique = Fiducial(current_ma, pulse_s, pairs)
    protocol = Protocol([technique], sample_s=sample_s)
    if pulse_s < _FEWEST_SAMPLES * sample_s:
        raise ProtocolError(
            f"pulse_s = {pulse_s:g} s holds fewer than {_FEWEST_SAMPLES} samples; give pulse_s of "
            f"at least {_FEWEST_SAMPLES * sample_s:g} s, or a shorter sample_s than {sample_s:g} s."
        )
    return (
        yield from run_protocol(
            "fiducial", potentiostat, protocol, detectors, every_s, suspenders, rules, md
        )
    )
