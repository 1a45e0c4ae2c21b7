"""Sessions that are killed at random points of a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from ..archive import Archive
from .checking import check, recovered
from .outcome import Outcome
from .places import SCAN, Place

LATEST_DOCUMENT = 101
LONGEST_DELAY_S = 0.02


def kill_session(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """Kill a session after a random document of its run, and a random time after that."""
    folder = place.folder("kill_session")
    with Archive(folder) as archive:
        for _ in range(n):
            document = int(rng.integers(1, LATEST_DOCUMENT))
            delay_s = float(rng.uniform(0.0, LONGEST_DELAY_S))
            outcome = Outcome("kill_session", f"document {document} + {delay_s * 1e3:.1f} ms")
            place.sessions.start({"directory": str(folder), "scan": SCAN})
            if place.sessions.until_document(document):
                threading.Event().wait(delay_s)
                place.sessions.kill()
            said = place.sessions.rest()
            report = recovered(archive)
            if not said.frames:
                outcome.problems.append(f"no run began: {said.facts}")
            for uid, frames in said.frames.items():
                check(outcome, archive, uid, frames, report=report)
            if recovered(archive).recovered:
                outcome.problems.append("a second recovery found something to do")
            yield outcome
