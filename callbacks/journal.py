"""The file format of a journal: one run's documents, in the order in which they came.

A header, then records. A record is a head of three little-endian uint32 (length of the body, crc32
of the body, crc32 of the first two) and a body, msgpack of ``[name, document]`` (see `codec`). A
long journal goes on in ``NAME.journal.0001`` and so on, each with a header of its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self
from zlib import crc32

import msgpack
from filelock import FileLock

from .codec import packer, unpack

SUFFIX = ".journal"
VERSION = 1
MAX_RECORD_BYTES = 1 << 30

_MAGIC = b"flyback journal\n"
HEADER = _MAGIC + struct.pack("<I", VERSION)
_LENGTHS = struct.Struct("<II")
_HEAD = struct.Struct("<III")


class JournalError(OSError):
    """The journal cannot be written or read; the sentence says which file and why."""


class _PartReader(Iterator[tuple[str, dict[str, Any]]]):
    """Iterate over the documents of one file; see `JournalReader`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.torn_bytes = 0
        self._size = self.path.stat().st_size
        self._file: BinaryIO | None = self.path.open("rb")
        header = self._file.read(len(HEADER))
        self.end = len(header)
        if header == HEADER:
            return
        self.close()
        if not header or (len(header) < len(HEADER) and HEADER.startswith(header)):
            # Killed between making the file and its first record.
            self.end, self.torn_bytes = 0, len(header)
        elif not header.startswith(_MAGIC):
            raise JournalError(f"{self.path} is not a journal")
        else:
            raise JournalError(
                f"{self.path} is a journal of version {_version(header)}; "
                f"this flyback reads version {VERSION}"
            )

    def __next__(self) -> tuple[str, dict[str, Any]]:
        if self._file is None:
            raise StopIteration
        head = self._file.read(_HEAD.size)
        rest = self._size - self.end
        if len(head) < _HEAD.size:
            return self._torn(rest)
        length, body_crc, head_crc = _HEAD.unpack(head)
        if crc32(head[: _LENGTHS.size]) != head_crc:
            return self._torn_or_corrupt(rest)
        if length > MAX_RECORD_BYTES:
            raise self.damaged()
        # A length beyond the end is checked before a byte is allocated for it.
        if length > rest - _HEAD.size:
            return self._torn(rest)
        body = self._file.read(length)
        if crc32(body) != body_crc:
            return self._torn_or_corrupt(rest, whole=length == rest - _HEAD.size)
        try:
            name, doc = unpack(body)
            if not (isinstance(name, str) and isinstance(doc, dict)):
                raise TypeError("a record is no name and document")
        # SyntaxError: of a dtype that is none
        except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise self.damaged(str(error)) from error
        self.end += _HEAD.size + length
        return name, doc

    def close(self) -> None:
        """Close the file; iterating on ends."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def grew(self) -> bool:
        """Go on, if there is, since the end was reached, more."""
        size = self.path.stat().st_size
        if size == self._size or not self.end:
            return False
        self.close()
        self._size, self.torn_bytes = size, 0
        self._file = self.path.open("rb")
        self._file.seek(self.end)
        return True

    def _torn(self, rest: int) -> Any:
        self.torn_bytes = rest
        self.close()
        raise StopIteration

    def _torn_or_corrupt(self, rest: int, *, whole: bool = False) -> Any:
        """Judge a bad record: the last one, or zeros to the end (a power cut), is unfinished."""
        if whole or (self._file is not None and not any(self._file.read())):
            return self._torn(rest)
        raise self.damaged()

    def damaged(self, why: str = "") -> JournalError:
        self.close()
        return JournalError(
            f"the journal {self.path} is damaged at byte {self.end}{': ' if why else ''}{why}; "
            "the documents before that are good"
        )


class JournalReader(Iterator[tuple[str, dict[str, Any]]]):
    """Iterate over the documents of one journal, in however many parts.

    Parameters
    ----------
    path : path
        Of the first part.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._first = Path(path)
        self._number = 0
        self._part = _PartReader(self._first)

    def __next__(self) -> tuple[str, dict[str, Any]]:
        while True:
            try:
                return next(self._part)
            except StopIteration:
                following = part_path(self._first, self._number + 1)
                if not following.exists():
                    raise
            # A part is whole when the next one is there, and may not have been when it was opened.
            if self._part.grew():
                continue
            if self._part.torn_bytes:
                raise self._part.damaged("and is not the last part")
            self._part.close()
            self._part = _PartReader(following)
            self._number += 1

    @property
    def path(self) -> Path:
        """The part that is being read."""
        return self._part.path

    @property
    def end(self) -> int:
        """Offset in bytes, in that part, of the end of the last whole record read so far."""
        return self._part.end

    @property
    def torn_bytes(self) -> int:
        """Bytes after it that a writer which died left unfinished; known at the end."""
        return self._part.torn_bytes

    def close(self) -> None:
        """Close the file; iterating on ends."""
        self._part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_part"):
            self.close()


