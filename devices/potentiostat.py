"""A potentiostat over EPICS: it carries out protocols by its own clock and is always left safe.

The instrument gets the whole protocol and runs it alone; this device watches, keeps it alive by a
heartbeat, and fetches the samples. However a run ends, the cell is left at open circuit.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ophyd.status import Status
from ophyd.utils.errors import DisconnectedError

from ..models.protocol import Protocol, protocol_from
from ..models.steps import Limits, ProtocolError, Step, check_steps, strictest
from .acquisition import Acquisition
from .heartbeat import Heartbeat
from .pauses import Pauses
from .potentiostat_link import PotentiostatError, PotentiostatLink
from .potentiostat_records import (
    FIELDS,
    PAUSED,
    RANGES_MA,
    RUNNING,
    TRIPPED,
    OnPause,
)
from .potentiostat_samples import SampleBuffer, samples_of

log = logging.getLogger(__name__)

_NEVER = 2**62


class Potentiostat(PotentiostatLink):
    """A potentiostat with one cell; `kickoff` carries out a prepared protocol.

    Parameters
    ----------
    prefix : str
        Of its EPICS records.
    name : str
    limits : Limits or mapping
        The profile's: `lower_v`, `upper_v`, `current_ma`, `power_mw`, `capacity_mah`, `time_s`.
        Those of the hardware and of the plan hold beside them.
    on_pause : "open_circuit" or "hold"
        What becomes of the cell while the RunEngine is paused or suspended; "hold" keeps its
        voltage.
    range_ma : float, mA, optional
        Full scale of the current; else the smallest that holds the protocol's.
    records : mapping of str to str
        Names of records that differ from `potentiostat_records.RECORDS`.
    heartbeat_s : float, s
        So often the instrument is told that its driver lives.
    poll_s : float, s
        So often samples are fetched.
    timeout_s : float, s
        An instrument silent for so long is lost.

    Attributes
    ----------
    pauses : Pauses
        What happened in pauses, for a stream of the run.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        limits: Limits | Mapping[str, float] | None = None,
        on_pause: OnPause = "open_circuit",
        range_ma: float | None = None,
        records: Mapping[str, str] | None = None,
        heartbeat_s: float = 0.1,
        poll_s: float = 0.05,
        timeout_s: float = 3.0,
        **kwargs: Any,
    ) -> None:
        if on_pause not in ("open_circuit", "hold"):
            raise ValueError(f"on_pause is 'open_circuit' or 'hold', not {on_pause!r}.")
        if range_ma is not None and not 0 < range_ma < math.inf:
            raise ValueError(f"range_ma must be positive and finite, not {range_ma!r}.")
        super().__init__(prefix, name=name, records=records, timeout_s=timeout_s, **kwargs)
        self.limits = _limits(limits)
        self.on_pause: OnPause = on_pause
        self.poll_s = float(poll_s)
        self.pauses = Pauses(name=f"{name}_pauses")
        self._wanted_range_ma = range_ma
        self._heartbeat = Heartbeat(self._beat, heartbeat_s, f"{name}-heartbeat")
        self._acquisition: Acquisition | None = None
        self._protocol: Protocol | None = None
        self._steps: list[Step] = []
        self._held_limits = Limits()
        self._samples_kept = SampleBuffer(name)

    @property
    def running(self) -> Acquisition | None:
        """The protocol, if one is going on."""
        acquisition = self._acquisition
        return None if acquisition is None or acquisition.done.done else acquisition

    def layers(self, plan: Limits | None = None) -> dict[str, Limits]:
        """Return the limits of the device, the profile and the plan.

        Parameters
        ----------
        plan : Limits, optional
        """
        layers = {"device": self.hardware_limits, "profile": self.limits}
        return layers if plan is None else {**layers, "plan": plan}

    def prepare(self, value: Any) -> Status:
        """Take the protocol of the next `kickoff`.

        Parameters
        ----------
        value : Protocol, Technique, mapping or list of them
            As of `models.protocol.protocol_from`.

        Raises
        ------
        ProtocolError
            Before anything happens: when it has no end, contradicts itself or the limits, or needs
            a larger range of the current.
        PotentiostatError
            When the instrument does not answer.
        """
        if self.running is not None:
            raise PotentiostatError(f"{self.name} carries out a protocol; stop it first.")
        protocol = protocol_from(value)
        self.connect()
        layers = self.layers(protocol.limits)
        held = strictest(layers)
        steps = protocol.steps()
        for layer, limits in layers.items():
            check_steps(steps, limits, layer)
        self._choose_range(steps, held)
        self._protocol, self._steps, self._held_limits = protocol, steps, held
        measured = any(step.mode == "impedance" for step in steps)
        self._samples_kept.begin(impedance=measured)
        self.lower_limit_v.report(-math.inf if held.lower_v is None else held.lower_v)
        self.upper_limit_v.report(math.inf if held.upper_v is None else held.upper_v)
        status = Status(self)
        status.set_finished()
        return status

    def _choose_range(self, steps: list[Step], held: Limits) -> None:
        driven = max((abs(step.current_ma or 0.0) for step in steps), default=0.0)
        if any(step.mode in ("voltage", "sweep") for step in steps):
            driven = max(driven, held.current_ma or 0.0)
        chosen = self._wanted_range_ma
        if chosen is None:
            fitting = [full for full in RANGES_MA if full >= driven * (1 - 1e-9)]
            if not fitting:
                raise ProtocolError(f"{self.name} has no range for {driven:g} mA.")
            chosen = fitting[0] if driven else 1.0
        elif max((abs(step.current_ma or 0.0) for step in steps), default=0.0) > chosen:
            raise ProtocolError(
                f"the protocol asks for {driven:g} mA, more than the range of {chosen:g} mA of "
                f"{self.name}; choose a larger range_ma."
            )
        self.range_ma.report(float(chosen))

    def _check_cell(self) -> None:
        """Refuse a cell that stands where it must not, or that would be driven further out."""
        voltage = self._look()["voltage_v"]
        first = next((step for step in self._steps if step.mode != "open"), None)
        outward = first.current_ma if first is not None and first.current_ma else 0.0
        for layer, limits in self.layers(self._protocol and self._protocol.limits).items():
            low, high = limits.lower_v, limits.upper_v
            anyhow = layer != "plan"
            if low is not None and voltage < low and (anyhow or outward < 0):
                raise ProtocolError(
                    f"the cell stands at {voltage:.3f} V, below lower_v = {low:g} V of the {layer};"
                    " nothing was started."
                )
            if high is not None and voltage > high and (anyhow or outward > 0):
                raise ProtocolError(
                    f"the cell stands at {voltage:.3f} V, above upper_v = {high:g} V of the "
                    f"{layer}; nothing was started."
                )

    def kickoff(self) -> Status:
        """Start the protocol; finished when the instrument carries it out.

        Raises
        ------
        PotentiostatError
            When it was not prepared, is busy, or does not answer.
        ProtocolError
            When the cell stands outside its limits.
        """
        if self._protocol is None:
            raise PotentiostatError(f"{self.name} has no protocol to carry out; prepare it.")
        if self.running is not None:
            raise PotentiostatError(f"{self.name} carries out a protocol; stop it first.")
        self._check_cell()
        self._samples_kept.clear()
        self.pauses.forget()
        self._acquisition = Acquisition(
            self,
            begin=self._begin,
            source=self._blocks,
            sink=self._take,
            expected=_NEVER,
            end=self._end,
            timeout_s=math.inf,
        )
        self._acquisition.start()
        return self._acquisition.begun

    def complete(self) -> Status:
        """Return the status of the protocol: finished at its end, with every sample fetched.

        Raises
        ------
        PotentiostatError
            When it was not kicked off.
        """
        if self._acquisition is None:
            raise PotentiostatError(f"{self.name} was not kicked off; nothing can complete.")
        return self._acquisition.done

    def _beat(self, count: int) -> None:
        self.heartbeat.put(count, connection_timeout=0.5)

    def _begin(self) -> None:
        protocol = self._protocol
        assert protocol is not None  # noqa: S101  kickoff has looked
        text = json.dumps(
            {
                "steps": [step.to_dict() for step in self._steps],
                "limits": self._held_limits.to_dict(),
                "sample_s": protocol.sample_s,
                "range_ma": float(self.range_ma.get()),
            }
        )
        try:
            self.program.put(text, wait=True, timeout=self.timeout_s, connection_timeout=1.0)
        except Exception as error:  # whatever the control layer raises
            raise PotentiostatError(f"{self.name} did not take the protocol: {error}") from error
        self._heartbeat.start()
        self.send("start")

    def _blocks(self) -> Iterator[np.ndarray | None]:
        """Yield samples as they come; raise where the instrument is lost or has tripped."""
        heard = time.monotonic()
        waiting = threading.Event()
        while True:
            before = time.monotonic()
            try:
                state = self._ask(self.state)
                flat = np.asarray(self._ask(self.samples), float)
            except (TimeoutError, DisconnectedError) as error:
                if time.monotonic() - heard > self.timeout_s:
                    raise PotentiostatError(
                        f"{self.name} was lost: nothing was heard for {self.timeout_s:g} s; its "
                        "own watchdog opens the circuit"
                    ) from error
                yield None
                waiting.wait(self.poll_s)
                continue
            heard = time.monotonic()
            self._sync(float(flat[0]), before)
            try:
                rows = samples_of(flat)
            except ValueError as error:
                raise PotentiostatError(f"{self.name}: {error}") from error
            fresh = rows[rows[:, 0] >= self._samples_kept.next_index]
            if len(fresh):
                yield fresh
                self.acknowledge.put(self._samples_kept.next_index)
                continue
            if state == TRIPPED:
                raise PotentiostatError(
                    f"{self.name} opened the circuit by itself: {self._ask(self.message)}"
                )
            if state not in (RUNNING, PAUSED) and self._samples_kept.next_index >= int(flat[1]):
                return
            yield None
            waiting.wait(self.poll_s)

    def _take(self, rows: np.ndarray) -> int:
        """Keep samples until they are collected, with this machine's clocks."""
        kept = self._samples_kept
        if int(rows[0, 0]) != kept.next_index:
            raise PotentiostatError(
                f"{self.name} lost the samples {kept.next_index} to {int(rows[0, 0]) - 1}."
            )
        kept.append(rows, *self.host_times(rows[:, FIELDS.index("time_s")]))
        return 0

    def _end(self, error: BaseException | None) -> None:
        try:
            self.open_circuit()
        finally:
            self._heartbeat.stop()

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Return the data keys of the samples."""
        return self._samples_kept.describe(f"CA:{self.prefix}{self.records['samples']}")

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Yield what has come since the last time, as one page of events."""
        page = self._samples_kept.page()
        if page is not None:
            yield page

    def pause(self) -> None:
        """Do what `on_pause` says; the cell's clock goes on, the protocol's steps stand still."""
        if self.running is None:
            return
        hold = self.on_pause == "hold"
        try:
            # looked at before: no sample of the pause may be older than its beginning
            reading = self._look()
            self.send("pause_hold" if hold else "pause_open")
        except Exception as error:  # the RunEngine must get on with its own pause
            log.error("%s could not be paused (%s); its protocol is ended", self.name, error)
            self.stop()
            return
        self.pauses.begin(reading["time_s"], float(self.utc_s.get()), held=hold)

    def resume(self) -> None:
        """Go on with the step where the pause found it, and note how long it stood."""
        if self.running is None:
            return
        self.send("resume")
        self.pauses.end(self._look()["time_s"], float(self.utc_s.get()))

    def stop(self, *, success: bool = False) -> None:
        """Open the circuit and end the protocol; its samples so far can be collected."""
        running = self.running
        if self.connected or running is not None:
            self.open_circuit()
        if running is not None:
            running.stop()
        super().stop(success=success)

    def unstage(self) -> list[object]:
        """Open the circuit."""
        self.stop(success=True)
        return super().unstage()


def _limits(given: Limits | Mapping[str, float] | None) -> Limits:
    if isinstance(given, Limits):
        return given
    try:
        return Limits(**(given or {}))
    except TypeError as error:
        names = ", ".join(Limits.__dataclass_fields__)
        raise ProtocolError(f"limits are {names}: {error}.") from error
