"""What was found in one pattern, with its uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .detection import noise_of
from .pattern_model import Fit, PatternModel
from .peaks import unknown_lines


@dataclass(frozen=True)
class Tracked:
    """What was found in one frame; of `p` phases and `m` bins.

    Parameters
    ----------
    present : (p,) bool
    amount, amount_sigma : (p,) float64
        Proportional to the crystals' volume in the beam.
    volume, volume_sigma : (p,) float64
        Parts of the sum over phases.
    cell, cell_sigma : (p, 6) float64, angstrom and degrees
        NaN where a phase is absent, sigma infinite where it is too faint to tell.
    size_width, size_width_sigma : (p,) float64, 1/angstrom
    strain, strain_sigma : (p,) float64
        Full width of the distribution of spacings over their mean.
    zero, zero_sigma : float
    reduced_chi2 : float
    evidence : (p,) float64
        Amount over sigma; of absent phases the score, in sigmas.
    residual : (m,) float64
        Observed less calculated.
    unknown : (u,) float64, 1/angstrom
        Lines that no phase explains.
    restarted : bool
        Whether all phases were looked for anew.
    """

    present: np.ndarray
    amount: np.ndarray
    amount_sigma: np.ndarray
    volume: np.ndarray
    volume_sigma: np.ndarray
    cell: np.ndarray
    cell_sigma: np.ndarray
    size_width: np.ndarray
    size_width_sigma: np.ndarray
    strain: np.ndarray
    strain_sigma: np.ndarray
    zero: float
    zero_sigma: float
    background: np.ndarray
    reduced_chi2: float
    evidence: np.ndarray
    residual: np.ndarray
    unknown: np.ndarray
    restarted: bool


def summed_up(
    model: PatternModel,
    fit: Fit,
    intensity: np.ndarray,
    weight: np.ndarray,
    fitted: Sequence[int],
    scores: Mapping[int, tuple[float, float, float]],
    counted: np.ndarray,
    rate: float,
    restarted: bool,
) -> Tracked:
    """Return what a fit says, in a user's terms.

    Parameters
    ----------
    model : PatternModel
    fit : Fit
    intensity, weight : (m,) float64
    fitted : sequence of int
        Phases that are present.
    scores : mapping of int to (evidence, amount, sigma)
        Of phases that are absent.
    counted : (p,) bool
        Phases that count among the volumes.
    rate : float
        False unknown lines a frame.
    restarted : bool
    """
    p = len(model.phases)
    inflation = fit.inflation
    sigma = np.sqrt(np.diag(fit.covariance)) * inflation
    present = np.zeros(p, bool)
    present[list(fitted)] = True
    amount = np.where(present, fit.x[:p], 0.0)
    amount_sigma = np.where(present, sigma[:p], np.nan)
    evidence = np.where(present, amount / np.where(present, amount_sigma, 1.0), 0.0)
    covariance = fit.covariance[:p, :p] * inflation**2
    covariance = np.where(present[:, None] & present[None], covariance, 0.0)
    for phase, (z, seen, unsure) in scores.items():
        if not present[phase]:
            amount[phase] = max(seen, 0.0)
            amount_sigma[phase], evidence[phase] = unsure, z
            covariance[phase, phase] = unsure**2 if np.isfinite(unsure) else 0.0
    each = np.array([model.volume_of_amount(fit.theta, k) for k in range(p)]).reshape(p)
    amount, amount_sigma = amount * each, amount_sigma * each
    covariance = covariance * np.outer(each, each)
    volume, volume_sigma = _parts(amount, covariance, counted)
    at = np.full(model.n_parameters, np.inf)
    at[fit.free] = sigma[len(fit.x) :]
    cell, cell_sigma = np.full((p, 6), np.nan), np.full((p, 6), np.nan)
    size, strain = np.full((2, p), np.nan), np.full((2, p), np.nan)
    for phase in fitted:
        cell[phase] = model.cell(fit.theta, phase)
        lattice, rows = model.phases[phase].lattice, at[model.cell_rows(phase)]
        cell_sigma[phase] = np.where(lattice.tied, rows[lattice.tie.argmax(axis=1)], 0.0)
        first = model.shape_row(phase)
        size[:, phase] = _root(fit.theta[first], at[first])
        strain[:, phase] = _root(fit.theta[first + 1], at[first + 1])
    weighted = (fit.calculated - fit.x[p:] @ model.background) * weight
    width = model.width_per_a
    if fitted:
        size2 = float(np.median([fit.theta[model.shape_row(k)] for k in fitted]))
        width = np.sqrt(size2 + model.fixed_width2)
    unknown, _ = unknown_lines(
        model.q, fit.residual, weighted, float(width),
        noise=noise_of(fit.residual, weight), rate=rate,
    )  # fmt: skip
    return Tracked(
        present=present,
        amount=amount,
        amount_sigma=amount_sigma,
        volume=volume,
        volume_sigma=volume_sigma,
        cell=cell,
        cell_sigma=cell_sigma,
        size_width=size[0],
        size_width_sigma=size[1],
        strain=strain[0],
        strain_sigma=strain[1],
        zero=float(fit.theta[-1]),
        zero_sigma=float(at[-1]),
        background=fit.x[p:].copy(),
        reduced_chi2=fit.reduced_chi2,
        evidence=evidence,
        residual=np.where(weight > 0, intensity - fit.calculated, np.nan),
        unknown=unknown,
        restarted=restarted,
    )


def _root(square: float, sigma: float) -> tuple[float, float]:
    value = float(np.sqrt(max(square, 0.0)))
    return value, sigma / (2 * value) if value > 0 else float(np.sqrt(sigma))


def _parts(
    amount: np.ndarray, covariance: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return parts of the sum over the counted phases, and their sigmas; the others are NaN."""
    total = amount[counted].sum()
    if not total > 0:
        blank = np.where(counted, np.nan, np.nan)
        return blank, blank.copy()
    part = np.where(counted, amount / total, np.nan)
    turn = (np.eye(len(amount)) - np.where(counted, part, 0.0)[:, None]) / total
    turn[:, ~counted] = 0.0
    variance = np.einsum("ij,jk,ik->i", turn, covariance, turn)
    return part, np.where(counted, np.sqrt(np.maximum(variance, 0.0)), np.nan)
