"""The archive of one directory: journal, catalogue, frame files, results, pictures.

Everything that writes documents goes through `Archive.emit`: the journal first, then the store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..callbacks.bus import BUS_VARIABLE, BusPublisher
from ..callbacks.checksums import Checksums
from ..callbacks.publish import Publisher
from ..callbacks.record import Recorder, read_journal
from .store.catalog import Catalog, open_catalog
from .store.journal_limit import trim_journals
from .store.places import allowed
from .store.runs import analyses, documents, find
from .store.store_process import StoreProcess
from .store.writer import StoreWriter

logger = logging.getLogger("flyback.profiles")

DIRECTORY_VARIABLE = "FLYBACK_DIRECTORY"
_SETTLING_S = 30.0
"""A process that writes the catalogue takes most of this to start, where the machine is busy."""


class ArchiveError(OSError):
    """The directory of the archive cannot be used."""


@dataclass(frozen=True)
class Layout:
    """Where things are below the directory."""

    root: Path

    @property
    def catalog(self) -> Path:
        """The embedded catalogue's databases and tables."""
        return self.root / "catalog"

    @property
    def frames(self) -> Path:
        """Files written by detectors and scan coils."""
        return self.root / "frames"

    @property
    def results(self) -> Path:
        """Arrays of analyses."""
        return self.root / "results"

    @property
    def journal(self) -> Path:
        """One journal a run."""
        return self.root / "journal"

    @property
    def checksums(self) -> Path:
        """Of the files that runs name, a note a run."""
        return self.root / "checksums"

    @property
    def pictures(self) -> Path:
        """PNG files."""
        return self.root / "pictures"

    @property
    def metadata(self) -> Path:
        """What persists in ``RE.md``."""
        return self.root / "metadata.json"


def layout(directory: str | os.PathLike[str] | None = None) -> Layout:
    """Return the layout of a directory, made if it is not there.

    Parameters
    ----------
    directory : path, optional
        Else the environment variable FLYBACK_DIRECTORY, else ``flyback-data`` in the home folder.

    Raises
    ------
    ArchiveError
        If the directory cannot be made or written.
    """
    chosen = directory or os.environ.get(DIRECTORY_VARIABLE) or Path.home() / "flyback-data"
    found = Layout(Path(chosen).expanduser().resolve())
    try:
        for folder in (found.root, found.frames, found.results, found.journal, found.pictures):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(
            f"the directory {found.root} cannot be used: {error.strerror}; choose another with "
            f"--directory or {DIRECTORY_VARIABLE}"
        ) from error
    if not os.access(found.root, os.W_OK):
        raise ArchiveError(
            f"the directory {found.root} cannot be written; choose another with --directory or "
            f"{DIRECTORY_VARIABLE}"
        )
    return found


def readable(place: Layout) -> list[Path]:
    """Return the folders in which files that documents name may be read."""
    return [place.frames, place.results, *allowed()]


class Archive:
    """An open archive.

    Parameters
    ----------
    directory : path, optional
        See `layout`.
    store_uri : str, optional
        A Tiled server's URI in place of the embedded catalogue.
    store_worker : {"thread", "process"}
        What writes into the catalogue. A process starts for seconds, but leaves the interpreter
        of this one to the analyses.
    journal_limit_gb : float, GB, optional
        See `store.journal_limit.trim_journals`; looked at whenever a run has ended.

    Attributes
    ----------
    readable : list of Path
        Folders in which files that documents name may be read: the archive's own, and those of
        the environment variable FLYBACK_READABLE.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        store_uri: str | None = None,
        store_worker: str = "thread",
        journal_limit_gb: float | None = None,
    ) -> None:
        self.layout = layout(directory)
        self.recorder = Recorder(self.layout.journal)
        self.checksums = Checksums(self.layout.checksums)
        self.readable = readable(self.layout)
        self.catalog: Catalog = open_catalog(
            self.layout.catalog, readable=self.readable, uri=store_uri
        )
        batches = None
        if store_worker == "process":
            batches = StoreProcess(self.layout.catalog, readable=self.readable, uri=store_uri)
        self._journal_limit_gb = journal_limit_gb
        self.writer = StoreWriter(
            self.catalog, journal=self.layout.journal, batches=batches, after_stop=self._trim
        )
        bus = os.environ.get(BUS_VARIABLE)
        self.bus = BusPublisher(bus, self.layout.journal) if bus else None

    def emit(self, name: str, doc: Mapping[str, Any]) -> None:
        """Write one document: journal first, then the store's queue."""
        self.recorder(name, doc)
        self.writer(name, doc)
        self.checksums(name, doc)
        if self.bus is not None:
            self.bus(name, doc)

    def publisher(self, **kwargs: Any) -> Publisher:
        """Open a derived run (see `callbacks.publish.Publisher`)."""
        return Publisher(self.emit, self.layout.results, **kwargs)

    def find(self, which: str | int) -> Any:
        """Return a raw run by uid, beginning of a uid, scan id, or ``"last"``."""
        return find(self.catalog, which)

    def analyses(self, uid: str) -> dict[str, Any]:
        """Return the newest derived run of each analysis of a run, by name."""
        return analyses(self.catalog, uid)

    def documents(self, uid: str, *, source: str = "catalogue") -> Iterable[tuple[str, Any]]:
        """Yield a run's documents from the ``catalogue`` or from the ``journal``."""
        if source == "journal":
            path = self.layout.journal / f"{uid}.journal"
            if not path.is_file():
                raise FileNotFoundError(f"there is no journal of run {uid} in {path.parent}")
            return read_journal(path)
        return documents(self.catalog, uid)

    @property
    def problems(self) -> list[str]:
        """What the store could not write, a sentence a run."""
        return [
            f"run {uid[:8]} is journalled but not whole in the catalogue ({why}): flyback recover"
            for uid, why in self.writer.problems.items()
        ]

    def newest(self, number: int) -> list[Any]:
        """Return the newest raw runs, the newest last."""
        raw = self.catalog.raw
        return list(raw.values().tail(number)) if len(raw) else []

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the store has everything."""
        self.writer.wait(timeout_s)

    def settled_catalog(self) -> Any:
        """Return the catalogue once it holds what was emitted so far, or after half a minute.

        A run is written behind the plan: whoever asks for it in the next line is to find it.
        """
        try:
            self.wait(_SETTLING_S)
        except TimeoutError as error:
            logger.warning("the catalogue lacks the newest documents: %s", error)
        return self.catalog

    def _trim(self) -> None:
        if self._journal_limit_gb is not None:
            limit_bytes = int(self._journal_limit_gb * 1e9)
            trim_journals(self.layout.journal, self.catalog, limit_bytes)

    def close(self) -> None:
        """Write what is waiting and let go of everything."""
        self.writer.close()
        self.recorder.close()
        self.checksums.close()
        if self.bus is not None:
            self.bus.close()
        self.catalog.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
