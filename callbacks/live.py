"""LiveCallback: one analysis of one run, from documents to results while data arrive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..models.base import Batch, Converging, Event, Eventful, Model, Quantity, Warmable
from .cell_samples import CellSamples, SampleSource
from .frames import FrameSource, RingReader
from .offload import OVERFLOW
from .publish import Publisher

logger = logging.getLogger("flyback.callbacks")

Factory = Callable[[Mapping[str, Any]], "LiveCallback | None"]
Watcher = Callable[["LiveCallback"], None]
Listener = Callable[["LiveCallback", Event], None]


class LiveCallback:
    """Feed a run's frames to a model and its results to a publisher.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
        Opens the derived run; called when the first frames arrive, so that a run without frames
        leaves no empty analysis behind.
    build : callable (Batch) -> Model
        Makes the model, once the first frames (and so their shape) are known.
    source : FrameSource or SampleSource, optional
        What batches are made of; frames where it is left out.

    Attributes
    ----------
    model : Model or None
    error : BaseException or None
        What went wrong. The analysis has then stopped; the run goes on.
    finished : bool
    """

    def __init__(
        self,
        start: Mapping[str, Any],
        publisher: Callable[[], Publisher],
        build: Callable[[Batch], Model],
        *,
        source: FrameSource | SampleSource | None = None,
    ) -> None:
        self.start = start
        self.source = FrameSource(start) if source is None else source
        self.cell = CellSamples()
        self.model: Model | None = None
        self.error: BaseException | None = None
        self.finished = False
        self.frames = 0
        self.publisher: Publisher | None = None
        self.watchers: list[Watcher] = []
        self.listeners: list[Listener] = []
        self.final: dict[str, Quantity] = {}
        self._open = publisher
        self._build = build
        self._lock = threading.RLock()
        self._told = 0
        self._heard = threading.Condition()  # not of the lock, which a model holds for long

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take in one document. An exception is kept in `error` and ends this analysis only."""
        if self.error is not None or self.finished:
            return
        try:
            self.cell(name, doc)
            for batch in self.source(name, doc):
                self._fit(batch)
            if name == "stop":
                self._finish()
        except Exception as error:
            self.fail(error)
        with self._heard:
            self._heard.notify_all()

    def learn(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take in one document of a part of a run: nothing is published, and nothing ends."""
        self.cell(name, doc)
        for batch in self.source(name, doc):
            if self.model is None:
                self.model = self._build(batch)
            self.model.partial_fit(batch)
            self.frames += len(batch)

    def conclude(self, model: Model, frames: int) -> None:
        """Publish what a model knows that has learnt elsewhere, as if its frames had come here."""
        self.model, self.frames, self.publisher = model, frames, self._open()
        try:
            self._finish()
        except Exception as error:
            self.fail(error)

    def ask(
        self, question: Callable[[Model], Any], through_index: int, timeout_s: float | None = None
    ) -> Any:
        """Put a question to the model when it has seen all frames below a scan index.

        Parameters
        ----------
        question : callable (Model)
            Called while the model does not learn.
        through_index : int
        timeout_s : float, s, or None
            None waits until the frames are there.

        Raises
        ------
        TimeoutError
            When that takes longer than `timeout_s`.
        RuntimeError
            When the analysis failed, or has seen no frame.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._heard:
            self._heard.wait_for(
                lambda: self.error or self.finished or self.source.through >= through_index,
                timeout_s,
            )
        if self.error is not None:
            raise RuntimeError(f"the analysis failed: {self.error}")
        left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        seen = self.finished or self.source.through >= through_index
        if not (seen and self._lock.acquire(timeout=left)):
            raise TimeoutError(
                f"the analysis has not seen all frames below {through_index} after {timeout_s} s"
            )
        try:
            if self.model is None:
                raise RuntimeError("the analysis has seen no frames")
            return question(self.model)
        finally:
            self._lock.release()

    def next_positions(
        self, through_index: int, n_points: int, *, seed: int, timeout_s: float | None
    ) -> tuple[np.ndarray, float] | None:
        """Return where the model would measure next and what is unknown, in m; None if it cannot.

        It waits and raises as `ask` does.
        """

        def steered(model: Any) -> tuple[np.ndarray, float] | None:
            if not hasattr(model, "next_positions"):
                return None
            return model.next_positions(n_points, seed=seed)

        return self.ask(steered, through_index, timeout_s)

    def fail(self, error: BaseException) -> None:
        """End this analysis with an error."""
        logger.debug("analysis failed", exc_info=error)
        self.error = error
        self.source.close()
        if self.publisher is None:
            self.publisher = self._open()
        self.publisher.fail(f"{type(error).__name__}: {error}")

    def rehearse(self, batch: Batch) -> None:
        """Show frames to a model that is then forgotten: raises what it would raise.

        It also compiles what the model needs for frames like these. An analysis of a cell's
        samples has nothing to do with frames.
        """
        if isinstance(self.source, SampleSource):
            return
        model = self._build(batch)
        if isinstance(model, Warmable):
            model.warm()
        model.partial_fit(batch)
        if isinstance(model, Converging):
            model.converge()
        _ = model.result_

    @property
    def result_(self) -> dict[str, Quantity]:
        """What is known so far; final once `finished`."""
        with self._lock:
            if self.finished:
                return self.final
            return {} if self.model is None else self.cell.beside(self.model.result_)

    def _fit(self, batch: Batch) -> None:
        if self.publisher is None:
            self.publisher = self._open()
        with self._lock:
            if self.model is None:
                self.model = self._build(batch)
            self.model.partial_fit(batch)
            self.frames += len(batch)
        self._report()  # before anything is drawn or written: somebody may act upon it
        if self.publisher.due():
            self.publisher.update(self.result_)
        self._tell()

    def _finish(self) -> None:
        if self.model is None or self.publisher is None:
            self.finished = True
            return
        with self._lock:
            if isinstance(self.model, Converging):
                self.model.converge()
            self.final = self.cell.beside(self.model.result_)
            self.finished = True
        self.publisher.finish(self.final)
        self._tell()

    def _report(self) -> None:
        """Tell the listeners what the model saw happen since the last time."""
        if not isinstance(self.model, Eventful):
            return
        new = list(self.model.events_[self._told :])
        self._told += len(new)
        for event in new:
            for listener in self.listeners:
                try:
                    listener(self, event)
                except Exception:
                    logger.warning("a listener of a live analysis failed", exc_info=True)

    def _tell(self) -> None:
        """Tell the watchers (pictures). What goes wrong there is no concern of the analysis."""
        for watcher in self.watchers:
            try:
                watcher(self)
            except Exception:
                logger.warning("a watcher of a live analysis failed", exc_info=True)


class Analysis:
    """One configured analysis of a session: makes a `LiveCallback` for each run.

    Parameters
    ----------
    name : str
    factory : callable (start) -> LiveCallback or None
        None where the analysis does not apply to a run.
    rings : sequence of RingReader
        The cameras' rings.

    Attributes
    ----------
    current : LiveCallback or None
        That of the newest run.
    history : list of LiveCallback
        Those that are done or failed and have not been looked at (see `take`).
    """

    def __init__(self, name: str, factory: Factory, rings: Sequence[RingReader] = ()) -> None:
        self.name = name
        self.current: LiveCallback | None = None
        self.history: list[LiveCallback] = []
        self.watchers: list[Watcher] = []
        self.listeners: list[Listener] = []
        self._factory = factory
        self._rings = list(rings)
        self._open: dict[str, LiveCallback] = {}
        self._run_of: dict[str, str] = {}
        self._refused: set[str] = set()
        self._begun = threading.Condition()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Route one document to the run that it belongs to."""
        if name == OVERFLOW:
            for callback in self._open.values():
                callback.fail(RuntimeError("documents were left out: the queue was full"))
            return
        if name == "start":
            self._begin(doc)
            return
        run = self._run(name, doc)
        callback = self._open.get(run) if run is not None else None
        if callback is None:
            return
        callback(name, doc)
        if name == "stop":
            del self._open[doc["run_start"]]
            self._run_of = {k: v for k, v in self._run_of.items() if v != doc["run_start"]}
            self.history.append(callback)

    def take(self) -> list[LiveCallback]:
        """Return the finished callbacks since the last call."""
        done, self.history = self.history, []
        return done

    def next_positions(
        self,
        through_index: int,
        n_points: int,
        *,
        run: str | None = None,
        seed: int = 0,
        timeout_s: float | None = None,
    ) -> tuple[np.ndarray, float]:
        """Ask a run's model where to measure next; what plans take as `suggest`.

        Parameters
        ----------
        through_index : int
            The answer comes from exactly the frames below this scan index.
        n_points : int
            At most so many positions.
        run : str, optional
            Uid of the run; the newest where it is left out.
        seed : int
            The same seed and frames give the same positions.
        timeout_s : float, s, or None
            Wait no longer; None waits until the frames are there.

        Returns
        -------
        positions_nm : (n, 2) float64, nm, yx
            None left where nothing is to be gained.
        error_nm : float, nm
            What is still unknown, such as how well walls are placed.

        Raises
        ------
        TimeoutError
            When the analysis is not that far in time.
        RuntimeError
            When it failed, does not apply to the run, or cannot steer.
        """
        began = time.monotonic()
        callback = self.current if run is None else self._await(run, timeout_s)
        if callback is None:
            raise RuntimeError(f"{self.name} does not apply to this run, so it cannot steer it")
        if timeout_s is not None:
            timeout_s = max(0.0, timeout_s - (time.monotonic() - began))

        answer = callback.next_positions(through_index, n_points, seed=seed, timeout_s=timeout_s)
        if answer is None:
            raise RuntimeError(f"{self.name} does not say where to measure next")
        return answer[0] * 1e9, answer[1] * 1e9

    def _await(self, run: str, timeout_s: float | None) -> LiveCallback | None:
        """Return the callback of a run once its start was heard of."""
        with self._begun:
            if not self._begun.wait_for(
                lambda: run in self._open or run in self._refused, timeout_s
            ):
                raise TimeoutError(f"{self.name} has not heard of the run {run[:8]} yet")
            return self._open.get(run)

    def __getattr__(self, name: str) -> Any:
        """Return a result of the newest run: ``object_phase_`` is ``result_["object_phase"]``."""
        if name.startswith("_") or not name.endswith("_"):
            raise AttributeError(name)
        results = {} if self.current is None else self.current.result_
        if name == "result_":
            return results
        key = name.removesuffix("_")
        if key not in results:
            raise AttributeError(f"{self.name} has no {key!r} yet; it has {sorted(results)}")
        value = results[key].value
        return value.copy() if isinstance(value, np.ndarray) else value

    def _begin(self, start: Mapping[str, Any]) -> None:
        callback = self._factory(start)
        with self._begun:
            if callback is None:
                self._refused.add(start["uid"])
            else:
                callback.source.rings = list(self._rings)
                callback.watchers = self.watchers
                callback.listeners = self.listeners
                self.current = self._open[start["uid"]] = callback
            self._begun.notify_all()

    def _run(self, name: str, doc: Mapping[str, Any]) -> str | None:
        """Return the uid of the run that a document belongs to, and remember its own uid."""
        if "run_start" in doc:
            run = doc["run_start"]
        elif name == "stream_datum":
            run = self._run_of.get(doc["stream_resource"])
        else:
            run = self._run_of.get(doc.get("descriptor", ""))
        if name in {"descriptor", "stream_resource"} and run is not None:
            self._run_of[doc["uid"]] = run
        return run
