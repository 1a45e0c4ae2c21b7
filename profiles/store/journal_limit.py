"""Keep the journals within a size: the oldest of runs that are whole in the catalogue go first."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ...callbacks.journal import SUFFIX, has_stop, parts, remove_journal
from .catalog import Catalog
from .recovery import alone, lacks_rows, stopped_runs

logger = logging.getLogger(__name__)


def trim_journals(
    directory: str | os.PathLike[str], catalog: Catalog, limit_bytes: int
) -> list[Path]:
    """Remove journals, the oldest first, until the others are within a limit.

    Only those of runs that have ended and are in the catalogue with their stop and all rows; what
    only a journal holds stays, whatever the limit.

    Parameters
    ----------
    directory : path
        Of the journals.
    catalog : Catalog
    limit_bytes : int

    Returns
    -------
    list of Path
        The journals that were removed.
    """
    sizes = {
        path: sum(part.stat().st_size for part in parts(path))
        for path in Path(directory).glob(f"*{SUFFIX}")
    }
    over = sum(sizes.values()) - limit_bytes
    if over <= 0 or not catalog.is_reachable():
        return []
    stopped = stopped_runs(catalog)
    removed = []
    for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
        uid = path.name.removesuffix(SUFFIX)
        if over <= 0:
            break
        if uid not in stopped:
            continue
        with alone(path) as nobody:
            if not nobody or not has_stop(path) or lacks_rows(stopped[uid][uid]):
                continue
            remove_journal(path)
        over -= sizes[path]
        removed.append(path)
    if over > 0:
        logger.warning(
            "the journals in %s are %.1f MB beyond their limit, journal_limit_gb: the rest is of "
            "runs that the catalogue lacks or that go on; try flyback recover",
            directory,
            over / 1e6,
        )
    return removed
