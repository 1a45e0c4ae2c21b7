"""What a cell did while frames were taken: its samples, and their values at the frames' times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..models.base import Batch, Quantity

UNITS = {"voltage_v": "V", "current_ma": "mA", "capacity_mah": "mAh", "device_time_s": "s"}
UNITS |= {"capacity_cycler_mah": "mAh"}
COUNTS = ("cycle_count", "step_count")
LONGEST_GAP = 5.0
"""A frame lies in a gap of the log where its samples are so many usual intervals apart."""


class CellSamples:
    """Collect a cell's samples from a run's documents.

    They are the events of the stream whose data keys end in ``_voltage_v`` and ``_current_ma``;
    ``_capacity_mah``, ``_device_time_s``, ``_cycle_count`` and ``_step_count`` are taken too where
    they are there. A stream of the device's own name comes before one that detectors share with
    it, and the baseline is none. Where it has ``_utc_s``, that is when a sample was taken: the
    time of an event is when the run collected it.

    Attributes
    ----------
    device : str or None
        Name of the potentiostat, once its stream was described.
    """

    def __init__(self) -> None:
        self.device: str | None = None
        self._descriptor: str | None = None
        self._own_stream = False
        self._clock: str | None = None
        self._columns: dict[str, list[float]] = {}
        self._times: list[float] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take in one document."""
        if name == "descriptor" and not self._own_stream:
            self._describe(doc)
        elif name == "event" and doc["descriptor"] == self._descriptor:
            self._add([doc["time"]], {key: [value] for key, value in doc["data"].items()})
        elif name == "event_page" and doc["descriptor"] == self._descriptor:
            self._add(doc["time"], doc["data"])

    def __len__(self) -> int:
        return len(self._times)

    def at(self, time_s: np.ndarray) -> dict[str, np.ndarray]:
        """Return what the cell showed at these times.

        Parameters
        ----------
        time_s : (n,) float64, s since the epoch

        Returns
        -------
        dict of str to (n,) float64
            Voltage, current and capacity between the samples on either side, counts of the
            sample before. NaN before the first sample, after the last, and in a gap of the log.
        """
        time_s = np.asarray(time_s, float)
        if not self._times:
            return {}
        order = np.argsort(self._times, kind="stable")
        known = np.asarray(self._times)[order]
        after = np.clip(np.searchsorted(known, time_s, side="left"), 1, max(len(known) - 1, 1))
        inside = (time_s >= known[0]) & (time_s <= known[-1])
        if len(known) > 1:
            apart = np.diff(known)
            inside &= apart[after - 1] <= LONGEST_GAP * np.median(apart)
        found = {}
        for name, column in self._columns.items():
            values = np.asarray(column, float)[order]
            if name in COUNTS:
                last = np.clip(np.searchsorted(known, time_s, side="right") - 1, 0, None)
                there = values[last]
            else:
                there = np.interp(time_s, known, values)
            found[name] = np.where(inside, there, np.nan)
        return found

    def beside(self, result: Mapping[str, Quantity]) -> dict[str, Quantity]:
        """Return a result with what the cell showed at each of its frames.

        A result without ``time_s`` of its frames, and one of a run without a cell, stays as it is.
        """
        times = result.get("time_s")
        if times is None or times.dims != ("frame",) or not self._times:
            return dict(result)
        found = self.at(times.value)
        joined = dict(result)
        for name, values in found.items():
            joined.setdefault(name, Quantity(values, UNITS.get(name, ""), ("frame",)))
        without = int(np.count_nonzero(np.isnan(found["voltage_v"])))
        if without:
            flags = list(result["flags"].value) if "flags" in result else []
            flags.append(f"{without} of {len(times.value)} frames have no sample of the cell")
            joined["flags"] = Quantity(flags, "", ("flag",))
        return joined

    def since(self, first: int) -> Batch:
        """Return the samples from one on: ``frames`` (n, 2) are V and mA.

        Beside them ``time_s`` since the epoch, and ``device_time_s`` by the cell's own clock where
        it has one: a simulated cell may run faster than the clock on the wall.
        """
        volt, current = (self._columns.get(k, [])[first:] for k in ("voltage_v", "current_ma"))
        frames = np.column_stack([np.asarray(volt, float), np.asarray(current, float)])
        index = np.arange(first, first + len(frames))
        times = {"time_s": np.asarray(self._times[first:], float)}
        if "device_time_s" in self._columns:
            times["device_time_s"] = np.asarray(self._columns["device_time_s"][first:], float)
        return Batch(frames, index, times)

    def _describe(self, doc: Mapping[str, Any]) -> None:
        keys = doc["data_keys"]
        for key, data_key in keys.items():
            device = key.removesuffix("_voltage_v")
            whole = device != key and f"{device}_current_ma" in keys
            if not whole or "external" in data_key:
                continue
            self._own_stream = doc.get("name") == device
            if doc.get("name") == "baseline" or (self.device and not self._own_stream):
                return
            self.device, self._descriptor = device, doc["uid"]
            self._clock = f"{device}_utc_s" if f"{device}_utc_s" in keys else None
            self._times = []
            names = [*UNITS, *COUNTS]
            self._columns = {name: [] for name in names if f"{device}_{name}" in keys}
            return

    def _add(self, times: Any, data: Mapping[str, Any]) -> None:
        taken = times if self._clock is None else data[self._clock]
        self._times += np.asarray(taken, float).tolist()
        for name, column in self._columns.items():
            column += [float(value) for value in data[f"{self.device}_{name}"]]


class SampleSource:
    """Documents in, a cell's samples out: for analyses of the cell itself.

    It stands where `FrameSource` stands for analyses of frames.

    Attributes
    ----------
    through : int
        All samples below this were handed on.
    """

    def __init__(self) -> None:
        self.rings: list[Any] = []
        self.camera: str | None = None
        self.through = 0
        self._samples = CellSamples()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> Iterator[Batch]:
        """Take in one document and yield the samples that it brings."""
        self._samples(name, doc)
        if len(self._samples) > self.through:
            batch = self._samples.since(self.through)
            self.through = len(self._samples)
            yield batch

    def close(self) -> None:
        """Do nothing: samples lie in the documents."""
