"""What is true inside a simulated cell, as a reading beside those of the detectors."""

from __future__ import annotations

import re
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device
from ophyd.status import Status

from ..signals import ReadOnlySignal


class CellTruth(Device):
    """The phases of a simulated cell when it is triggered; no real cell has one.

    Parameters
    ----------
    name : str
    cell : device with ``phases()``, ``swelling`` and ``composition``
        Such as the simulated potentiostat.
    """

    share_pt = Cpt(ReadOnlySignal, value=0.0, kind="normal")
    share_lipt = Cpt(ReadOnlySignal, value=0.0, kind="normal")
    share_li2pt = Cpt(ReadOnlySignal, value=0.0, kind="normal")
    scale_pt = Cpt(ReadOnlySignal, value=1.0, kind="normal")
    scale_lipt = Cpt(ReadOnlySignal, value=1.0, kind="normal")
    scale_li2pt = Cpt(ReadOnlySignal, value=1.0, kind="normal")
    swelling = Cpt(ReadOnlySignal, value=1.0, kind="normal")
    lithium_per_pt = Cpt(ReadOnlySignal, value=0.0, kind="normal")

    def __init__(self, prefix: str = "", *, name: str, cell: Any, **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)
        self.cell = cell

    def trigger(self) -> Status:
        """Look into the cell."""
        for phase, share, scale in self.cell.phases():
            which = re.sub(r"\W", "", phase).lower()
            getattr(self, f"share_{which}").report(float(share))
            getattr(self, f"scale_{which}").report(float(scale))
        self.swelling.report(float(self.cell.swelling))
        self.lithium_per_pt.report(float(self.cell.composition))
        status = Status(self)
        status.set_finished()
        return status
