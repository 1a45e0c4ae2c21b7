"""The two ends of what is said between a session and a process that it started.

Messages are tuples, ``(kind, ...)``, pickled into a pipe: both ends are of one session, and nothing
from elsewhere goes through. Frames do not; they are read in shared memory (`models.ring_memory`).
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, BinaryIO

WINDOW = 256
CLOSE, DOCUMENT, RING, ANSWER, DONE = "close", "document", "ring", "answer", "done"
BEGIN, DROP, RESULT, POSITIONS = "begin", "drop", "result", "next_positions"
REHEARSE = "rehearse"
DERIVED, EVENT, PROGRESS, FINISHED = "derived", "event", "progress", "finished"


class WorkerDiedError(RuntimeError):
    """The process of an analysis is gone."""


class Pipe:
    """Send and receive messages; any thread may send."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()

    def send(self, *message: Any) -> None:
        """Send one message.

        Raises
        ------
        OSError, ValueError
            When the other end is gone.
        """
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            self._sink.write(data)
            self._sink.flush()

    def receive(self) -> tuple[Any, ...]:
        """Wait for one message.

        Raises
        ------
        EOFError
            When the other end is gone.
        """
        try:
            return pickle.load(self._source)
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            raise EOFError(str(error)) from error

    def close(self) -> None:
        """Let go of the sink, which tells the other end."""
        with suppress(OSError, ValueError):
            self._sink.close()


def standard_pipe() -> Pipe:
    """Return the pipe to a session of a process that it started.

    What a library prints goes to standard error: standard output is the pipe. Ctrl-C is for the
    session.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Pipe(sys.stdin.buffer, sink)  # type: ignore[arg-type]


class Link:
    """A process, such as that of one analysis, seen from the session.

    Parameters
    ----------
    name : str
        Of the analysis, for messages.
    setup : tuple
        First message; see `worker_process`.
    heard : callable (kind, ...)
        Gets all messages but answers, on a thread of its own.
    module : str
        What the process runs.
    """

    def __init__(
        self,
        name: str,
        setup: tuple[Any, ...],
        heard: Callable[..., None],
        *,
        module: str = "flyback.profiles.worker_process",
    ) -> None:
        self._name, self._heard = name, heard
        # -m, not multiprocessing: that would run a user's script again in the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        source, sink = self.process.stdout, self.process.stdin
        self._pipe = Pipe(source, sink)  # type: ignore[arg-type]  PIPE: both are there
        self._asked: dict[int, Future[Any]] = {}
        self._numbers = itertools.count()
        self._sent = self._done = 0
        self._dead = False
        self._changed = threading.Condition()
        self._listener = threading.Thread(
            target=self._listen, name=f"flyback-{name}-listener", daemon=True
        )
        self._pipe.send(*setup)
        self._listener.start()

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self._dead

    def tell(self, *message: Any) -> None:
        """Send a message that nobody answers.

        Raises
        ------
        WorkerDiedError
        """
        try:
            self._pipe.send(*message)
        except (OSError, ValueError) as error:
            self._lost()
            raise WorkerDiedError(f"the process of {self._name!r} is gone") from error

    def document(self, *message: Any) -> None:
        """Send a document; wait while too many are not worked off.

        Raises
        ------
        WorkerDiedError
        """
        with self._changed:
            self._changed.wait_for(lambda: self._dead or self._sent - self._done < WINDOW)
            self._sent += 1
        self.tell(DOCUMENT, *message)

    def ask(self, kind: str, *arguments: Any) -> Any:
        """Put a question and wait for the answer.

        Raises
        ------
        WorkerDiedError
            Where the process dies over it; else whatever the answer is raised.
        """
        number, future = next(self._numbers), Future[Any]()
        with self._changed:
            if self._dead:
                raise WorkerDiedError(f"the process of {self._name!r} is gone")
            self._asked[number] = future
        self.tell(kind, number, *arguments)
        return future.result()

    def close(self, timeout_s: float) -> None:
        """Ask the process to end, and end it where it does not."""
        with suppress(WorkerDiedError):
            self.tell(CLOSE)
        self._pipe.close()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.join(timeout_s)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _listen(self) -> None:
        with suppress(EOFError):
            while True:
                kind, *rest = self._pipe.receive()
                if kind == ANSWER:
                    self._answer(*rest)
                elif kind == DONE:
                    with self._changed:
                        self._done += 1
                        self._changed.notify_all()
                else:
                    self._heard(kind, *rest)
        self._lost()

    def _answer(self, number: int, value: Any, error: BaseException | None) -> None:
        with self._changed:
            future = self._asked.pop(number)
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _lost(self) -> None:
        with self._changed:
            self._dead = True
            waiting, self._asked = list(self._asked.values()), {}
            self._changed.notify_all()
        for future in waiting:
            future.set_exception(WorkerDiedError(f"the process of {self._name!r} is gone"))
        self._heard("lost")
