"""A wait of a plan that other threads can end."""

import asyncio
import threading
from contextlib import suppress

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator


class Wakeup:
    """What a plan waits for: a ring, from any thread, or the time.

    A ring while nobody waits is kept: the next wait ends at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def ring(self, *_: object) -> None:
        """End the wait."""
        with self._lock:
            self._rung = True
            if self._waiting is not None:
                loop, event = self._waiting
                with suppress(RuntimeError):  # the loop was closed with its RunEngine
                    loop.call_soon_threadsafe(event.set)

    def wait(self, timeout_s: float) -> MsgGenerator[None]:
        """Wait for a ring, but no longer than this."""

        async def until_rung() -> None:
            event = asyncio.Event()
            mine = (asyncio.get_running_loop(), event)
            with self._lock:
                if self._rung:
                    event.set()
                self._waiting = mine
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), timeout_s)
            with self._lock:
                if self._waiting is mine:  # a pause leaves this behind; the next wait goes on
                    self._waiting, self._rung = None, False

        yield from bps.wait_for([until_rung])
