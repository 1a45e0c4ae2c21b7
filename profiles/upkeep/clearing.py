"""``flyback gc``: what an archive holds that nothing refers to.

Nothing is removed unless that is said, and frames and journals only if it is said twice. Whatever
is younger than the oldest run that is being taken, or than an hour, stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from ...callbacks.assets import AssetError, path_of
from ...callbacks.journal import SUFFIX, JournalError, has_stop, parts, remove_journal, writer_lock
from ...callbacks.record import read_journal
from ..archive import Archive
from ..store.feeding import STORE_LOCK
from ..store.recovery import stopped_runs
from ..store.run_writer import ASSETS_KEY
from .ingest import FOLDER_PREFIX

YOUNG_S = 3600.0


@dataclass(frozen=True)
class Leftover:
    """Something that could go.

    Parameters
    ----------
    kind : "temporary", "results", "frames" or "journal"
        The last two are raw data.
    path : str
    bytes : int
    removed : bool
    why_not : str
        What kept it where it was to be removed.
    """

    kind: str
    path: str
    bytes: int
    removed: bool = False
    why_not: str = ""

    def line(self) -> str:
        """Return it as a line of text."""
        state = f"kept: {self.why_not}" if self.why_not else "removed" if self.removed else ""
        return f"{self.kind:9}  {self.bytes / 1e6:10.3f} MB  {self.path}  {state}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def clear(
    directory: str | os.PathLike[str] | None = None,
    *,
    delete: bool = False,
    yes: bool = False,
    journals: bool = False,
    young_s: float = YOUNG_S,
) -> list[Leftover]:
    """Find, and if asked remove, what no run refers to.

    Parameters
    ----------
    directory : path, optional
        Of the archive.
    delete : bool
        Remove temporary files and results that no run names.
    yes : bool
        With `delete`: remove raw data too, that is frame files that no run names.
    journals : bool
        Count the journals of runs that are whole in the catalogue as leftovers; they are raw data.
    young_s : float
        Least age.

    Returns
    -------
    list of Leftover
    """
    with Archive(directory) as archive:
        border = min(time.time() - young_s, _oldest_live(archive.layout.journal))
        found = [one for one in _leftovers(archive, journals) if _newest(Path(one.path)) < border]
    return [_removed(one) if delete and (yes or not _is_raw(one)) else one for one in found]


def _is_raw(one: Leftover) -> bool:
    return one.kind in {"frames", "journal"}


def _leftovers(archive: Archive, journals: bool) -> Iterator[Leftover]:
    place = archive.layout
    named = _named(archive)
    stopped = stopped_runs(archive.catalog)
    temporary = [
        *place.root.glob(f"{FOLDER_PREFIX}*"),
        *place.root.glob("*/*.partial"),
        *place.root.glob("catalog/catalog.db.new"),
    ]
    for path in sorted(temporary):
        yield Leftover("temporary", str(path), _size(path))
    for kind, folder in (("results", place.results), ("frames", place.frames)):
        for path in sorted(_files(folder)):
            if path.resolve() not in named and path not in temporary:
                yield Leftover(kind, str(path), _size(path))
    if journals:
        for path in sorted(place.journal.glob(f"*{SUFFIX}")):
            if path.name.removesuffix(SUFFIX) in stopped and has_stop(path):
                yield Leftover("journal", str(path), _size(path))


def _named(archive: Archive) -> set[Path]:
    """Return every local file that a run names, in a journal or in the catalogue.

    Raises
    ------
    ValueError
        At a journal that cannot be read: what it names is not known.
    """
    found: set[str] = set()
    for path in archive.layout.journal.glob(f"*{SUFFIX}"):
        try:
            with read_journal(path) as documents:
                found |= {doc["uri"] for name, doc in documents if name == "stream_resource"}
        except JournalError as error:
            raise ValueError(f"what is not needed cannot be told: {error}") from error
    for container in (archive.catalog.raw, archive.catalog.analysis):
        for uid, run in container.items():
            noted = run.metadata.get(ASSETS_KEY)
            if noted:
                found |= {asset["uri"] for asset in noted.values()}
            elif not run.metadata.get("stop"):
                documents = archive.documents(uid)
                found |= {doc["uri"] for name, doc in documents if name == "stream_resource"}
    return set(_local(found))


def _local(uris: Iterable[str]) -> Iterator[Path]:
    for uri in uris:
        with suppress(AssetError):
            yield path_of(uri).resolve()


def _oldest_live(journal: Path) -> float:
    """Return when the oldest run that is being written or stored began; else no border."""
    oldest = float("inf")
    for path in journal.glob(f"*{SUFFIX}"):
        for purpose in ("lock", STORE_LOCK):
            lock = writer_lock(path, purpose)
            if not Path(lock.lock_file).exists():
                continue
            try:
                lock.acquire(timeout=0)
                lock.release()
            except Timeout:
                oldest = min(oldest, Path(lock.lock_file).stat().st_mtime, path.stat().st_mtime)
    return oldest


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _all_of(path))


def _newest(path: Path) -> float:
    return max(file.stat().st_mtime for file in [path, *_all_of(path)])


def _all_of(path: Path) -> list[Path]:
    """Return the files of a folder, the parts of a journal, or the file itself."""
    if path.is_dir():
        return list(_files(path))
    return parts(path) if path.suffix == SUFFIX else [path]


def _removed(one: Leftover) -> Leftover:
    path = Path(one.path)
    try:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix == SUFFIX:
            remove_journal(path)
        else:
            path.unlink()
    except OSError as error:
        return Leftover(one.kind, one.path, one.bytes, why_not=error.strerror or str(error))
    return Leftover(one.kind, one.path, one.bytes, removed=True)
