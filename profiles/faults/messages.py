"""Pauses at each message of a plan, and each thing that may be done then."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..archive import Archive
from .asking import DONE, ended_well
from .checking import check, recovered
from .outcome import Outcome
from .places import Place

SMALL_SCAN = {"fov_nm": 0.5, "step_nm": 0.05, "dwell_ms": 1.0}
MOST_MESSAGES = 1000
THEN = {
    "resume": DONE,
    "abort": frozenset({"abort"}),
    "stop": DONE,
    "halt": frozenset({"abort"}),
}


def pauses(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """Pause the n-th run of a session at its n-th message, then resume, abort, stop or halt it."""
    for then, ends in THEN.items():
        folder = place.folder(f"pause_{then}")
        said = place.sessions.run(
            {
                "directory": str(folder),
                "scan": SMALL_SCAN,
                "fault": "paused",
                "then": then,
                "runs": MOST_MESSAGES,
            }
        )
        with Archive(folder) as archive:
            left = recovered(archive).recovered
            for run, (uid, frames) in enumerate(said.frames.items()):
                outcome = Outcome("pause", f"{then}, run {run + 1} of {len(said.frames)}")
                # the last run has no such message
                over = uid in said.closed or run == len(said.frames) - 1
                yield check(outcome, archive, uid, frames, ends=DONE if over else ends)
        outcome = Outcome("pause", f"the session whose runs were paused, {then}")
        if left:
            outcome.problems.append(f"the session left {len(left)} runs to recover")
        ended_well(outcome, said.facts)
        yield outcome
