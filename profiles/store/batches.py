"""Batches of documents into a catalogue, each run by a `RunWriter` of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .catalog import Catalog
from .run_writer import RunWriter

FORGET = "forget"
Batch = Sequence[tuple[str, str, Mapping[str, Any]]]


class Batches(Protocol):
    """Where the store's thread takes documents: this process or another."""

    def write(self, batch: Batch) -> dict[str, str]:
        """Write documents, and what was announced; see `BatchWriter`."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class BatchWriter:
    """Write documents in this process.

    Parameters
    ----------
    catalog : Catalog
        It stays open.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._runs: dict[str, RunWriter] = {}

    def write(self, batch: Batch) -> dict[str, str]:
        """Write documents; what fails fails for one run only.

        Parameters
        ----------
        batch : sequence of (uid of the run, name, document)
            A run whose name is `FORGET` is left as it is.

        Returns
        -------
        dict of uid to str
            Runs that were given up, and why. What else comes of them is passed over.
        """
        failed: dict[str, str] = {}
        if not self._catalog.is_reachable():
            runs = {*self._runs, *(run for run, _, _ in batch)}
            self._runs.clear()
            return dict.fromkeys(runs, f"{self._catalog.name} did not answer")
        for run, name, doc in batch:
            if name == FORGET:
                self._runs.pop(run, None)
            elif name == "start" or run in self._runs:
                self._attempt(failed, run, self._take, run, name, doc)
        for run, writer in list(self._runs.items()):
            self._attempt(failed, run, writer.flush)
        return failed

    def close(self) -> None:
        """Do nothing: the catalogue is another's."""

    def _take(self, run: str, name: str, doc: Mapping[str, Any]) -> None:
        if name == "start":
            self._runs[run] = RunWriter(self._catalog.container_of(doc))
        self._runs[run](name, doc)
        if name == "stop":
            del self._runs[run]

    def _attempt(
        self, failed: dict[str, str], run: str, action: Callable[..., None], *args: Any
    ) -> None:
        try:
            action(*args)
        # Whatever it is, it may not reach the acquisition: the journal has the run.
        except Exception as error:
            self._runs.pop(run, None)
            failed[run] = f"{type(error).__name__}: {error}"
