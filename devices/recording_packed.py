"""Files that gzip, bzip2 or xz made smaller, as beamlines keep them: ``image.cbf.gz``."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO

from .recording_store import RecordingError

Opener = Callable[[], BinaryIO]
"""Opens the file anew; each reading closes it, so that nothing is held."""

LARGEST_UNPACKED_BYTES = 1_000_000_000
_UNPACK: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def unpacked_name(name: str) -> str:
    """Return ``a.cbf`` for ``a.cbf.gz``; all other names, also ``a.tar.gz``, as they are."""
    path = PurePath(name)
    inner = PurePath(path.stem).suffix.lower()
    return path.stem if path.suffix.lower() in _UNPACK and inner not in ("", ".tar") else name


def unpacked(opener: Opener, name: str) -> Opener:
    """Return an opener of what is inside a packed file, or the opener itself where it is not one.

    Parameters
    ----------
    opener : callable () -> file
    name : str
        With both suffixes.
    """
    if unpacked_name(name) == name:
        return opener
    kind = _UNPACK[PurePath(name).suffix.lower()]

    def opened() -> BinaryIO:
        try:
            with opener() as file, kind(file) as inner:
                data = inner.read(LARGEST_UNPACKED_BYTES + 1)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise RecordingError(
                f"{PurePath(name).name} cannot be unpacked, it may be cut short: {error}."
            ) from error
        if len(data) > LARGEST_UNPACKED_BYTES:
            raise RecordingError(
                f"{PurePath(name).name} is larger than {LARGEST_UNPACKED_BYTES / 1e9:g} GB when "
                "it is unpacked; unpack it first."
            )
        return io.BytesIO(data)

    return opened
