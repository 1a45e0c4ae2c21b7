"""Where files may be read: the archive's own folders, and those that a person has allowed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

READABLE_VARIABLE = "FLYBACK_READABLE"


class OutsideError(ValueError):
    """A document names a file that may not be read."""


def allowed() -> list[Path]:
    """Return the folders of the environment variable FLYBACK_READABLE."""
    found = os.environ.get(READABLE_VARIABLE, "").split(os.pathsep)
    return [Path(folder).expanduser().resolve() for folder in found if folder]


def outside(doc: Mapping[str, Any], folders: Iterable[Path]) -> str | None:
    """Return what a ``stream_resource`` or ``resource`` names that lies in none of the folders.

    Links and ``..`` are followed first.
    """
    if "uri" in doc:
        parts = urlsplit(doc["uri"])
        if parts.scheme != "file" or parts.hostname not in {None, "", "localhost"}:
            return str(doc["uri"])
        text = url2pathname(unquote(parts.path))
    else:
        text = os.path.join(str(doc.get("root", "")), str(doc.get("resource_path", "")))
    try:
        path = Path(text).resolve()
    except (OSError, ValueError):
        return text
    return None if any(path.is_relative_to(f.resolve()) for f in folders) else str(path)


def inside_only(
    documents: Iterable[tuple[str, Any]], folders: Iterable[Path]
) -> Iterator[tuple[str, Any]]:
    """Hand documents on; stop at the first that names a file outside the folders.

    Raises
    ------
    OutsideError
    """
    folders = list(folders)
    for name, doc in documents:
        if name in {"stream_resource", "resource"} and (where := outside(doc, folders)):
            raise OutsideError(
                f"the run's frames are in {where}, outside the storage of this archive; if that is "
                f"meant, allow its folder with {READABLE_VARIABLE}"
            )
        yield name, doc
