"""A thread that tells an instrument, again and again, that its driver is alive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Heartbeat:
    """Beat until it is stopped.

    Parameters
    ----------
    beat : callable
        Takes the number of the beat. What it raises is logged: an instrument that hears nothing
        looks after itself, and that is the point.
    period_s : float, s
    name : str
        Of the thread.
    """

    def __init__(self, beat: Callable[[int], None], period_s: float, name: str) -> None:
        self._beat, self._period_s, self._name = beat, float(period_s), name
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat once now, and then in a thread of its own."""
        self.stop()
        self._over.clear()
        self._beat(0)
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(5.0)

    def _run(self) -> None:
        count = 0
        while not self._over.wait(self._period_s):
            count += 1
            try:
                self._beat(count)
            except Exception as error:  # the reader of the samples finds out what is wrong
                log.debug("%s: beat %d did not arrive: %s", self._name, count, error)
