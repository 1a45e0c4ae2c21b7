"""Current, charge and composition of a cell; the signs are those of ``docs/conventions.md``.

Current is positive where it charges (oxidises) the working electrode: taking lithium out of
LixPt is positive, lithiation is negative.
"""

from __future__ import annotations

import math

import numpy as np

FARADAY_C_MOL = 96485.33212
"""Faraday constant, C/mol (CODATA 2018, exact)."""
GAS_J_MOL_K = 8.314462618
"""Molar gas constant, J/(mol K) (CODATA 2018, exact)."""
PLATINUM_G_MOL = 195.084
"""Standard atomic weight of platinum, g/mol (IUPAC 2021)."""
PLATINUM_G_CM3 = 21.45
"""Density of platinum, g/cm3 (CRC Handbook)."""


def current_ma(c_rate: float, capacity_mah: float) -> float:
    """Return the current that passes a capacity in ``1 / c_rate`` hours.

    Parameters
    ----------
    c_rate : float, 1/h
        Negative for lithiation.
    capacity_mah : float, mAh

    Returns
    -------
    float, mA

    Raises
    ------
    ValueError
        When the capacity is not positive and finite, or the rate not finite.
    """
    return _finite("c_rate", c_rate) * _positive("capacity_mah", capacity_mah, "mAh")


def c_rate(current_ma: float, capacity_mah: float) -> float:
    """Return the C-rate of a current, 1/h: the inverse of `current_ma`.

    Parameters
    ----------
    current_ma : float, mA
    capacity_mah : float, mAh

    Raises
    ------
    ValueError
        When the capacity is not positive and finite, or the current not finite.
    """
    return _finite("current_ma", current_ma) / _positive("capacity_mah", capacity_mah, "mAh")


def passed_charge_mah(
    time_s: np.ndarray, current_ma: np.ndarray, *, start_mah: float = 0.0
) -> np.ndarray:
    """Count the charge that has passed, by trapezia.

    Parameters
    ----------
    time_s : (n,) float, s
        Not decreasing.
    current_ma : (n,) float, mA
    start_mah : float, mAh
        At the first sample.

    Returns
    -------
    (n,) float64, mAh
        Falls while the electrode takes up lithium.

    Raises
    ------
    ValueError
        When the lengths differ or the time runs backwards.
    """
    time_s, current_ma = np.asarray(time_s, float), np.asarray(current_ma, float)
    if time_s.ndim != 1 or time_s.shape != current_ma.shape:
        raise ValueError(
            "time_s and current_ma must be lines of the same length, "
            f"not of shapes {time_s.shape} and {current_ma.shape}."
        )
    steps = np.diff(time_s)
    if (steps < 0).any():
        raise ValueError(f"time_s must not decrease, and does after sample {steps.argmin()}.")
    passed = 0.5 * (current_ma[1:] + current_ma[:-1]) * steps / 3600
    return start_mah + np.concatenate([np.zeros(min(1, len(time_s))), np.cumsum(passed)])


def platinum_mol(thickness_nm: float, area_cm2: float = 1.0) -> float:
    """Return the amount of platinum in a dense film.

    Parameters
    ----------
    thickness_nm : float, nm
    area_cm2 : float, square centimetres

    Returns
    -------
    float, mol

    Raises
    ------
    ValueError
        When one of them is not positive and finite.
    """
    volume_cm3 = _positive("thickness_nm", thickness_nm, "nm") * 1e-7
    volume_cm3 *= _positive("area_cm2", area_cm2, "cm2")
    return volume_cm3 * PLATINUM_G_CM3 / PLATINUM_G_MOL


def lithium_capacity_mah(n_pt_mol: float, lithium_per_pt: float = 2.0) -> float:
    """Return the charge that a composition LixPt holds: 274.8 mAh per g Pt to Li2Pt.

    Parameters
    ----------
    n_pt_mol : float, mol
    lithium_per_pt : float
        x in LixPt.

    Returns
    -------
    float, mAh

    Raises
    ------
    ValueError
        When the amount is not positive and finite.
    """
    return lithium_per_pt * _positive("n_pt_mol", n_pt_mol, "mol") * FARADAY_C_MOL / 3.6


def lithium_per_platinum(
    charge_mah: np.ndarray | float, n_pt_mol: float, *, start: float = 0.0
) -> np.ndarray:
    """Return x in LixPt from the charge passed: ``x = -Int I dt / (F n_Pt)``.

    An upper bound while lithium is taken up, because the interphase takes charge too.

    Parameters
    ----------
    charge_mah : (...) float, mAh
        As of `passed_charge_mah`.
    n_pt_mol : float, mol
    start : float
        x where the charge is zero.

    Returns
    -------
    (...) float64

    Raises
    ------
    ValueError
        When the amount is not positive and finite.
    """
    per_mah = 1 / lithium_capacity_mah(n_pt_mol, 1.0)
    return start - np.asarray(charge_mah, float) * per_mah


def differential_capacity(
    voltage_v: np.ndarray, charge_mah: np.ndarray, edges_v: np.ndarray
) -> np.ndarray:
    """Return dQ/dV of a half cycle, as the mean over bins of voltage.

    Between two samples charge and voltage run along a straight line, and each bin gets the charge
    that passes inside it. So the sum over the bins is exactly the charge that passed between the
    outer edges, and noise in the voltage adds no charge, as a quotient of differences would.

    Parameters
    ----------
    voltage_v : (n,) float, V
    charge_mah : (n,) float, mAh
        As of `passed_charge_mah`.
    edges_v : (m + 1,) float, V
        Rising.

    Returns
    -------
    (m,) float64, mAh/V
        Positive where charge flows out of the electrode with the voltage rising, negative for
        lithiation.

    Raises
    ------
    ValueError
        When the lengths differ, the edges do not rise, or a sample is not finite.
    """
    voltage_v, charge_mah = np.asarray(voltage_v, float), np.asarray(charge_mah, float)
    edges_v = np.asarray(edges_v, float)
    if voltage_v.ndim != 1 or voltage_v.shape != charge_mah.shape:
        raise ValueError(
            "voltage_v and charge_mah must be lines of the same length, "
            f"not of shapes {voltage_v.shape} and {charge_mah.shape}."
        )
    if not (np.isfinite(voltage_v).all() and np.isfinite(charge_mah).all()):
        raise ValueError("voltage_v and charge_mah must be finite; leave out broken samples.")
    if edges_v.ndim != 1 or len(edges_v) < 2 or not (np.diff(edges_v) > 0).all():
        raise ValueError("edges_v must be at least two rising voltages.")
    low = np.minimum(voltage_v[1:], voltage_v[:-1])
    width = np.abs(np.diff(voltage_v))
    passed = np.diff(charge_mah)
    below = np.empty(len(edges_v))
    for index, edge in enumerate(edges_v):
        # of each stretch, the share that lies below the edge
        above_low = edge - low
        share = np.where(above_low >= width, 1.0, above_low / np.where(width > 0, width, 1.0))
        below[index] = (passed * np.clip(np.where(above_low < 0, 0.0, share), 0.0, 1.0)).sum()
    return np.diff(below) / np.diff(edges_v)


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}.")
    return float(value)


def _positive(name: str, value: float, unit: str) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, not {value!r} {unit}.")
    return float(value)
