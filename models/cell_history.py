"""A cell's history while it is cycled: charge, composition, dQ/dV of each half cycle, its peaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from .base import Batch, Event, Quantity
from .electrochemistry import differential_capacity, lithium_per_platinum, passed_charge_mah

PEAK = "dqdv_peak"
MOST_BINS = 5000


@dataclass
class _Half:
    """A half cycle so far: its samples, and the peak that it looks for, bin by bin."""

    sign: float
    voltage_v: list[float] = field(default_factory=list)
    charge_mah: list[float] = field(default_factory=list)
    bin: int | None = None
    in_bin_mah: float = 0.0
    highest: float = 0.0
    highest_bin: int = 0
    passed_mah: float = 0.0
    bins: int = 0


class CellHistory:
    """Samples of a cell in, its history out.

    Parameters
    ----------
    n_pt_mol : float, mol, optional
        Platinum that takes part; x in LixPt is given where it is known.
    x_start : float
        x at the first sample.
    bin_v : float, V
        Width of the bins of dQ/dV.
    peak_over_mean : float
        A peak stands so high over the half cycle's mean dQ/dV before it is one. Flat plateaus are
        peaks as well.
    rest_ma : float, mA
        A smaller current is rest and belongs to no half cycle.

    Attributes
    ----------
    events_ : list of Event
        ``dqdv_peak``: told when the voltage has left a peak and dQ/dV has fallen to half of it.

    Raises
    ------
    ValueError
        For a width that is not positive.
    """

    def __init__(
        self,
        *,
        n_pt_mol: float | None = None,
        x_start: float = 0.0,
        bin_v: float = 0.01,
        peak_over_mean: float = 2.0,
        rest_ma: float = 0.0,
    ) -> None:
        if not 1e-4 <= bin_v <= 1:
            raise ValueError(f"bin_v must lie between 0.0001 and 1 V, not {bin_v!r}.")
        if not peak_over_mean > 1:
            raise ValueError(f"peak_over_mean must be more than 1, not {peak_over_mean!r}.")
        if not rest_ma >= 0:
            raise ValueError(f"rest_ma must not be negative, got {rest_ma!r} mA.")
        self.n_pt_mol, self.x_start = n_pt_mol, x_start
        self.bin_v, self.peak_over_mean, self.rest_ma = bin_v, peak_over_mean, rest_ma
        self.events_: list[Event] = []
        self._rows: list[np.ndarray] = []
        self._halves: list[_Half] = []
        self._last: tuple[float, float, float] | None = None
        self._charge_mah = 0.0

    def partial_fit(self, batch: Batch) -> Self:
        """Take in the next samples: ``frames`` (n, 2) V and mA, ``time_s`` beside them.

        Charge is counted by ``device_time_s``, the cell's own clock, where that is there.
        """
        time_s = np.asarray(batch.coordinates["time_s"], float)
        clock_s = np.asarray(batch.coordinates.get("device_time_s", time_s), float)
        rows = np.column_stack([clock_s, np.asarray(batch.frames, float), time_s])
        self._rows.append(rows)
        for index, (clock, volt, current, _) in zip(batch.scan_index, rows.tolist(), strict=True):
            self._sample(int(index), clock, volt, current)
        return self

    @property
    def result_(self) -> dict[str, Quantity]:
        """History by sample, dQ/dV by half cycle."""
        rows = np.concatenate(self._rows) if self._rows else np.empty((0, 4))
        clock_s, voltage_v, current_ma, time_s = rows.T
        # clocks that step back are no reason to lose the rest
        charge = passed_charge_mah(np.maximum.accumulate(clock_s), np.nan_to_num(current_ma))
        result = {
            "time_s": Quantity(time_s, "s", ("sample",)),
            "clock_s": Quantity(clock_s, "s", ("sample",)),
            "voltage_v": Quantity(voltage_v, "V", ("sample",)),
            "current_ma": Quantity(current_ma, "mA", ("sample",)),
            "charge_mah": Quantity(charge, "mAh", ("sample",)),
            "n_samples": Quantity(len(time_s)),
        }
        if self.n_pt_mol is not None:
            x = lithium_per_platinum(charge, self.n_pt_mol, start=self.x_start)
            result["lithium_per_platinum"] = Quantity(x, "", ("sample",))
        peaks = [event.says for event in self.events_]
        for key in ("voltage_v", "dqdv_mah_per_v"):
            values = np.array([float(says[key]) for says in peaks])
            result[f"peak_{key}"] = Quantity(values, key.split("_", 1)[1], ("peak",))
        return result | self._curves()

    def _curves(self) -> dict[str, Quantity]:
        """Return dQ/dV of each half cycle on common bins."""
        halves = [half for half in self._halves if len(half.voltage_v) > 1]
        if not halves:
            return {}
        low = min(min(half.voltage_v) for half in halves)
        high = max(max(half.voltage_v) for half in halves)
        first, last = int(np.floor(low / self.bin_v)), int(np.ceil(high / self.bin_v))
        edges = np.arange(first, max(last, first + 1) + 1)[: MOST_BINS + 1] * self.bin_v
        curves = [
            differential_capacity(np.array(half.voltage_v), np.array(half.charge_mah), edges)
            for half in halves
        ]
        return {
            "dqdv_voltage_v": Quantity((edges[1:] + edges[:-1]) / 2, "V", ("bin",)),
            "dqdv_mah_per_v": Quantity(np.stack(curves), "mAh/V", ("half_cycle", "bin")),
            "half_cycle_sign": Quantity(np.array([h.sign for h in halves]), "", ("half_cycle",)),
        }

    def _sample(self, index: int, time: float, volt: float, current: float) -> None:
        if not (np.isfinite(volt) and np.isfinite(current) and np.isfinite(time)):
            return
        before, self._last = self._last, (time, volt, current)
        if before is None:
            return
        passed = 0.5 * (before[2] + current) * max(time - before[0], 0.0) / 3600
        self._charge_mah += passed
        if abs(current) <= self.rest_ma:
            return
        sign = float(np.sign(current))
        if not self._halves or self._halves[-1].sign != sign:
            self._halves.append(_Half(sign))
        half = self._halves[-1]
        half.voltage_v.append(volt)
        half.charge_mah.append(self._charge_mah)
        self._look(half, index, volt, abs(passed))

    def _look(self, half: _Half, index: int, volt: float, passed_mah: float) -> None:
        """Add to the bin that the voltage is in; a bin that it has left may end a peak."""
        here = int(np.floor(volt / self.bin_v))
        half.passed_mah += passed_mah
        if half.bin is None:
            half.bin = here
        onward = (here - half.bin) * half.sign
        if onward <= 0:  # noise takes the voltage back
            half.in_bin_mah += passed_mah
            return
        height = half.in_bin_mah / (self.bin_v * onward)
        half.bins += int(onward)
        if height > half.highest:
            half.highest, half.highest_bin = height, half.bin
        mean = half.passed_mah / (half.bins * self.bin_v)
        if height < half.highest / 2 and half.highest > self.peak_over_mean * mean:
            says = {
                "voltage_v": (half.highest_bin + 0.5) * self.bin_v,
                "dqdv_mah_per_v": half.highest * half.sign,
                "charge_mah": self._charge_mah,
            }
            subject = "charge" if half.sign > 0 else "discharge"
            self.events_.append(Event(PEAK, index, subject, says))
            half.highest = 0.0
        half.bin, half.in_bin_mah = here, passed_mah
