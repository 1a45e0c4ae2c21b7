"""The samples of a potentiostat on their way into the documents."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .potentiostat_records import FIELDS, HEADER
from .signals import number_key

# each column: what it is called in the documents, where it comes from, its unit and type
_IMPEDANCE = ("frequency_hz", "z_real_ohm", "z_imag_ohm")
_COLUMNS = {
    "sample_index": ("index", "", int),
    "device_time_s": ("time_s", "s", float),
    "monotonic_s": (None, "s", float),
    "utc_s": (None, "s", float),
    "voltage_v": ("voltage_v", "V", float),
    "current_ma": ("current_ma", "mA", float),
    "capacity_mah": ("capacity_mah", "mAh", float),
    "cycle_count": ("cycle", "", int),
    "step_count": ("step", "", int),
    "mode": ("mode", "", int),
    "flags": ("flags", "", int),
    "frequency_hz": ("frequency_hz", "Hz", float),
    "z_real_ohm": ("z_real_ohm", "ohm", float),
    "z_imag_ohm": ("z_imag_ohm", "ohm", float),
}


class SampleBuffer:
    """Keeps samples from the thread that fetches them until the run collects them.

    Parameters
    ----------
    name : str
        Of the device; it begins every data key.

    Attributes
    ----------
    next_index : int
        Of the sample that is expected next.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.next_index = 0
        self._impedance = False
        self._blocks: list[np.ndarray] = []
        self._lock = threading.Lock()

    def begin(self, *, impedance: bool) -> None:
        """Say whether the samples of the next protocol have an impedance."""
        self._impedance = impedance

    def clear(self) -> None:
        """Forget everything, for a new protocol."""
        with self._lock:
            self._blocks.clear()
        self.next_index = 0

    def append(self, rows: np.ndarray, monotonic_s: np.ndarray, utc_s: np.ndarray) -> None:
        """Keep some samples.

        Parameters
        ----------
        rows : (n, fields) float
            As of `samples_of`.
        monotonic_s, utc_s : (n,) float, s
            When they were taken, by this machine's clocks.
        """
        with self._lock:
            self._blocks.append(np.column_stack([rows, monotonic_s, utc_s]))
        self.next_index = int(rows[-1, 0]) + 1

    def _columns(self) -> dict[str, tuple[str | None, str, type]]:
        return {
            name: column
            for name, column in _COLUMNS.items()
            if self._impedance or name not in _IMPEDANCE
        }

    def describe(self, source: str) -> dict[str, dict[str, Any]]:
        """Return the data keys.

        Parameters
        ----------
        source : str
        """
        return {
            f"{self.name}_{name}": {
                "source": source,
                "dtype": "integer" if kind is int else "number",
                "shape": [],
                **number_key(kind(0), units=units),
            }
            for name, (_, units, kind) in self._columns().items()
        }

    def page(self) -> dict[str, Any] | None:
        """Return what has come since the last time as a page of events, or None."""
        with self._lock:
            blocks, self._blocks = self._blocks, []
        if not blocks:
            return None
        rows = np.concatenate(blocks)
        places = {field: place for place, field in enumerate((*FIELDS, "monotonic_s", "utc_s"))}
        utc_s = rows[:, places["utc_s"]].tolist()
        data = {
            f"{self.name}_{name}": rows[:, places[field or name]].astype(kind).tolist()
            for name, (field, _, kind) in self._columns().items()
        }
        return {"data": data, "timestamps": dict.fromkeys(data, utc_s), "time": utc_s}


def samples_of(flat: np.ndarray) -> np.ndarray:
    """Return the samples in the record that holds them.

    Parameters
    ----------
    flat : (numbers,) float
        `potentiostat_records.HEADER`, then the samples one after another.

    Returns
    -------
    (n, fields) float64
        Columns as of `potentiostat_records.FIELDS`.

    Raises
    ------
    ValueError
        When it is not that.
    """
    begin = len(HEADER)
    if len(flat) < begin or int(flat[3]) != len(FIELDS):
        raise ValueError(f"a sample must have {len(FIELDS)} numbers after a header of {begin}")
    end = begin + int(flat[2]) * len(FIELDS)
    if len(flat) < end:
        raise ValueError(f"the record of samples was cut off: {len(flat)} of {end} numbers")
    return flat[begin:end].reshape(-1, len(FIELDS))
