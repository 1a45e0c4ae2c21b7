"""What a running plan does when a rule fires: in the run itself, or by another plan.

Another plan has a run of its own, inside the one that goes on; the cell and its clock are not
asked to wait for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator, short_uid

from ..devices.firings import Firings


class Cadence:
    """How often detectors are exposed, which rules may change.

    Parameters
    ----------
    every_s : float, s
        Of the potentiostat's clock.
    """

    def __init__(self, every_s: float) -> None:
        self.usual_s = self.every_s = every_s
        self._until_s = math.inf

    def change(self, every_s: float, until_s: float = math.inf) -> None:
        """Expose so often, until that time of the clock."""
        self.every_s, self._until_s = every_s, until_s

    def at(self, now_s: float) -> float:
        """Return the interval that holds at a time of the clock."""
        if now_s >= self._until_s:
            self.every_s, self._until_s = self.usual_s, math.inf
        return self.every_s


class Reactions:
    """Carries out the rules that fire in one run.

    Parameters
    ----------
    rules : object with ``check``, ``ring``, ``take``, ``forget`` and ``plan``, or None
        As of `profiles.rules.StandingRules`.
    potentiostat : Potentiostat
    detectors : sequence of detectors
    cadence : Cadence

    Raises
    ------
    ValueError
        When a rule names neither an action nor a plan, or sets what that does not take.
    """

    def __init__(
        self, rules: Any, potentiostat: Any, detectors: Sequence[Any], cadence: Cadence
    ) -> None:
        self._rules, self._potentiostat, self._cadence = rules, potentiostat, cadence
        self._detectors = list(detectors)
        self._firings: Any = Firings()  # a Readable, which ophyd's types do not say
        self.actions: Mapping[str, Callable[..., MsgGenerator[None]]] = {
            "finer_frames": self.finer_frames,
            "expose": self.expose,
            "hold_cell": self.hold_cell,
            "end_protocol": self.end_protocol,
        }
        if rules is not None:
            rules.check(self.actions)

    def ring(self, run: str, bell: Callable[[], None]) -> None:
        """Have `bell` called, on any thread, as soon as a rule fires in a run."""
        if self._rules is not None:
            self._rules.ring(run, bell)

    def forget(self, run: str) -> None:
        """Let go of a run that is over."""
        if self._rules is not None:
            self._rules.forget(run)

    def react(self, run: str) -> MsgGenerator[bool]:
        """Do what has fired since the last time; return whether anything had."""
        fired = [] if self._rules is None else self._rules.take(run)
        for firing in fired:
            self._firings.note(firing)
            yield from bps.create("rules")
            yield from bps.read(self._firings)
            yield from bps.save()
            yield from self._carry_out(firing)
        return bool(fired)

    def _carry_out(self, firing: Any) -> MsgGenerator[None]:
        plan = self._rules.plan(firing, self.actions)
        if firing.rule.do not in self.actions:
            plan = bpp.msg_mutator(plan, self._unless_staged)
            plan = bpp.set_run_key_wrapper(plan, f"{firing.rule.name}-{short_uid()}")
        yield from plan

    def _unless_staged(self, msg: Msg) -> Msg | None:
        """Leave out the staging of what this run has staged and goes on using."""
        held = [*self._detectors, self._potentiostat]
        staging = msg.command in {"stage", "unstage"}
        return None if staging and any(msg.obj is device for device in held) else msg

    def finer_frames(
        self,
        *,
        every_s: float,
        for_s: Optional[float] = None,  # noqa: UP045  the queue server knows this spelling
    ) -> MsgGenerator[None]:
        """Expose more often (or less), for so long of the cell's clock or to the end."""
        if not (isinstance(every_s, (int, float)) and 0 < every_s < math.inf):
            raise ValueError(f"every_s must be a positive number of seconds, not {every_s!r}.")
        until = math.inf if for_s is None else self._potentiostat.device_now_s() + float(for_s)
        self._cadence.change(float(every_s), until)
        yield from bps.null()

    def expose(self, *, n_frames: int = 1) -> MsgGenerator[None]:
        """Expose the detectors so many times at once."""
        for _ in range(int(n_frames)):
            devices = [*self._detectors, self._potentiostat]
            yield from bps.trigger_and_read(devices, name="primary")

    def hold_cell(self, *, duration_s: float) -> MsgGenerator[None]:
        """Let the protocol stand, the cell held at its voltage, for so long of its clock."""
        cell = self._potentiostat
        before, cell.on_pause = cell.on_pause, "hold"
        try:
            cell.pause()
            yield from bps.sleep(float(duration_s) / cell.clock_speed.get())
        finally:
            cell.on_pause = before
        cell.resume()

    def end_protocol(self) -> MsgGenerator[None]:
        """Open the circuit and end the protocol; the run ends with it."""
        yield from bps.stop(self._potentiostat)
