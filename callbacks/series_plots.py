"""Pictures of series: patterns against time beside the voltage, and shares against charge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.base import Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS, MOST_BINS = 600, 900
AXES = {"q_per_a": "q, 1/Å", "two_theta_deg": "2θ, degrees", "radial_mm": "radius, mm"}
# result: (its names, label of its axis)
SHARES = {
    "volume": ("names", "share of the volume"),
    "area": ("elements", "counts in the lines"),
}


def series(result: Mapping[str, Quantity]) -> list[str]:
    """Return the results by frame that can be drawn."""
    drawable = []
    if "intensity" in result and _bins(result) is not None:
        drawable.append("intensity")
    for key, (names, _) in SHARES.items():
        if key in result and names in result and np.ndim(result[key].value) == 2:
            drawable.append(key)
    return [key for key in drawable if len(result[key].value) > 1]


def draw_series(figure: Figure, result: Mapping[str, Quantity], title: str) -> bool:
    """Draw the series of a result one beside the other; return whether there were any.

    Parameters
    ----------
    figure : matplotlib Figure
    result : mapping of str to Quantity
        ``time_s`` (s since the epoch), ``voltage_v`` and ``capacity_mah`` by frame are used where
        they are there.
    title : str
    """
    found = series(result)
    figure.clear()
    if not found:
        return False
    parts = figure.subfigures(1, len(found), squeeze=False)[0]
    for part, key in zip(parts, found, strict=True):
        drawing: Callable[[Any, str, Mapping[str, Quantity]], None] = (
            _draw_patterns if key == "intensity" else _draw_shares
        )
        drawing(part, key, result)
    figure.suptitle(title, fontsize=9)
    return True


def _bins(result: Mapping[str, Quantity]) -> tuple[str, np.ndarray] | None:
    shape = np.shape(result["intensity"].value)
    for name in AXES:
        if name in result and len(shape) == 2 and np.shape(result[name].value) == shape[1:]:
            return name, np.asarray(result[name].value, float)
    return None


def _clock(result: Mapping[str, Quantity], n: int) -> tuple[np.ndarray, str]:
    """Return the time of each frame since the first, or its number.

    The cell's own clock counts, where it has one: a simulated cell may run faster than ours.
    """
    for name in ("device_time_s", "time_s"):
        if name in result and np.shape(result[name].value) == (n,):
            times = np.asarray(result[name].value, float)
            if not np.isfinite(times).all():
                continue
            since = times - times.min()
            return (since / 3600, "time, h") if since.max() > 7200 else (since, "time, s")
    return np.arange(n, dtype=float), "frame"


def _voltage(result: Mapping[str, Quantity], n: int) -> np.ndarray | None:
    if "voltage_v" not in result or np.shape(result["voltage_v"].value) != (n,):
        return None
    voltage = np.asarray(result["voltage_v"].value, float)
    return voltage if np.isfinite(voltage).any() else None


def _draw_patterns(figure: Any, key: str, result: Mapping[str, Quantity]) -> None:
    """Draw intensity against the bins and time, and the voltage on the same time axis."""
    value = np.asarray(result[key].value, float)
    name, axis = _bins(result) or ("", np.arange(value.shape[1], dtype=float))
    clock, label = _clock(result, len(value))
    voltage = _voltage(result, len(value))
    rows = np.linspace(0, len(value) - 1, min(len(value), MOST_ROWS)).round().astype(int)
    columns = slice(None, None, max(1, value.shape[1] // MOST_BINS))
    shown = np.sqrt(np.clip(value[rows, columns], 0, None))  # weak lines beside strong ones
    finite = shown[np.isfinite(shown)]
    low, high = np.percentile(finite, [2, 99.7]) if finite.size else (0.0, 1.0)
    if voltage is None:
        axes: Axes = figure.subplots()
    else:
        axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        beside.plot(voltage, clock, color="tab:blue", lw=1)
        beside.set_xlabel("voltage, V", fontsize=8)
        beside.tick_params(labelsize=7)
    axes.pcolormesh(
        axis[columns],
        clock[rows],
        shown,
        cmap="magma",
        vmin=low,
        vmax=max(high, low + 1e-12),
        shading="nearest",
        rasterized=True,
    )
    axes.set_ylim(clock[-1], clock[0])
    axes.set_xlabel(AXES.get(name, "bin"), fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.set_title("square root of the intensity", fontsize=9)
    axes.tick_params(labelsize=7)


def _draw_shares(figure: Any, key: str, result: Mapping[str, Quantity]) -> None:
    """Draw one line for each phase or element with its sigma, against charge or time."""
    value = np.asarray(result[key].value, float)
    names, label = SHARES[key]
    sigma = result.get(f"{key}_sigma")
    voltage = _voltage(result, len(value))
    along, below = _clock(result, len(value))
    charge = result.get("capacity_mah")
    if charge is not None and np.isfinite(np.asarray(charge.value, float)).any():
        along, below = np.asarray(charge.value, float), "charge, mAh"
    if voltage is None:
        axes: Axes = figure.subplots()
    else:
        axes, beside = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        beside.plot(along, voltage, color="tab:blue", lw=1)
        beside.set_ylabel("voltage, V", fontsize=8)
        beside.set_xlabel(below, fontsize=8)
        beside.tick_params(labelsize=7)
    for k, name in enumerate(result[names].value):
        (line,) = axes.plot(along, value[:, k], lw=1, label=str(name))
        if sigma is not None:
            spread = np.asarray(sigma.value, float)[:, k]
            axes.fill_between(
                along,
                value[:, k] - spread,
                value[:, k] + spread,
                color=line.get_color(),
                alpha=0.25,
                linewidth=0,
            )
    axes.set_ylabel(label, fontsize=8)
    if voltage is None:
        axes.set_xlabel(below, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
