"""What a camera and the scan coils have in common: they fly, into a file, and announce it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ophyd import Device
from ophyd.status import Status

from .acquisition import Acquisition
from .frame_writer import FrameWriter


class FileFlyer(Device):
    """A device whose acquisition goes to a file of its own and is announced block by block.

    Parameters
    ----------
    name : str
    directory : str, path or None
        Folder of the files; it can be set later.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        directory: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.directory: Path | None = Path(directory) if directory is not None else None
        self._writer: FrameWriter | None = None
        self._acquisition: Acquisition | None = None

    @property
    def running(self) -> Acquisition | None:
        """The acquisition, if one is going on."""
        acquisition = self._acquisition
        return None if acquisition is None or acquisition.done.done else acquisition

    def folder(self) -> Path:
        """Return the folder of the files.

        Raises
        ------
        RuntimeError
            When none was set.
        """
        if self.directory is None:
            raise RuntimeError(f"{self.name} has no folder to write to; set {self.name}.directory.")
        return self.directory

    def complete(self) -> Status:
        """Return the status of the acquisition: finished when its last row is on disk.

        Raises
        ------
        RuntimeError
            When it was not kicked off.
        """
        if self._acquisition is None:
            raise RuntimeError(f"{self.name} was not kicked off; nothing can complete.")
        return self._acquisition.done

    def get_index(self) -> int:
        """Return how many rows are on disk."""
        return 0 if self._writer is None else self._writer.written

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the documents of what is on disk and was not announced yet.

        Parameters
        ----------
        index : int or None
            Announce no row from this one on.
        """
        if self._writer is not None:
            yield from self._writer.documents(index)

    def _close(self) -> None:
        writer, self._writer, self._acquisition = self._writer, None, None
        if writer is not None:
            writer.close()
