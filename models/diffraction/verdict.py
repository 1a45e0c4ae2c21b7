"""Two phases or one that changes: what the patterns of a run say about it, phase by phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..base import Quantity
from .hypotheses import HYPOTHESES, TWO_PHASE, UNCHANGED, UNDECIDED, Kept, weigh
from .tracked import Tracked
from .tracker import PhaseTracker

DECISIVE = 10.0
"""Least lead of the best in the criterion: odds of 150 to 1."""
MOST_FRAMES = 16
_STRONG, _ALIKE = 6.0, 0.05
_EXCHANGED, _EXCHANGE_SIGMAS = 0.1, 5.0


class Verdicts:
    """Patterns of a run, thinned out evenly as they become more, and what they say.

    Parameters
    ----------
    tracker : PhaseTracker
    most : int
        Patterns that are kept.
    """

    def __init__(self, tracker: PhaseTracker, most: int = MOST_FRAMES) -> None:
        self.tracker = tracker
        self.most = most
        self.kept: list[Kept] = []
        self._every, self._count = 1, 0
        self._found: dict[str, Quantity] = {"verdict": Quantity(UNDECIDED)}

    def add(self, pattern: np.ndarray, sigma: np.ndarray | None, tracked: Tracked) -> None:
        """Keep every so-many-th pattern."""
        if self._count % self._every == 0:
            theta = self.tracker.theta.copy()
            self.kept.append(Kept(pattern.copy(), sigma, tracked, theta))
            if len(self.kept) > 2 * self.most:
                self.kept = self.kept[::2]
                self._every *= 2
        self._count += 1

    @property
    def result_(self) -> dict[str, Quantity]:
        """The last judgement."""
        return dict(self._found)

    def judge(self, pause: Callable[[], object] = lambda: None) -> dict[str, Quantity]:
        """Weigh all that was kept.

        Parameters
        ----------
        pause : callable ()
            Of `hypotheses.weigh`.

        Returns
        -------
        dict
            ``verdict``; ``verdict_phase``, whom it is about; ``verdicts`` of each phase and
            ``verdict_criterion`` (phases, 4), less the best, in the order of `HYPOTHESES`, NaN
            where a phase could not be judged.
        """
        phases = self.tracker.phases
        criterion = np.full((len(phases), len(HYPOTHESES)), np.nan)
        each = [UNDECIDED] * len(phases)
        for family in families(self.tracker):
            found = self._weigh(family, pause)
            if found is not None:
                weighed, doubted = found
                for phase in family:
                    criterion[phase] = weighed - weighed.min()
                    each[phase] = _named(weighed, doubted)
        leads = np.array(
            [row[0] if name not in (UNCHANGED, UNDECIDED) else -1.0
             for row, name in zip(criterion, each, strict=True)]
        )  # fmt: skip
        verdict, about = UNDECIDED, ""
        if len(leads) and leads.max() > 0:
            best = int(np.argmax(leads))
            verdict, about = each[best], phases[best].name
        elif self._exchanged() and not (criterion[:, 0] > DECISIVE).any():
            verdict, about = TWO_PHASE, ", ".join(self._exchanged())
        self._found = {
            "verdict": Quantity(verdict),
            "verdict_phase": Quantity(about),
            "verdicts": Quantity(each, "", ("phase",)),
            "verdict_criterion": Quantity(criterion, "", ("phase", "hypothesis")),
        }
        return self.result_

    def _exchanged(self) -> list[str]:
        """Return phases of different structure whose volumes changed while their cells stayed."""
        volume = np.array([k.tracked.volume for k in self.kept])
        sigma = np.array([k.tracked.volume_sigma for k in self.kept])
        names = []
        for phase, crystal in enumerate(self.tracker.phases):
            seen = np.isfinite(volume[:, phase]) & np.isfinite(sigma[:, phase])
            if seen.sum() < 2:
                continue
            v, s = volume[seen, phase], sigma[seen, phase]
            low, high = int(np.argmin(v)), int(np.argmax(v))
            change, doubt = v[high] - v[low], np.hypot(s[high], s[low])
            if change > _EXCHANGED and change > _EXCHANGE_SIGMAS * doubt:
                names.append(crystal.name)
        return names if len(names) > 1 else []

    def _weigh(
        self, family: Sequence[int], pause: Callable[[], object]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        usable = [
            k for k in self.kept
            if np.nansum(k.tracked.evidence[list(family)][k.tracked.present[list(family)]])
            > _STRONG
        ]  # fmt: skip
        if not usable or self.tracker.model is None:
            return None
        rows = np.unique(np.linspace(0, len(usable) - 1, self.most).astype(int))
        chosen = [usable[row] for row in rows]
        return weigh(self.tracker.model, family, chosen, self.tracker.gain, pause)


def families(tracker: PhaseTracker) -> list[list[int]]:
    """Return phases grouped by structure: end members given as two CIFs are one family."""
    groups: list[list[int]] = []
    for p, phase in enumerate(tracker.phases):
        if not tracker.counted[p]:
            continue
        for group in groups:
            other = tracker.phases[group[0]]
            if (
                other.space_group == phase.space_group
                and other.lattice.setting == phase.lattice.setting
                and np.allclose(other.cell[:3], phase.cell[:3], rtol=_ALIKE)
                and np.allclose(other.cell[3:], phase.cell[3:], atol=3.0)
            ):
                group.append(p)
                break
        else:
            groups.append([p])
    return groups


def _named(criterion: np.ndarray, doubted: np.ndarray) -> str:
    if not np.isfinite(criterion).all():
        return UNDECIDED
    first, second = np.argsort(criterion)[:2]
    clear = criterion[second] - criterion[first] > DECISIVE and not doubted[first]
    return HYPOTHESES[first] if clear else UNDECIDED
