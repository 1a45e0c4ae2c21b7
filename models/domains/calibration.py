"""How far a probability is to be believed: temperature, calibration error, the unknown."""

from __future__ import annotations

import numpy as np

BINS = 15
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1.0, 30.0


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature at which ``softmax(logits / temperature)`` is most likely.

    Guo, Pleiss, Sun & Weinberger, ICML 2017. Kept between 1 and 30: a network is made less sure,
    never more, since where no pattern is wrong the likelihood would have it infinitely sure.

    Parameters
    ----------
    logits : (n, k) float
    truth : (n,) int
    """
    trials = np.geomspace(LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE, 200)
    rows = np.arange(len(truth))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        top = scaled.max(axis=1)
        log_sum = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.mean(log_sum - scaled[rows, truth]))

    return float(trials[int(np.argmin([loss(t) for t in trials]))])


def calibration_error(probability: np.ndarray, truth: np.ndarray) -> float:
    """Return the expected calibration error: how far confidence and accuracy lie apart.

    Parameters
    ----------
    probability : (n, k) float
    truth : (n,) int
    """
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == truth
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    gap = np.bincount(place, right - confidence, minlength=BINS)
    return float(np.abs(gap).sum() / count.sum())


def threshold_for(probability: np.ndarray, truth: np.ndarray, error_rate: float) -> float:
    """Return the lowest probability above which at most `error_rate` of patterns are wrong.

    Parameters
    ----------
    probability : (n, k) float
        Of calibration data.
    truth : (n,) int
    error_rate : float
        Between 0 and 1, of those believed.

    Returns
    -------
    float
        1/k, which believes all, where they are as good as that without.
    """
    confidence, wrong = probability.max(axis=1), probability.argmax(axis=1) != truth
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(errors <= error_rate)
    if len(good) == len(order) or (len(good) and good[-1] == len(order) - 1):
        return 1 / probability.shape[1]
    return float(confidence[order[good[-1]]]) if len(good) else 1.0
