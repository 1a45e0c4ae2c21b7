"""Documents over a bus: a Redis or Valkey stream, so that other machines analyse while data arrive.

Frames never travel: documents name their files. Delivery is at least once; whoever listens drops
what it has had, by the documents' own uids. Publishing never waits: what does not fit into the
queue, or was sent while the server was away, is sent again from the run's journal.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from .codec import packer, unpack
from .journal import JournalError, journal_path, read_journal
from .record import RunIndex

BUS_VARIABLE, PASSWORD_VARIABLE = "FLYBACK_BUS", "FLYBACK_BUS_PASSWORD"
STREAM = "flyback:documents"
FIELD = b"document"
MOST_ENTRIES = 200_000  # of the stream; the journal has all
MOST_BYTES = 1 << 20  # of one document
CAPACITY = 10_000
BATCH = 200
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
_REMEMBERED = 500_000
_NAMES = frozenset({"start", "descriptor", "event", "event_page", "stop"}) | {
    "resource",
    "datum",
    "datum_page",
    "stream_resource",
    "stream_datum",
}

logger = logging.getLogger("flyback.callbacks")


class BusError(RuntimeError):
    """The bus cannot be used."""


def connect(uri: str) -> Any:
    """Return a client of ``redis://host:6379/0``; the password is in FLYBACK_BUS_PASSWORD.

    Raises
    ------
    BusError
        For another address, one with a password, or where redis-py is not installed.
    """
    try:
        import redis
    except ImportError as error:
        raise BusError("the bus needs redis-py: pip install 'flyback[bus]'") from error
    parts = urlsplit(uri)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise BusError("a bus has an address such as redis://127.0.0.1:6379")
    if parts.password:
        raise BusError(f"the password of the bus goes in {PASSWORD_VARIABLE}, not in its address")
    return redis.Redis.from_url(
        uri,
        password=os.environ.get(PASSWORD_VARIABLE),
        socket_connect_timeout=3.0,
        socket_timeout=10.0,
    )


class BusPublisher:
    """Publish every document; subscribe it after the recorder.

    Parameters
    ----------
    uri : str
        See `connect`.
    journal : path
        Folder of the journals, from which the bus is fed what it missed.
    stream : str
        Name of the stream.
    capacity : int
        Most documents that may wait.

    Attributes
    ----------
    refused : int
        Documents that were too large: data in place of a reference to it.
    """

    def __init__(
        self,
        uri: str,
        journal: str | os.PathLike[str],
        *,
        stream: str = STREAM,
        capacity: int = CAPACITY,
    ) -> None:
        self.refused = 0
        self._client = connect(uri)
        self._journal = Path(journal)
        self._stream = stream
        self._capacity = capacity
        self._index = RunIndex()
        self._packer = packer()
        self._waiting: deque[tuple[str, str, Mapping[str, Any]]] = deque()
        self._missed: set[str] = set()
        self._open: set[str] = set()
        self._server: str | None = None
        self._busy = False
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="bus", daemon=True)
        self._thread.start()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Queue one document; never waits and never raises for the bus's sake."""
        with self._changed:
            for run in self._index.of(name, doc):
                if name == "start":
                    self._open.add(run)
                if run not in self._missed:
                    if len(self._waiting) < self._capacity:
                        self._waiting.append((run, name, doc))
                    else:
                        self._missed.add(run)
                if name == "stop":
                    self._index.forget(run)
                self._changed.notify_all()

    @property
    def behind(self) -> bool:
        """Whether the bus does not have everything yet."""
        with self._changed:
            return bool(self._waiting or self._missed or self._busy)

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what waits, for at most `timeout_s`, and end the thread."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._changed.wait_for(
                lambda: not (self._waiting or self._missed or self._busy),
                max(0.0, deadline - time.monotonic()),
            )
            if self._waiting or self._missed:
                logger.warning("the bus did not get all documents; the journals have them")
            self._closing.set()
            self._changed.notify_all()
        self._thread.join()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _work(self) -> None:
        import redis

        pause = FIRST_PAUSE_S
        while not self._closing.is_set():
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._missed or self._closing.is_set()
                )
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._busy = True
            try:
                self._see_server()
                # What the journal will give comes from there alone, or it would come out of order.
                self._send([entry for entry in batch if entry[0] not in self._missed])
                for run in sorted(self._missed):
                    self._catch_up(run)
                pause = FIRST_PAUSE_S
            except (redis.RedisError, OSError):
                self._miss({run for run, _, _ in batch})
                self._closing.wait(pause)
                pause = min(2 * pause, LAST_PAUSE_S)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _see_server(self) -> None:
        """Notice a server that has started anew and may have forgotten the open runs."""
        server = self._client.info("server")["run_id"]
        if self._server not in {None, server}:
            self._miss(self._open)
        self._server = server

    def _send(self, batch: list[tuple[str, str, Mapping[str, Any]]]) -> None:
        pipe = self._client.pipeline(transaction=False)
        for _, name, doc in batch:
            try:
                data = self._packer.pack([name, doc])
            except (TypeError, ValueError) as error:
                logger.warning("a %s document cannot be sent: %s", name, error)
                continue
            if len(data) > MOST_BYTES:
                self.refused += 1
                logger.warning("a %s document of %d bytes is not for the bus", name, len(data))
                continue
            pipe.xadd(self._stream, {FIELD: data}, maxlen=MOST_ENTRIES, approximate=True)
        pipe.execute()
        with self._changed:
            self._open -= {run for run, name, _ in batch if name == "stop"}

    def _catch_up(self, run: str) -> None:
        """Send a run from its journal; what comes from now on is queued behind that."""
        with self._changed:
            self._missed.discard(run)
        batch: list[tuple[str, str, Mapping[str, Any]]] = []
        try:
            for name, doc in read_journal(journal_path(self._journal, run)):
                batch.append((run, name, doc))
                if len(batch) == BATCH:
                    self._send(batch)
                    batch = []
            self._send(batch)
        except (JournalError, FileNotFoundError) as error:
            logger.warning("the bus cannot be fed from the journal: %s", error)
        except Exception:
            self._miss({run})
            raise

    def _miss(self, runs: set[str]) -> None:
        """Leave runs to their journals, with all that waits of them."""
        with self._changed:
            self._missed |= runs
            waiting = [entry for entry in self._waiting if entry[0] not in self._missed]
            self._waiting = deque(waiting)


