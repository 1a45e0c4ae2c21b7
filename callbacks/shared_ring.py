"""Rings of another process: the newest frames, read where a camera's process keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..models.ring_memory import RingMemory, attach

_LARGEST = 256


class SharedRings:
    """Rows of resources that were described; a `RingReader`."""

    def __init__(self) -> None:
        self._memories: dict[str, RingMemory] = {}
        self._resources: dict[str, tuple[str, int, str]] = {}

    @property
    def paths(self) -> list[str]:
        """The files that are mapped."""
        return list(self._memories)

    def add(self, description: Mapping[str, Any]) -> None:
        """Learn where the rows of a resource are. What is not there any more is left out."""
        path = str(description["path"])
        if path not in self._memories:
            try:
                memory = attach(description)
            except (OSError, ValueError):
                return  # the file of the frames has them too
            there = {p: m for p, m in self._memories.items() if Path(p).exists()}
            self._memories = there | {path: memory}
        while len(self._resources) >= _LARGEST:
            self._resources.pop(next(iter(self._resources)))
        found = (path, int(description["generation"]), str(description["field"]))
        self._resources[str(description["resource"])] = found

    def read(self, resource_uid: str, start: int, stop: int) -> np.ndarray | None:
        """Return a copy of rows [start, stop) of a resource, or None if they are gone."""
        path, generation, field = self._resources.get(resource_uid, ("", 0, ""))
        memory = self._memories.get(path)
        if memory is None or not 0 <= start < stop or stop - start > memory.capacity:
            return None
        return memory.copy(field, generation, start, stop)
