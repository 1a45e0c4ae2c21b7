"""The process of one analysis: ``python -m flyback.profiles.worker_process``, by a session alone.

Its first message is ``(name, table, folder of results, folder of pictures)``. It ends with the
session: when asked, or when the pipe ends because the session was killed.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..callbacks.live import LiveCallback
from ..callbacks.plots import Pictures
from ..callbacks.publish import Publisher
from ..callbacks.shared_ring import SharedRings
from ..models.base import Event
from . import worker_link as link
from .compose import check_analysis
from .turns import shorten_turns
from .warming import rehearse

PROGRESS_PERIOD_S = 0.1


class Worker:
    """Analyse what the pipe brings; documents in their order, questions at once."""

    def __init__(
        self, pipe: link.Pipe, name: str, table: Mapping[str, Any], results: Path, pictures: Path
    ) -> None:
        self._pipe, self._name, self._table = pipe, name, dict(table)
        self._results = results
        self._pictures = Pictures(pictures)
        self._build = check_analysis(name, self._table)
        self._open: dict[str, LiveCallback] = {}
        self._told: dict[str, float] = {}
        self.rings = SharedRings()
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def serve(self) -> None:
        """Take messages until the session closes or is gone."""
        while True:
            kind, *rest = self._pipe.receive()
            match kind:
                case link.DOCUMENT:
                    self._waiting.put(lambda rest=rest: self._document(*rest))
                case link.RING:
                    self._waiting.put(lambda rest=rest: self.rings.add(*rest))
                case link.BEGIN:
                    self._waiting.put(lambda rest=rest: self._answer(self._begin, *rest))
                case link.DROP:
                    self._waiting.put(lambda rest=rest: self._drop(*rest))
                case link.REHEARSE:
                    self._waiting.put(lambda rest=rest: rehearse(self._name, self._build, *rest))
                case link.RESULT | link.POSITIONS:
                    ask = self._result if kind == link.RESULT else self._positions
                    threading.Thread(
                        target=self._answer, args=(ask, *rest), name=kind, daemon=True
                    ).start()
                case link.CLOSE:
                    return

    def _work(self) -> None:
        while True:
            self._waiting.get()()

    def _begin(self, start: Mapping[str, Any]) -> bool:
        def publisher() -> Publisher:
            return Publisher(
                lambda name, doc: self._pipe.send(link.DERIVED, start["uid"], name, doc),
                self._results,
                analysis=self._name,
                parent=start,
                parameters=self._table,
            )

        callback = self._build(start, publisher)
        if callback is None:
            return False
        callback.source.rings = [self.rings]
        callback.watchers = [self._pictures, self._progress]
        callback.listeners = [self._event]
        self._open[start["uid"]] = callback
        return True

    def _document(self, run: str, name: str, doc: Mapping[str, Any]) -> None:
        callback = self._open.get(run)
        if callback is not None:
            callback(name, doc)
            if callback.finished or callback.error is not None:
                self._finish(run, callback)
        self._pipe.send(link.DONE)

    def _finish(self, run: str, callback: LiveCallback) -> None:
        del self._open[run]
        saved, self._pictures.saved = self._pictures.saved, []
        self._pipe.send(
            link.FINISHED, run, callback.frames, callback.final, _sendable(callback.error), saved
        )

    def _drop(self, run: str) -> None:
        callback = self._open.pop(run, None)
        if callback is not None:
            callback.source.close()

    def _progress(self, callback: LiveCallback) -> None:
        run, now = callback.start["uid"], time.monotonic()
        if now - self._told.get(run, -PROGRESS_PERIOD_S) >= PROGRESS_PERIOD_S:
            self._told = {run: now}
            self._pipe.send(link.PROGRESS, run, callback.frames)

    def _event(self, callback: LiveCallback, event: Event) -> None:
        self._pipe.send(link.EVENT, callback.start["uid"], event)

    def _result(self, run: str) -> Any:
        callback = self._open.get(run)
        return {} if callback is None else callback.result_

    def _positions(self, run: str, *arguments: Any) -> Any:
        callback = self._open.get(run)
        if callback is None:
            raise RuntimeError("the analysis has ended")
        through_index, n_points, seed, timeout_s = arguments
        return callback.next_positions(through_index, n_points, seed=seed, timeout_s=timeout_s)

    def _answer(self, ask: Callable[..., Any], number: int, *arguments: Any) -> None:
        try:
            value, error = ask(*arguments), None
        except Exception as raised:
            value, error = None, _sendable(raised)
        self._pipe.send(link.ANSWER, number, value, error)


def _sendable(error: BaseException | None) -> BaseException | None:
    """Return an error that the session can read: itself where it survives being pickled."""
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def main() -> None:
    """Serve the session at the other end of standard input and output."""
    pipe = link.standard_pipe()
    worker: Worker | None = None
    status = 1
    shorten_turns()
    try:
        worker = Worker(pipe, *pipe.receive())
        worker.serve()
        status = 0
    except EOFError:  # the session was killed: nobody else removes what it shared
        for path in worker.rings.paths if worker is not None else []:
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
    except Exception:
        traceback.print_exc()
    os._exit(status)  # a thread may be in the midst of a fit that nobody waits for


if __name__ == "__main__":
    main()
