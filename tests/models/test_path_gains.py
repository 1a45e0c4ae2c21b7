"""Gains of one, two, or all places along a line, against least squares done naively."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import lagrange
from scipy.optimize import nnls

from flyback.models.diffraction.gain_kernels import pair_gains_between
from flyback.models.diffraction.path_gains import best_pair, gains_of, summit, summits

STEPS = np.linspace(-1, 1, 41)


def problem(seed, at=(-0.4, 0.55)):
    """Return peaks along a line as rows, and a pattern of peaks at two places, (n, m), (m,)."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-3, 3, 300)
    rows = np.exp(-0.5 * ((x - STEPS[:, None]) / 0.4) ** 2)
    amounts = rng.uniform(1, 4, len(at))
    places = np.array(at)[:, None]
    pattern = amounts @ np.exp(-0.5 * ((x - places) / 0.4) ** 2)
    return rows, pattern + rng.normal(scale=0.05, size=len(x))


def gain(rows, pattern):
    """Return by how much the sum of squares falls with amounts that are not negative."""
    _, left = nnls(rows.T, pattern)
    return pattern @ pattern - left**2


@pytest.mark.parametrize("sign", [1, -1])
def test_gains_of_places_and_pairs_and_spreads_are_those_of_least_squares(sign):
    rows, pattern = problem(0)
    pattern = sign * pattern
    own, two, spread = gains_of(rows @ rows.T, rows @ pattern)
    for i, j in ((5, 5), (3, 30), (12, 31), (20, 24), (0, 40)):
        assert_allclose(own[i], gain(rows[[i]], pattern), atol=1e-9)
        if i < j:
            assert_allclose(two[i, j], gain(rows[[i, j]], pattern), rtol=1e-6, atol=1e-9)
            assert two[j, i] == two[i, j]
            even = np.r_[0.5, np.ones(j - i - 1), 0.5] @ rows[i : j + 1]
            assert_allclose(spread[i, j], gain(even[None], pattern), rtol=1e-9, atol=1e-9)


def test_gains_between_steps_are_those_of_patterns_interpolated_by_lagrange():
    problems = [problem(seed) for seed in range(3)]
    grams = np.array([rows @ rows.T for rows, _ in problems])
    targets = np.array([rows @ pattern for rows, pattern in problems])
    first, second = np.array([0.3, 11.7, 12.0]), np.array([11.7, 30.4, 39.9, 40.0])

    def between(rows, place):
        low = int(np.clip(int(place) - 1, 0, len(rows) - 4))
        weights = [
            lagrange(range(4), np.eye(4)[node])(place - low) for node in range(4)
        ]  # fmt: skip
        return weights @ rows[low : low + 4]

    expected = [
        [
            sum(gain(np.array([between(r, a), between(r, b)]), p) for r, p in problems)
            for b in second
        ]
        for a in first
    ]
    assert_allclose(pair_gains_between(first, second, grams, targets), expected, rtol=1e-6)


def test_the_best_pair_is_found_between_the_steps():
    fine = np.linspace(-1, 1, 401)
    rows, pattern = problem(1, at=(-0.413, 0.571))
    x = np.linspace(-3, 3, 300)
    finer = np.exp(-0.5 * ((x - fine[:, None]) / 0.4) ** 2)
    _, two, _ = gains_of(rows @ rows.T, rows @ pattern)
    _, exact, _ = gains_of(finer @ finer.T, finer @ pattern)
    found = best_pair(two, [(rows @ rows.T, rows @ pattern)])
    assert two.max() < found
    assert_allclose(found, exact.max(), rtol=1e-5)


def test_summits_lie_between_points_but_never_beyond_the_ends():
    x = np.arange(9.0)
    lines = np.array([5e6 * np.exp(-((x - 3.3) ** 2) / 200), x, 8 - x, np.zeros(9)])
    assert_allclose(summits(lines), [5e6, 8, 8, 0])
    assert_allclose(summits(lines[None]), [summits(lines)])
    away = (x[:, None] - 3.3) ** 2 + (x - 4.6) ** 2 + 0.5 * (x[:, None] - 3.3) * (x - 4.6)
    grid = 7 * np.exp(-away / 20)
    assert_allclose(summit(grid), 7)
