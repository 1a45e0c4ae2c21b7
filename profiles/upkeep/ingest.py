"""``flyback ingest``: runs that were recorded elsewhere become runs of this archive.

A file is checked whole before anything of it is kept. Its documents are kept as they came, in a
journal a run, and then fed to the catalogue.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...callbacks.codec import packer
from ...callbacks.journal import HEADER, JournalError, journal_path, read_journal, record
from ..archive import Archive, layout, readable
from ..store.feeding import feed
from ..store.places import outside
from .checking import StreamCheck
from .streams import IngestError, read_stream

FOLDER_PREFIX = "ingest-"


@dataclass
class Ingested:
    """What became of each run of the files.

    Attributes
    ----------
    added, known : list of str
        Uids of runs taken in, and of those that were here already.
    incomplete : list of str
        Those of `added` without a stop.
    unreadable : dict of uid to str
        A file outside the archive's storage that the run names: its frames cannot be read.
    problems : dict of uid to str
        Runs that are journalled and that the catalogue did not take.
    """

    added: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return vars(self)

    def lines(self) -> list[str]:
        """Return what to tell a person."""
        found = []
        for uid in self.added:
            found.append(f"added {uid}{', incomplete' if uid in self.incomplete else ''}")
            if uid in self.unreadable:
                found.append(
                    f"  its frames are in {self.unreadable[uid]}, outside this archive: they are "
                    "not read unless FLYBACK_READABLE allows that folder"
                )
            if uid in self.problems:
                found.append(f"  journalled, but not whole in the catalogue: {self.problems[uid]}")
        found += [f"nothing new of {uid}" for uid in self.known]
        return found or ["no runs in there"]


def ingest(
    files: Iterable[str | os.PathLike[str]], directory: str | os.PathLike[str] | None = None
) -> Ingested:
    """Take runs in from files of documents (see `read_stream`).

    A run that is here already is left as it is, except that one without a stop is replaced by the
    same run with its stop.

    Raises
    ------
    IngestError
        If a file cannot be read or a document is not valid. Nothing of any file was kept.
    """
    report = Ingested()
    place = layout(directory)
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=place.root) as temporary:
        checked: list[tuple[Path, _Facts]] = []
        for number, file in enumerate(files):
            folder = Path(temporary, str(number))
            folder.mkdir()
            checked += _checked(Path(file), folder, readable(place)).items()
        with Archive(directory) as archive:
            for path, facts in checked:
                _keep(path, facts, archive, report)
    return report


@dataclass
class _Facts:
    uid: str
    stopped: bool = False
    unreadable: str | None = None


def _checked(file: Path, folder: Path, folders: list[Path]) -> dict[Path, _Facts]:
    """Write a journal for each run of a file, all of it valid, and return what they hold."""
    check = StreamCheck(str(file))
    pack = packer()
    found: dict[str, _Facts] = {}
    with ExitStack() as stack:
        journals: dict[str, Any] = {}
        for number, (name, doc) in enumerate(read_stream(file)):
            uid = check(name, doc)
            if name == "start":
                found[uid] = _Facts(uid)
                journals[uid] = stack.enter_context(journal_path(folder, uid).open("xb"))
                journals[uid].write(HEADER)
            try:
                journals[uid].write(record(pack, name, doc))
            except (TypeError, ValueError, RecursionError) as error:
                raise IngestError(
                    f"document {number} of {file} ({name}) cannot be kept: {error}"
                ) from error
            if name in {"resource", "stream_resource"} and found[uid].unreadable is None:
                found[uid].unreadable = outside(doc, folders)
            if name == "stop":
                found[uid].stopped = True
                journals.pop(uid).close()
    return {journal_path(folder, uid): facts for uid, facts in found.items()}


def _keep(path: Path, facts: _Facts, archive: Archive, report: Ingested) -> None:
    uid = facts.uid
    target = journal_path(archive.layout.journal, uid)
    if _is_known(target, uid, archive, stopped=facts.stopped):
        report.known.append(uid)
        return
    path.replace(target)
    report.added.append(uid)
    if not facts.stopped:
        report.incomplete.append(uid)
    if facts.unreadable is not None:
        report.unreadable[uid] = facts.unreadable
    try:
        with read_journal(target) as documents:
            feed(archive.catalog, documents)
    # whatever the catalogue has against a run of elsewhere, its documents are kept
    except Exception as error:
        report.problems[uid] = " ".join(f"{type(error).__name__}: {error}".split())


def _is_known(target: Path, uid: str, archive: Archive, *, stopped: bool) -> bool:
    """Say whether a run is here, as whole as the new one is."""
    if target.is_file():
        try:
            with read_journal(target) as documents:
                return not stopped or any(name == "stop" for name, _ in documents)
        except JournalError:
            return True  # damaged, perhaps being mended: not ours to replace
    return any(uid in container for container in (archive.catalog.raw, archive.catalog.analysis))
