"""Scans that decide as they go where the beam is worth its dose."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.protocols import Flyable, Readable
from bluesky.utils import MsgGenerator

from ..devices.rounds import Rounds
from ..models.trajectories import Points, Raster
from ..models.trajectory import Trajectory
from .preprocessors import beam_blanked_finally_wrapper
from .scanning import checked, electrons_per_point
from .stubs import fly, in_run

Suggest = Callable[..., tuple[Any, float]]
_LISTEN_S, _PAUSE_S = 0.2, 0.01


def follow(
    detectors: Sequence[Readable],
    scan_coils: Flyable,
    *,
    suggest: Any = "domains",
    fov_nm: float = 20.0,
    step_nm: float = 1.0,
    budget_e_per_a2: float = 100.0,
    dwell_ms: float = 1.0,
    n_points: int = 64,
    error_nm: float = 0.0,
    center_nm: tuple[float, float] = (0.0, 0.0),
    timeout_s: Optional[float] = None,  # noqa: UP045
    fallback_step_nm: Optional[float] = None,  # noqa: UP045
    seed: int = 0,
    md: Optional[dict] = None,  # noqa: UP045
) -> MsgGenerator[str]:
    """Scan coarsely, then go where an analysis expects to learn most, such as domain walls.

    One run: a coarse raster, then rounds of points. After each round `suggest` is asked for the
    next points; it answers from exactly the frames so far, so that the same specimen and `seed`
    give the same path where `timeout_s` is None. The stream ``round`` records each round: how far
    it went, the dose, what the analysis says is unknown, and whether it fell back.

    Parameters
    ----------
    detectors : sequence of cameras
    scan_coils : ScanCoils
    suggest : str or callable
        In a session the name of one of its analyses. Else ``suggest(through_index, n_points,
        run=uid, seed=..., timeout_s=...) -> (positions_nm, error_nm)``, such as
        ``live.domains.next_positions``. It may raise TimeoutError. No positions: nothing is to be
        gained, and the run ends.
    fov_nm : float, nm
        Side of the square field.
    step_nm : float, nm
        Of the coarse raster.
    budget_e_per_a2 : float, electrons per square angstrom
        Mean over the field, the coarse raster included. The last round is cut to fit.
    dwell_ms : float, ms
    n_points : int
        Of a round.
    error_nm : float, nm
        The run ends when `suggest` says that no more than this is unknown.
    center_nm : (y, x), nm
        Middle of the field.
    timeout_s : float, s, optional
        An answer that takes longer is not waited for: the next points of a raster of
        `fallback_step_nm` are measured instead, and the round says so.
    fallback_step_nm : float, nm, optional
        Half of `step_nm` where it is left out.
    seed : int
        Passed on to `suggest`, plus the number of the round.
    md : dict, optional
        Added to the start document.

    Returns
    -------
    uid : str

    Raises
    ------
    ValueError
        Before anything moves: when a number is out of range, the dose is unknown, or the coarse
        raster alone takes more than the budget.
    """
    coarse = Raster(fov=fov_nm, step=step_nm, center=center_nm)
    coils: Any = scan_coils
    listed, _ = checked(detectors, scan_coils, coarse, dwell_ms)
    fine_step = step_nm / 2 if fallback_step_nm is None else fallback_step_nm
    spare = _interleaved(Raster(fov=fov_nm, step=fine_step, center=center_nm))
    a_point = _dose_of_a_point(scan_coils, fov_nm, dwell_ms)
    most = math.floor(budget_e_per_a2 / a_point * (1 + 1e-9))
    _check(suggest, n_points, timeout_s, most, coarse.n_points, a_point)
    rounds: Any = Rounds()  # a Readable, which ophyd's types do not say
    over = threading.Event()
    start = {
        "plan_name": "follow",
        "detectors": [device.name for device in listed],
        "motors": [coils.name],
        "num_points": most,
        "dwell_ms": dwell_ms,
        "trajectory": {
            "type": "adaptive",
            "units": coarse.units,
            "n_points": most,
            "step": step_nm,
            "grid_shape": None,
            "extent": np.asarray(coarse.extent).tolist(),
        },
        "plan_args": {
            "detectors": [repr(device) for device in listed],
            "scan_coils": repr(scan_coils),
            "suggest": getattr(suggest, "__qualname__", repr(suggest)),
            "fov_nm": fov_nm,
            "step_nm": step_nm,
            "budget_e_per_a2": budget_e_per_a2,
            "dwell_ms": dwell_ms,
            "n_points": n_points,
            "error_nm": error_nm,
            "center_nm": list(center_nm),
            "timeout_s": timeout_s,
            "fallback_step_nm": fine_step,
            "seed": seed,
        },
        "dose_e_per_a2": most * a_point,
        "dose_e_per_pattern": a_point * (fov_nm * 10) ** 2,
        "hints": {"dimensions": [[[f"{coils.name}_commanded"], coils.name]]},
        **(md or {}),
    }

    def one_round(path: Trajectory, done: int, error: float, fell_back: bool) -> MsgGenerator[int]:
        yield from fly(listed, scan_coils, path.to_dict(), dwell_ms=dwell_ms, declare=not done)
        done += path.n_points
        rounds.note(done, path.n_points, done * a_point, error, fell_back=fell_back)
        yield from bps.create("round")
        yield from bps.read(rounds)
        yield from bps.save()
        return done

    def go(uid: str) -> MsgGenerator[None]:
        done = yield from one_round(coarse, 0, math.nan, False)
        number = 0
        while (left := min(n_points, most - done)) > 0:
            question = functools.partial(suggest, done, left, run=uid, seed=seed + number)
            answer = yield from _ask(question, timeout_s, over)
            number += 1
            fell_back = answer is None
            if answer is None:
                chosen, unknown = next(spare, np.empty((0, 2))), math.nan
            else:
                chosen, unknown = np.asarray(answer[0], float).reshape(-1, 2), float(answer[1])
            if not len(chosen) or unknown <= error_nm:
                return
            path = Points(listed=_in_turn(chosen[:left]).tolist(), units=coarse.units)
            done = yield from one_round(path, done, unknown, fell_back)

    def stop_asking() -> MsgGenerator[None]:
        over.set()
        yield from bps.null()

    @bpp.stage_decorator([*listed, scan_coils])
    def inner() -> MsgGenerator[str]:
        return (yield from in_run(start, lambda uid: bpp.finalize_wrapper(go(uid), stop_asking)))

    plan: Any = inner()
    blanker = getattr(scan_coils, "blanker", None)
    if blanker is not None:
        plan = beam_blanked_finally_wrapper(plan, blanker)
    return (yield from plan)


def _ask(
    question: Suggest, timeout_s: float | None, over: threading.Event
) -> MsgGenerator[tuple[Any, float] | None]:
    """Ask off the RunEngine's thread; None where no answer came in time."""
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    said: list[Any] = []

    def listen() -> None:
        # in short waits, so that a plan that is ended leaves no thread behind
        while not over.is_set():
            left = min(_LISTEN_S, deadline - time.monotonic())
            try:
                said.append(question(timeout_s=max(left, 0.0)))
            except TimeoutError:
                if time.monotonic() >= deadline or over.wait(_PAUSE_S):
                    return
            except Exception as error:
                said.append(error)
                return
            else:
                return

    yield from bps.wait_for([lambda: asyncio.to_thread(listen)])
    if said and isinstance(said[0], Exception):
        raise RuntimeError(f"suggest failed: {said[0]}") from said[0]
    return said[0] if said else None


