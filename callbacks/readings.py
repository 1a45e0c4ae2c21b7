"""Readings of one signal for the frames of a run, such as the beam's current: a monitor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Readings:
    """Collect a signal's readings from a run's documents, and give them out by frame.

    Where the signal was read with the frames, in events of the camera's own stream, a frame has
    the reading of its own event. Where it has a stream of its own (``bps.monitor``), the straight
    line between the readings before and after counts, and after the last one that one; such
    frames wait for the reading that follows them. A frame before the first has NaN.

    Parameters
    ----------
    wanted : str or None
        A data key, or a device of which the first number counts; None for no signal.

    Attributes
    ----------
    key : str or None
        The data key, once it was described.
    """

    def __init__(self, wanted: str | None) -> None:
        self.wanted = wanted
        self.key: str | None = None
        self._stream: str | None = None
        self._beside_frames = False
        self._by_event: dict[int, float] = {}
        self._last = 0
        self._times: list[float] = []
        self._values: list[float] = []

    def descriptor(self, doc: Mapping[str, Any], camera: str | None) -> None:
        """Find the signal; the stream with the camera's frames comes before all others.

        Parameters
        ----------
        doc : mapping
        camera : str or None
            Data key of the frames.
        """
        if self.wanted is None or self._beside_frames or doc.get("name") == "baseline":
            return
        keys = doc["data_keys"]
        beside = camera is not None and camera in keys
        if self.key is not None and not beside:
            return
        for name in (self.wanted, *doc.get("object_keys", {}).get(self.wanted, ())):
            described = keys.get(name, {})
            if described.get("dtype") in ("number", "integer") and not described.get("external"):
                self.key, self._stream, self._beside_frames = name, doc["uid"], beside
                self._times, self._values = [], []
                return

    def event(self, doc: Mapping[str, Any], seq_num: int, time: float, data: Any) -> None:
        """Take in one event, or one row of a page."""
        if self.key is None or doc["descriptor"] != self._stream or self.key not in data:
            return
        try:
            value = float(data[self.key])
        except (TypeError, ValueError):
            value = float("nan")
        if self._beside_frames:
            self._by_event[int(seq_num)] = value
            self._last = max(self._last, int(seq_num))
        else:
            self._times.append(float(time))
            self._values.append(value)

    def known_prefix(self, seq_nums: np.ndarray, times_s: np.ndarray | None) -> int:
        """Return how many of these frames, from the first on, have a reading that is final.

        Parameters
        ----------
        seq_nums : (n,) int64
        times_s : (n,) float64, s since the epoch, or None
            Where the run does not say when frames were taken.
        """
        n = len(seq_nums)
        if self.key is None or (not self._beside_frames and times_s is None):
            return n
        if self._beside_frames:
            late = np.flatnonzero(seq_nums > self._last)
        else:
            latest = max(self._times, default=-np.inf)
            late = np.flatnonzero(np.asarray(times_s) > latest)
        return int(late[0]) if len(late) else n

    def lookup(self, seq_nums: np.ndarray, times_s: np.ndarray | None) -> np.ndarray | None:
        """Return the readings of these frames, (n,) float64; None where there is no signal."""
        if self.key is None:
            return None
        if self._beside_frames:
            return np.array([self._by_event.get(int(s), np.nan) for s in seq_nums], float)
        if times_s is None or not self._times:
            return np.full(len(seq_nums), np.nan)
        order = np.argsort(self._times, kind="stable")
        known, values = np.asarray(self._times)[order], np.asarray(self._values)[order]
        return np.interp(np.asarray(times_s, float), known, values, left=np.nan)
