"""Faults while a cell is driven: when was its circuit open, and what is left of the frames."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..archive import Archive
from .asking import ALL_ENDS
from .checking import check, recovered
from .instruments import CELL_LOG
from .outcome import Outcome
from .places import Place
from .sessions import Sessions

OPEN_WITHIN_S = 1.0
PATIENCE_S = 20.0
EARLIEST, LATEST = 12, 40
_CYCLE = {
    "plan": "cycle",
    "scan": {
        "c_rate": 0.1, "capacity_mah": 0.0589, "lower_v": 0.01, "upper_v": 1.5, "every_s": 20.0,
    },
}  # fmt: skip
_HOLD = {"plan": "hold", "scan": {"voltage_v": 0.25, "duration_s": 200.0, "every_s": 20.0}}


@dataclass(frozen=True)
class _Way:
    """One way in which a run of a cell may end."""

    order: dict[str, Any]
    ends: frozenset[str]
    signal: str = ""
    """What the driver's process is sent from outside."""
    open_at: str = "told"
    """From when on the second counts: the fault, or, where a pause held the cell, the end."""


def _asked(how: str, end: str, **order: Any) -> _Way:
    return _Way({"fault": "asked", "how": how, **order}, frozenset({end}))


WAYS: dict[str, _Way] = {
    "the protocol's end": _Way(_HOLD, frozenset({"success"}), open_at="end"),
    "stop": _asked("stop", "success"),
    "abort": _asked("abort", "abort"),
    "halt": _asked("halt", "abort"),
    "pause at open circuit, then abort": _asked("request_pause", "abort"),
    "pause at a held voltage, then abort": _Way(
        {"fault": "asked", "how": "request_pause", "on_pause": "hold"},
        frozenset({"abort"}),
        open_at="paused",
    ),
    "Ctrl-C twice": _Way({"fault": "pressed", "times": 2}, frozenset({"abort"})),
    "an exception in the plan": _Way({"fault": "plan_raises"}, frozenset({"fail"})),
    "a callback that raises": _Way({"fault": "callback_raises"}, frozenset({"fail"})),
    "a dead detector": _Way({"fault": "detector_dies"}, frozenset({"fail"})),
    "the driver is terminated": _Way({}, ALL_ENDS, signal="SIGTERM"),
    "the driver is killed": _Way({}, ALL_ENDS, signal="SIGKILL"),
    "the driver hangs": _Way({}, ALL_ENDS, signal="SIGSTOP"),
}


def cell(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """End a run of a cell in each of `WAYS`; its own log says when the circuit was open."""
    with Sessions(fork=False) as sessions:
        for number, (what, way) in enumerate(WAYS.items()):
            if not way.signal or os.name == "posix":
                folder = place.folder(f"cell_{number}")
                yield _tried(folder, sessions, int(rng.integers(EARLIEST, LATEST)), what, way)


def _tried(folder: Path, sessions: Sessions, at: int, what: str, way: _Way) -> Outcome:
    order = {
        "directory": str(folder),
        "instrument": "beamline",
        "at": at,
        **_CYCLE,
        **way.order,
    }
    outcome = Outcome("cell", what)
    told = _carry_out(sessions, order, way)
    said = sessions.said
    _judge_circuit(outcome, folder / CELL_LOG, told)
    with Archive(folder) as archive:
        report = recovered(archive)
        if not said.frames:
            outcome.problems.append(f"no run began: {said.facts}")
        for uid, frames in said.frames.items():
            check(outcome, archive, uid, frames, ends=way.ends, report=report)
    if not way.signal and not said.facts.get("safe"):
        outcome.problems.append("the cell was not at open circuit when the run had ended")
    return outcome


def _carry_out(sessions: Sessions, order: dict[str, Any], way: _Way) -> float | None:
    """Carry out one order; return when the circuit was to be opened, None at the protocol's end."""
    if not way.signal:
        facts = sessions.run(order).facts
        return None if way.open_at == "end" else facts.get(way.open_at)
    sessions.start(order)
    sessions.until_document(order["at"])
    told = time.time()
    sessions.send(getattr(signal, way.signal))
    if way.signal == "SIGSTOP":
        log = Path(order["directory"]) / CELL_LOG
        while _opened(log, told) is None and time.time() < told + PATIENCE_S:
            time.sleep(0.02)
        sessions.kill()
    sessions.rest()
    return told


def _judge_circuit(outcome: Outcome, log: Path, told: float | None) -> None:
    opened = _opened(log, told or 0.0, wait=True)
    if opened is None:
        outcome.problems.append("the circuit was not opened")
    elif told is not None:
        outcome.what += f", open after {opened - told:.3f} s"
        if opened - told > OPEN_WITHIN_S:
            outcome.problems.append(f"the circuit was open {opened - told:.2f} s after the fault")


def _opened(log: Path, since: float, *, wait: bool = False) -> float | None:
    """Return when the circuit was first opened after a time, by the cell's own log."""
    last = time.time() + (PATIENCE_S if wait else 0.0)
    while True:
        # the last line may be half-written
        lines = log.read_text().split("\n")[:-1] if log.exists() else []
        for entry in map(json.loads, lines):
            if entry["event"] == "open_circuit" and entry["utc"] >= since:
                return float(entry["utc"])
        if time.time() >= last:
            return None
        time.sleep(0.02)
