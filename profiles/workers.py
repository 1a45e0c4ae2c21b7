"""Analyses in processes of their own: the same callbacks, frames by shared memory.

``worker = "process"`` in the table of an analysis asks for it. Documents reach the process through
a pipe, in their order; its derived runs come back the same way and are journalled and stored here.
A process that dies is started again and catches up from the run's journal and the frames' files.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..callbacks.live import LiveCallback
from ..callbacks.plots import Pictures
from ..callbacks.record import JournalError, read_journal
from ..models.base import Event, Quantity
from . import worker_link as link
from .archive import Archive
from .compose import check_analysis
from .store.survey import Survey
from .warming import Camera
from .worker_link import Link, WorkerDiedError

logger = logging.getLogger("flyback.profiles")

MOST_DEATHS = 3
DIED = "the process of the analysis died; it was started again as another run"


class RemoteCallback(LiveCallback):
    """A live callback whose model is in another process."""

    def __init__(self, start: Mapping[str, Any], worker: WorkerProcess) -> None:
        super().__init__(start, _elsewhere, _elsewhere)
        self.uid: str = str(start["uid"])
        self.deaths = 0
        self.fed = Fed()
        self.ended = threading.Event()
        self._worker = worker

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Hand one document over; at the stop, wait for the result."""
        if self.error is None and not self.finished:
            self._worker.feed(self, name, doc)

    def next_positions(
        self, through_index: int, n_points: int, *, seed: int, timeout_s: float | None
    ) -> tuple[np.ndarray, float] | None:
        """Ask the process (see `LiveCallback.next_positions`)."""
        return self._worker.ask(link.POSITIONS, self.uid, through_index, n_points, seed, timeout_s)

    def fail(self, error: BaseException) -> None:
        """End this analysis with an error."""
        self.error = error
        self._worker.drop(self, f"{type(error).__name__}: {error}")

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; final once `finished`."""
        if self.finished or self.error is not None:
            return self.final
        try:
            return self._worker.ask(link.RESULT, self.uid)
        except WorkerDiedError:
            return {}


class WorkerProcess:
    """One analysis of a session in a process of its own; call it with a start for a callback.

    Parameters
    ----------
    name : str
        Of the analysis.
    table : mapping
        Its settings.
    archive : Archive
        Journals and stores what the process derives.
    rings : sequence of FrameRing
        Of the cameras.
    pictures : Pictures
        Learns which final pictures the process has saved.

    Raises
    ------
    PluginError, SettingError
        For an unknown analysis or setting.
    """

    def __init__(
        self,
        name: str,
        table: Mapping[str, Any],
        archive: Archive,
        rings: Sequence[Any],
        pictures: Pictures,
    ) -> None:
        check_analysis(name, table)
        self.name = name
        self._archive, self._rings, self._pictures = archive, list(rings), pictures
        layout = archive.layout
        self._setup = (name, dict(table), layout.results, layout.pictures)
        self._open: dict[str, RemoteCallback] = {}
        self._derived: dict[str, str] = {}  # derived run still open -> its raw run
        self._closing = False
        self._watching = ThreadPoolExecutor(1, f"flyback-{name}-watchers")
        self._watched: Future[None] = Future()
        self._watched.set_result(None)
        for ring in self._rings:
            ring.share()
        self._link = Link(name, self._setup, self._heard)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._link.process.pid

    def __call__(self, start: Mapping[str, Any]) -> RemoteCallback | None:
        """Return the callback of a run, or None where the analysis does not apply to it."""
        callback = RemoteCallback(start, self)
        while callback.error is None:
            try:
                if not self._link.ask(link.BEGIN, dict(start)):
                    return None
                self._open[callback.uid] = callback
                callback.fed.fresh("start", start)
                break
            except WorkerDiedError:
                self._revive(callback)
        return callback

    def rehearse(self, camera: Camera) -> None:
        """Let the process compile what it needs for such frames, in its own time."""
        if not self._link.dead:
            self._link.tell(link.REHEARSE, camera)

    def feed(self, callback: RemoteCallback, name: str, doc: Mapping[str, Any]) -> None:
        """Hand a document over, to a new process where the old one has died."""
        while callback.error is None and not callback.finished:
            try:
                self._hand_over(callback, name, doc)
                if name == "stop":
                    self._wait(callback)
                return
            except WorkerDiedError:
                self._revive(callback)

    def ask(self, kind: str, *arguments: Any) -> Any:
        """Put a question to the process."""
        return self._link.ask(kind, *arguments)

    def drop(self, callback: RemoteCallback, reason: str) -> None:
        """Forget a run; what was derived from it ends as failed."""
        self._open.pop(callback.uid, None)
        with suppress(WorkerDiedError):
            self._link.tell(link.DROP, callback.uid)
        self._end_derived(callback.uid, reason)
        callback.ended.set()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the process."""
        self._closing = True
        self._link.close(timeout_s)
        self._watching.shutdown()
        for derived in list(self._derived.values()):
            self._end_derived(derived, "the session was closed")

    def _hand_over(self, callback: RemoteCallback, name: str, doc: Mapping[str, Any]) -> None:
        fresh = callback.fed.fresh(name, doc)
        if fresh is None:
            return
        if name == "stream_resource":
            for ring in self._rings:
                description = ring.describe(doc["uid"])
                if description is not None:
                    self._link.tell(link.RING, description)
        self._link.document(callback.uid, name, fresh)

    def _wait(self, callback: RemoteCallback) -> None:
        callback.ended.wait()
        if not callback.finished and callback.error is None:
            callback.ended.clear()
            raise WorkerDiedError(self.name)

    def _revive(self, callback: RemoteCallback) -> None:
        """Start the process again and let it catch up with all open runs."""
        if self._closing:
            callback.fail(RuntimeError("the session was closed"))
            return
        for each in {callback.uid: callback, **self._open}.values():
            self._end_derived(each.uid, DIED)
            each.deaths += 1
            if each.deaths > MOST_DEATHS:
                each.fail(
                    RuntimeError(
                        f"the process of {self.name!r} died {each.deaths} times in this run; the "
                        "run is stored: replay it for the result"
                    )
                )
        logger.warning("the process of %r died and is started again", self.name)
        self._link.close(1.0)
        for each in self._open.values():
            each.ended.clear()
        self._link = Link(self.name, self._setup, self._heard)
        for each in list(self._open.values()):
            self._catch_up(each)

    def _catch_up(self, callback: RemoteCallback) -> None:
        """Feed a run from its journal, as far as it has come."""
        callback.fed = Fed()
        path = self._archive.layout.journal / f"{callback.uid}.journal"
        try:
            for name, doc in read_journal(path):
                if name == "start":
                    self._link.ask(link.BEGIN, doc)
                    callback.fed.fresh(name, doc)
                else:
                    self._hand_over(callback, name, doc)
        except WorkerDiedError:
            return  # again; whoever hands over the next document finds out
        except (JournalError, OSError) as error:
            callback.fail(error)

    def _heard(self, kind: str, *rest: Any) -> None:
        """Take what the process says; on the thread that listens."""
        if kind == "lost":
            for each in list(self._open.values()):
                each.ended.set()
            return
        run, *what = rest
        callback = self._open.get(run)
        if callback is None:
            return
        if kind == link.DERIVED:
            self._take_derived(callback, *what)
        elif kind == link.EVENT:
            self._tell_of(callback, *what)
        elif kind == link.FINISHED or self._watched.done():
            self._watched = self._watching.submit(self._progress, callback, *what)

    def _take_derived(self, callback: RemoteCallback, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self._derived[doc["uid"]] = callback.uid
            callback.publisher = SimpleNamespace(uid=doc["uid"], start=doc)  # type: ignore[assignment]
        elif name == "stop":
            self._derived.pop(doc["run_start"], None)
        try:
            self._archive.emit(name, doc)
        except OSError as error:
            callback.error = error
            self.drop(callback, str(error))

    def _tell_of(self, callback: RemoteCallback, event: Event) -> None:
        for listener in callback.listeners:
            try:
                listener(callback, event)
            except Exception:
                logger.warning("a listener of a live analysis failed", exc_info=True)

    def _progress(self, callback: RemoteCallback, frames: int, *final: Any) -> None:
        """Let watchers look; not on the thread that listens, for they may ask for the result."""
        callback.frames = frames
        if final:
            callback.final, callback.error, saved = final
            callback.finished = callback.error is None
            self._pictures.saved += saved
        self._watch(callback)
        if final:
            self._open.pop(callback.uid, None)
            callback.ended.set()

    def _watch(self, callback: RemoteCallback) -> None:
        for watcher in callback.watchers:
            try:
                watcher(callback)
            except Exception:
                logger.warning("a watcher of a live analysis failed", exc_info=True)

    def _end_derived(self, run: str, reason: str) -> None:
        """End what was derived from a run and has no stop: the process will not do it."""
        for uid in [derived for derived, raw in self._derived.items() if raw == run]:
            del self._derived[uid]
            path = self._archive.layout.journal / f"{uid}.journal"
            self._archive.emit("stop", Survey(path).stop(uid, reason, []))


class Fed:
    """What of a run has been handed over: what comes again is left out, or cut to what is new."""

    def __init__(self) -> None:
        self._uids: set[str] = set()
        self._reached: dict[str, int] = {}

    def fresh(self, name: str, doc: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what of a document is new, or None."""
        if name == "stream_datum":
            return self._datum(doc)
        if name in {"event", "event_page"}:
            last = int(np.max(doc["seq_num"]))
            return self._once(doc, doc["descriptor"], last)
        uid = str(doc.get("uid") or doc.get("datum_id"))
        if uid in self._uids:
            return None
        self._uids.add(uid)
        return dict(doc)

    def _once(self, doc: Mapping[str, Any], key: str, last: int) -> dict[str, Any] | None:
        if last <= self._reached.get(key, -1):
            return None
        self._reached[key] = last
        return dict(doc)

    def _datum(self, doc: Mapping[str, Any]) -> dict[str, Any] | None:
        reached = self._reached.get(doc["stream_resource"], 0)
        start, stop = doc["indices"]["start"], doc["indices"]["stop"]
        if stop <= reached:
            return None
        self._reached[doc["stream_resource"]] = stop
        cut = max(reached - start, 0)
        seq_nums = {"start": doc["seq_nums"]["start"] + cut, "stop": doc["seq_nums"]["stop"]}
        return {**doc, "indices": {"start": start + cut, "stop": stop}, "seq_nums": seq_nums}


def _elsewhere(*_: Any) -> Any:
    raise RuntimeError("the model is in another process")
