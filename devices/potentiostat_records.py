"""How flyback talks to a potentiostat over EPICS: its records, and what they hold.

An IOC of real hardware that serves these records is driven by `devices.potentiostat` as it is; the
names can be changed there. ``docs/operando.md`` describes each record.
"""

from __future__ import annotations

from typing import Literal

RECORDS = {
    "program": "Program",
    "command": "Command",
    "state": "State",
    "message": "Message",
    "heartbeat": "Heartbeat",
    "samples": "Samples",
    "acknowledge": "Acknowledge",
    "now": "Now",
    "limits": "Limits",
    "compliance": "Compliance",
    "speed": "Speed",
}
"""What each is for, and how it is called after the prefix."""

COMMANDS = ("none", "start", "open_circuit", "pause_open", "pause_hold", "resume")
IDLE, RUNNING, PAUSED, DONE, TRIPPED = STATES = ("idle", "running", "paused", "done", "tripped")
RANGES_MA = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
"""Full scales of the current; the smallest that holds a protocol's currents is chosen."""

PAUSED_FLAG, OVERLOAD_FLAG, COMPLIANCE_FLAG, LAST_FLAG = 1, 2, 4, 8
"""Bits of a sample's flags: taken in a pause; the range, or the compliance, held the amplifier
back; the last sample of its step."""

FIELDS = (
    "index",
    "time_s",
    "voltage_v",
    "current_ma",
    "capacity_mah",
    "cycle",
    "step",
    "mode",
    "flags",
    "frequency_hz",
    "z_real_ohm",
    "z_imag_ohm",
)
"""Columns of a sample."""
HEADER = ("clock_s", "total", "rows", "fields")
"""What precedes the samples in their record: the clock now, how many samples the protocol has
so far, how many follow, and how many numbers each has."""
BLOCK_ROWS = 256
"""At most so many samples in one record."""
LIMIT_FIELDS = ("lower_v", "upper_v", "current_ma", "power_mw")

OnPause = Literal["open_circuit", "hold"]
