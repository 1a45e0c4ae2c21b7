"""Which cell the simulated potentiostat has: Pt | Li of this package, or one of PyBaMM."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from .cell import Cell, CellMode, CellParameters
from .pybamm_cell import PybammCell, PybammParameters

_PARAMETERS: dict[str, type[CellParameters] | type[PybammParameters]] = {
    "platinum_lithium": CellParameters,
    "pybamm": PybammParameters,
}


class CellState(Protocol):
    """What every cell's snapshot knows; it is replaced by `advance`, never changed."""

    @property
    def charge_mah(self) -> float:
        """Passed in all, mAh."""
        ...

    @property
    def composition(self) -> float:
        """Lithium per platinum, or per site of the working electrode."""
        ...


class DrivenCell(Protocol):
    """What the amplifier and the instrument ask of a cell; see `devices.sim.cell.Cell`.

    Attributes
    ----------
    state : CellState
        Put back to undo a step.
    voltage_v, current_ma : float, V and mA
        At the end of the last step.
    capacity_mah : float, mAh
    """

    state: Any
    voltage_v: float
    current_ma: float
    capacity_mah: float

    @property
    def swelling(self) -> float:
        """Volume of the electrode, relative to the beginning."""
        ...

    def advance(self, dt_s: float, mode: CellMode = "open", setpoint: float = 0.0) -> None:
        """Let time pass."""
        ...

    def impedance_ohm(self, frequency_hz: float) -> complex:
        """Return the impedance at the present state."""
        ...

    def phases(self) -> list[tuple[str, float, float]]:
        """Return (phase name, volume fraction, cell scale)."""
        ...


def cell_parameters(table: Mapping[str, Any]) -> CellParameters | PybammParameters:
    """Return what a profile's table says of the cell.

    Parameters
    ----------
    table : mapping
        ``model`` is "platinum_lithium" (also without one) or "pybamm"; the other keys are those
        of `devices.sim.cell.CellParameters` or `devices.sim.pybamm_cell.PybammParameters`.

    Raises
    ------
    ModuleNotFoundError
        For a cell of PyBaMM without PyBaMM.
    ValueError
        For another model, a key that it does not have, or a value out of range.
    """
    keys = dict(table)
    model = keys.pop("model", "platinum_lithium")
    if model not in _PARAMETERS:
        raise ValueError(f"cell.model must be one of {', '.join(_PARAMETERS)}, not {model!r}.")
    kind = _PARAMETERS[model]
    known = [each.name for each in dataclasses.fields(kind)]
    if unknown := sorted(set(keys) - set(known)):
        raise ValueError(
            f"a cell with model = {model!r} has no {', '.join(unknown)}; it has {', '.join(known)}."
        )
    return kind(**keys)


def make_cell(table: Mapping[str, Any]) -> DrivenCell:
    """Return the cell of a profile's table, at rest.

    Parameters
    ----------
    table : mapping
        As of `cell_parameters`.
    """
    parameters = cell_parameters(table)
    if isinstance(parameters, PybammParameters):
        return PybammCell(parameters)
    return Cell(parameters)
