"""Where faults are tried: folders, sessions, and file systems that can be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from .sessions import Sessions

SCAN = {"fov_nm": 1.5, "step_nm": 0.05, "dwell_ms": 1.0}


class Place:
    """A folder that is removed at the end, and sessions that work in it.

    Parameters
    ----------
    root : path, optional
        Else a temporary folder.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="flyback-faults-", dir=root))
        self.sessions = Sessions()

    def folder(self, name: str) -> Path:
        """Return a new folder."""
        made = self.root / name
        made.mkdir()
        return made

    def close(self) -> None:
        """End the sessions and remove everything."""
        self.sessions.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def can_mount() -> bool:
    """Say whether this process may make a file system of a given size."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 1):
                return True
        except OSError:
            return False


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[None]:
    """Mount a file system of its own, in memory, on a folder.

    Raises
    ------
    OSError
        If the system does not let us.
    """
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a process that was killed may still be letting go of its files.
        subprocess.run(["umount", "-l", str(folder)], check=False)
