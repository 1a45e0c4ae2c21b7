"""Offload: a bounded queue and a thread between the RunEngine and one analysis.

Handing a document over costs microseconds; adjacent stream_datums of one resource are joined into
one while they wait, so that a slow analysis has a short queue however fast the camera is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

Consumer = Callable[[str, Mapping[str, Any]], None]
OVERFLOW = "overflow"


class QueueOverflowError(RuntimeError):
    """An analysis fell so far behind that its queue is full."""


class Offload:
    """Run a consumer of documents on a thread of its own.

    Parameters
    ----------
    name : str
        Names the thread and the errors.
    consumer : callable (name, document)
        Runs on the thread. An exception in it is kept in `errors`; the thread goes on.
    capacity : int
        Most documents that may wait. Beyond it documents are refused, and an error that says how
        to get the result (replay) is kept: acquisition never waits.
    """

    def __init__(self, name: str, consumer: Consumer, *, capacity: int = 100_000) -> None:
        self.name = name
        self.errors: list[BaseException] = []
        self._consumer = consumer
        self._capacity = capacity
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self._tail: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._busy = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._overflowed = False

    @property
    def lag(self) -> int:
        """Documents that wait, the one being worked on included."""
        return len(self._waiting) + self._busy

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Queue one document and return at once."""
        with self._changed:
            if self._closing:
                raise RuntimeError(f"the analysis {self.name!r} is closed")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"flyback-{self.name}", daemon=True
                )
                self._thread.start()
            if name == "stream_datum":
                if self._coalesce(doc):
                    return
            else:
                self._tail.clear()
            if name == "start" and len(self._waiting) < self._capacity:
                self._overflowed = False
            if self._overflowed or len(self._waiting) >= self._capacity:
                self._refuse()
                return
            item = dict(doc)  # documents are shared between callbacks: never change one
            self._waiting.append((name, item))
            if name == "stream_datum":
                self._tail[doc["stream_resource"]] = item
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until every document has been worked on.

        Raises
        ------
        TimeoutError
            If that takes longer than `timeout_s`.
        """
        with self._changed:
            done = self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)
        if not done:
            raise TimeoutError(
                f"the analysis {self.name!r} still has {self.lag} documents to work on "
                f"after {timeout_s:g} s"
            )

    def close(self, timeout_s: float = 60.0) -> None:
        """Work off the queue and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _coalesce(self, doc: Mapping[str, Any]) -> bool:
        """Extend the last waiting stream_datum of the same resource, if it is adjacent."""
        last = self._tail.get(doc["stream_resource"])
        if last is None or last["indices"]["stop"] != doc["indices"]["start"]:
            return False
        adjacent = last["seq_nums"]["stop"] == doc["seq_nums"]["start"]
        if last["descriptor"] != doc["descriptor"] or not adjacent:
            return False
        last["indices"] = {"start": last["indices"]["start"], "stop": doc["indices"]["stop"]}
        last["seq_nums"] = {"start": last["seq_nums"]["start"], "stop": doc["seq_nums"]["stop"]}
        return True

    def _refuse(self) -> None:
        if not self._overflowed:
            self._overflowed = True
            self._tail.clear()
            # a gap in the documents would make a wrong result: the consumer is told to give up
            self._waiting.append((OVERFLOW, {}))
            self.errors.append(
                QueueOverflowError(
                    f"the analysis {self.name!r} fell {self._capacity} documents behind and was "
                    f"left out; the run is stored: replay it for the result"
                )
            )

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                name, doc = self._waiting.popleft()
                if name == "stream_datum" and self._tail.get(doc["stream_resource"]) is doc:
                    del self._tail[doc["stream_resource"]]
                self._busy = True
            try:
                self._consumer(name, doc)
            except Exception as error:
                self.errors.append(error)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
