"""Rules: what to do when an analysis sees something happen, while the run goes on.

A rule fires on the analysis' own thread, the moment its model has seen the frame; a plan takes
what has fired and does what the rule says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models.base import Event
from .live import LiveCallback

MOST_WAITING = 1000


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
        self._fired: dict[str, list[Firing]] = {}
        self._count: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()

    def listener(self, analysis: str) -> Any:
        """Return what an analysis of this name tells its events to."""

        def listen(callback: LiveCallback, event: Event) -> None:
            self.heard(analysis, str(callback.start["uid"]), event)

        return listen

    def heard(self, analysis: str, run: str, event: Event) -> None:
        """Fire the rules that fit an event of a run."""
        with self._changed:
            for rule in self.rules:
                key = (run, rule.name)
                if not rule.fits(analysis, event) or self._count.get(key, 0) >= rule.times:
                    continue
                self._count[key] = self._count.get(key, 0) + 1
                waiting = self._fired.setdefault(run, [])
                if len(waiting) < MOST_WAITING:  # nobody takes them: a plan without rules
                    waiting.append(Firing(rule, event, time.time(), time.monotonic()))
            self._changed.notify_all()

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
            self._changed.wait_for(lambda: self._fired.get(run), timeout_s)
            return self._fired.pop(run, [])

    def forget(self, run: str) -> None:
        """Let go of a run that is over."""
        with self._changed:
            self._fired.pop(run, None)
            self._count = {key: n for key, n in self._count.items() if key[0] != run}
