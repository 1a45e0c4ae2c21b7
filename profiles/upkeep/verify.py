"""``flyback verify``: are a run's documents and files what they were when the run ended."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...callbacks.assets import AssetError, path_of
from ...callbacks.checksums import sha256_of
from ...callbacks.record import JournalError, read_journal
from ..archive import Archive
from ..session import uid_of
from ..store.frame_files import MIMETYPE, rows
from ..store.places import outside

NO_CHECKSUM = "no checksum recorded"


@dataclass(frozen=True)
class Check:
    """One file or journal.

    Parameters
    ----------
    run : str
        Uid.
    what : str
        ``journal`` or the path of a file.
    ok : bool
    found : str
    """

    run: str
    what: str
    ok: bool
    found: str

    def line(self) -> str:
        """Return it as a line of text."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.run[:8]}  {self.what}: {self.found}"

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def verify(which: str, directory: str | os.PathLike[str] | None = None) -> list[Check]:
    """Check a run and what was derived from it.

    The journal by the checksum of each record; each file by its sha256 where one was recorded, and
    else by whether it holds the rows that were announced.

    Parameters
    ----------
    which : str
        Uid or its beginning, scan id, or ``"last"``.
    directory : path, optional
        Of the archive.
    """
    with Archive(directory) as archive:
        run = archive.find(which)
        derived = archive.analyses(uid_of(run)).values()
        return [check for one in (run, *derived) for check in _run(archive, uid_of(one))]


def _run(archive: Archive, uid: str) -> list[Check]:
    checks, documents = _journal(archive, uid)
    if documents is None:
        documents = list(archive.documents(uid))
    notes = _notes(archive.layout.checksums / f"{uid}.json")
    announced: dict[str, int] = {}
    for name, doc in documents:
        if name == "stream_datum":
            resource = doc["stream_resource"]
            announced[resource] = max(announced.get(resource, 0), doc["indices"]["stop"])
    files: dict[str, list[tuple[Mapping[str, Any], int]]] = {}
    for name, doc in documents:
        if name == "stream_resource":
            files.setdefault(doc["uri"], []).append((doc, announced.get(doc["uid"], 0)))
    for uri, resources in files.items():
        if where := outside(resources[0][0], archive.readable):
            checks.append(Check(uid, where, False, "outside the archive's storage, not read"))
            continue
        try:
            path = path_of(uri)
        except AssetError as error:
            checks.append(Check(uid, uri, False, str(error)))
            continue
        ok, found = _file(path, notes.get(str(path)), resources)
        checks.append(Check(uid, str(path), ok, found))
    return checks


def _journal(archive: Archive, uid: str) -> tuple[list[Check], list[tuple[str, Any]] | None]:
    path = archive.layout.journal / f"{uid}.journal"
    if not path.is_file():
        return [Check(uid, "journal", True, "none is kept")], None
    documents = []
    try:
        with read_journal(path) as reader:
            documents.extend(reader)
    except JournalError as error:
        return [Check(uid, "journal", False, str(error))], documents
    stopped = any(name == "stop" for name, _ in documents)
    text = f"{len(documents)} documents" + ("" if stopped else ", the run has no stop")
    return [Check(uid, "journal", True, text)], documents


def _notes(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _file(
    path: Path, note: Any, resources: list[tuple[Mapping[str, Any], int]]
) -> tuple[bool, str]:
    if not path.is_file():
        return False, "the file is missing"
    size = path.stat().st_size
    if isinstance(note, dict) and "sha256" in note:
        if size != note.get("bytes"):
            return False, f"it has {size} bytes, and had {note.get('bytes')} when the run ended"
        if sha256_of(path) != note["sha256"]:
            return False, "its bytes are not those that it had when the run ended"
        return True, f"{size} bytes, sha256 {note['sha256'][:12]}..."
    for doc, wanted in resources:
        dataset = doc.get("parameters", {}).get("dataset")
        if doc.get("mimetype") == MIMETYPE and dataset is not None:
            there = rows(path, dataset)
            if there < wanted:
                return False, f"{NO_CHECKSUM}; {dataset} holds {there} of {wanted} rows"
    return True, f"{NO_CHECKSUM}; every announced row is there"
