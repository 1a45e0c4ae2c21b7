"""Soft signals that say their unit, their limits and how numpy stores them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from ophyd import Signal
from ophyd.utils import LimitError


class UnitSignal(Signal):
    """A number with a unit and limits.

    Parameters
    ----------
    value : float, int or str
    units : str
        Written into the data key; "" for a pure number.
    limits : (low, high), in `units`, or None
    precision : int
        Digits after the decimal point that are worth showing.
    """

    def __init__(
        self,
        *,
        value: Any = 0.0,
        units: str = "",
        limits: tuple[float, float] | None = None,
        precision: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(value=value, **kwargs)
        self.units = units
        self._range = limits
        self.precision = precision

    @property
    def limits(self) -> tuple[float, float]:
        """(low, high) in `units`; equal numbers mean no limit."""
        return self._range or (0.0, 0.0)

    def get(self, **kwargs: Any) -> Any:
        """Return the value."""
        return super().get(**kwargs)

    def check_value(self, value: Any) -> None:
        """Refuse what is outside the limits.

        Raises
        ------
        ophyd.utils.LimitError
        """
        super().check_value(value)
        if self._range is not None and not self._range[0] <= value <= self._range[1]:
            raise LimitError(
                f"{self.name} = {value} {self.units} is outside {self._range[0]:g} to "
                f"{self._range[1]:g} {self.units}"
            )

    def put(self, value: Any, **kwargs: Any) -> None:
        """Write a value after checking its limits."""
        self.check_value(value)
        super().put(value, **kwargs)

    def describe(self) -> dict[str, Any]:
        """Return the data key, with `units`, limits and `dtype_numpy`."""
        described = super().describe()
        described[self.name] |= number_key(
            self.get(), units=self.units, limits=self._range, precision=self.precision
        )
        return described


class ReadOnlySignal(UnitSignal):
    """A `UnitSignal` that its own device writes with `report` and nobody else."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._metadata["write_access"] = False

    def put(self, value: Any, **kwargs: Any) -> None:
        """Refuse.

        Raises
        ------
        ophyd.utils.ReadOnlyError
        """
        Signal.put(self, value, **kwargs)

    def report(self, value: Any) -> None:
        """Write a new value and tell the subscribers."""
        Signal.put(self, value, force=True)


def number_key(
    value: Any,
    *,
    units: str,
    limits: tuple[float, float] | None = None,
    precision: int | None = None,
) -> dict[str, Any]:
    """Return the parts of a data key that belong to a number: unit, limits and `dtype_numpy`.

    Parameters
    ----------
    value : number or str
        An example, for its type.
    units : str
    limits : (low, high), in `units`, or None
    precision : int or None
    """
    key: dict[str, Any] = {"units": units}
    if isinstance(value, bool):
        key["dtype_numpy"] = "|b1"
    elif isinstance(value, (int, np.integer)):
        key["dtype_numpy"] = "<i8"
    elif isinstance(value, (float, np.floating)):
        key["dtype_numpy"] = "<f8"
        if precision is not None:
            key["precision"] = precision
    if limits is not None and all(math.isfinite(limit) for limit in limits):
        key |= {
            "lower_ctrl_limit": limits[0],
            "upper_ctrl_limit": limits[1],
            "limits": {"control": {"low": limits[0], "high": limits[1]}},
        }
    return key
