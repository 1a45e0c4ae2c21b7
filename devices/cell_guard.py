"""Something to stage that opens a cell's circuit when it is unstaged."""

from __future__ import annotations

from typing import Any


class CellGuard:
    """Opens the circuit of a potentiostat when it is unstaged.

    The RunEngine unstages whatever is left staged however a plan ends, `RE.halt` included, where a
    plan gets no chance to clean up. The potentiostat itself may be staged by the plan.

    Parameters
    ----------
    potentiostat : Potentiostat
    """

    parent = None

    def __init__(self, potentiostat: Any) -> None:
        self.potentiostat = potentiostat
        self.name = f"{potentiostat.name}_guard"

    def stage(self) -> list[object]:
        """Do nothing yet."""
        return [self]

    def unstage(self) -> list[object]:
        """Open the circuit."""
        self.potentiostat.stop()
        return [self]
