"""What plans should have: beam blanked and cell open at their end, dose budget, column's state."""

from __future__ import annotations

from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Movable
from bluesky.utils import Msg, MsgGenerator, make_decorator

from ..devices.cell_guard import CellGuard


class DoseExceededError(ValueError):
    """A run would give the specimen more than its budget."""


def beam_blanked_finally_wrapper(plan: MsgGenerator[Any], blanker: Movable) -> MsgGenerator[Any]:
    """Blank the beam however the plan ends.

    The blanker is touched at the beginning, so that the RunEngine stops it, and thereby blanks,
    even where a plan gets no chance to clean up (`RE.halt`).

    Parameters
    ----------
    plan : generator of Msg
    blanker : Blanker
    """

    def guarded() -> MsgGenerator[Any]:
        yield from bps.mv(blanker, "closed")
        return (yield from plan)

    def blank() -> MsgGenerator[None]:
        yield from bps.mv(blanker, "closed")

    return (yield from bpp.finalize_wrapper(guarded(), blank))


def cell_open_finally_wrapper(plan: MsgGenerator[Any], potentiostat: Any) -> MsgGenerator[Any]:
    """Leave the cell at open circuit however the plan ends.

    A guard is staged at the beginning, so that the RunEngine unstages it, and thereby opens the
    circuit, even where a plan gets no chance to clean up (`RE.halt`).

    Parameters
    ----------
    plan : generator of Msg
    potentiostat : Potentiostat
    """
    guard: Any = CellGuard(potentiostat)

    def guarded() -> MsgGenerator[Any]:
        yield from bps.stage(guard)
        return (yield from plan)

    def open_circuit() -> MsgGenerator[None]:
        yield from bps.unstage(guard)

    return (yield from bpp.finalize_wrapper(guarded(), open_circuit))


def dose_budget_wrapper(plan: MsgGenerator[Any], budget_e_per_a2: float) -> MsgGenerator[Any]:
    """Refuse to open a run that would take the summed dose over a budget.

    The dose is what the runs' start documents state; a run that does not know its dose is
    refused, since it could not be counted.

    Parameters
    ----------
    plan : generator of Msg
    budget_e_per_a2 : float, electrons per square angstrom
        For all runs of the plan together, each counted with its mean over the scanned area.

    Raises
    ------
    DoseExceededError
        Before the run is opened.
    """
    if not budget_e_per_a2 > 0:
        raise ValueError(f"a dose budget must be positive, not {budget_e_per_a2!r} e/A2.")
    spent = 0.0

    def look(msg: Msg) -> Msg:
        nonlocal spent
        if msg.command == "open_run" and "trajectory" in msg.kwargs:
            dose = msg.kwargs.get("dose_e_per_a2")
            if dose is None:
                raise DoseExceededError(
                    "this run does not know its dose, so it cannot be counted against the budget; "
                    "set the column's beam_current_pa."
                )
            if spent + dose > budget_e_per_a2:
                raise DoseExceededError(
                    f"this run would give {dose:.4g} e/A2 after {spent:.4g} e/A2, more than the "
                    f"budget of {budget_e_per_a2:.4g} e/A2; use a larger step or a shorter dwell."
                )
            spent += dose
        return msg

    return (yield from bpp.msg_mutator(plan, look))


def collected_first_wrapper(plan: MsgGenerator[Any], device: Any) -> MsgGenerator[Any]:
    """Collect a device once, at the beginning of each run, into a stream of its own name.

    Parameters
    ----------
    plan : generator of Msg
    device : RecordedCell
        Anything that has all it will ever give.
    """

    def collect() -> MsgGenerator[None]:
        yield from bps.declare_stream(device, name=device.name, collect=True)
        yield from bps.collect(device, name=device.name, return_payload=False)

    def insert(msg: Msg) -> tuple[None, MsgGenerator[None] | None]:
        return None, collect() if msg.command == "open_run" else None

    return (yield from bpp.plan_mutator(plan, insert))


def column_into_start_wrapper(plan: MsgGenerator[Any], column: Any) -> MsgGenerator[Any]:
    """Put the column's settings into each run's start document; what the plan states, wins.

    Parameters
    ----------
    plan : generator of Msg
    column : Column
        Anything with ``metadata()``.
    """

    def insert(msg: Msg) -> Msg:
        if msg.command == "open_run":
            return msg._replace(kwargs={**column.metadata(), **msg.kwargs})
        return msg

    return (yield from bpp.msg_mutator(plan, insert))


beam_blanked_finally = make_decorator(beam_blanked_finally_wrapper)
cell_open_finally = make_decorator(cell_open_finally_wrapper)
dose_budget = make_decorator(dose_budget_wrapper)
column_into_start = make_decorator(column_into_start_wrapper)
