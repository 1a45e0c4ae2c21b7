"""What an operator may do in mid-run, at a document or at a message."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..session import Session
from .speaking import say

Order = dict[str, Any]


def at_document(session: Session, order: Order, act: Callable[[], None]) -> None:
    """Do something once, when the document of the order has been seen."""
    seen = 0

    def count(name: str, doc: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if seen == order["at"]:
            act()

    session.RE.subscribe(count)


@contextmanager
def pressed(session: Session, order: Order) -> Iterator[None]:
    """Ctrl-C, as often as the order's ``times``."""

    def press() -> None:
        say(told=time.time())
        for _ in range(order["times"]):
            if os.name == "nt":
                signal.raise_signal(signal.SIGINT)
            else:
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    # on a thread of its own, as a person is: the second one follows the first at once
    at_document(session, order, lambda: threading.Thread(target=press, daemon=True).start())
    yield


@contextmanager
def asked(session: Session, order: Order) -> Iterator[None]:
    """Ask the RunEngine for the order's ``how``: stop, abort, halt or request_pause."""

    def ask() -> None:
        say(told=time.time())
        getattr(session.RE, order["how"])()

    at_document(session, order, lambda: threading.Thread(target=ask, daemon=True).start())
    yield


@contextmanager
def paused(session: Session, order: Order) -> Iterator[None]:
    """Ask for a pause of the n-th run at the n-th message of its plan, so that all are tried.

    Ends the order's runs, by its key ``over``, once a run has fewer messages.
    """
    engine: Any = session.RE
    number, seen = 0, 0

    def hook(message: Any) -> None:
        nonlocal number, seen
        if order["run"] != number:
            number, seen = order["run"], 0
            order["over"] = True
        seen += 1
        if seen == number:
            order["over"] = False
            # it is waited for there, which this thread, the engine's own, must not do
            threading.Thread(target=engine.request_pause, daemon=True).start()

    engine.msg_hook = hook
    try:
        yield
    finally:
        engine.msg_hook = None
