"""The line to a potentiostat: its records over EPICS, its clock, its readings, and open circuit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO
from ophyd import FormattedComponent as FCpt
from ophyd.status import Status
from ophyd.utils.errors import DisconnectedError

from ..models.steps import Limits
from .potentiostat_records import FIELDS, LIMIT_FIELDS, PAUSED, RECORDS, RUNNING
from .signals import ReadOnlySignal

log = logging.getLogger(__name__)

_LONGEST_SYNC_S = 5.0


class PotentiostatError(RuntimeError):
    """The potentiostat could not do what it was asked, or was lost."""


class PotentiostatLink(Device):
    """What can be said to a potentiostat, and read from it at any time.

    Parameters
    ----------
    prefix : str
        Of its EPICS records.
    name : str
    records : mapping of str to str
        Names of records that differ from `potentiostat_records.RECORDS`.
    timeout_s : float, s
        An instrument silent for so long is lost.
    """

    voltage_v = Cpt(ReadOnlySignal, value=math.nan, units="V", kind="hinted")
    current_ma = Cpt(ReadOnlySignal, value=math.nan, units="mA", kind="hinted")
    capacity_mah = Cpt(ReadOnlySignal, value=math.nan, units="mAh", kind="normal")
    cycle_count = Cpt(ReadOnlySignal, value=0, kind="normal")
    step_count = Cpt(ReadOnlySignal, value=0, kind="normal")
    device_time_s = Cpt(ReadOnlySignal, value=math.nan, units="s", kind="normal")
    monotonic_s = Cpt(ReadOnlySignal, value=math.nan, units="s", kind="normal")
    utc_s = Cpt(ReadOnlySignal, value=math.nan, units="s", precision=6, kind="normal")
    range_ma = Cpt(ReadOnlySignal, value=math.nan, units="mA", kind="config")
    compliance_v = Cpt(ReadOnlySignal, value=math.nan, units="V", kind="config")
    clock_speed = Cpt(ReadOnlySignal, value=1.0, kind="config")
    lower_limit_v = Cpt(ReadOnlySignal, value=-math.inf, units="V", kind="config")
    upper_limit_v = Cpt(ReadOnlySignal, value=math.inf, units="V", kind="config")

    program = FCpt(EpicsSignal, "{prefix}{records[program]}", kind="omitted")
    command = FCpt(EpicsSignal, "{prefix}{records[command]}", string=True, kind="omitted")
    state = FCpt(EpicsSignalRO, "{prefix}{records[state]}", string=True, kind="omitted")
    message = FCpt(EpicsSignalRO, "{prefix}{records[message]}", string=True, kind="omitted")
    heartbeat = FCpt(EpicsSignal, "{prefix}{records[heartbeat]}", kind="omitted")
    samples = FCpt(EpicsSignalRO, "{prefix}{records[samples]}", kind="omitted")
    acknowledge = FCpt(EpicsSignal, "{prefix}{records[acknowledge]}", kind="omitted")
    now = FCpt(EpicsSignalRO, "{prefix}{records[now]}", kind="omitted")
    device_limits = FCpt(EpicsSignalRO, "{prefix}{records[limits]}", kind="omitted")
    device_compliance = FCpt(EpicsSignalRO, "{prefix}{records[compliance]}", kind="omitted")
    device_speed = FCpt(EpicsSignalRO, "{prefix}{records[speed]}", kind="omitted")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        records: Mapping[str, str] | None = None,
        timeout_s: float = 3.0,
        **kwargs: Any,
    ) -> None:
        unknown = set(records or {}) - set(RECORDS)
        if unknown:
            raise ValueError(
                f"there is no record {', '.join(sorted(unknown))} of a potentiostat, but "
                f"{', '.join(RECORDS)}."
            )
        self.records = {**RECORDS, **(records or {})}
        super().__init__(prefix, name=name, **kwargs)
        self.timeout_s = float(timeout_s)
        self.hardware_limits = Limits()
        self._synced = (0.0, time.monotonic(), time.time(), math.inf)

    def connect(self) -> None:
        """Wait for the instrument, and learn its limits.

        Raises
        ------
        PotentiostatError
            When it does not answer.
        """
        try:
            self.wait_for_connection(timeout=self.timeout_s)
            limits = np.atleast_1d(self._ask(self.device_limits))
            self.compliance_v.report(float(self._ask(self.device_compliance)))
            self.clock_speed.report(float(self._ask(self.device_speed)))
        except (TimeoutError, DisconnectedError) as error:
            raise PotentiostatError(
                f"{self.name} does not answer at {self.prefix!r}; is its IOC running, and does "
                "EPICS_CA_ADDR_LIST lead to it?"
            ) from error
        given = dict(zip(LIMIT_FIELDS, limits.tolist(), strict=False))
        self.hardware_limits = Limits(
            **{key: value for key, value in given.items() if math.isfinite(value)}
        )

    def layers(self, plan: Limits | None = None) -> dict[str, Limits]:
        """Return the limits of the device, the profile and the plan.

        Parameters
        ----------
        plan : Limits, optional
        """
        return {
            "device": self.hardware_limits,
            "profile": self.limits,
            **({"plan": plan} if plan is not None else {}),
        }

    def trigger(self) -> Status:
        """Take a reading."""
        status = Status(self)
        try:
            self._look()
        except Exception as error:
            status.set_exception(error)
        else:
            status.set_finished()
        return status

    def _ask(self, signal: Any) -> Any:
        """Return what a record holds now."""
        return signal.get(
            use_monitor=False,
            timeout=min(1.0, self.timeout_s),
            connection_timeout=min(1.0, self.timeout_s),
        )

    def _look(self) -> dict[str, float]:
        """Read everything at one moment, and the clocks with it."""
        before = time.monotonic()
        clock_s, *row = np.asarray(self._ask(self.now), float).tolist()
        self._sync(clock_s, before)
        reading: dict[str, float] = dict(zip(FIELDS, row, strict=True))
        monotonic_s, utc_s = self.host_times(np.array([reading["time_s"]]))
        for name in ("voltage_v", "current_ma", "capacity_mah"):
            getattr(self, name).report(reading[name])
        self.cycle_count.report(int(reading["cycle"]))
        self.step_count.report(int(reading["step"]))
        self.device_time_s.report(reading["time_s"])
        self.monotonic_s.report(float(monotonic_s[0]))
        self.utc_s.report(float(utc_s[0]))
        return reading

    def _sync(self, clock_s: float, before: float) -> None:
        """Note what the clocks of the instrument and of this machine showed at one moment.

        The quickest exchange of the last seconds counts, as in NTP: half of its time is the
        error. A slower one takes its place where the two contradict each other.
        """
        after = time.monotonic()
        middle, took_s = 0.5 * (before + after), after - before
        known_s, known_middle, _, known_took_s = self._synced
        expected_s = known_s + (middle - known_middle) * float(self.clock_speed.get())
        apart_s = abs(expected_s - clock_s) / float(self.clock_speed.get())
        stale = middle - known_middle > _LONGEST_SYNC_S
        if took_s <= known_took_s or stale or apart_s > 0.5 * (took_s + known_took_s) + 1e-3:
            utc_s = time.time() - (time.monotonic() - middle)
            self._synced = (clock_s, middle, utc_s, took_s)

    def host_times(self, device_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return this machine's clocks for times of the instrument, by the latest exchange.

        Parameters
        ----------
        device_s : (n,) float, s

        Returns
        -------
        monotonic_s, utc_s : (n,) float64, s
            To half the time of an exchange, some milliseconds on a local network.
        """
        clock_s, monotonic_s, utc_s, _ = self._synced
        behind = (clock_s - device_s) / float(self.clock_speed.get())
        return monotonic_s - behind, utc_s - behind

    def device_now_s(self) -> float:
        """Return what the instrument's clock shows now, by the latest exchange."""
        clock_s, monotonic_s, *_ = self._synced
        return clock_s + (time.monotonic() - monotonic_s) * float(self.clock_speed.get())

    def send(self, command: str) -> None:
        """Send a command and wait until it was obeyed.

        Parameters
        ----------
        command : str
            One of `potentiostat_records.COMMANDS`.

        Raises
        ------
        PotentiostatError
            When the instrument does not take it.
        """
        patience_s = min(1.0, self.timeout_s)
        try:
            self.command.put(command, connection_timeout=patience_s, wait=True, timeout=patience_s)
        except Exception as error:  # whatever the control layer raises for a lost instrument
            raise PotentiostatError(f"{self.name} did not take {command!r}: {error}") from error

    def open_circuit(self) -> bool:
        """Open the circuit, and return whether the instrument has said so. Never raises."""
        try:
            self.send("open_circuit")
            if self._ask(self.state) not in (RUNNING, PAUSED):
                return True
            log.error("%s still drives the cell after it was told to open the circuit", self.name)
        except Exception as error:  # it must not hide why the circuit was to be opened
            log.error(
                "%s could not be told to open the circuit (%s); its watchdog must have, look at "
                "the cell",
                self.name,
                error,
            )
        return False