def _in_turn(places: np.ndarray) -> np.ndarray:
    """Return places in an order of short jumps: coils lag behind by a share of each."""
    left, order = list(range(1, len(places))), [0]
    while left:
        away = np.linalg.norm(places[left] - places[order[-1]], axis=1)
        order.append(left.pop(int(away.argmin())))
    return places[order]


def _interleaved(raster: Raster) -> Iterator[np.ndarray]:
    """Yield a raster's points in rounds that each cover the field: every 16th, then the next."""
    places = np.asarray(raster.positions)
    for first in range(16):
        yield places[first::16]


def _dose_of_a_point(scan_coils: Any, fov_nm: float, dwell_ms: float) -> float:
    """Return what one point adds to the field's mean dose, electrons per square angstrom."""
    electrons = electrons_per_point(scan_coils, dwell_ms)
    if not electrons:
        raise ValueError(
            "follow keeps a dose budget and does not know the dose; set the column's"
            " beam_current_pa, in pA."
        )
    return float(electrons) / (fov_nm * 10) ** 2


def _check(
    suggest: Any,
    n_points: int,
    timeout_s: float | None,
    most: int,
    coarse: int,
    a_point: float,
) -> None:
    if not callable(suggest):
        raise TypeError(
            f"suggest must be callable, such as live.domains.next_positions, not {suggest!r};"
            " a session takes the name of one of its analyses."
        )
    if n_points < 1:
        raise ValueError(f"n_points must be at least 1, not {n_points!r}.")
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError(f"timeout_s must be positive or None, not {timeout_s!r} s.")
    if coarse > most:
        raise ValueError(
            f"the coarse raster alone takes {coarse * a_point:.4g} e/A2, more than the budget of"
            f" {most * a_point:.4g} e/A2; use a larger step_nm or a shorter dwell_ms."
        )
