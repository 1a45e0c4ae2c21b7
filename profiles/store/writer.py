"""The store writer: documents into the catalogue on a thread of its own.

The RunEngine only queues a reference. What was announced is written four times a second. A run that
cannot be written (the server is away, the queue is full) is given up at once, taken out of the
catalogue when it has stopped and fed again from its journal: nothing waits and nothing is lost.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from ...callbacks.journal import let_go, writer_lock
from ...callbacks.record import RunIndex, journal_path, read_journal
from ..worker_link import WorkerDiedError
from .batches import FORGET, Batches, BatchWriter
from .catalog import Catalog
from .feeding import STORE_LOCK, feed

FLUSH_PERIOD_S = 0.25
CAPACITY = 50_000
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0

logger = logging.getLogger(__name__)


class StoreWriter:
    """Write every run into the catalogue, raw and derived ones each into their container.

    Parameters
    ----------
    catalog : Catalog
    journal : path, optional
        Folder of the journals, from which a run that failed is fed again.
    capacity : int
        Most documents that may wait.
    batches : Batches, optional
        What writes, such as a `StoreProcess`, which is closed with this; by default the catalogue
        is written to in this process.
    after_stop : callable (), optional
        Called, on the thread, when runs have ended.

    Attributes
    ----------
    problems : dict of uid to str
        Runs that are not whole in the catalogue, and why. A run leaves it when it has been fed
        again.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        journal: str | os.PathLike[str] | None = None,
        capacity: int = CAPACITY,
        batches: Batches | None = None,
        after_stop: Callable[[], object] | None = None,
    ) -> None:
        self._after_stop = after_stop
        self.problems: dict[str, str] = {}
        self._catalog = catalog
        self._journal = Path(journal) if journal is not None else None
        self._capacity = capacity
        self._index = RunIndex()
        self._waiting: deque[tuple[str, str, Mapping[str, Any]]] = deque()
        self._changed = threading.Condition()
        self._batches = BatchWriter(catalog) if batches is None else batches
        self._open: set[str] = set()
        self._stopped: set[str] = set()
        self._claims: dict[str, FileLock] = {}
        self._retry_at, self._retry_s = 0.0, FIRST_RETRY_S
        self._closing = self._stop_waits = False
        self._asked = self._answered = 0
        self._thread: threading.Thread | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Queue one document; never waits and never raises for the store's sake."""
        with self._changed:
            for run in self._index.of(name, doc):
                if name == "start":
                    self._claim(run)
                if run in self.problems and name != "stop":
                    continue
                if len(self._waiting) >= self._capacity and name != "stop":
                    self.problems[run] = "more documents came than could be written"
                    continue
                self._waiting.append((run, name, doc))
                if name == "stop":
                    self._index.forget(run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="store", daemon=True)
                self._thread.start()
            # The thread wakes four times a second by itself; a stop shall be seen at once.
            if name == "stop":
                self._stop_waits = True
                self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything queued so far is written or given up.

        Returns
        -------
        bool
            True if every run that was given is whole in the catalogue.

        Raises
        ------
        TimeoutError
            If that takes longer than `timeout_s`.
        """
        with self._changed:
            if self._thread is not None:
                self._asked += 1
                mine = self._asked
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: self._answered >= mine, timeout_s):
                    raise TimeoutError(f"the store still writes after {timeout_s} s")
            return not self.problems

    def close(self) -> None:
        """Write what waits, try once more what failed, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        for run in list(self._claims):
            self._release(run)
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_urgent, FLUSH_PERIOD_S)
                batch = list(self._waiting)
                self._waiting.clear()
                self._stop_waits = False
                asked, closing = self._asked, self._closing
            self._write(batch)
            self._feed_again(now=closing or asked > self._answered)
            if any(name == "stop" for _, name, _ in batch):
                self._tidy()
            with self._changed:
                self._answered = asked
                self._changed.notify_all()
                if closing and not self._waiting:
                    return

    def _tidy(self) -> None:
        if self._after_stop is not None:
            try:
                self._after_stop()
            except Exception:
                logger.exception("what follows the end of a run failed")

    def _is_urgent(self) -> bool:
        return self._closing or self._stop_waits or self._asked > self._answered

    def _write(self, documents: list[tuple[str, str, Mapping[str, Any]]]) -> None:
        """Write documents; what fails fails for one run only."""
        batch: list[tuple[str, str, Mapping[str, Any]]] = []
        for run, name, doc in documents:
            if run not in self.problems:
                self._open.add(run)
                batch.append((run, name, doc))
            elif name == "stop":
                batch.append((run, FORGET, {}))
        if batch or self._open:
            try:
                failed = self._batches.write(batch)
            except WorkerDiedError as error:
                failed = dict.fromkeys(self._open, str(error))
            for run, reason in failed.items():
                self._give_up(run, reason)
        for run, name, _ in documents:
            if name == "stop":
                self._open.discard(run)
                if run in self.problems:
                    self._stopped.add(run)
                else:
                    self._release(run)

    def _give_up(self, run: str, reason: str) -> None:
        self._open.discard(run)
        if run not in self.problems:
            logger.warning("the run %s is not whole in the catalogue yet: %s", run, reason)
        self.problems[run] = reason

    def _feed_again(self, *, now: bool) -> None:
        """Feed what failed and has stopped from its journal, ever more rarely while it fails."""
        if not self._stopped or not (now or time.monotonic() >= self._retry_at):
            return
        if self._journal is None or not self._catalog.is_reachable():
            self._postpone()
            return
        for run in list(self._stopped):
            try:
                with read_journal(journal_path(self._journal, run)) as documents:
                    feed(self._catalog, documents)
            except Exception as error:
                self.problems[run] = f"{type(error).__name__}: {error}"
                self._postpone()
            else:
                self._stopped.discard(run)
                self.problems.pop(run, None)
                self._release(run)
                self._retry_s = FIRST_RETRY_S

    def _claim(self, run: str) -> None:
        """Tell other processes that this run is being stored and is not to be recovered."""
        if self._journal is not None:
            # Without the claim the run may be fed twice, which does no harm to what is stored.
            with suppress(OSError):
                self._claims[run] = writer_lock(journal_path(self._journal, run), STORE_LOCK)
                self._claims[run].acquire(timeout=0)

    def _release(self, run: str) -> None:
        if lock := self._claims.pop(run, None):
            let_go(lock)

    def _postpone(self) -> None:
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
