"""Which files a person means by what was typed: globs, folders, archives and their members."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ..devices.recording_series import inside_zip, members, natural
from .registry import SettingError

_MAGIC = frozenset("*?[")


def expand(patterns: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that patterns name, each once, in natural order of their paths.

    Shells expand ``*`` on Linux and macOS but not on Windows, and they sort scan_10 before
    scan_2; so it is done here.

    Parameters
    ----------
    patterns : path, or sequence of paths
        With ``*``, ``?``, ``[...]`` and ``**``; also for members of an archive
        (``series.zip/*.xye``). A file that exists is taken by its name, whatever is in it.

    Raises
    ------
    SettingError
        When nothing is named, or a pattern fits no file.
    """
    typed = [patterns] if isinstance(patterns, str | os.PathLike) else list(patterns)
    if not typed:
        raise SettingError("play needs at least one file, folder or pattern such as data/*.tif")
    found = [path for pattern in typed for path in _matches(os.fspath(pattern))]
    return sorted(dict.fromkeys(found), key=lambda path: natural(path.as_posix()))


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern)
    if not _MAGIC & set(pattern) or path.exists():
        return [path]
    within = inside_zip(path)
    if within is not None:
        archive, wanted = within
        fitting = [
            archive / name
            for name in members(archive)
            if fnmatch.fnmatchcase(name, wanted)
            or fnmatch.fnmatchcase(name.rpartition("/")[2], wanted)
        ]
    else:
        fitting = [Path(name) for name in glob.glob(pattern, recursive=True)]
        fitting = [file for file in fitting if file.is_file()] or fitting
    if not fitting:
        raise SettingError(f"no file fits {pattern}; look at the folder and the ending")
    return fitting
