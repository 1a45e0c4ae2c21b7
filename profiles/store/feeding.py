"""Feed recorded documents to the catalogue, in place of what it holds of that run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .catalog import Catalog
from .run_writer import RunWriter

# Held while a process writes a run into the catalogue, so that no other takes it for abandoned.
STORE_LOCK = "store"

_DOCUMENTS_A_FLUSH = 5_000


def feed(catalog: Catalog, documents: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Write one run anew.

    Parameters
    ----------
    catalog : Catalog
    documents : iterable of (name, document)
        Of one run, the start first.
    """
    writer: RunWriter | None = None
    for number, (name, doc) in enumerate(documents):
        if name == "start":
            container = catalog.container_of(doc)
            remove(container, doc["uid"])
            writer = RunWriter(container)
        if writer is None:
            raise ValueError(f"the first document is a {name}, not a start")
        writer(name, doc)
        if number % _DOCUMENTS_A_FLUSH == 0:
            writer.flush()
    if writer is not None:
        writer.flush()


def remove(container: Any, uid: str) -> None:
    """Take a run out of the catalogue; files that detectors wrote stay."""
    if uid not in container:
        return
    try:
        container[uid].delete(recursive=True, external_only=False)
    except Exception:
        # The run goes before its rows: what remains of those without it is read by no one.
        if uid in container:
            raise
