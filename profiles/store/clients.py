"""Which class stands for which kind of node, kept apart for each catalogue that is open.

Upstream (bluesky-tiled-plugins 2.0.12) makes the variants of a client, ``run.v2`` and everything
databroker does, by changing a shallow copy of Tiled's one global table: from then on every run of
the process is of that variant. With this table a copy is a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Self


class StructureClients(Mapping[str, Any]):
    """A table of client classes, each loaded when it is first used.

    Parameters
    ----------
    factories : mapping of str to callable
        What gives the class of each kind of node.
    """

    def __init__(self, factories: Mapping[str, Callable[[], Any]]) -> None:
        self._factories = dict(factories)

    @classmethod
    def apart_from(cls, table: Mapping[str, Any]) -> Self:
        """Return a table that begins as Tiled's own."""
        return cls({key: partial(table.__getitem__, key) for key in table})

    def __getitem__(self, key: str) -> Any:
        return self._factories[key]()

    def __contains__(self, key: object) -> bool:
        return key in self._factories

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __len__(self) -> int:
        return len(self._factories)

    def __copy__(self) -> Self:
        return type(self)(self._factories)

    def set(self, key: str, value_factory: Callable[[], Any]) -> None:
        """Set the class of one kind of node."""
        self._factories[key] = value_factory
