"""The EPICS records of the simulated potentiostat, as ``docs/operando.md`` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..potentiostat_records import BLOCK_ROWS, COMMANDS, FIELDS, HEADER, LIMIT_FIELDS, RECORDS

if TYPE_CHECKING:
    from .cell_ioc import CellIoc


def records(ioc: CellIoc) -> Any:
    """Return the class of the IOC's PVs.

    Parameters
    ----------
    ioc : CellIoc
        What the records read and command.

    Returns
    -------
    subclass of caproto.server.PVGroup
        Its `show` brings state, message, voltage and current up to date.
    """
    from caproto import ChannelType
    from caproto.server import PVGroup

    held = ioc.instrument.hardware.limits
    limits = [getattr(held, name) for name in LIMIT_FIELDS]
    numbers = [float("nan") if value is None else value for value in limits]
    longest = len(HEADER) + BLOCK_ROWS * len(FIELDS)
    text: Any = ChannelType.CHAR
    choice: Any = ChannelType.ENUM

    class Records(PVGroup):
        program = _taken("program", "", ioc.load_text, dtype=text, max_length=4 << 20)
        command = _taken("command", "none", ioc.command, dtype=choice, enum_strings=list(COMMANDS))
        heartbeat = _taken("heartbeat", 0, lambda _: ioc.hear())
        acknowledge = _taken("acknowledge", 0, ioc.acknowledge)
        samples = _asked("samples", ioc.block, max_length=longest)
        now = _asked("now", ioc.reading, max_length=1 + len(FIELDS))
        phases = _asked("Phases", ioc.truth, max_length=8)
        state = _shown("state", ioc.instrument.state, dtype=ChannelType.STRING)
        message = _shown("message", "", dtype=text, max_length=400)
        speed = _shown("speed", ioc.speed)
        compliance = _shown("compliance", ioc.instrument.hardware.compliance_v)
        limits = _shown("limits", numbers)
        voltage = _shown("Voltage", ioc.instrument.cell.voltage_v)
        current = _shown("Current", 0.0)

        async def show(self) -> None:
            instrument = ioc.instrument
            for record, value in (
                (self.message, instrument.message),
                (self.state, instrument.state),
                (self.voltage, instrument.cell.voltage_v),
                (self.current, instrument.cell.current_ma),
            ):
                if record.value != value:
                    await record.write(value)

    return Records


def _taken(what: str, value: Any, take: Any, **kwargs: Any) -> Any:
    """Return a record that does something when it is written."""
    from caproto.server import pvproperty

    async def put(self: Any, instance: Any, value: Any) -> None:
        take(value)
        if what == "command":
            await self.show()

    return pvproperty(name=RECORDS.get(what, what), value=value, put=put, **kwargs)


def _asked(what: str, answer: Any, **kwargs: Any) -> Any:
    """Return a record that looks when it is read."""
    from caproto.server import pvproperty

    async def get(self: Any, instance: Any) -> Any:
        return answer()

    name = RECORDS.get(what, what)
    return pvproperty(name=name, value=[0.0], get=get, read_only=True, **kwargs)


def _shown(what: str, value: Any, **kwargs: Any) -> Any:
    """Return a record that the IOC keeps up to date."""
    from caproto.server import pvproperty

    return pvproperty(name=RECORDS.get(what, what), value=value, read_only=True, **kwargs)
