"""What a plan that decides as it goes has decided: one reading a round."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from .signals import UnitSignal


class Rounds(Device):
    """The rounds of an adaptive scan, as a stream of the run.

    The first key cuts the blocks of analyses (`callbacks.frames`), so that a question after a
    round is answered from all frames of it, live and in replay.
    """

    through_index = Cpt(UnitSignal, value=0, kind="normal")
    n_points = Cpt(UnitSignal, value=0, kind="normal")
    dose_e_per_a2 = Cpt(UnitSignal, value=0.0, units="e/Å²", kind="normal")
    error_nm = Cpt(UnitSignal, value=float("nan"), units="nm", kind="normal")
    fell_back = Cpt(UnitSignal, value=0, kind="normal")

    def __init__(self, prefix: str = "", *, name: str = "round", **kwargs: Any) -> None:
        super().__init__(prefix, name=name, **kwargs)

    def note(
        self,
        through_index: int,
        n_points: int,
        dose_e_per_a2: float,
        error_nm: float,
        *,
        fell_back: bool,
    ) -> None:
        """Set what the next reading says.

        Parameters
        ----------
        through_index : int
            All points of the round have lower scan indices.
        n_points : int
            Of the round.
        dose_e_per_a2 : float, electrons per square angstrom
            Of the run so far, mean over the field.
        error_nm : float, nm
            What the round was to reduce, as it was known before it; NaN where nobody said.
        fell_back : bool
            Whether the points are those of the stated raster, because no answer came in time.
        """
        self.through_index.put(int(through_index))
        self.n_points.put(int(n_points))
        self.dose_e_per_a2.put(float(dose_e_per_a2))
        self.error_nm.put(float(error_nm))
        self.fell_back.put(int(fell_back))
