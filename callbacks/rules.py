"""Rules: what to do when an analysis sees something happen, while the run goes on.

A rule fires on the analysis' own thread, the moment its model has seen the frame; a plan takes
what has fired and does what the rule says.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.base import Event
from .live import LiveCallback

MOST_WAITING = 1000
MOST_RUNS = 32


@dataclass(frozen=True)
class Rule:
    """On this event, do that.

    Parameters
    ----------
    name : str
    analysis : str
        Whose events count.
    on : str
        Kind of event, such as ``"phase_onset"``.
    do : str
        What the plan is to do; a plan says what it knows.
    subject : str, optional
        Of the event, such as ``"Li2Pt"``; any where it is left out.
    settings : mapping
        How to do it, such as ``{"every_s": 1.0}``.
    times : int
        At most so often in a run.
    """

    name: str
    analysis: str
    on: str
    do: str
    subject: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1

    def fits(self, analysis: str, event: Event) -> bool:
        """Whether this rule is about such an event."""
        same = self.analysis == analysis and self.on == event.kind
        return same and self.subject in {None, event.subject}


@dataclass(frozen=True)
class Firing:
    """A rule that fired: what it saw, and when.

    Parameters
    ----------
    rule : Rule
    event : Event
    time_s : float, s since the epoch
    monotonic_s : float, s
        Of this process, for latencies.
    """

    rule: Rule
    event: Event
    time_s: float
    monotonic_s: float


class Rules:
    """The rules of a session, and what has fired in each run.

    Parameters
    ----------
    rules : sequence of Rule
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = list(rules)
        self._runs: dict[str, _Run] = {}
        self._changed = threading.Condition()

    def listener(self, analysis: str) -> Any:
        """Return what an analysis of this name tells its events to."""

        def listen(callback: LiveCallback, event: Event) -> None:
            self.heard(analysis, str(callback.start["uid"]), event)

        return listen

    def heard(self, analysis: str, run: str, event: Event) -> None:
        """Fire the rules that fit an event of a run."""
        fitting = [rule for rule in self.rules if rule.fits(analysis, event)]
        if not fitting:
            return
        with self._changed:
            known = self._run(run)
            for rule in fitting:
                if known.count[rule.name] >= rule.times:
                    continue
                known.count[rule.name] += 1
                if len(known.fired) < MOST_WAITING:  # nobody takes them: a plan without rules
                    known.fired.append(Firing(rule, event, time.time(), time.monotonic()))
            self._changed.notify_all()
            bell = known.bell if known.fired else None
        if bell is not None:
            bell()

    def ring(self, run: str, bell: Callable[[], None]) -> None:
        """Have `bell` called whenever something fires in a run, by the thread that fires it.

        Where something has fired already it is called at once.
        """
        with self._changed:
            known = self._run(run)
            known.bell = bell
            fired = bool(known.fired)
        if fired:
            bell()

    def take(self, run: str, timeout_s: float = 0.0) -> list[Firing]:
        """Return what has fired in a run since the last call.

        Parameters
        ----------
        run : str
            Uid.
        timeout_s : float, s
            Wait so long for the first one.
        """
        with self._changed:
            known = self._run(run)
            self._changed.wait_for(lambda: known.fired, timeout_s)
            fired, known.fired = known.fired, []
            return fired

    def forget(self, run: str) -> None:
        """Let go of a run that is over."""
        with self._changed:
            self._runs.pop(run, None)

    def _run(self, uid: str) -> _Run:
        if uid not in self._runs:
            # runs of plans that take nothing are forgotten by nobody
            idle = [other for other, known in self._runs.items() if known.bell is None]
            for other in idle[: max(0, len(idle) - MOST_RUNS)]:
                del self._runs[other]
            self._runs[uid] = _Run()
        return self._runs[uid]


@dataclass
class _Run:
    fired: list[Firing] = field(default_factory=list)
    count: Counter[str] = field(default_factory=Counter)  # by the rule's name
    bell: Callable[[], None] | None = None
