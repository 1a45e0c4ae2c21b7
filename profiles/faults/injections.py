"""Faults that a session does to itself: full disks, clocks, callbacks, dead processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from bluesky.preprocessors import msg_mutator

from ...callbacks.offload import Offload
from ..session import Session
from .operators import Order, asked, at_document, paused, pressed
from .speaking import say

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@contextmanager
def nothing(session: Session, order: Order) -> Iterator[None]:
    """No fault of its own; perhaps one from outside."""
    yield


@contextmanager
def full_disk(session: Session, order: Order) -> Iterator[None]:
    """Fill the file system of one folder, until the run has ended."""
    ballast = Path(order["fill"]) / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    at_document(session, order, fill)
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


@contextmanager
def file_limit(session: Session, order: Order) -> Iterator[None]:
    """Let no file grow beyond the size that the frame file has: writes into it fail half-way."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit() -> None:
        files = session.archive.layout.frames.rglob("*.h5")
        largest = max(file.stat().st_size for file in files)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 50_000, before[1]))

    at_document(session, order, limit)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def clock_back(session: Session, order: Order) -> Iterator[None]:
    """Step this process's clock back by an hour; the computer's is left alone."""
    true = time.time

    def step() -> None:
        time.time = lambda: true() - 3600.0

    at_document(session, order, step)
    try:
        yield
    finally:
        time.time = true


@contextmanager
def overflow(session: Session, order: Order) -> Iterator[None]:
    """Give the store's queue room for three documents."""
    session.archive.writer._capacity = 3  # noqa: SLF001  no one else needs to set it
    yield


@contextmanager
def callback_raises(session: Session, order: Order) -> Iterator[None]:
    """Let a subscriber of the RunEngine raise."""

    def fail() -> None:
        say(told=time.time())
        raise RuntimeError("a fault was tried")

    at_document(session, order, fail)
    yield


@contextmanager
def analysis_blocks(session: Session, order: Order) -> Iterator[None]:
    """Let an analysis on a thread not come back before all runs have ended."""
    ended = threading.Event()

    def block(name: str, doc: Mapping[str, Any]) -> None:
        ended.wait()

    with _offloaded(session, block):
        try:
            yield
        finally:
            ended.set()


@contextmanager
def analysis_raises(session: Session, order: Order) -> Iterator[None]:
    """Let an analysis on a thread raise at each document."""

    def fail(name: str, doc: Mapping[str, Any]) -> None:
        raise RuntimeError("a fault was tried")

    with _offloaded(session, fail):
        yield


@contextmanager
def analysis_leaks(session: Session, order: Order) -> Iterator[None]:
    """Let an analysis keep every document, and a megabyte beside each."""
    kept: list[object] = []

    def keep(name: str, doc: Mapping[str, Any]) -> None:
        kept.append((doc, b"\1" * (1 << 20)))

    with _offloaded(session, keep):
        yield


@contextmanager
def store_killed(session: Session, order: Order) -> Iterator[None]:
    """Kill the process that writes the catalogue."""
    process: Any = session.archive.writer._batches  # noqa: SLF001  no one else needs to kill it
    at_document(session, order, lambda: process.process.kill())
    yield


@contextmanager
def worker_killed(session: Session, order: Order) -> Iterator[None]:
    """Kill the process of an analysis."""
    (worker,) = session.workers.values()

    def kill() -> None:
        if worker.pid is not None:
            os.kill(worker.pid, KILL)

    at_document(session, order, kill)
    yield


@contextmanager
def plan_raises(session: Session, order: Order) -> Iterator[None]:
    """Let the plan raise at a message."""

    def meddled(plan: Any) -> Any:
        seen = 0

        def look(message: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == order["at"]:
                say(told=time.time())
                raise RuntimeError("a fault was tried")
            return message

        return msg_mutator(plan, look)

    session.RE.preprocessors.append(meddled)
    yield


@contextmanager
def detector_dies(session: Session, order: Order) -> Iterator[None]:
    """Let a detector of the beamline answer no more."""
    detector: Any = session.xrd

    def dead() -> Any:
        raise TimeoutError("the detector does not answer: a fault was tried")

    def die() -> None:
        say(told=time.time())
        detector.trigger = dead

    at_document(session, order, die)
    yield


@contextmanager
def _offloaded(
    session: Session, consumer: Callable[[str, Mapping[str, Any]], None]
) -> Iterator[None]:
    offload = Offload("fault", consumer)
    session.RE.subscribe(offload)
    try:
        yield
    finally:
        offload.close()


INJECTIONS: dict[str, Callable[[Session, Order], AbstractContextManager[None]]] = {
    "none": nothing,
    "full_disk": full_disk,
    "file_limit": file_limit,
    "clock_back": clock_back,
    "overflow": overflow,
    "callback_raises": callback_raises,
    "analysis_blocks": analysis_blocks,
    "analysis_raises": analysis_raises,
    "analysis_leaks": analysis_leaks,
    "store_killed": store_killed,
    "worker_killed": worker_killed,
    "plan_raises": plan_raises,
    "detector_dies": detector_dies,
    "pressed": pressed,
    "asked": asked,
    "paused": paused,
}
