"""Mass of an element from frame to frame against its first value, and how fast it changes."""

from __future__ import annotations

from collections.abc import Mapping

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


def outside_crystals(
    in_beam: Mapping[str, Quantity], in_crystals: Mapping[str, Quantity]
) -> dict[str, Quantity]:
    """Return how much of an element is in the beam but in no crystal that diffracts.

    That is what is amorphous, dissolved but still before the beam, or in grains too small to be
    seen. All of it is taken to be in crystals in the frames that both ratios refer to.

    Parameters
    ----------
    in_beam : mapping of Quantity
        Results of `fluorescence` with ``mass_ratio``, ``mass_ratio_sigma`` and ``time_s``, (m,).
    in_crystals : mapping of Quantity
        Those of `phases`, (n,); its frames need not be those of the spectra.

    Returns
    -------
    dict of Quantity
        By pattern: ``time_s``; ``in_beam`` and ``in_crystals``, of the first mass; ``outside``,
        their difference, with ``outside_sigma``. NaN where no spectra lie about a pattern, more
        than half an interval away from the first and the last.

    Raises
    ------
    ValueError
        When either lacks a mass or its times.
    """
    for name, results in (("fluorescence", in_beam), ("phases", in_crystals)):
        lacks = [key for key in ("mass_ratio", "mass_ratio_sigma", "time_s") if key not in results]
        if lacks:
            raise ValueError(
                f"the results of {name} have no {lacks[0]}; give it mass, such as"
                f" {name}.mass=Pt, and frames that state their times"
            )
    seen_s, ratio, sigma = _series(in_beam)
    time_s, crystals, crystals_sigma = (
        np.asarray(in_crystals[key].value, float)
        for key in ("time_s", "mass_ratio", "mass_ratio_sigma")
    )
    if not len(seen_s):
        raise ValueError("no spectrum shows the element whose mass is asked for")
    interval = float(np.median(np.diff(seen_s))) if len(seen_s) > 1 else 0.0
    outer = (time_s < seen_s[0] - interval / 2) | (time_s > seen_s[-1] + interval / 2)
    after = np.clip(np.searchsorted(seen_s, time_s), 1, max(len(seen_s) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(seen_s) - 1)
    gap = np.where(after > before, seen_s[after] - seen_s[before], 1.0)
    part = np.clip((time_s - seen_s[before]) / gap, 0.0, 1.0)
    beam = (1 - part) * ratio[before] + part * ratio[after]
    beam_sigma = np.hypot((1 - part) * sigma[before], part * sigma[after])
    beam, beam_sigma = np.where(outer, np.nan, beam), np.where(outer, np.nan, beam_sigma)
    by = ("frame",)
    return {
        "time_s": Quantity(time_s, "s", by),
        "in_beam": Quantity(beam, "", by),
        "in_beam_sigma": Quantity(beam_sigma, "", by),
        "in_crystals": Quantity(crystals, "", by),
        "in_crystals_sigma": Quantity(crystals_sigma, "", by),
        "outside": Quantity(beam - crystals, "", by),
        "outside_sigma": Quantity(np.hypot(beam_sigma, crystals_sigma), "", by),
    }


def _series(results: Mapping[str, Quantity]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times, ratios and sigmas where there is a ratio, in the order of time."""
    columns = [
        np.asarray(results[key].value, float)
        for key in ("time_s", "mass_ratio", "mass_ratio_sigma")
    ]
    known = np.flatnonzero(np.isfinite(columns[0]) & np.isfinite(columns[1]))
    order = known[np.argsort(columns[0][known], kind="stable")]
    times, ratios, sigmas = (column[order] for column in columns)
    return times, ratios, sigmas
