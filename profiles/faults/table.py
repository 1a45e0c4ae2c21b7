"""Every kind of fault, one after the other."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..registry import unknown
from .asking import INSIDE, inside, two_sessions
from .cell import cell
from .disks import full_disks, limited_file, truncated
from .killing import kill_session
from .messages import pauses
from .outcome import Outcome
from .places import Place

Kind = Callable[[Place, np.random.Generator, int], Iterator[Outcome]]

KINDS: dict[str, Kind] = {
    "kill_session": kill_session,
    "disk_full": full_disks,
    "file_limit": limited_file,
    "truncated_file": truncated,
    "two_sessions": two_sessions,
    **{name: inside(name) for name in INSIDE},
    "pause": pauses,
    "cell": cell,
}


def try_faults(seed: int = 0, n: int = 100, kinds: Sequence[str] = ()) -> Iterator[Outcome]:
    """Put faults into sessions, and say what became of each.

    Parameters
    ----------
    seed : int
        Of the random points. The points of one kind do not depend on which others are tried.
    n : int
        Sessions that are killed at random points.
    kinds : sequence of str
        Which of `KINDS`; all if empty.

    Raises
    ------
    ValueError
        If there is no such kind, or `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"--n is the number of kills, at least 1, not {n}")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(unknown("kind of fault", kind, list(KINDS)))
    for name, kind in KINDS.items():
        if not kinds or name in kinds:
            with Place() as place:
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                yield from _guarded(name, kind(place, rng, n))


def _guarded(name: str, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """Hand outcomes on; a kind that cannot be tried to its end is a failure, not the end."""
    try:
        yield from outcomes
    except Exception as error:
        problem: Any = f"it could not be tried to its end: {type(error).__name__}: {error}"
        yield Outcome(name, "the rest", problems=[problem])
