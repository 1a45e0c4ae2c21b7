"""Disks that are full, and files that were cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..archive import Archive, layout
from .asking import judged
from .checking import check, recovered
from .outcome import Outcome
from .places import SCAN, Place, can_mount, small_disk

# The frames' has room for what is kept in reserve; the others for what a run needs and no more.
SIZES_MB = {"frames": 80, "journal": 3, "catalog": 6}
ENDS = {
    "frames": frozenset({"fail"}),
    "journal": frozenset({"fail"}),
    "catalog": frozenset({"success"}),
}
EARLIEST, LATEST = 20, 60


def full_disks(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """Fill the file system of frames, of the journal and of the store, in mid-run.

    Each is a small file system of its own, in memory, which only root can make; else these three
    are left out and `limited_file` remains.
    """
    if not can_mount():
        return
    for name, size_mb in SIZES_MB.items():
        root = place.folder(f"full_{name}")
        layout(root)
        folder = root / name
        folder.mkdir(exist_ok=True)
        at = int(rng.integers(EARLIEST, LATEST))
        order = {
            "directory": str(root),
            "scan": SCAN,
            "fault": "full_disk",
            "fill": str(folder),
            "at": at,
        }
        with ExitStack() as stack:
            stack.enter_context(small_disk(folder, size_mb))
            said = place.sessions.run(order)
            archive = stack.enter_context(Archive(root))
            recovered(archive)
            outcome = Outcome("disk_full", f"{name} on a tmpfs of {size_mb} MB, document {at}")
            yield judged(outcome, archive, said, ENDS[name])


def limited_file(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """Let no file grow beyond a limit (RLIMIT_FSIZE): writes fail half-way, without warning."""
    if os.name != "posix":
        return
    root = place.folder("file_limit")
    at = int(rng.integers(EARLIEST, LATEST))
    order = {"directory": str(root), "scan": SCAN, "fault": "file_limit", "at": at}
    said = place.sessions.run(order)
    with Archive(root) as archive:
        recovered(archive)
        outcome = Outcome("file_limit", f"RLIMIT_FSIZE, document {at}")
        yield judged(outcome, archive, said, frozenset({"fail"}))


def truncated(place: Place, rng: np.random.Generator, n: int) -> Iterator[Outcome]:
    """Kill a session, and cut a random part off the end of its frame file."""
    root = place.folder("truncated")
    order: dict[str, Any] = {"directory": str(root), "scan": SCAN}
    with Archive(root) as archive:
        for _ in range(3):
            place.sessions.start(order)
            if place.sessions.until_document(int(rng.integers(EARLIEST, LATEST))):
                place.sessions.kill()
            said = place.sessions.rest()
            (uid,) = said.frames
            file = max((root / "frames").rglob("*camera*.h5"), key=os.path.getmtime)
            keep = float(rng.uniform(0.2, 1.0))
            os.truncate(file, int(file.stat().st_size * keep))
            report = recovered(archive)
            outcome = Outcome("truncated_file", f"{keep:.0%} of the file is left")
            yield check(outcome, archive, uid, said.frames[uid], report=report)
