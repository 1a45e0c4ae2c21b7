"""How long one thread may keep the others of its interpreter waiting while a session is open.

A thread that wants the interpreter asks for it after the switch interval, 5 ms unless told
otherwise. An analysis wants it back after each kernel, several times a frame: beside a thread that
draws a picture it would wait for most of what a rule has.
"""

from __future__ import annotations

import sys
import threading

TURN_S = 5e-4
_lock = threading.Lock()
_usual_s: list[float] = []
"""The intervals before, one for each who wants shorter turns; after the first they are alike."""


def shorten_turns() -> None:
    """Let threads take shorter turns, until `restore_turns` was called as often as this."""
    with _lock:
        _usual_s.append(sys.getswitchinterval())
        sys.setswitchinterval(min(TURN_S, _usual_s[-1]))


def restore_turns() -> None:
    """Take back one call of `shorten_turns`."""
    with _lock:
        sys.setswitchinterval(_usual_s.pop())
