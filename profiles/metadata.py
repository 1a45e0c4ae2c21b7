"""What persists in ``RE.md`` from session to session: a JSON file several sessions may share.

Scan ids never start again: neither in a new session nor after a crash, and two sessions on one file
never give the same one.
"""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

SCAN_ID = "scan_id"
LOCK_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)


class MetadataError(RuntimeError):
    """The file cannot be read or written, or holds what it cannot keep."""


class PersistentMetadata(MutableMapping[str, Any]):
    """A mapping for ``RunEngine(md)`` that is written at each change.

    A session sees its own changes; those of others reach it when it is opened next, except that a
    scan id which another session took is passed over. A value changed inside (``md["a"]["b"] = 1``)
    is kept at the next change of its key, or by `save`.

    Parameters
    ----------
    path : path
        JSON file, made at the first change. The state before the last change is kept beside it as
        ``.previous`` and is taken where the file is damaged.

    Raises
    ------
    MetadataError
        If the file is damaged and its predecessor too, or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._previous = self.path.with_name(self.path.name + ".previous")
        self._lock = FileLock(f"{self.path}.lock", timeout=LOCK_TIMEOUT_S, thread_local=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._values = self._read()

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Set and write a value; a scan id at or below one that was given becomes the next one."""
        with self._locked():
            stored = self._read()
            if key == SCAN_ID and SCAN_ID in stored and value <= stored[SCAN_ID]:
                value = stored[SCAN_ID] + 1
            self._write(stored | {key: value})
            self._values[key] = value

    def __delitem__(self, key: str) -> None:
        if key == SCAN_ID:
            raise MetadataError("the scan id cannot be deleted: the next run would reuse one")
        del self._values[key]
        with self._locked():
            stored = self._read()
            stored.pop(key, None)
            self._write(stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        # The RunEngine copies its metadata for each start document: the values, not the file.
        return copy.deepcopy(self._values, memo)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"

    def save(self) -> None:
        """Write every value as it is now."""
        with self._locked():
            stored = self._read()
            newest = max(self._values.get(SCAN_ID, 0), stored.get(SCAN_ID, 0))
            known = {SCAN_ID: newest} if newest else {}
            self._write(stored | self._values | known)

    def _locked(self) -> Any:
        try:
            return self._lock.acquire()
        except Timeout:
            raise MetadataError(
                f"{self.path} has been locked by another session for {LOCK_TIMEOUT_S:g} s; close "
                "what holds it"
            ) from None
        except OSError as error:
            raise self._unusable(error) from error

    def _read(self) -> dict[str, Any]:
        try:
            return _parse(self.path)
        except FileNotFoundError:
            # Killed between the two renames of a write, or the very first session.
            return self._read_previous(if_missing={})
        except OSError as error:
            raise self._unusable(error) from error
        except ValueError as error:
            values = self._read_previous()
            damaged = _free_name(self.path)
            os.replace(self.path, damaged)
            logger.warning(
                "%s was damaged (%s); it is kept as %s, the state before the last change is used",
                self.path,
                error,
                damaged.name,
            )
            # An id may have been taken by the change that is lost.
            values |= {SCAN_ID: values[SCAN_ID] + 1} if SCAN_ID in values else {}
            self._write(values)
            return values

    def _read_previous(self, if_missing: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return _parse(self._previous)
        except FileNotFoundError:
            if if_missing is not None:
                return if_missing
        except (OSError, ValueError):
            pass
        raise MetadataError(
            f"{self.path} is damaged and there is no good {self._previous.name} beside it; mend it "
            f'or put {{"{SCAN_ID}": <last scan id>}} in it: deleting it would start scan ids again'
        )

    def _write(self, values: dict[str, Any]) -> None:
        unfinished = self.path.with_name(f"{self.path.name}.new")
        try:
            text = json.dumps(values, default=_plain, indent=1)
        except TypeError as error:
            raise MetadataError(
                f"RE.md keeps numbers, texts, lists and dictionaries: {error}"
            ) from (error)
        try:
            with unfinished.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                os.replace(self.path, self._previous)
            os.replace(unfinished, self.path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> MetadataError:
        return MetadataError(
            f"{self.path} cannot be used: {error.strerror or error}; check the permissions and the "
            "disk"
        )


def _parse(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError("it does not hold a dictionary")
    scan_id = values.get(SCAN_ID, 0)
    if not isinstance(scan_id, int):
        raise ValueError(f"its {SCAN_ID} is {scan_id!r}")
    return values


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, MutableMapping):
        return dict(value)
    raise TypeError(f"not {type(value).__name__}")
