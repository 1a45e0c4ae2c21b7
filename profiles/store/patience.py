"""Waiting for a database that another process is writing.

SQLite lets one process write at a time. Whoever else comes is told "database is locked": at once
where no busy timeout is set, as in the driver of the tables; and at once, whatever the timeout,
where a transaction has read before it writes, as those do in which Tiled makes a table. Such a
transaction did nothing and is rolled back, so that the request can be made again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import closing
from typing import Any

BUSY_TIMEOUT_MS = 5_000
PATIENCE_S = 60.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.01, 0.5

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[MutableMapping[str, Any], _Receive, _Send], Awaitable[None]]


def is_locked(error: BaseException) -> bool:
    """Say whether SQLite refused something because another connection writes."""
    # The two drivers raise errors of different classes, and Tiled's passes them on.
    return "database is locked" in str(error)


def set_busy_timeout(connection: Any) -> None:
    """Let a connection of the tables' driver, which refuses at once, wait for a writer."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.fetchall()


def wait_for_writers(storage: Any) -> None:
    """Let all connections of Tiled's storage of tables wait.

    Parameters
    ----------
    storage : tiled.storage.EmbeddedSQLStorage
    """
    from sqlalchemy import event

    # The storage is shared by all who open the same database in this process.
    pool = storage._connection_pool  # noqa: SLF001
    if not event.contains(pool, "connect", _connected):
        event.listen(pool, "connect", _connected)


def _connected(connection: Any, _record: Any) -> None:
    set_busy_timeout(connection)


class Patience:
    """ASGI middleware: make a request again while a database is locked.

    Parameters
    ----------
    app : ASGI application
    patience_s : float
        After this the error is passed on.
    """

    def __init__(self, app: _Application, patience_s: float = PATIENCE_S) -> None:
        self._app = app
        self._patience_s = patience_s

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(receive)
        answer = _Answer(send)
        end = time.monotonic() + self._patience_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                # What is inside leaves its notes in the scope; the next attempt begins without.
                fresh = {**scope, "state": dict(scope.get("state", {}))}
                await self._app(fresh, request.replay(), answer)
            except Exception as error:
                if answer.begun or not is_locked(error) or time.monotonic() >= end:
                    raise
            else:
                return
            # Two that wait for each other must not come back at the same moment.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LAST_PAUSE_S)


class _Request:
    """A request's messages, kept so that they can be given once more."""

    def __init__(self, receive: _Receive) -> None:
        self._receive = receive
        self._kept: list[_Message] = []

    def replay(self) -> _Receive:
        given = 0

        async def receive() -> _Message:
            nonlocal given
            if given == len(self._kept):
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._kept.append(message)
            given += 1
            # A copy: whoever changes a message must not change the one that is kept.
            return dict(self._kept[given - 1])

        return receive


class _Answer:
    """Where the answer goes; once it has begun it cannot be begun again."""

    def __init__(self, send: _Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: _Message) -> None:
        self.begun = True
        await self._send(message)
