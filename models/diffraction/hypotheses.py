"""Two phases or one that changes? Four explanations of a reaction, weighed over many patterns.

The cells that were seen are laid on a line, from one end member to the other and a little beyond.
With patterns of a structure at places along that line, four hypotheses are linear problems:

- one cell, the same in all patterns;
- solid solution: one cell that moves, a place for each pattern;
- two phases: two places that stay, two amounts for each pattern;
- continuous: each pattern has all cells between two places of its own, alike; or these lie as far
  apart in all patterns; or one of them stays, as behind a front.

Each has its own width of lines, and they are compared by the Bayesian information criterion
(G. Schwarz, Ann. Stat. 6, 461 (1978)), chi^2 + k ln N, with chi^2 in units of the scatter that is
left over, so that what no hypothesis explains does not count as evidence for any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .noise import weights
from .path_gains import best_pair, gains_of, summit, summits
from .pattern_model import PatternModel
from .score_kernels import gram_of_path
from .tracked import Tracked

TWO_PHASE, SOLID_SOLUTION, CONTINUOUS, UNDECIDED = (
    "two_phase",
    "solid_solution",
    "continuous",
    "undecided",
)
UNCHANGED = "unchanged"
HYPOTHESES = (UNCHANGED, SOLID_SOLUTION, TWO_PHASE, CONTINUOUS)
_LEAST_SPAN, _UNDONE = 0.3, 0.1
_FINE = 0.06
"""Steps between places over a line's width."""
_MOST_BINS = 2000
_FINEST, _WIDTH_STEP, _MIXING_STEP, _MOST_SHAPES = 4, 1.04, 0.02, 60


@dataclass(frozen=True)
class Kept:
    """One pattern that is kept for the verdict."""

    pattern: np.ndarray
    sigma: np.ndarray | None
    tracked: Tracked
    theta: np.ndarray


