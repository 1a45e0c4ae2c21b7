"""The linear non-negative fit of many spectra with the same columns and weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .kernels import nnls, project

_NEGLIGIBLE = 1e-9
_GAP = 16


@dataclass(frozen=True)
class Fitted:
    """What a fit of n spectra gives.

    Parameters
    ----------
    coefficients : (n, k) float64
        Never negative but for columns that may be.
    variance : (n, k) float64
        Of the coefficients, from Poisson statistics of the fitted spectrum.
    chi2 : (n,) float64
        Reduced: 1 where the columns explain a spectrum but for its counting noise.
    sums, sums_variance : (n, sums) float64
        Of the coefficients that belong together.
    """

    coefficients: np.ndarray
    variance: np.ndarray
    chi2: np.ndarray
    sums: np.ndarray
    sums_variance: np.ndarray


class LinearFit:
    """Fit spectra by columns with non-negative coefficients.

    All spectra share the weights 1 / (variance of the mean spectrum). The estimate is then linear
    in the counts and has no bias where weights made from each spectrum's own few counts would
    have one; what a spectrum of its own variance would gain is small.

    Parameters
    ----------
    columns : (channels, k) float64
    mean : (channels,) float64, counts
        Mean spectrum, from which the weights are made.
    first : int
        Channel of the spectra at which the columns begin.
    use : (channels,) bool, optional
        Channels that count.
    free : (k,) bool, optional
        Columns whose coefficient may be negative.
    own_variance : float, counts
        Mean variance a count; 1 for counted quanta.
    sums : (sums, k) float64, optional
        Which coefficients are added up to sums.

    Raises
    ------
    ValueError
        When no channel counts or there is no column.
    """

    def __init__(
        self,
        columns: np.ndarray,
        mean: np.ndarray,
        *,
        first: int = 0,
        use: np.ndarray | None = None,
        free: np.ndarray | None = None,
        own_variance: float = 1.0,
        sums: np.ndarray | None = None,
    ) -> None:
        columns = np.array(columns, np.float64)
        columns[np.abs(columns) < _NEGLIGIBLE * np.abs(columns).max(axis=0)] = 0.0
        used = np.ones(len(columns), bool) if use is None else np.asarray(use, bool)
        if not used.any() or columns.shape[1] == 0:
            raise ValueError("a fit needs at least one channel and one column")
        self.columns, self.first = columns, int(first)
        self.n_used = int(used.sum())
        self.own_variance = float(own_variance)
        self._sums = np.zeros((0, columns.shape[1])) if sums is None else np.asarray(sums, float)
        self._free = np.zeros(columns.shape[1], bool) if free is None else np.asarray(free, bool)
        self.weights = _weights(mean, used)
        self._prepare()
        # the least that a coefficient can vary: as if a spectrum had had one more count
        total = max(float(np.sum(mean[used])), 1e-300)
        start = self._solve(self._products(mean[None])[0])[0]
        self._least = np.maximum(start, 0) / total

    def _prepare(self) -> None:
        weighted = self.columns * self.weights[:, None]
        gram = self.columns.T @ weighted
        self.norm = np.sqrt(np.diag(gram))
        self.norm[self.norm == 0] = np.inf  # a column that no channel sees stays at zero
        self._gram = gram / np.outer(self.norm, self.norm)
        self._gram[np.isinf(self.norm), np.isinf(self.norm)] = 1.0
        k = len(gram)
        self._inverse = np.linalg.pinv(self._gram + 1e-13 * np.eye(k), hermitian=True)
        self._inverse = np.ascontiguousarray(self._inverse)
        self._pieces: Any = _pieces(weighted / self.norm)
        # variance of a coefficient: sum over columns l of coefficient_l * spread[j, l]
        estimator = self._inverse @ (weighted / self.norm).T
        spread = (estimator**2) @ self.columns
        self._spread = spread / self.norm[:, None] ** 2
        together = self._sums / self.norm @ estimator
        self._sums_spread = together**2 @ self.columns
        self._noise = self.weights @ self.columns

    def fit(self, frames: np.ndarray) -> Fitted:
        """Fit spectra.

        Parameters
        ----------
        frames : (n, channels), any real dtype, counts
            All channels of the spectra.
        """
        scalar, square = self._products(frames, self.first)
        x, right = self._solve(scalar)
        # at the optimum a coefficient or its gradient is zero, so that x'Gx = x'b
        explained = np.einsum("nk,nk->n", x * self.norm_or_zero, right)
        left = np.maximum(square - explained, 0.0)
        expected = self.own_variance * (np.einsum("nk,k->n", np.maximum(x, 0), self._noise))
        degrees = max(self.n_used - self.columns.shape[1], 1) / self.n_used
        with np.errstate(invalid="ignore", divide="ignore"):
            chi2 = np.where(expected > 0, left / (expected * degrees), np.nan)
        seen = self.own_variance * (np.maximum(x, 0) + self._least)
        # einsum, not a product by BLAS: a row's last bits may not depend on its neighbours
        return Fitted(
            x,
            np.einsum("nk,jk->nj", seen, self._spread),
            chi2,
            np.einsum("nk,jk->nj", x, self._sums),
            np.einsum("nk,jk->nj", seen, self._sums_spread),
        )

    @property
    def norm_or_zero(self) -> np.ndarray:
        """Lengths of the columns; 0 for those that no channel sees."""
        return np.where(np.isinf(self.norm), 0.0, self.norm)

    def model(self, coefficients: np.ndarray) -> np.ndarray:
        """Return fitted spectra (n, channels) over the channels of the columns."""
        return np.atleast_2d(coefficients) @ self.columns.T

    def _products(self, frames: np.ndarray, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
        scalar = np.empty((len(frames), self.columns.shape[1]))
        square = np.empty(len(frames))
        column, start, stop, offset, values = self._pieces
        project(
            np.ascontiguousarray(frames), first, self.weights, column, start, stop, offset, values,
            scalar, square,
        )  # fmt: skip
        return scalar, square

    def _solve(self, scalar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.empty_like(scalar)
        nnls(self._gram, self._inverse, scalar, self._free, x)
        return x / self.norm, scalar


def _weights(mean: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return 1 / mean, smoothed where counts are few, and 0 where a channel does not count."""
    level = np.convolve(np.pad(mean, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    floor = max(float(level[used].max(initial=0.0)) * 1e-4, 1e-12)
    return np.where(used, 1.0 / np.maximum(level, floor), 0.0)


def _pieces(weighted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the runs of channels where columns are not negligible, for `kernels.project`."""
    column, start, stop, offset, values = [], [], [], [], []
    size = 0
    for k, shape in enumerate(weighted.T):
        there = np.flatnonzero(shape)
        if not len(there):
            continue
        for run in np.split(there, np.flatnonzero(np.diff(there) > _GAP) + 1):
            a, b = int(run[0]), int(run[-1]) + 1
            column.append(k)
            start.append(a)
            stop.append(b)
            offset.append(size)
            values.append(shape[a:b])
            size += b - a
    ints = tuple(np.asarray(each, np.int64) for each in (column, start, stop, offset))
    return *ints, np.concatenate(values) if values else np.empty(0)
