"""The store in a process of its own: ``python -m flyback.profiles.store.store_process``.

Tiled takes milliseconds of the interpreter for each request. In the session's process the analyses
wait for that; here they do not. Documents come in batches through a pipe, as they do to the
processes of analyses; the journal stays with the session.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import worker_link as link
from .batches import Batch, BatchWriter
from .catalog import open_catalog

MODULE = "flyback.profiles.store.store_process"
WRITE = "write"
CLOSE_TIMEOUT_S = 10.0
NICENESS = 5
"""It may be late by a second; an analysis that a rule waits for may not."""


class StoreProcess:
    """Write batches in another process, which is started anew where it died.

    Parameters
    ----------
    directory, readable, uri
        Of `open_catalog`.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None,
        *,
        readable: Iterable[str | os.PathLike[str]] = (),
        uri: str | None = None,
    ) -> None:
        where = None if directory is None else str(directory)
        self._setup = (where, [str(folder) for folder in readable], uri)
        self._link = self._start()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        return self._link.process

    def write(self, batch: Batch) -> dict[str, str]:
        """Write documents; see `BatchWriter`.

        Raises
        ------
        WorkerDiedError
            When the process ended over it, or before: what it had begun is not whole. The next
            batch goes to another.
        """
        try:
            return self._link.ask(WRITE, list(batch))
        except link.WorkerDiedError:
            self._link.close(CLOSE_TIMEOUT_S)
            self._link = self._start()
            raise

    def close(self) -> None:
        """End the process."""
        self._link.close(CLOSE_TIMEOUT_S)

    def _start(self) -> link.Link:
        return link.Link("store", self._setup, _nobody, module=MODULE)


def _nobody(*message: Any) -> None:
    """Hear nothing: all that the process says are answers."""


def serve(pipe: link.Pipe) -> None:
    """Write what the pipe brings until it ends or the session closes."""
    directory, readable, uri = pipe.receive()
    folders = [Path(folder) for folder in readable]
    with open_catalog(directory, readable=folders, uri=uri) as catalog:
        writer = BatchWriter(catalog)
        while True:
            kind, *rest = pipe.receive()
            if kind == link.CLOSE:
                return
            number, batch = rest
            pipe.send(link.ANSWER, number, writer.write(batch), None)


def main() -> None:
    """Serve the session at the other end of standard input and output."""
    pipe = link.standard_pipe()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    status = 1
    try:
        serve(pipe)
        status = 0
    except EOFError:  # the session is gone; its journals hold what was not written
        status = 0
    except Exception:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)  # threads of Tiled's may still wait for something


if __name__ == "__main__":
    main()
