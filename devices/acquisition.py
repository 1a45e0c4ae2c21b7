"""A thread that carries blocks from a source to a sink and always ends with an answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ophyd.status import Status

log = logging.getLogger(__name__)


class NothingArrivedError(TimeoutError):
    """The source was silent for too long."""


class Acquisition:
    """Carry blocks until all have come, the source ends, it falls silent, or someone stops it.

    Parameters
    ----------
    device : ophyd object
        For the name and the status.
    begin : callable
        Called first, in the thread; arms the source.
    source : callable that returns an iterable of block or None
        None is a sign of life without data, at least every second.
    sink : callable
        Takes a block and returns how far the scan has come: the index after its last frame.
    expected : int
        The scan is complete when `sink` returns this.
    end : callable
        Called last, with the exception or None; disarms the source. What it raises becomes the
        reason of the failure.
    timeout_s : float, s
        Longest silence.
    """

    def __init__(
        self,
        device: Any,
        *,
        begin: Callable[[], None],
        source: Callable[[], Iterable[Any]],
        sink: Callable[[Any], int],
        expected: int,
        end: Callable[[BaseException | None], None],
        timeout_s: float,
    ) -> None:
        self.begun = Status(device)
        self.done = Status(device)
        self.expected = expected
        self.held = False
        self._name = device.name
        self._begin, self._source, self._sink, self._end = begin, source, sink, end
        self._timeout_s = timeout_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-acquisition")
        self._thread.daemon = True

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def stopping(self) -> bool:
        """Whether someone has asked for an end."""
        return self._stop.is_set()

    def stop(self, wait_s: float = 10.0) -> None:
        """Ask for an end and wait for it; the status then reads as finished."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(wait_s)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._begin()
            self.begun.set_finished()
            self._carry()
        except BaseException as raised:  # whatever it was, it must reach the status
            error = raised
        try:
            self._end(error)
        except Exception as raised:
            error = error or raised
        self._answer(error)

    def _answer(self, error: BaseException | None) -> None:
        stopped = self._stop.is_set()
        if error is not None and stopped:
            log.warning("%s was stopped; at its end: %s", self._name, error)
        for status in (self.begun, self.done):
            if status.done:
                continue
            if error is None or stopped:
                status.set_finished()
            else:
                status.set_exception(error if isinstance(error, Exception) else RuntimeError(error))

    def _carry(self) -> None:
        heard = time.monotonic()
        reached = 0
        for block in self._source():
            now = time.monotonic()
            if block is not None:
                reached = self._sink(block)
                heard = time.monotonic()
            if reached >= self.expected or self._stop.is_set():
                return
            if block is not None:
                continue
            if self.held:
                heard = now
            elif now - heard > self._timeout_s:
                raise NothingArrivedError(
                    f"{self._name} heard nothing for {self._timeout_s:g} s after frame {reached} "
                    f"of {self.expected}; is its source running and triggered?"
                )
