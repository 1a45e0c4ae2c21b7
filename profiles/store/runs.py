"""Find runs: the last one, one by its uid or scan id, and what was derived from it."""

from __future__ import annotations

from typing import Any

from .catalog import Catalog
from .documents import documents_of
from .errors import CatalogError

__all__ = ["analyses", "documents", "find"]

_SHORTEST_UID = 5


class RunNotFoundError(CatalogError, LookupError):
    """No run, or more than one, is what was asked for."""


def find(catalog: Catalog, which: str | int) -> Any:
    """Return a run.

    Parameters
    ----------
    catalog : Catalog
    which : str or int
        ``"last"``; a uid or its beginning, at least five characters, of a raw or a derived run; a
        scan id, of which the newest run has it; or ``-1``, ``-2``, ... counted from the last.

    Raises
    ------
    CatalogError
        If there is no such run, or more than one.
    """
    if which == "last":
        which = -1
    if isinstance(which, str) and which.isdecimal() and len(which) < _SHORTEST_UID:
        which = int(which)
    if isinstance(which, int):
        return _by_number(catalog, which)
    if len(which) < _SHORTEST_UID:
        raise RunNotFoundError(
            f"{which!r} is too short for the beginning of a uid; give at least {_SHORTEST_UID} "
            "characters"
        )
    found = [run for c in (catalog.raw, catalog.analysis) for run in _by_uid(c, which)]
    if len(found) == 1:
        return found[0]
    if found:
        uids = ", ".join(run.metadata["start"]["uid"] for run in found)
        raise RunNotFoundError(
            f"{which!r} is the beginning of several runs: {uids}; give more of it"
        )
    if which.isdecimal():
        return _by_number(catalog, int(which))
    raise RunNotFoundError(f"{catalog.name} has no run {which!r}")


def analyses(catalog: Catalog, uid: str) -> dict[str, Any]:
    """Return the newest derived run of each analysis of a run, by the analysis's name."""
    from tiled.queries import Contains, Key

    derived = catalog.analysis.search(Key("start.purpose") == "analysis").search(
        Contains("start.parents", uid)
    )
    starts = [(run, run.metadata["start"]) for run in derived.values()]
    starts.sort(key=lambda pair: pair[1]["time"])
    return {start.get("analysis", start["uid"]): run for run, start in starts}


def documents(catalog: Catalog, uid: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a run's documents in an order in which callbacks can be fed.

    See `documents_of`.

    Raises
    ------
    CatalogError
        If there is no such run.
    """
    return documents_of(find(catalog, uid))


def _by_number(catalog: Catalog, number: int) -> Any:
    from tiled.queries import Key

    # By time: a run that was fed again from its journal stands last in the catalogue's own order.
    runs = catalog.raw.sort(("start.time", -1))
    if number < 0:
        found = runs.values()[-number - 1 : -number]
    else:
        found = runs.search(Key("start.scan_id") == number).values().head(1)
    if not found:
        what = f"run with scan id {number}" if number >= 0 else f"{-number} run(s)"
        raise RunNotFoundError(f"{catalog.name} does not hold {what}")
    return found[0]


def _by_uid(container: Any, beginning: str) -> list[Any]:
    from tiled.queries import Like

    # In Like, % and _ stand for other characters; no uid has them.
    if not all(c.isalnum() or c == "-" for c in beginning):
        return []
    return container.search(Like("start.uid", f"{beginning}%")).values().head(3)
