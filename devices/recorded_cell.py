"""A cell's log as a device: a run collects its samples as it would a potentiostat's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ophyd import Device

from ..models.time_axis import Clock
from .cell_log import CellLog
from .cell_log_capacity import summed_mah
from .signals import number_key

_PAGE_ROWS = 5000
_UNITS = {"utc_s": "s", "device_time_s": "s", "voltage_v": "V"}
_UNITS |= {"current_ma": "mA", "capacity_mah": "mAh", "capacity_cycler_mah": "mAh"}


class RecordedCell(Device):
    """Gives a cell log to the run that collects it.

    Its data keys are those of `Potentiostat`: ``cell_utc_s``, ``cell_device_time_s`` (since the
    test's start), ``cell_voltage_v``, ``cell_current_ma``, ``cell_capacity_mah`` (the current
    summed by trapezoids since the log's first sample), and ``cell_cycle_count``,
    ``cell_step_count`` and ``cell_capacity_cycler_mah`` (the cycler's own count) where the log
    has them.

    Parameters
    ----------
    name : str
    log : CellLog
    clock : Clock, optional
        How the cycler's clock lies; its times are turned into ours.

    Attributes
    ----------
    clock : str
        What told the zone of the log's times.
    fitted : Clock or None

    Raises
    ------
    ValueError
        When the log does not say when it began.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str = "cell",
        log: CellLog,
        clock: Clock | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        if log.start_utc_s is None:
            raise ValueError(
                "the cell log does not say when it began, so it cannot be joined by time; give it "
                "the column Unix Time / s"
            )
        utc_s = log.start_utc_s + log.time_s
        self._columns = {
            "utc_s": utc_s if clock is None else clock.time_s(utc_s),
            "device_time_s": log.time_s,
            "voltage_v": log.voltage_v,
            "current_ma": log.current_a * 1e3,
            "capacity_mah": summed_mah(log.time_s, log.current_a),
            **log.counts,
        }
        if log.capacity_mah is not None:
            self._columns["capacity_cycler_mah"] = log.capacity_mah
        self.clock, self.fitted = log.clock, clock
        self._collected = False

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Return the data keys of the samples."""
        described = {}
        for name, values in self._columns.items():
            example = values[0].item()
            described[f"{self.name}_{name}"] = {
                "source": f"LOG:{self.name}",
                "dtype": "integer" if isinstance(example, int) else "number",
                "shape": [],
                **number_key(example, units=_UNITS.get(name, "")),
            }
        return described

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Yield the samples in pages of events, once."""
        if not self._collected:
            self._collected = True
            yield from self.pages()

    def pages(self) -> Iterator[dict[str, Any]]:
        """Yield all samples in pages of events."""
        for start in range(0, len(self._columns["utc_s"]), _PAGE_ROWS):
            rows = slice(start, start + _PAGE_ROWS)
            times = self._columns["utc_s"][rows].tolist()
            data = {f"{self.name}_{k}": v[rows].tolist() for k, v in self._columns.items()}
            yield {"data": data, "timestamps": dict.fromkeys(data, times), "time": times}
