"""The recorder: every document of every run, on disk before anything else sees it.

One journal a run, ``<start uid>.journal`` (see `journal` for the format). Each document is handed
to the operating system before the call returns, so a killed process loses none; it is forced to the
disk at start, descriptor and stop and at least every half second, so a power cut loses half a
second.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from .codec import packer
from .journal import (
    HEADER,
    JournalError,
    JournalReader,
    journal_path,
    let_go,
    part_path,
    read_journal,
    record,
    unwritable,
    writer_lock,
)

__all__ = ["JournalError", "JournalReader", "Recorder", "RunIndex", "journal_path", "read_journal"]

FSYNC_PERIOD_S = 0.5
RESERVE_BYTES = 1 << 20
PART_BYTES = 1 << 28

_FORCED = frozenset({"start", "descriptor", "stop"})


class Recorder:
    """Append every document to its run's journal.

    Subscribe it before anything else. Runs may be interleaved, and several threads may record.

    Parameters
    ----------
    directory : path
        Of the journals; made if it is not there.
    part_bytes : int
        A run's journal goes on in another file where a record would make one longer than this.
    """

    def __init__(self, directory: str | os.PathLike[str], *, part_bytes: int = PART_BYTES) -> None:
        self.directory = Path(directory)
        self._part_bytes = part_bytes
        self._runs = RunIndex()
        self._open: dict[str, _Journal] = {}
        self._lock = threading.Lock()
        self._reserve = self.directory / "journal.reserve"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._keep_reserve()
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Record one document.

        Raises
        ------
        JournalError
            If it cannot be written, or holds what a journal cannot hold, or belongs to no open
            run. Raised in a RunEngine this ends the run, deliberately: data that is not recorded
            must not be taken.
        """
        with self._lock:
            if name == "start":
                self._start(doc["uid"])
            journals = [self._open[uid] for uid in self._runs.of(name, doc) if uid in self._open]
        if not journals:
            raise JournalError(
                f"the {name} document {doc.get('uid', '')} belongs to no run whose start was "
                "recorded; subscribe the recorder before the run starts"
            )
        for journal in journals:
            try:
                journal.append(name, doc)
            except OSError as error:
                # The room that was kept is for what is still to come: the stop document.
                self._reserve.unlink(missing_ok=True)
                raise unwritable(journal.path, error) from error
            except (TypeError, ValueError, RecursionError) as error:
                raise JournalError(f"a {name} document cannot be recorded: {error}") from error
            finally:
                if name == "stop":
                    self._stop(doc["run_start"])

    def close(self) -> None:
        """Let go of the journals of runs that have not stopped; recovery ends those runs."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _start(self, uid: str) -> None:
        path = journal_path(self.directory, uid)
        try:
            self._keep_reserve()
            self._open[uid] = _Journal(path, self._part_bytes)
        except OSError as error:
            raise unwritable(path, error) from error

    def _stop(self, uid: str) -> None:
        with self._lock:
            self._runs.forget(uid)
            if journal := self._open.pop(uid, None):
                journal.close()

    def _keep_reserve(self) -> None:
        if self._reserve.is_file() and self._reserve.stat().st_size == RESERVE_BYTES:
            return
        # Random bytes: a file system that compresses would keep no room for zeros.
        self._reserve.write_bytes(os.urandom(RESERVE_BYTES))


class RunIndex:
    """Which run a document belongs to."""

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}
        self._uids: dict[str, list[str]] = {}

    def of(self, name: str, doc: Mapping[str, Any]) -> list[str]:
        """Return the uids of the runs of a document: one, or all open ones if it does not say."""
        if name == "start":
            self._uids[doc["uid"]] = []
            return [doc["uid"]]
        run = doc.get("run_start")
        for key in () if run else ("descriptor", "stream_resource", "resource"):
            run = run or self._owner.get(doc.get(key) or "")
        if run is None:
            return list(self._uids) if name in {"resource", "datum", "datum_page"} else []
        if name in {"descriptor", "resource", "stream_resource"} and run in self._uids:
            self._owner[doc["uid"]] = run
            self._uids[run].append(doc["uid"])
        return [run]

    def forget(self, run: str) -> None:
        """Drop what is known of a run that has stopped."""
        for uid in self._uids.pop(run, ()):
            self._owner.pop(uid, None)


class _Journal:
    """One open journal; it holds the lock that tells other processes it is alive."""

    def __init__(self, path: Path, part_bytes: int) -> None:
        self.path = path
        self._part_bytes, self._part = part_bytes, 0
        self._packer = packer()
        self._serial = threading.Lock()
        self._lock = writer_lock(path)
        self._lock.acquire(timeout=0)
        try:
            # "x": a journal is never overwritten, whoever reuses a uid.
            self._file = path.open("xb", buffering=0)
        except OSError:
            let_go(self._lock)
            raise
        self._end = 0
        self._forced = time.monotonic()
        self._write(HEADER)

    def append(self, name: str, doc: Mapping[str, Any]) -> None:
        with self._serial:
            data = record(self._packer, name, doc)
            if len(HEADER) < self._end and self._end + len(data) > self._part_bytes:
                self._rotate()
            self._write(data)
            now = time.monotonic()
            if name in _FORCED or now - self._forced >= FSYNC_PERIOD_S:
                os.fsync(self._file.fileno())
                self._forced = now

    def close(self) -> None:
        with self._serial:
            self._file.close()
            let_go(self._lock)

    def _rotate(self) -> None:
        """Go on in another file; where none can be made, in this one."""
        path = part_path(self.path, self._part + 1)
        os.fsync(self._file.fileno())
        try:
            file = path.open("xb", buffering=0)
        except OSError:
            return
        try:
            whole = file.write(HEADER) == len(HEADER)
        except OSError:
            whole = False
        if not whole:
            file.close()
            path.unlink()
            return
        self._file.close()
        self._file, self._end, self._part = file, len(HEADER), self._part + 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            # Half a record would hide every record after it.
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end += len(data)
