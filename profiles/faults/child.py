"""A session to put faults into: measures, and says a JSON line for each document.

``python -m flyback.profiles.faults.child`` reads orders from its input, one JSON object a line.
Where the system can fork, each order is carried out by a copy of this process, so that the imports
are paid once; elsewhere, or with ``--once``, the first order is carried out and the process ends.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from contextlib import suppress
from typing import Any

from bluesky.utils import RunEngineInterrupted

from ..session import Session
from ..session import open as open_session
from .injections import INJECTIONS
from .instruments import is_safe, plan_of, profile_of
from .speaking import say


def carry_out(order: dict[str, Any]) -> None:
    """Measure once or more often, with the fault of the order.

    Parameters
    ----------
    order : dict
        ``directory``; ``instrument``, microscope or beamline; ``plan`` (of the beamline) and
        ``scan``, its arguments; ``fault`` (a name in `INJECTIONS`, or none), ``at`` (the document
        or message at which it happens), ``then`` (what is done after a pause); ``runs``,
        ``store`` and ``analyses`` (tables of the profile).
    """
    say(pid=os.getpid())
    with open_session(profile_of(order), order["directory"], progress=False, warm=False) as session:
        inject = INJECTIONS[order.get("fault", "none")]
        session.RE.subscribe(_speaker())
        with inject(session, order):
            for run in range(order.get("runs", 1)):
                order["run"] = run + 1
                _measure(session, order)
                if order.get("over"):
                    break
        say(safe=is_safe(session, order))
        failed: list[str] = []
        with suppress(TimeoutError):
            analyses = session.join(60.0, check=False)
            failed = [str(a.error) for a in analyses if a.error is not None]
            say(analysed=[a.frames for a in analyses])
        if failed:
            say(failed="; ".join(failed))
    say(closed=True)


def _measure(session: Session, order: dict[str, Any]) -> None:
    ended = ""
    try:
        session.RE(plan_of(session, order))
    except RunEngineInterrupted:
        ended = "interrupted"
    # Whatever the fault did to the run is what the other side wants to know.
    except BaseException as error:
        ended = f"{type(error).__name__}: {error}"
    if session.RE.state == "paused":
        say(paused=time.time())
        try:
            getattr(session.RE, order.get("then", "abort"))()
            ended = ""
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
    say(ended=ended)


def _speaker() -> Any:
    frames: dict[str, str] = {}
    run = ""
    number = 0

    def speak(name: str, doc: dict[str, Any]) -> None:
        nonlocal run, number
        if name == "start":
            run, number = doc["uid"], 0
        number += 1
        facts: dict[str, Any] = {"document": number, "name": name, "run": run}
        if name == "stream_resource" and doc["data_key"].endswith("_frames"):
            frames[doc["uid"]] = run
        if name == "stream_datum" and doc["stream_resource"] in frames:
            facts["frames"] = doc["indices"]["stop"]
        say(**facts)

    return speak


def _forked(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        code = 0 if _ended_well(order) else 1
    finally:
        os._exit(code)


def _ended_well(order: dict[str, Any]) -> bool:
    try:
        carry_out(order)
    except BaseException as error:
        say(failed=f"{type(error).__name__}: {error}")
        return False
    return True


def main() -> None:
    """Carry out the orders of the input."""
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "--once" in sys.argv or not hasattr(os, "fork"):
            _ended_well(order)
            return
        say(exit=_forked(order))


def _import_what_a_session_imports() -> None:
    # before the first fork, so that no copy pays for it
    for name in (
        "bluesky_tiled_plugins.exporters",
        "hdf5plugin",
        "tiled.catalog",
        "tiled.client",
        "tiled.server.app",
    ):
        importlib.import_module(name)


if __name__ == "__main__":
    _import_what_a_session_imports()
    main()
