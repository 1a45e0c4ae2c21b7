"""The verdict while frames come: the last so-many patterns, weighed on a thread beside the fits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from ..base import Event, Quantity
from .hypotheses import Kept
from .tracked import Tracked
from .tracker import PhaseTracker
from .verdict import MOST_FRAMES, UNDECIDED, Verdicts

EVENT = "verdict"


class MovingVerdict:
    """Weigh the last `window` patterns each `every` patterns.

    A judgement runs while there is no pattern to fit (see `patterns_first`) and is taken up with
    the pattern at which the next one begins, whether it was ready before or is waited for: so a
    replay says the same at the same frames, however fast it goes.

    Parameters
    ----------
    tracker : PhaseTracker
    every : int
        Patterns between judgements, at least 1.
    window : int
        Patterns that each looks back, at least 2; of more than 16 an even choice is weighed.

    Raises
    ------
    ValueError
        For numbers below these.
    """

    def __init__(self, tracker: PhaseTracker, every: int, window: int) -> None:
        check(every, window)
        self.tracker = tracker
        self.every = every
        self._last: deque[Kept] = deque(maxlen=window)
        self._count = 0
        self._thread = ThreadPoolExecutor(1, "flyback-verdict")
        self._running: tuple[Future[dict[str, Quantity]], int] | None = None
        self._may_judge = threading.Event()
        self._may_judge.set()
        self._told = UNDECIDED
        self._verdicts: list[str] = []
        self._phases: list[str] = []
        self._at: list[int] = []

    def add(
        self, pattern: np.ndarray, sigma: np.ndarray | None, tracked: Tracked, index: int
    ) -> list[Event]:
        """Take in a fitted pattern and return an event where the verdict is another than before.

        Parameters
        ----------
        pattern, sigma : (bins,) float64
        tracked : Tracked
        index : int
            The pattern's scan index.
        """
        self._last.append(Kept(pattern.copy(), sigma, tracked, self.tracker.theta.copy()))
        self._count += 1
        if self._count % self.every:
            return []
        events = self.settle()
        verdicts = Verdicts(self.tracker)
        verdicts.kept = _evenly(list(self._last), MOST_FRAMES)
        self._running = (self._thread.submit(verdicts.judge, self._may_judge.wait), index)
        return events

    @contextmanager
    def patterns_first(self) -> Iterator[None]:
        """Have judgements wait: a frame is being fitted, and rules wait for it."""
        self._may_judge.clear()
        try:
            yield
        finally:
            self._may_judge.set()

    def settle(self) -> list[Event]:
        """Wait for the judgement that is under way, if there is one, and return its event."""
        if self._running is None:
            return []
        future, index = self._running
        self._running = None
        self._may_judge.set()
        found = future.result()
        verdict, about = str(found["verdict"].value), str(found["verdict_phase"].value)
        self._verdicts.append(verdict)
        self._phases.append(about)
        self._at.append(index)
        if verdict == self._told:
            return []
        self._told = verdict
        return [Event(EVENT, index, verdict, {"phase": about})]

    @property
    def result_(self) -> dict[str, Quantity]:
        """Each judgement so far.

        Returns
        -------
        dict
            ``window_verdict``, ``window_verdict_phase`` and ``window_end_index`` (judgements,).
        """
        by = ("judgement",)
        return {
            "window_verdict": Quantity(list(self._verdicts), "", by),
            "window_verdict_phase": Quantity(list(self._phases), "", by),
            "window_end_index": Quantity(np.array(self._at, np.int64), "", by),
        }


def check(every: int, window: int) -> None:
    """Look at the settings.

    Raises
    ------
    ValueError
        When one is too small.
    """
    if every < 1:
        raise ValueError(f"verdict_every must be at least 1 frame, or 0 for none, got {every}")
    if window < 2:
        raise ValueError(f"verdict_window must be at least 2 frames, got {window}")


def _evenly(kept: Sequence[Kept], most: int) -> list[Kept]:
    rows = np.unique(np.linspace(0, len(kept) - 1, most).round().astype(int))
    return [kept[row] for row in rows]
