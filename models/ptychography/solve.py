"""From an empty object to the answer: the schedule, the passes, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .difference_map import DifferenceMap
from .lsqml import LeastSquares
from .pie import Pie
from .problem import Problem
from .thick import ThickPie, ThickProblem

PATIENCE = 3
STILL = 1e-3
LAST = 2
MOVE_FROM = 3
FIRST_PX, LONGEST_MOVE_PX = 0.1, 0.25


@dataclass(frozen=True)
class Plan:
    """How to reconstruct.

    Parameters
    ----------
    method : str
        One of `METHODS`.
    iterations : int
        Passes at most.
    alphas : (first, last) or None
        rPIE's regularisation, geometric in between; None asks `alphas_for`.
    update_probe : bool
    position_bound_px : float, object pixels
        How far rPIE, ePIE and LSQ-ML may move a position along y and x; 0 leaves positions alone.
    settles : bool
        Whether passes end when nothing is gained; a background goes on growing slowly.
    """

    method: str = "rpie"
    iterations: int = 20
    alphas: tuple[float, float] | None = None
    update_probe: bool = True
    position_bound_px: float = 0.0
    settles: bool = True


ENGINES = {"rpie": Pie, "epie": Pie, "lsqml": LeastSquares, "dm": DifferenceMap}
METHODS = tuple(ENGINES)


def alphas_for(dose: float) -> tuple[float, float]:
    """Return rPIE's first and last regularisation for a mean of `dose` counts in a frame.

    The first is ``sqrt(2000 / dose)``, kept between 0.1 and 1: many counts allow large steps, few
    ask for ePIE's small ones from the start. The last is 1, which averages over frames most.
    """
    return float(np.clip(math.sqrt(2e3 / max(dose, 1e-9)), 0.1, 1.0)), 1.0


def floor_for(dose: float, careful: bool = False) -> float:
    """Return the Poisson likelihood's floor, counts, for a mean of `dose` counts in a frame.

    ``6e4 / dose``, kept between 0.1 and 2: with few counts dim pixels say little, and in haste
    say it loudly, and so does what the model leaves out (thickness, vibration); with many the
    dark field carries the fine detail. With `careful` at least 1: for the difference map and
    LSQ-ML, and where a background is sought, which dim pixels tell from the model's own faults.
    """
    return float(np.clip(6e4 / max(dose, 1e-9), 1.0 if careful else 0.1, 2.0))


def solve(
    problem: Problem,
    plan: Plan,
    rng: np.random.Generator,
    between: Callable[[Problem, int], None] | None = None,
) -> tuple[list[float], bool]:
    """Improve a problem's object and probe.

    Returns the misfit of each pass over the counts, and whether it settled before the end. After
    each pass `between` is called with the problem and the number of passes done.

    Stops when the misfit, with both amplitudes offset by the floor, has fallen by less than
    0.1 % in 3 passes; two passes at the last regularisation then follow where the schedule had not
    come so far. What counts decides, not the clock: the same frames stop at the same pass.
    """
    measured = max(float(problem.frame_total[problem.rows].sum()), 1e-30)
    alphas = plan.alphas or alphas_for(measured / max(len(problem.rows), 1))
    schedule = np.geomspace(alphas[0], alphas[1], plan.iterations).tolist()
    kind = ThickPie if isinstance(problem, ThickProblem) else ENGINES[plan.method]
    engine = kind(problem, rng, plan.update_probe)
    walk = _Walk(problem, plan.position_bound_px)
    errors: list[float] = []
    settled = False
    while len(errors) < len(schedule):
        alpha = schedule[len(errors)]
        if (
            not isinstance(engine, DifferenceMap)
            and plan.position_bound_px
            and len(errors) >= MOVE_FROM
        ):
            errors.append(engine.run_pass(alpha, refine=True) / measured)
            engine.move_to(walk.go(engine.moves))
        else:
            errors.append(engine.run_pass(alpha) / measured)
        done = len(errors)
        if between is not None:
            between(problem, done)
        if settled or done <= 2 * PATIENCE or plan.method == "dm" or not plan.settles:
            continue
        settled = errors[-1] > (1 - STILL) * errors[-1 - PATIENCE]
        if settled and done + LAST < len(schedule):
            schedule = schedule[:done] + [alphas[1]] * LAST
    return errors, settled


class _Walk:
    """Positions on their way: least-squares shifts at a pace that their own agreement sets.

    Object and probe have mostly absorbed what a wrong position asks for, so the shifts point the
    right way and are far too short. The first has a root mean square of `FIRST_PX`; then the pace
    grows by a fifth where two passes agree and halves where they do not (as in Rprop).
    """

    def __init__(self, problem: Problem, bound: float) -> None:
        self.problem = problem
        self.bound = bound
        self.given = problem.positions.copy()
        self.pace = 0.0
        self.last: np.ndarray | None = None

    def go(self, moves: np.ndarray) -> np.ndarray:
        """Return where positions (n, 2) are after another pass's moves (n, 2), pixels."""
        rows = self.problem.rows
        now = moves[rows] - np.median(moves[rows], axis=0)  # a common shift is the object's
        if self.last is None:
            self.pace = FIRST_PX / max(float(np.sqrt((now**2).mean())), 1e-12)
        else:
            self.pace *= 1.2 if float((now * self.last).sum()) > 0 else 0.5
        self.last = now
        positions = self.problem.positions.copy()
        positions[rows] += np.clip(self.pace * now, -LONGEST_MOVE_PX, LONGEST_MOVE_PX)
        return np.clip(positions, self.given - self.bound, self.given + self.bound)
