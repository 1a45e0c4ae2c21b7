"""The cycler's own count of charge, whatever it is called, beside the current summed over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

COULOMB_IN_MAH = 1 / 3.6
AGREED = 0.02
"""Share of the charge passed by which the two may differ without a word of warning."""


def net_mah(charged: np.ndarray, discharged: np.ndarray) -> np.ndarray:
    """Return the net charge since the first sample from two counters.

    Cyclers set them back to zero at each step or cycle; what is passed after that is added.

    Parameters
    ----------
    charged, discharged : (n,) float64, mAh
        Neither ever falls but to begin anew.

    Returns
    -------
    (n,) float64, mAh
        Charging is positive.
    """
    return _passed(charged) - _passed(discharged)


def _passed(counter: np.ndarray) -> np.ndarray:
    counter = np.nan_to_num(np.asarray(counter, float))
    steps = np.diff(counter, prepend=counter[:1])
    return np.cumsum(np.where(steps < 0, counter, steps))


def summed_mah(time_s: np.ndarray, current_a: np.ndarray) -> np.ndarray:
    """Return the current summed by trapezoids since the first sample, (n,) float64, mAh."""
    steps = np.diff(time_s) * 0.5 * (current_a[1:] + current_a[:-1])
    return np.concatenate([[0.0], np.cumsum(steps)]) * COULOMB_IN_MAH


def compared(
    time_s: np.ndarray, current_a: np.ndarray, capacity_mah: np.ndarray
) -> tuple[float, str]:
    """Return how far the cycler's capacity is off the integral of its current, and say so.

    Parameters
    ----------
    time_s : (n,) float64, s
    current_a : (n,) float64, A
    capacity_mah : (n,) float64, mAh
        Net, charging positive.

    Returns
    -------
    float
        Largest difference over all charge that was passed; NaN where none was.
    str
    """
    summed = summed_mah(time_s, current_a)
    passed = summed_mah(time_s, np.abs(current_a))[-1]
    if not passed > 0:
        return float("nan"), "capacity: the cycler counts, but no current flowed"
    off = float(np.nanmax(np.abs(capacity_mah - capacity_mah[0] - summed)) / passed)
    if off <= AGREED:
        return off, f"capacity: the cycler's and the integral of current agree to {off:.2%}"
    return off, (
        f"capacity: the cycler's and the integral of current differ by up to {off:.1%} of the "
        "charge passed; look at the sign of the current and at how often it was logged"
    )


def of_columns(columns: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the net capacity that a table's columns hold, (n,) float64, mAh, or None.

    Parameters
    ----------
    columns : mapping of str to (n,) float64
        ``net_mah``, or ``charged_mah`` with ``discharged_mah``.
    """
    if "net_mah" in columns:
        values = np.asarray(columns["net_mah"], float)
        return values - values[0] if len(values) and np.isfinite(values).all() else None
    pair = [columns.get(name) for name in ("charged_mah", "discharged_mah")]
    if pair[0] is None or pair[1] is None:
        return None
    return net_mah(pair[0], pair[1])
