"""Faults inside a session: Ctrl-C, clocks, queues, callbacks, and neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..archive import Archive
from .checking import check, recovered
from .outcome import Outcome
from .places import SCAN, Place
from .sessions import Said, Sessions

ALL_ENDS = frozenset({"success", "abort", "fail"})
DONE = frozenset({"success"})
INSIDE: dict[str, tuple[dict[str, Any], frozenset[str]]] = {
    "ctrl_c_once": ({"fault": "pressed", "times": 1}, frozenset({"success", "abort"})),
    "ctrl_c_twice": ({"fault": "pressed", "times": 2}, frozenset({"abort", "success"})),
    "clock_back": ({"fault": "clock_back"}, DONE),
    "queue_overflow": ({"fault": "overflow"}, DONE),
    "callback_raises": ({"fault": "callback_raises"}, frozenset({"fail"})),
    "analysis_blocks": ({"fault": "analysis_blocks"}, DONE),
    "analysis_raises": ({"fault": "analysis_raises"}, DONE),
    "analysis_leaks": ({"fault": "analysis_leaks"}, DONE),
    "kill_store": ({"fault": "store_killed", "store": {"worker": "process"}}, DONE),
    "kill_worker": (
        {"fault": "worker_killed", "analyses": {"virtual_images": {"worker": "process"}}},
        DONE,
    ),
}
TRIES = {"kill_store": 3, "kill_worker": 3}
LATEST_DOCUMENT = 60


def inside(kind: str) -> Any:
    """Return what tries one of `INSIDE`, at a random document."""
    settings, ends = INSIDE[kind]

    def attempt(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
        folder = place.folder(kind)
        for _ in range(TRIES.get(kind, 1)):
            at = int(rng.integers(10, LATEST_DOCUMENT))
            outcome = Outcome(kind, f"document {at}")
            order = {"directory": str(folder), "scan": SCAN, "at": at, **settings}
            said = place.sessions.run(order)
            with Archive(folder) as archive:
                if recovered(archive).recovered and not said.facts.get("failed"):
                    outcome.problems.append("the session left something to recover")
                judged(outcome, archive, said, ends)
            if "analyses" in settings and said.facts.get("analysed") != [outcome.announced]:
                analysed = said.facts.get("analysed")
                outcome.problems.append(f"analysed frames: {analysed} of {outcome.announced}")
            yield outcome

    return attempt


def two_sessions(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """Scan with two sessions in one archive at once; kill one of them in its second run."""
    folder = place.folder("two_sessions")
    order = {"directory": str(folder), "scan": SCAN, "runs": 2}
    with Sessions() as other:
        other.start(order)
        place.sessions.start(order)
        if other.until_document(int(rng.integers(2, LATEST_DOCUMENT)), run=2):
            other.kill()
        killed, whole = other.rest(), place.sessions.rest()
    with Archive(folder) as archive:
        report = recovered(archive)
        yield judged(Outcome("two_sessions", "the one that goes on"), archive, whole, DONE)
        outcome = Outcome("two_sessions", "the one that is killed")
        for uid, frames in killed.frames.items():
            check(outcome, archive, uid, frames, ends=ALL_ENDS, report=report)
        ids = [run.metadata["start"]["scan_id"] for run in archive.catalog.raw.values()]
        if len(set(ids)) != len(ids):
            outcome.problems.append(f"scan ids were given twice: {sorted(ids)}")
        yield outcome


def judged(
    outcome: Outcome,
    archive: Archive,
    said: Said,
    ends: frozenset[str],
) -> Outcome:
    """Check what a session that was not killed left: its runs, and the beam."""
    if not said.frames:
        outcome.problems.append("no run began")
    ended_well(outcome, said.facts)
    for uid, frames in said.frames.items():
        check(outcome, archive, uid, frames, ends=ends)
    return outcome


def ended_well(outcome: Outcome, facts: Mapping[str, Any]) -> None:
    """Note where a session did not close as it should, or left the beam on the specimen."""
    if facts.get("failed") or not facts.get("closed"):
        outcome.problems.append(f"the session did not end well: {facts.get('failed', facts)}")
    if not facts.get("safe"):
        outcome.problems.append("the beam was not blanked when the runs had ended")
