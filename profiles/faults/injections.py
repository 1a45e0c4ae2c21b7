"""Faults that a session does to itself: full disks, clocks, callbacks, signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ...callbacks.offload import Offload
from ..session import Session

Order = dict[str, Any]


def _at(session: Session, order: Order, act: Callable[[], None]) -> None:
    """Do something once, when the document of the order has been seen."""
    seen = 0

    def count(name: str, doc: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if seen == order["at"]:
            act()

    session.RE.subscribe(count)


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

    _at(session, order, fill)
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

    _at(session, order, limit)
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

    _at(session, order, step)
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
        raise RuntimeError("a fault was tried")

    _at(session, order, fail)
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
def interrupted(session: Session, order: Order) -> Iterator[None]:
    """Ctrl-C, as often as the order's ``times``."""

    def press() -> None:
        # On a thread of its own, as a person is: the second one follows the first at once.
        for _ in range(order["times"]):
            if os.name == "nt":
                signal.raise_signal(signal.SIGINT)
            else:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    _at(session, order, lambda: threading.Thread(target=press, daemon=True).start())
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
    "interrupted": interrupted,
}
