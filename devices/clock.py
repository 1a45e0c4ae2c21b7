"""The one clock of a simulated or recorded scan, shared by the coils and the cameras.

Coils start it; cameras take the points that have passed. It can run at the pace of the dwell, at
another rate, or as fast as the slowest camera takes the frames.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable

import numpy as np


def rate_of(value: float | str) -> float:
    """Read a playback rate.

    Parameters
    ----------
    value : float or str
        "real" (0: the pace of the dwell or the recording), "max" (infinity) or a number, Hz.

    Raises
    ------
    ValueError
        When it is none of these.
    """
    named = {"real": 0.0, "max": math.inf}
    try:
        rate = named[value] if isinstance(value, str) and value in named else float(value)
    except ValueError:
        rate = math.nan
    if not rate >= 0:
        raise ValueError(f"a playback rate is 'real', 'max' or a number in Hz, not {value!r}.")
    return rate


# A camera takes points in blocks of so many, or after so long: each block is written and flushed,
# and a chunk of the file that is flushed half full is compressed once more when it is whole.
_BLOCK = 64
_LINGER_S = 0.02


class ScanClock:
    """Counts the points of a scan that have passed.

    Parameters
    ----------
    rate : float or str
        See `rate_of`.
    """

    def __init__(self, rate: float | str = "real") -> None:
        self.rate = rate_of(rate)
        self.runs = 0
        self.first_index = 0
        self._times = np.empty(0)
        self._began = 0.0
        self._epoch = 0.0
        self._held_since: float | None = None
        self._running = False
        self._taken: dict[Hashable, int] = {}
        self._from_run: dict[Hashable, int] = {}
        self._changed = threading.Condition()

    @property
    def held(self) -> bool:
        """Whether the clock stands still for a pause."""
        return self._held_since is not None

    @property
    def running(self) -> bool:
        """Whether a scan has been started and not stopped."""
        return self._running

    def start(self, times_s: np.ndarray, first_index: int = 0) -> None:
        """Start a scan.

        Parameters
        ----------
        times_s : (n,) float, s
            When each point ends, counted from the start.
        first_index : int
            Index of the first point.
        """
        with self._changed:
            n = len(times_s)
            paced = 0 < self.rate < math.inf
            self._times = np.arange(1, n + 1) / self.rate if paced else np.asarray(times_s, float)
            self.first_index = first_index
            self._began, self._epoch = time.monotonic(), time.time()
            self._held_since = None
            self._running = True
            self.runs += 1
            self._taken = dict.fromkeys(self._taken, 0)
            self._changed.notify_all()

    def stop(self) -> None:
        """End the scan; who waits is let go."""
        with self._changed:
            self._running = False
            self._changed.notify_all()

    def hold(self) -> None:
        """Let the clock stand still."""
        with self._changed:
            if self._running and self._held_since is None:
                self._held_since = time.monotonic()
            self._changed.notify_all()

    def release(self) -> None:
        """Let the clock go on."""
        with self._changed:
            if self._held_since is not None:
                pause = time.monotonic() - self._held_since
                self._began += pause
                self._epoch += pause
                self._held_since = None
            self._changed.notify_all()

    def join(self, who: Hashable) -> None:
        """Enter a camera, which will take the points of the next scan."""
        with self._changed:
            self._taken[who] = 0
            self._from_run[who] = self.runs + 1

    def leave(self, who: Hashable) -> None:
        """Take a camera out."""
        with self._changed:
            self._taken.pop(who, None)
            self._from_run.pop(who, None)
            self._changed.notify_all()

    def _passed(self) -> int:
        if math.isinf(self.rate):
            return len(self._times)
        now = self._held_since if self._held_since is not None else time.monotonic()
        return int(np.searchsorted(self._times, now - self._began, side="right"))

    @property
    def progress(self) -> int:
        """Points that have passed for everyone, since the scan's start."""
        with self._changed:
            taken = [self._taken[who] for who in self._taken if self._from_run[who] <= self.runs]
            return min([self._passed(), *taken])

    def wait_beyond(self, count: int, timeout_s: float) -> int:
        """Wait until more than `count` points have passed, and return how many have.

        Parameters
        ----------
        count : int
        timeout_s : float, s
        """
        deadline = time.monotonic() + timeout_s
        while (progress := self.progress) <= count and self._running:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            with self._changed:
                self._changed.wait(min(left, 0.02))
        return progress

    def take(
        self, who: Hashable, at_most: int, timeout_s: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Take the next points that have passed.

        Parameters
        ----------
        who : hashable
            As in `join`.
        at_most : int
        timeout_s : float, s

        Returns
        -------
        rows : (n,) int64
            Counted from the start of the scan.
        time_s : (n,) float64, s since the epoch
            When each ended. None instead of both where nothing passed in time.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                mine = self.runs >= self._from_run.get(who, self.runs + 1)
                done = self._taken.get(who, 0)
                if mine and self._running and not self.held:
                    passed = self._block_end(done, min(self._passed(), done + at_most))
                    if passed > done:
                        rows = np.arange(done, passed)
                        self._taken[who] = passed
                        self._changed.notify_all()
                        return rows, self._epoch + self._times[rows]
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(self._patience(mine, done, left))

    def _block_end(self, done: int, passed: int) -> int:
        """Return where the next block ends of the points from `done` to `passed`, or `done`."""
        whole = passed - passed % _BLOCK
        if passed == len(self._times) or passed == done:
            return passed
        if whole > done:
            return whole
        # the lock is held, and the clock runs: the first point has waited since it passed
        waited = time.monotonic() - self._began - self._times[done]
        return passed if math.isinf(self.rate) or waited >= _LINGER_S else done

    def _patience(self, mine: bool, done: int, left: float) -> float:
        if not mine or self.held or not self._running or done >= len(self._times):
            return left
        # wake when a block is full or its first point has waited, not for each point
        last = self._times[min(done - done % _BLOCK + _BLOCK, len(self._times)) - 1]
        until = self._began + min(last, self._times[done] + _LINGER_S) - time.monotonic()
        return min(left, max(until, 1e-4), 0.04)
