"""Files of documents from anywhere, read as data: JSON, JSON lines, msgpack, journals.

Nothing in them is evaluated or unpickled, and no size that they state is allocated before it has
been compared with what is there.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import msgpack
import numpy as np

from ...callbacks.journal import SUFFIX
from ...callbacks.record import JournalError, read_journal

KINDS = (".json", ".jsonl", ".msgpack", SUFFIX)
LARGEST_FILE_BYTES = 1 << 30
LARGEST_LINE_BYTES = 1 << 28

Document = tuple[str, dict[str, Any]]


class IngestError(ValueError):
    """A file of documents cannot be taken in; the sentence names the document and what is wrong."""


def read_stream(path: str | os.PathLike[str]) -> Iterator[Document]:
    """Yield the documents of a file in their order.

    Parameters
    ----------
    path : path
        ``.json`` (a list of ``[name, document]``), ``.jsonl`` (one a line), both also ``.gz``;
        ``.msgpack`` (a list, or one after the other, NumPy arrays as msgpack-numpy writes them);
        ``.journal`` of flyback.

    Raises
    ------
    IngestError
        If the file is none of these, is damaged, or is larger than `LARGEST_FILE_BYTES` where it
        must be read at once.
    """
    file = Path(path)
    if not file.is_file():
        raise IngestError(f"there is no file {file}")
    kind = Path(file.name.removesuffix(".gz")).suffix
    try:
        if kind == SUFFIX:
            yield from _journal(file)
            return
        if kind not in KINDS:
            raise IngestError(f"{file} is not one of {', '.join(KINDS)} (the first two also .gz)")
        open_: Any = gzip.open if file.suffix == ".gz" else open
        with open_(file, "rb") as source:
            read = {".json": _json, ".jsonl": _lines, ".msgpack": _msgpack}[kind]
            for number, pair in enumerate(read(file, source)):
                yield _document(file, number, pair)
    except JournalError as error:
        raise IngestError(str(error)) from error
    # EOFError and zlib.error: gzip data cut short or changed
    except (OSError, EOFError, zlib.error) as error:
        raise IngestError(f"{file} cannot be read: {error}") from error
    except RecursionError as error:
        raise IngestError(f"{file} is nested too deeply for a document") from error
    except MemoryError as error:
        raise IngestError(f"{file} wants more memory than there is") from error


def _journal(file: Path) -> Iterator[Document]:
    with read_journal(file) as documents:
        for number, pair in enumerate(documents):
            yield _document(file, number, pair)


def _document(file: Path, number: int, pair: Any) -> Document:
    if not (isinstance(pair, list | tuple) and len(pair) == 2):
        raise IngestError(f"document {number} of {file} is not a pair [name, document]")
    name, doc = pair
    if not (isinstance(name, str) and isinstance(doc, dict)):
        raise IngestError(f"document {number} of {file} is not a name and a dictionary")
    return name, doc


def _json(file: Path, source: IO[bytes]) -> Iterator[Any]:
    pairs = _parsed(file, 0, _whole(file, source))
    if not isinstance(pairs, list):
        raise IngestError(f"{file} holds no list of [name, document]")
    yield from pairs


def _lines(file: Path, source: IO[bytes]) -> Iterator[Any]:
    number = 0
    while line := source.readline(LARGEST_LINE_BYTES + 1):
        if len(line) > LARGEST_LINE_BYTES:
            raise IngestError(
                f"document {number} of {file} has more than {LARGEST_LINE_BYTES} bytes"
            )
        if line.strip():
            yield _parsed(file, number, line)
            number += 1


def _parsed(file: Path, number: int, text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise IngestError(f"{file} is no JSON at document {number}: {error}") from error


def _msgpack(file: Path, source: IO[bytes]) -> Iterator[Any]:
    data = _whole(file, source)
    # No array can have more members than the file has bytes.
    unpacker = msgpack.Unpacker(
        object_hook=_array, strict_map_key=False, max_buffer_size=max(len(data), 1)
    )
    unpacker.feed(data)
    number = 0
    try:
        for item in unpacker:
            listed = isinstance(item, list) and all(isinstance(x, list) for x in item)
            for pair in item if listed else [item]:
                yield pair
                number += 1
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        if isinstance(error, IngestError):
            raise
        raise IngestError(f"{file} is no msgpack at document {number}: {error}") from error
    if unpacker.tell() != len(data):
        raise IngestError(f"{file} ends in the middle of document {number}")


def _array(found: dict[Any, Any]) -> Any:
    """Return the array that msgpack-numpy wrote; arrays of objects, which it pickles, are not."""
    if b"nd" not in found:
        return found
    kind, text, data = found.get(b"kind", b""), found.get(b"type"), found.get(b"data")
    if kind not in (b"", "") or not isinstance(text, str) or not isinstance(data, bytes):
        raise ValueError("it holds an array that is no plain array of numbers")
    try:
        dtype = np.dtype(text)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ValueError(f"{text!r} is no dtype") from error
    shape = tuple(found.get(b"shape", ())) if found[b"nd"] else ()
    if dtype.kind not in "biufcSUmM" or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"it holds an array of {text!r}")
    if prod(shape) * dtype.itemsize != len(data) or not dtype.itemsize:
        raise ValueError(f"an array of {text} {shape} has {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape).copy()
    return array if found[b"nd"] else array[()]


def _whole(file: Path, source: IO[bytes]) -> bytes:
    data = source.read(LARGEST_FILE_BYTES + 1)
    if len(data) > LARGEST_FILE_BYTES:
        raise IngestError(
            f"{file} holds more than {LARGEST_FILE_BYTES} bytes; write it as .jsonl, which is read "
            "line by line"
        )
    return data