def weigh(
    model: PatternModel,
    family: Sequence[int],
    kept: Sequence[Kept],
    gain: float = 1.0,
    pause: Callable[[], object] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the criterion of each of `HYPOTHESES`, lower is better, and which are in doubt.

    In doubt is what only its fewer parameters speak for: an even spread of cells fits better
    than chance allows; and all that is less than a third of a line's width apart, where the shape
    of the lines decides and not what happened.

    Parameters
    ----------
    model : PatternModel
    family : sequence of int
        Phases of one structure; the first one's lines are used.
    kept : sequence of Kept
        In all of them the family is present.
    gain : float
        Of `noise.weights`.
    pause : callable ()
        Called between steps of a millisecond; it may wait while others have more haste.
    """
    lead = family[0]
    place, along, reach, line, width2, span = _path(model, family, kept)
    bins_used = _telling_bins(model, lead, line + reach)
    model = PatternModel(
        model.phases,
        replace(model.axis, q_per_a=model.q[bins_used]),
        background_terms=model.background_terms,
        width_per_a=model.width_per_a,
        instrument_width_per_a=model.instrument_width_per_a,
        cell_range=model.cell_range,
        second_line=model.second_line,
    )
    # one zero for all: what moves it from frame to frame is mostly the cell that is fitted with it
    zero = float(np.median([k.theta[-1] for k in kept]))
    prepared = []
    for k in kept:
        intensity, weight = (a[bins_used] for a in weights(k.pattern, k.sigma, gain))
        others = [int(p) for p in np.flatnonzero(k.tracked.present) if p not in family]
        rows = np.concatenate([model.columns(k.theta, others)[others], model.background]) * weight
        prepared.append((intensity * weight, weight, rows))
    steps = np.linspace(-reach, reach, 2 * int(np.clip(reach / (_FINE * line), 20, 50)) + 1)
    bins = sum(int(np.count_nonzero(weight)) for _, weight, _ in prepared)
    floor = (0.7 * float(np.median(np.diff(model.q)))) ** 2

    def chi2(scale: float, mixing: float) -> np.ndarray:
        theta = model.start.copy()
        shape = model.shape_row(lead)
        theta[shape] = max(width2[0] * scale**2, floor)
        theta[shape + 1] = width2[1] * scale**2
        theta[shape + 2] = mixing
        theta[-1] = zero
        products = []
        total = 0.0
        templates = _along_path(model, lead, theta, place, along, steps, pause)
        for weighted, weight, rows in prepared:
            pause()
            gram, target, left = gram_of_path(templates, weight, rows, weighted)
            products.append((gram, target))
            total += left
        gains = []
        for each in products:
            pause()
            gains.append(gains_of(*each))
        own, two, spread = (np.array(each) for each in zip(*gains, strict=True))
        return total - np.array(
            [
                float(summits(own.sum(axis=0))),
                float(summits(own).sum()),
                best_pair(two.sum(axis=0), products),
                sum(summit(each) for each in spread),
                max(
                    float(np.diagonal(spread, k, 1, 2).max(axis=1).sum())
                    for k in range(1, len(steps))
                ),
                float(summits(spread).sum(axis=0).max()),
            ]
        )

    mixing = float(np.median([k.theta[model.shape_row(lead) + 2] for k in kept]))
    best = _over_shapes(chi2, mixing)
    t, f = len(kept), model.cell_rows(lead).stop - model.cell_rows(lead).start
    # amounts and the width; then cells, and what each pattern has for itself
    unknowns = (
        t + 1 + np.array([f, 2 * f + t, 2 * f + t, 2 * f + 2 * t, 2 * f + t + 1, 2 * f + t + 1])
    )
    scatter = max(1.0, float(best.min()) / max(bins - unknowns.max(), 1))
    criterion = best / scatter + unknowns * np.log(bins)
    # where a spread of cells fits so much better, only its parameters speak for the simpler one
    extra = np.array([t, 1.0, 1.0])
    allowed = (best[3:] / scatter + extra + 3 * np.sqrt(2 * extra)).min()
    criterion[3] = min(criterion[3:])
    # what is clear between one cell and two is not undone by a little that neither explains
    clear = np.array([0.0, best[2] - best[1], best[1] - best[2], 0.0])
    doubted = (best[:4] - np.maximum(_UNDONE * clear, 0)) / scatter > allowed
    if span < _LEAST_SPAN * line:
        doubted[1:] = True
    return criterion[: len(HYPOTHESES)], doubted


def _telling_bins(model: PatternModel, phase: int, around: float) -> np.ndarray:
    """Return the bins that tell: all, or of long patterns those near a phase's strongest lines."""
    if len(model.q) <= _MOST_BINS:
        return np.arange(len(model.q))
    crystal = model.phases[phase]
    q = crystal.q_per_a
    strength = crystal.intensity * model.axis.strength(q)
    strength = np.where((q > model.q[0]) & (q < model.q[-1]), strength, 0.0)
    chosen = np.zeros(len(model.q), bool)
    chosen[[0, -1]] = True  # the range stays
    for at in q[np.argsort(-strength)]:
        near = np.abs(model.q / at - 1) < 2 * around
        if (chosen | near).sum() > _MOST_BINS:
            break
        chosen |= near
    return np.flatnonzero(chosen) if chosen.sum() > 100 else np.arange(len(model.q))


def _over_shapes(chi2: Callable[[float, float], np.ndarray], mixing: float) -> np.ndarray:
    """Return each hypothesis' least chi^2 over the width and the shape of its lines.

    A search on a grid that is made finer where each hypothesis is best.
    """
    tried: dict[tuple[int, int], np.ndarray] = {}

    def at(node: tuple[int, int]) -> np.ndarray:
        if node not in tried:
            shape = float(np.clip(mixing + _MIXING_STEP * node[1], 0, 1))
            tried[node] = chi2(float(_WIDTH_STEP ** node[0]), shape)
        return tried[node]

    coarse = _FINEST
    for k in range(-5, 2):
        at((coarse * k, 0))
    for hypothesis in range(len(at((0, 0)))):
        step = coarse
        while step >= 1:
            best = min(tried, key=lambda node: tried[node][hypothesis])
            for move in ((step, 0), (-step, 0), (0, step), (0, -step)):
                at((best[0] + move[0], best[1] + move[1]))
            if min(tried, key=lambda node: tried[node][hypothesis]) == best:
                step //= 2
            if len(tried) > _MOST_SHAPES:
                break
    return np.min(list(tried.values()), axis=0)


def _path(
    model: PatternModel, family: Sequence[int], kept: Sequence[Kept]
) -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray, float]:
    """Return a cell, where cells differ, how far, a line's width as strain, widths, span."""
    lead = family[0]
    lattice = model.phases[lead].lattice
    cells, doubts, widths = [], [], []
    for k in kept:
        there = [p for p in family if k.tracked.present[p]]
        share = np.array([k.tracked.amount[p] for p in there])
        free = np.array([k.theta[model.cell_rows(p)] for p in there])
        cells.append(share @ free / share.sum())
        sigma = np.array([lattice.free_of(k.tracked.cell_sigma[p]) for p in there])
        doubts.append(sigma.min(axis=0))
        shape = np.array([k.theta[model.shape_row(p) : model.shape_row(p) + 2] for p in there])
        widths.append(share @ shape / share.sum())
    cell, doubt = np.array(cells), np.array(doubts)
    width2 = np.median(widths, axis=0)
    # a cell that is hardly known says nothing of how far cells went
    worst = np.max(doubt / cell, axis=1)
    sure = np.isfinite(worst) & (worst <= 4 * _median(worst))
    if sure.any():
        cell, doubt = cell[sure], doubt[sure]
    middle = cell.mean(axis=0) if len(cell) < 3 else (cell.max(axis=0) + cell.min(axis=0)) / 2
    relative = (cell - middle) / middle
    length = np.array([name in "abc" for name in lattice.free])
    along = np.where(length, 1.0, 0.0)
    known = np.where(np.isfinite(doubt), doubt / middle, np.inf)
    spread = relative.max(axis=0) - relative.min(axis=0)
    typical = np.median(known, axis=0)
    if (spread > 4 * typical).any() and len(cell) > 1:
        near = np.isfinite(known).all(axis=1)
        _, _, turn = np.linalg.svd(relative[near] - relative[near].mean(axis=0))
        along = turn[0] / np.abs(turn[0]).max()
    seen = relative @ along / (along @ along)
    q = float(np.median(model.phases[lead].q_at(model.phases[lead].cell)))
    line = np.sqrt(model.fixed_width2 + width2[0] + width2[1] * q**2) / q
    reach = max(0.9 * (seen.max() - seen.min()), 1.2 * line)
    centre = middle * (1 + along * (seen.max() + seen.min()) / 2)
    span = float(seen.max() - seen.min())
    return centre, along, float(reach), float(line), width2, span


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.inf


def _along_path(
    model: PatternModel,
    phase: int,
    theta: np.ndarray,
    place: np.ndarray,
    along: np.ndarray,
    steps: np.ndarray,
    pause: Callable[[], object],
) -> np.ndarray:
    out = np.empty((len(steps), len(model.q)))
    rows = model.cell_rows(phase)
    for row, step in zip(out, steps, strict=True):
        pause()
        theta[rows] = place * (1 + along * step)
        row[:] = model.columns(theta, [phase])[phase]
    return out


def compile_kernels() -> None:
    """Compile what `weigh` needs, by the smallest of patterns."""
    row = np.ones(5)
    gram, target, _ = gram_of_path(np.eye(5), row, np.ones((1, 5)), row)
    _, two, _ = gains_of(gram, target)
    best_pair(two, [(gram, target)])
