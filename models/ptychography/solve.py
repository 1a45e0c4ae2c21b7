"""From an empty object to the answer: the schedule, the passes, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .pie import Pie
from .problem import Problem

PATIENCE = 3
STILL = 1e-3
LAST = 2


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
    """

    method: str = "rpie"
    iterations: int = 20
    alphas: tuple[float, float] | None = None
    update_probe: bool = True


METHODS = ("rpie", "epie")


def alphas_for(dose: float) -> tuple[float, float]:
    """Return rPIE's first and last regularisation for a mean of `dose` counts in a frame.

    The first is ``sqrt(2000 / dose)``, kept between 0.1 and 1: many counts allow large steps, few
    ask for ePIE's small ones from the start. The last is 1, which averages over frames most.
    """
    return float(np.clip(math.sqrt(2e3 / max(dose, 1e-9)), 0.1, 1.0)), 1.0


def floor_for(dose: float) -> float:
    """Return the Poisson likelihood's floor, counts, for a mean of `dose` counts in a frame.

    ``6e4 / dose``, kept between 1 and 2: with few counts dim pixels say little, and in haste
    say it loudly; below one count it is the model's own faults that are fitted.
    """
    return float(np.clip(6e4 / max(dose, 1e-9), 1.0, 2.0))


def solve(problem: Problem, plan: Plan, rng: np.random.Generator) -> tuple[list[float], bool]:
    """Improve a problem's object and probe.

    Returns the misfit of each pass over the counts, and whether it settled before the end.

    Stops when the misfit, with both amplitudes offset by the floor, has fallen by less than
    0.1 % in 3 passes; two passes at the last regularisation then follow where the schedule had not
    come so far. What counts decides, not the clock: the same frames stop at the same pass.
    """
    measured = max(float(problem.frame_total[problem.rows].sum()), 1e-30)
    alphas = plan.alphas or alphas_for(measured / max(len(problem.rows), 1))
    schedule = np.geomspace(alphas[0], alphas[1], plan.iterations).tolist()
    engine = Pie(problem, rng, plan.update_probe)
    errors: list[float] = []
    settled = False
    while len(errors) < len(schedule):
        errors.append(engine.run_pass(schedule[len(errors)]) / measured)
        done = len(errors)
        if settled or done <= 2 * PATIENCE:
            continue
        settled = errors[-1] > (1 - STILL) * errors[-1 - PATIENCE]
        if settled and done + LAST < len(schedule):
            schedule = schedule[:done] + [alphas[1]] * LAST
    return errors, settled
