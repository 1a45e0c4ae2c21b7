"""Checksums of the files that a run names, made when those are closed, on a thread of their own.

``<uid>.json`` holds, for each file, its sha256, size and name. A file that is still open for
writing (the mark that HDF5 sets) waits until it is closed. What a killed session left has no
checksum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from .assets import AssetError, path_of
from .record import RunIndex

LOOK_AGAIN_S = 0.5

_HDF5 = b"\x89HDF\r\n\x1a\n"
_FLAGS = 11

logger = logging.getLogger(__name__)


class Checksums:
    """Note the checksums of every run's files.

    Parameters
    ----------
    directory : path
        Of the notes; made when the first is written.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        self._index = RunIndex()
        self._files: dict[str, set[Path]] = {}
        self._waiting: dict[str, set[Path]] = {}
        self._found: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._closing = self._new = False
        self._thread: threading.Thread | None = None

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document; nothing is read here."""
        if name not in {"start", "stream_resource", "stop"}:
            return
        with self._changed:
            for run in self._index.of(name, doc):
                if name == "stream_resource" and (path := _path(doc)) is not None:
                    self._files.setdefault(run, set()).add(path)
                if name == "stop":
                    self._index.forget(run)
                    if files := self._files.pop(run, None):
                        self._waiting[run] = files
                        self._new = True
                        self._start()

    def close(self) -> None:
        """Finish what can be finished: files that are still open get no checksum."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _start(self) -> None:
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="checksums", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._waiting:  # for files that are still open
                    self._changed.wait_for(self._is_new, LOOK_AGAIN_S)
                else:
                    self._changed.wait_for(self._is_new)
                self._new = False
                closing, waiting = self._closing, dict(self._waiting)
            for run, files in waiting.items():
                self._sum(run, files)
            if closing:
                return

    def _is_new(self) -> bool:
        return self._new or self._closing

    def _sum(self, run: str, files: set[Path]) -> None:
        noted = self._found.setdefault(run, {})
        for path in sorted(files - {Path(name) for name in noted}):
            if not is_open(path):
                try:
                    noted[str(path)] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
                except OSError as error:
                    noted[str(path)] = {"error": error.strerror or str(error)}
        if len(noted) == len(files):
            with self._changed:
                self._waiting.pop(run, None)
            self._write(run, self._found.pop(run))

    def _write(self, run: str, noted: Mapping[str, Any]) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            partial = self.directory / f"{run}.partial"
            partial.write_text(json.dumps(noted, indent=1), encoding="utf-8")
            partial.replace(self.directory / f"{run}.json")
        except OSError as error:
            logger.warning("the checksums of run %s cannot be written: %s", run, error)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_open(path: Path) -> bool:
    """Say whether an HDF5 file carries the mark of a writer."""
    try:
        with path.open("rb") as file:
            head = file.read(_FLAGS + 1)
    except OSError:
        return False
    return len(head) > _FLAGS and head.startswith(_HDF5) and head[8] == 3 and bool(head[_FLAGS] & 1)


def _path(resource: Mapping[str, Any]) -> Path | None:
    try:
        return path_of(resource["uri"])
    except AssetError:
        return None
