"""Bring the catalogue up to what the journals hold, after a crash or a store that was away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from ...callbacks.journal import SUFFIX, append_documents, let_go, writer_lock
from .catalog import Catalog
from .errors import CatalogError
from .feeding import STORE_LOCK, feed
from .frame_files import release
from .survey import Document, Survey

RECENT_S = 60.0
REASON = "the session ended before the run did; recovered from its journal"


@dataclass
class Report:
    """What `recover` did; false where there was nothing to do.

    Attributes
    ----------
    recovered : list of str
        Uids of runs fed to the catalogue.
    ended : list of str
        Those of them that had no stop document and got one.
    live : list of str
        Runs that a live session writes; left alone.
    released : list of path
        HDF5 files of dead writers that plain readers accept again.
    shortened : dict of uid to int
        Rows that were announced and are in no file, or not all of what belongs together is: power
        was cut, or the file was not in SWMR mode.
    in_flight : dict of uid to int
        Frames of a step that was cut off before its event, where no event can stand in for it: they
        are in their file, and not in the stream.
    problems : dict of uid to str
        Runs that could not be recovered wholly, and why.
    """

    recovered: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    released: list[Path] = field(default_factory=list)
    shortened: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.recovered or self.problems)

    def __str__(self) -> str:
        lines = [f"recovered {uid}" for uid in self.recovered]
        lines += [
            f"{uid}: {n} rows were announced and are in no file"
            for uid, n in self.shortened.items()
        ]
        lines += [
            f"{uid}: {n} frames of the last step are in their file only, their event was cut off"
            for uid, n in self.in_flight.items()
        ]
        lines += [f"{uid}: {problem}" for uid, problem in self.problems.items()]
        return "\n".join(lines) or "nothing to recover"


def recover(
    directory: str | os.PathLike[str], catalog: Catalog, *, thorough: bool = False
) -> Report:
    """Feed every run that the catalogue lacks, or holds incompletely, from its journal.

    A run without a stop gets one (``exit_status`` "fail"), in the journal too, and before it what
    was announced of one of a file's data keys and not yet of the others, and the event of a frame
    that was cut off before it, with readings that are NaN or None. Frames count as far as
    they are in their files. Runs that a live session writes are left alone. Done twice, the
    second time does nothing.

    Parameters
    ----------
    directory : path
        Of the journals.
    catalog : Catalog
    thorough : bool
        Compare the rows of every run with its stop document; else only of the runs of the last
        minute before the newest, which a power cut may have taken from the tables.

    Raises
    ------
    CatalogError
        If the catalogue does not answer. What goes wrong with one run is reported instead.
    """
    if not catalog.is_reachable():
        raise CatalogError(f"{catalog.name} does not answer; start it and recover again")
    report = Report()
    stopped = stopped_runs(catalog)
    changed = {path: path.stat().st_mtime for path in Path(directory).glob(f"*{SUFFIX}")}
    for path in sorted(changed, key=changed.__getitem__):
        uid = path.name.removesuffix(SUFFIX)
        checked = thorough or changed[path] > max(changed.values()) - RECENT_S
        if uid in stopped and not (checked and lacks_rows(stopped[uid][uid])):
            continue
        with alone(path) as nobody:
            if not nobody:
                report.live.append(uid)
                continue
            try:
                _recover_run(path, uid, catalog, report)
            except Exception as error:
                report.problems[uid] = f"{type(error).__name__}: {error}"
    return report


def stopped_runs(catalog: Catalog) -> dict[str, Any]:
    """Return which container holds each run that has its stop: it is written last of all."""
    from tiled.queries import KeyPresent

    return {
        uid: container
        for container in (catalog.raw, catalog.analysis)
        for uid in container.search(KeyPresent("stop.exit_status"))
    }


def lacks_rows(run: Any) -> bool:
    """Say whether the tables of a stored run hold fewer rows than its stop document counts."""
    counts = run.metadata["stop"].get("num_events") or {}
    for name in set(run) & set(counts):
        stream = run[name].base
        if "internal" in stream and len(stream["internal"].read(["seq_num"])) < counts[name]:
            return True
    return False


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold the locks of a run's recorder and of its store writer, if no one else does."""
    held = []
    try:
        for lock in (writer_lock(path), writer_lock(path, STORE_LOCK)):
            with suppress(Timeout):
                lock.acquire(timeout=0)
                held.append(lock)
        yield len(held) == 2
    finally:
        for lock in held:
            let_go(lock)


def _recover_run(path: Path, uid: str, catalog: Catalog, report: Report) -> None:
    survey = Survey(path)
    if survey.damage:
        report.problems[uid] = survey.damage
    if not survey.has_start:
        report.problems.setdefault(uid, f"{path} ends before its first document; delete it")
        return
    for file in survey.files():
        with suppress(FileNotFoundError):
            if release(file):
                report.released.append(file)
    ending: list[Document] = [] if survey.has_stop else survey.complete()
    survey.count_rows()
    if not survey.has_stop:
        ending += survey.unread()
        ending.append(("stop", survey.stop(uid, REASON, ending)))
        report.ended.append(uid)
        # A damaged journal stays as it is: someone may want to mend it.
        if not survey.damage:
            append_documents(path, ending)
            ending = []
    feed(catalog, survey.documents(ending))
    report.recovered.append(uid)
    if survey.missing:
        report.shortened[uid] = survey.missing
    if survey.in_flight:
        report.in_flight[uid] = survey.in_flight