def listen(
    uri: str,
    *,
    ended: threading.Event,
    everything: bool = False,
    stream: str = STREAM,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield documents from a bus, each once, in order; wait for a server that is away.

    Parameters
    ----------
    uri : str
        See `connect`.
    ended : threading.Event
        Ends the iteration when it is set, within half a second.
    everything : bool
        Begin with the oldest that the stream holds, else with what comes from now on.

    Raises
    ------
    BusError
        If the server does not answer at the beginning.
    """
    import redis

    client = connect(uri)
    try:
        newest = client.xrevrange(stream, count=1)
    except (redis.RedisError, OSError) as error:
        raise BusError(f"the bus {uri} does not answer; start it or check the address") from error
    last = newest[0][0] if newest and not everything else b"0-0"
    had = _Had()
    pause = FIRST_PAUSE_S
    with client:
        while not ended.is_set():
            try:
                found = client.xread({stream: last}, count=BATCH, block=500)
                pause = FIRST_PAUSE_S
            except (redis.RedisError, OSError):
                ended.wait(pause)
                pause = min(2 * pause, LAST_PAUSE_S)
                continue
            # redis-py answers with a list or, in its newer protocol, with a dictionary
            rows = dict(found or {}).get(stream.encode(), [])
            for number, fields in rows[0] if rows and isinstance(rows[0], list) else rows:
                last = number
                entry = _read(fields)
                if entry is not None and had.not_yet(*entry):
                    yield entry


class _Had:
    """The newest documents that came, by their uids."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], None] = OrderedDict()

    def not_yet(self, name: str, doc: Mapping[str, Any]) -> bool:
        uid = doc.get("uid", doc.get("datum_id"))
        key = (name, str(uid[0] if isinstance(uid, list) and uid else uid))
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > _REMEMBERED:
            self._keys.popitem(last=False)
        return True


def _read(fields: Mapping[bytes, bytes]) -> tuple[str, dict[str, Any]] | None:
    """Return what an entry holds; what is no document is passed over."""
    data = fields.get(FIELD, b"")
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"{len(data)} bytes")
        name, doc = unpack(data)
        if name not in _NAMES or not isinstance(doc, dict):
            raise ValueError("no document")
    except Exception as error:
        logger.warning("an entry of the bus is passed over: %s", error)
        return None
    return name, doc
