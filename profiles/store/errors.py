"""What goes wrong with a store, in one sentence each."""

from __future__ import annotations


class CatalogError(RuntimeError):
    """A catalogue cannot be opened, or holds no such run; the sentence says what to do."""
