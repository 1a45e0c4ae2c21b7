"""What is left of a run: every frame is read back from the catalogue, and the documents counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...callbacks.record import JournalError, read_journal
from ..archive import Archive
from ..store.recovery import Report, recover
from .outcome import Outcome

BLOCK = 512
ENDS = frozenset({"success", "fail", "abort"})


def recovered(archive: Archive) -> Report:
    """Do what ``flyback recover`` does."""
    return recover(archive.layout.journal, archive.catalog)


def check(
    outcome: Outcome,
    archive: Archive,
    uid: str,
    announced: int,
    *,
    ends: frozenset[str] = ENDS,
    report: Report | None = None,
) -> Outcome:
    """Add to an outcome what is left of one run.

    Parameters
    ----------
    outcome : Outcome
    archive : Archive
    uid : str
    announced : int
        Frames of which the session said that they were announced.
    ends : set of str
        Exit statuses that are true for this fault.
    report : Report, optional
        Of the recovery, which may say that frames are in no file.
    """
    journal, stop = _of_journal(outcome, archive.layout.journal / f"{uid}.journal")
    announced = max(announced, journal)
    outcome.announced += announced
    if report is not None:
        outcome.destroyed += report.shortened.get(uid, 0) + report.in_flight.get(uid, 0)
        if uid in report.problems:
            outcome.problems.append(f"recovery says: {report.problems[uid]}")
    try:
        run = archive.find(uid)
        found = run.metadata.get("stop") or {}
        readable = _readable(run, announced) if announced else 0
    except Exception as error:
        outcome.problems.append(f"the run cannot be read: {type(error).__name__}: {error}")
        return outcome
    outcome.readable += readable
    if found.get("exit_status") not in ends:
        outcome.problems.append(f"the run's status is {found.get('exit_status')!r}")
    if stop.get("exit_status") != found.get("exit_status"):
        outcome.problems.append("journal and catalogue differ in how the run ended")
    return outcome


def _of_journal(outcome: Outcome, path: Path) -> tuple[int, dict[str, Any]]:
    """Return the frames that a journal announces, and its stop document."""
    frames: set[str] = set()
    announced, stop = 0, {}
    try:
        with read_journal(path) as documents:
            for name, doc in documents:
                if name == "stream_resource" and doc["data_key"].endswith("_frames"):
                    frames.add(doc["uid"])
                elif name == "stream_datum" and doc["stream_resource"] in frames:
                    announced = max(announced, doc["indices"]["stop"])
                elif name == "stop":
                    stop = doc
    except (OSError, JournalError) as error:
        outcome.problems.append(f"the journal cannot be read: {error}")
    if not stop:
        outcome.problems.append("the journal has no stop document")
    return announced, stop


def _readable(run: Any, announced: int) -> int:
    """Return how many of the announced frames are there, with signal and in their order.

    Where an error came between the announcements of a batch of frames and of their indices, the
    order of that batch is not looked at.
    """
    stream = run["primary"]
    cameras = [key.removesuffix("_frames") for key in stream if key.endswith("_frames")]
    if not cameras:
        return 0
    (camera,) = cameras
    frames = stream[f"{camera}_frames"]
    there = min(frames.shape[0], announced)
    indices = np.arange(there)
    if f"{camera}_scan_index" in stream:
        told = np.asarray(stream[f"{camera}_scan_index"].read())[:there]
        indices[: len(told)] = told
    good = 0
    for start in range(0, there, BLOCK):
        stop = min(start + BLOCK, there)
        block = np.asarray(frames[start:stop])
        filled = block.reshape(len(block), -1).any(axis=1)
        good += int(np.count_nonzero(filled & (indices[start:stop] == np.arange(start, stop))))
    return good
