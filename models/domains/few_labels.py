"""Name the domains of one scan from a few labelled patterns of it, within seconds.

No network is trained: a multinomial logistic regression on features of the scan itself (see
`pattern_features`), which a handful of labels settles and which is fitted anew as labels come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import scipy.optimize

RIDGE = 0.1
UNLABELLED = -1
FOLDS = 5
_STEPS = 500


class FewLabels:
    """A classifier of the patterns of one scan.

    Parameters
    ----------
    features : (n, d) float
        Of all patterns, see `pattern_features`; any others, such as a network's, may stand beside.
    classes : sequence of str
        Names; a class that has no label yet gets the probability 0.
    ridge : float
        Strength of the penalty on the weights, in units of one label. The larger, the closer the
        probabilities stay to each other.

    Attributes
    ----------
    label_ : (n,) int64
        Index into `classes`, -1 where nothing was said.

    Raises
    ------
    ValueError
        When features are not finite, there are fewer than two classes, or the ridge is not
        positive.
    """

    def __init__(
        self, features: np.ndarray, classes: Sequence[str], *, ridge: float = RIDGE
    ) -> None:
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or not np.isfinite(features).all():
            raise ValueError(
                f"features must be finite and (n, d), one row a pattern, got {features.shape}"
            )
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError(f"classes must be two or more different names, got {list(classes)}")
        if not ridge > 0:
            raise ValueError(f"ridge must be positive, got {ridge:g}; {RIDGE:g} is the default")
        self.features, self.classes, self.ridge = features, tuple(classes), float(ridge)
        self.label_ = np.full(len(features), UNLABELLED, np.int64)
        self._weights: tuple[np.ndarray, np.ndarray] | None = None  # present classes, (d + 1, c)

    def partial_fit(self, rows: np.ndarray, label: np.ndarray) -> Self:
        """Take in labels, in the place of earlier ones of the same patterns, and fit anew.

        The result does not depend on how labels were batched.

        Parameters
        ----------
        rows : (m,) int
            Which patterns.
        label : (m,) int
            Index into `classes`; -1 takes a label back.

        Raises
        ------
        ValueError
            For rows or labels that there are not.
        """
        rows, label = np.atleast_1d(rows), np.atleast_1d(label)
        if rows.shape != label.shape or (len(rows) and rows.dtype.kind not in "ui"):
            raise ValueError(
                f"rows and label must be integers, one label a row, got {rows.shape} and"
                f" {label.shape}"
            )
        n, k = len(self.features), len(self.classes)
        if len(rows) and not (rows.min() >= 0 and rows.max() < n):
            raise ValueError(f"rows must lie between 0 and {n - 1}, got {rows.min()}..{rows.max()}")
        if len(label) and not (label.min() >= UNLABELLED and label.max() < k):
            raise ValueError(
                f"label must lie between 0 and {k - 1} ({', '.join(self.classes)}), or be -1 to"
                f" take one back, got {label.min()}..{label.max()}"
            )
        self.label_[rows] = label
        self._weights = None
        return self

    @property
    def labelled(self) -> np.ndarray:
        """Return which patterns have a label, (n,) bool."""
        return self.label_ >= 0

    @property
    def probability_(self) -> np.ndarray | None:
        """The probability (n, k) float64 of each class; None without labels."""
        known = np.flatnonzero(self.labelled)
        if not len(known):
            return None
        if self._weights is None:
            self._weights = fit_logistic(self.features[known], self.label_[known], self.ridge)
        return asked(self.features, *self._weights, len(self.classes))

    def cross_validated(self, seed: int = 0) -> float:
        """Return the share of labels that a fit to the other folds finds; NaN below two labels.

        Labels chosen near walls are harder than the scan as a whole: so is this estimate.

        Parameters
        ----------
        seed : int
            Of the division into five folds.
        """
        known = np.flatnonzero(self.labelled)
        if len(known) < 2:
            return float("nan")
        own, features = self.label_[known], self.features[known]
        fold = np.random.default_rng(seed).permutation(len(known)) % min(FOLDS, len(known))
        right = 0
        for one in np.unique(fold):
            held = fold == one
            weights = fit_logistic(features[~held], own[~held], self.ridge)
            said = asked(features[held], *weights, len(self.classes)).argmax(axis=1)
            right += int(np.count_nonzero(said == own[held]))
        return right / len(known)


def fit_logistic(
    features: np.ndarray, label: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression with a ridge, by L-BFGS.

    Parameters
    ----------
    features : (m, d) float64
    label : (m,) int
        Of at least one class.
    ridge : float
        Half of it times the squared weights is added to the summed loss; the offsets are free
        but for a hundredth of it.

    Returns
    -------
    present : (c,) int64
        The labels that occur.
    weights : (d + 1, c) float64
        The last row holds the offsets.
    """
    present, target = np.unique(label, return_inverse=True)
    seen = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    size, n_classes = seen.shape[1], len(present)
    if n_classes == 1:
        return present, np.zeros((size, 1))
    penalty = np.full((size, 1), ridge)
    penalty[-1] = ridge / 100
    rows = np.arange(len(seen))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(size, n_classes)
        logits = seen @ weights
        logits -= logits.max(axis=1, keepdims=True)
        power = np.exp(logits)
        total = power.sum(axis=1, keepdims=True)
        value = np.log(total).sum() - logits[rows, target].sum()
        power /= total
        power[rows, target] -= 1
        gradient = seen.T @ power + penalty * weights
        return float(value + 0.5 * (penalty * weights**2).sum()), gradient.ravel()

    start = np.zeros(size * n_classes)
    found = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "gtol": 1e-6}
    )
    return present, found.x.reshape(size, n_classes)


def asked(
    features: np.ndarray, present: np.ndarray, weights: np.ndarray, n_classes: int
) -> np.ndarray:
    """Return the probabilities (n, n_classes) of features (n, d); absent classes have none."""
    logits = features @ weights[:-1] + weights[-1]
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = np.zeros((len(features), n_classes))
    probability[:, present] = power / power.sum(axis=1, keepdims=True)
    return probability
