"""Sessions in processes of their own, and what they say until they end."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

LONGEST_S = 180.0
ONCE = "--once"


class FaultError(RuntimeError):
    """A session did not begin, or did not come to its end; this is no fault of the data's."""


class Said:
    """What one session said.

    Attributes
    ----------
    frames : dict of uid to int
        Frames that were announced, by run.
    documents : int
        Of the newest run.
    ended : list of str
        How each run ended, empty where nothing was raised.
    closed : set of uid
        Runs that had their stop document already when they were paused.
    facts : dict
        The rest: ``safe``, ``closed``, ``failed``, when the fault was ``told``.
    """

    def __init__(self) -> None:
        self.frames: dict[str, int] = {}
        self.documents = 0
        self.ended: list[str] = []
        self.closed: set[str] = set()
        self.facts: dict[str, Any] = {}
        self._last: Mapping[str, Any] = {}

    def take(self, line: Mapping[str, Any]) -> None:
        """Note one line."""
        if "run" in line:
            self.frames.setdefault(line["run"], 0)
            self.frames[line["run"]] = max(self.frames[line["run"]], line.get("frames", 0))
            self.documents = line["document"]
            self._last = line
        elif "ended" in line:
            self.ended.append(line["ended"])
        else:
            self.facts.update(line)
            if "paused" in line and self._last.get("name") == "stop":
                self.closed.add(self._last["run"])


class Sessions:
    """Start one session after the other, each in a process of its own.

    Parameters
    ----------
    environment : mapping, optional
        Beside this process's own.
    fork : bool
        Let one process that has imported everything make copies of itself. A beamline's cannot:
        the threads of its Channel Access do not live on in a copy.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, *, fork: bool = True) -> None:
        self._fork = fork and hasattr(os, "fork")
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.said = Said()
        self._pid = 0

    def start(self, order: Mapping[str, Any]) -> None:
        """Start a session; the one before must have ended."""
        if self._process is None or self._process.poll() is not None or not self._fork:
            self._launch()
        self.said, self._pid = Said(), 0
        print(json.dumps(order), file=self._orders, flush=True)

    def run(self, order: Mapping[str, Any]) -> Said:
        """Start a session and wait until it has ended."""
        self.start(order)
        return self.rest()

    def until_document(self, number: int, run: int = 1) -> bool:
        """Wait until a run has made so many documents; False if the session ended before."""
        while not (len(self.said.frames) >= run and self.said.documents >= number):
            if "exit" in self.said.facts:
                return False
            self._next()
        return True

    def rest(self) -> Said:
        """Wait until the session has ended."""
        while "exit" not in self.said.facts:
            self._next()
        return self.said

    def kill(self) -> None:
        """End the session without asking it."""
        if self._pid and self._fork:
            self.send(signal.SIGKILL)
        elif self._process is not None:
            self._process.kill()

    def send(self, number: int) -> None:
        """Send the session's process a signal (POSIX)."""
        os.kill(self._pid, number)

    def close(self) -> None:
        """End whatever is left."""
        if self._process is None:
            return
        if self._pid and "exit" not in self.said.facts and self._fork:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()
        self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _launch(self) -> None:
        self.close()
        self._lines = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flyback.profiles.faults.child",
                *([] if self._fork else [ONCE]),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
            cwd=Path.home(),
        )
        self._orders = self._process.stdin
        threading.Thread(target=_listen, args=(self._process, self._lines), daemon=True).start()

    def _next(self) -> None:
        try:
            line = self._lines.get(timeout=LONGEST_S)
        except queue.Empty:
            self.close()
            raise FaultError(f"a session said nothing for {LONGEST_S:g} s") from None
        self._pid = line.get("pid", self._pid)
        self.said.take(line)


def _listen(process: subprocess.Popen[str], lines: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in process.stdout or ():
        if line.startswith("{"):
            lines.put(json.loads(line))
    lines.put({"exit": process.wait()})
