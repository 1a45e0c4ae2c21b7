"""What became of one fault, and the table of many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """One fault.

    Attributes
    ----------
    kind : str
    what : str
        Where the fault was put.
    announced : int
        Frames that the documents announced, by the journal or by what the session said.
    readable : int
        Of these, how many the catalogue gave back after recovery, with signal and in their order.
    destroyed : int
        Of these, how many the fault itself took from the file, or cut the event of, as recovery
        said.
    problems : list of str
        What is not as promised, a sentence each.
    """

    kind: str
    what: str
    announced: int = 0
    readable: int = 0
    destroyed: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Frames that were announced, are not readable, and of which nobody said so."""
        return max(0, self.announced - self.readable - self.destroyed)

    @property
    def survived(self) -> bool:
        """Whether everything is as promised."""
        return not self.problems and not self.lost


def table_of(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return the sums over all outcomes, and by kind."""
    whole = _sums()
    kinds: dict[str, dict[str, int]] = {}
    failures: list[str] = []
    for outcome in outcomes:
        for sums in (whole, kinds.setdefault(outcome.kind, _sums())):
            sums["tried"] += 1
            sums["survived"] += outcome.survived
            sums["frames_announced"] += outcome.announced
            sums["frames_lost"] += outcome.lost
            sums["frames_destroyed"] += outcome.destroyed
        failures += [f"{outcome.kind}, {outcome.what}: {why}" for why in outcome.problems]
        if outcome.lost:
            failures.append(f"{outcome.kind}, {outcome.what}: {outcome.lost} frames are lost")
    return {**whole, "by_kind": kinds, "failures": failures}


def lines_of(table: dict[str, Any]) -> list[str]:
    """Return the table as text."""
    head = f"{'fault':24}{'tried':>7}{'survived':>10}{'announced':>11}{'lost':>6}{'destroyed':>11}"
    rows = [*table["by_kind"].items(), ("all", table)]
    return [
        head,
        *(
            f"{kind:24}{row['tried']:7}{row['survived']:10}{row['frames_announced']:11}"
            f"{row['frames_lost']:6}{row['frames_destroyed']:11}"
            for kind, row in rows
        ),
        *table["failures"],
    ]


def _sums() -> dict[str, int]:
    names = ("tried", "survived", "frames_announced", "frames_lost", "frames_destroyed")
    return dict.fromkeys(names, 0)
