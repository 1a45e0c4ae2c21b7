"""Mass of an element from frame to frame against its first value, and how fast it changes."""

from __future__ import annotations

import numpy as np

from .base import Quantity

_SECONDS_AN_HOUR = 3600.0


def mass_balance(
    area: np.ndarray,
    sigma: np.ndarray,
    time_s: np.ndarray | None = None,
    *,
    first: int = 1,
    known: float | None = None,
) -> dict[str, Quantity]:
    """Return the mass of an element against its first value.

    The area of its lines is taken to be proportional to the mass that the beam sees, which holds
    for a thin film in a constant beam.

    Parameters
    ----------
    area, sigma : (n,) float64, counts
    time_s : (n,) float64, s, optional
    first : int
        Frames whose mean is the first value.
    known : float, ug/cm2, optional
        Areal density at the beginning.

    Returns
    -------
    dict of Quantity
        ``mass_ratio`` (n,) with ``mass_ratio_sigma``, the reference's own uncertainty included;
        with times, ``mass_change_per_h`` with its sigma, the slope of a weighted straight line;
        ``mass_drift_sigmas``, how many standard deviations the slope (without times, the last
        value) lies from none; ``mass_ug_cm2`` where the first is known.

    Raises
    ------
    ValueError
        When there is no first value to compare with.
    """
    seen = np.flatnonzero(np.isfinite(area))[: max(int(first), 1)]
    if not len(seen) or np.mean(area[seen]) <= 0:
        raise ValueError("the first frames show none of the element whose mass is asked for")
    weight = np.zeros(len(area))
    weight[seen] = 1 / len(seen)
    start = float(np.mean(area[seen]))
    ratio = area / start
    own = sigma / start
    reference = float(np.sqrt(np.sum((weight[seen] * own[seen]) ** 2)))
    # a frame that is part of the reference varies with it
    variance = own**2 + (ratio * reference) ** 2 - 2 * ratio * weight * own**2
    ratio_sigma = np.sqrt(np.maximum(variance, 0.0))
    out = {
        "mass_ratio": Quantity(ratio, "", ("frame",)),
        "mass_ratio_sigma": Quantity(ratio_sigma, "", ("frame",)),
    }
    use = np.isfinite(area) & (sigma > 0)
    if time_s is not None and use.sum() > 2 and np.ptp(time_s[use]) > 0:
        hours = (time_s[use] - time_s[use][0]) / _SECONDS_AN_HOUR
        w = 1 / own[use] ** 2
        middle = np.sum(w * hours) / np.sum(w)
        spread = np.sum(w * (hours - middle) ** 2)
        slope = float(np.sum(w * (hours - middle) * ratio[use]) / spread)
        slope_sigma = float(1 / np.sqrt(spread))
        out["mass_change_per_h"] = Quantity(slope, "1/h")
        out["mass_change_per_h_sigma"] = Quantity(slope_sigma, "1/h")
        out["mass_drift_sigmas"] = Quantity(slope / slope_sigma)
    elif use.any():
        last = int(np.flatnonzero(use)[-1])
        drift = (ratio[last] - 1) / ratio_sigma[last] if ratio_sigma[last] > 0 else 0.0
        out["mass_drift_sigmas"] = Quantity(float(drift))
    if known is not None:
        out["mass_ug_cm2"] = Quantity(known * ratio, "ug/cm2", ("frame",))
        out["mass_ug_cm2_sigma"] = Quantity(known * ratio_sigma, "ug/cm2", ("frame",))
    return out