def read_journal(path: str | os.PathLike[str]) -> JournalReader:
    """Return an iterator of ``(name, document)`` over a journal, by the path of its first part.

    An unfinished last record is left out and reported in ``torn_bytes``.

    Raises
    ------
    FileNotFoundError
        If there is no such journal.
    JournalError
        If the file is not a journal, or, while iterating and after every good document before
        it, at a damaged record.
    """
    return JournalReader(path)


def append_documents(path: str | os.PathLike[str], docs: Iterable[tuple[str, Any]]) -> None:
    """Cut an unfinished tail off a journal that no one writes, and append documents.

    Raises
    ------
    JournalError
        If the journal is damaged or cannot be written.
    """
    with read_journal(path) as reader:
        for _ in reader:
            pass
    try:
        with reader.path.open("r+b") as file:
            file.truncate(reader.end)
            file.seek(reader.end)
            if not reader.end:
                file.write(HEADER)
            for name, doc in docs:
                file.write(record(packer(), name, doc))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(Path(path), error) from error


def journal_path(directory: str | os.PathLike[str], uid: str) -> Path:
    """Return the path of a run's journal."""
    if not uid or not all(c.isalnum() or c in "-_." for c in uid):
        raise JournalError(f"the run uid {uid!r} cannot name a file")
    return Path(directory) / f"{uid}{SUFFIX}"


def part_path(path: Path, number: int) -> Path:
    """Return the path of a part of a journal; 0 is the first, the journal's own."""
    return path if number == 0 else path.with_name(f"{path.name}.{number:04d}")


def parts(path: Path) -> list[Path]:
    """Return the parts of a journal that are there, the first one first."""
    found = []
    while (part := part_path(path, len(found))).exists():
        found.append(part)
    return found


def remove_journal(path: Path) -> None:
    """Remove a journal, the first part last: without it nobody would find the others."""
    for part in reversed(parts(path)):
        part.unlink()


def has_stop(path: Path) -> bool:
    """Say whether a journal holds its run's stop document, and can be read as far."""
    try:
        with read_journal(path) as documents:
            return any(name == "stop" for name, _ in documents)
    except JournalError:
        return False


def record(packer: msgpack.Packer, name: str, doc: Mapping[str, Any]) -> bytes:
    """Return one record."""
    body = packer.pack((name, doc))
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(f"it has {len(body)} bytes; put arrays of that size in a file")
    lengths = _LENGTHS.pack(len(body), crc32(body))
    return b"".join((lengths, crc32(lengths).to_bytes(4, "little"), body))


def writer_lock(path: str | os.PathLike[str], purpose: str = "lock") -> FileLock:
    """Return the lock that the writer of a journal holds, or for another purpose another one."""
    # Not thread-local: the stop document may come from another thread than the start.
    return FileLock(f"{os.fspath(path)}.{purpose}", thread_local=False)


def let_go(lock: FileLock) -> None:
    """Release a lock and leave no file behind."""
    lock.release()
    # A process that dies leaves one; it means nothing then, as the system has released it.
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)


def _version(header: bytes) -> int:
    return int.from_bytes(header[len(_MAGIC) :], "little")


def unwritable(path: str | os.PathLike[str], error: OSError) -> JournalError:
    """Return the sentence for a journal that the system does not let us write."""
    return JournalError(
        f"the journal {path} cannot be written: {error.strerror or error}; the run ends here, free "
        "the disk or choose another directory"
    )
