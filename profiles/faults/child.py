"""A session to put faults into: scans, and says a JSON line for each document.

``python -m flyback.profiles.faults.child`` reads orders from its input, one JSON object a line.
Where the system can fork, each order is carried out by a copy of this process, so that the imports
are paid once; elsewhere the first order is carried out and the process ends.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress
from typing import Any

from bluesky.utils import RunEngineInterrupted

from ..schema import parse_profile
from ..session import Session
from ..session import open as open_session
from .injections import INJECTIONS

MICROSCOPE: dict[str, Any] = {
    "devices": {
        "column": {
            "plugin": "column",
            "energy_kev": 200.0,
            "semi_convergence_angle_mrad": 20.0,
            "angular_sampling_mrad": 1.6,
            "beam_current_pa": 8.0,
        },
        "specimen": {"plugin": "sim_specimen", "thickness_nm": 2.0, "field_nm": 4.0},
        "beam": {
            "plugin": "sim_beam",
            "specimen": "@specimen",
            "column": "@column",
            "rate": "real",
        },
        "blanker": {"plugin": "sim_blanker", "beam": "@beam"},
        "scan_coils": {"plugin": "sim_scan_coils", "beam": "@beam", "blanker": "@blanker"},
        "camera": {"plugin": "sim_pixel_detector", "beam": "@beam", "pixels": 32},
    },
    "analyses": {},
}


def say(**facts: Any) -> None:
    """Write one line at once: whatever kills this process does not cut it."""
    os.write(1, (json.dumps(facts) + "\n").encode())


def carry_out(order: dict[str, Any]) -> None:
    """Scan once or more often, with the fault of the order.

    Parameters
    ----------
    order : dict
        ``directory``, ``scan`` (arguments of the raster), ``fault`` (a name in `INJECTIONS`, or
        none), ``at`` (the document at which it happens) and ``runs``.
    """
    say(pid=os.getpid())
    profile = parse_profile("faults", MICROSCOPE)
    with open_session(profile, order["directory"], progress=False, warm=False) as session:
        inject = INJECTIONS[order.get("fault", "none")]
        session.RE.subscribe(_speaker())
        with inject(session, order):
            for _ in range(order.get("runs", 1)):
                _scan(session, order)
        say(blanked=not session.blanker.is_open)
        with suppress(TimeoutError):
            session.join(60.0, check=False)
    say(closed=True)


def _scan(session: Session, order: dict[str, Any]) -> None:
    try:
        session.RE(session.plans.raster([session.camera], session.scan_coils, **order["scan"]))
        say(ended="")
    except RunEngineInterrupted:
        session.RE.abort("interrupted")
        say(ended="interrupted")
    # Whatever the fault did to the run is what the other side wants to know.
    except BaseException as error:
        say(ended=f"{type(error).__name__}: {error}")


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
        carry_out(order)
        code = 0
    except BaseException as error:
        say(failed=f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def main() -> None:
    """Carry out the orders of the input."""
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        if not hasattr(os, "fork"):
            carry_out(order)
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
