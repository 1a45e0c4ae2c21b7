"""Counting rates of a detector that is dead for a while after each photon.

Extending (paralysable): each photon, counted or not, begins the dead time anew, m = n exp(-n t).
Non-extending: only counted ones do, m = n / (1 + n t). Knoll, Radiation Detection and Measurement,
4th ed., chapter 4.VII.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import lambertw

DeadTime = Literal["extending", "non_extending"]


def output_rate(input_rate: np.ndarray | float, dead_time_s: float, kind: DeadTime) -> np.ndarray:
    """Return the rate of counted photons.

    Parameters
    ----------
    input_rate : (...) float, 1/s
        Of photons that arrive.
    dead_time_s : float, s
    kind : "extending" or "non_extending"

    Returns
    -------
    (...) float64, 1/s
    """
    check(dead_time_s, kind)
    n = np.asarray(input_rate, float)
    if kind == "extending":
        return n * np.exp(-n * dead_time_s)
    return n / (1 + n * dead_time_s)


def input_rate(output_rate: np.ndarray | float, dead_time_s: float, kind: DeadTime) -> np.ndarray:
    """Return the rate of photons that arrive: the lower one, where an extending one has two.

    Parameters
    ----------
    output_rate : (...) float, 1/s
        Of photons that were counted.
    dead_time_s : float, s
    kind : "extending" or "non_extending"

    Returns
    -------
    (...) float64, 1/s
        NaN where no rate gives so many counts.
    """
    check(dead_time_s, kind)
    m = np.asarray(output_rate, float)
    if dead_time_s == 0:
        return m.copy()
    x = m * dead_time_s
    if kind == "extending":
        possible = x <= np.exp(-1)
        found = -lambertw(-np.where(possible, x, 0.0)).real / dead_time_s
    else:
        possible = x < 1
        found = m / np.where(possible, 1 - x, 1.0)
    return np.where(possible, found, np.nan)


def check(dead_time_s: float, kind: str) -> None:
    """Look at a dead time.

    Raises
    ------
    ValueError
        When it is negative or of an unknown kind.
    """
    if not 0 <= dead_time_s < np.inf:
        raise ValueError(
            f"the dead time must not be negative, and finite, got {dead_time_s * 1e6:g} us"
        )
    if kind not in ("extending", "non_extending"):
        raise ValueError(f"dead_time is 'extending' or 'non_extending', not {kind!r}")
