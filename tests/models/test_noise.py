"""Sigmas of patterns: of counts, steadied where they are few."""

import numpy as np

from flyback.models.diffraction.noise import steadied


def test_a_mean_weighed_by_steadied_sigmas_is_hardly_low():
    """One over a bin's own counts as weight lowers a mean of 4 counts to below 3."""
    rng = np.random.default_rng(0)
    norm = np.linspace(0.5, 2.0, 4000)
    counts = rng.poisson(4.0 * norm).astype(float)
    own = np.sqrt(counts) / norm
    weights = 1 / steadied(own, norm) ** 2
    mean = np.average(counts / norm, weights=weights)
    alone = own > 0
    assert np.average((counts / norm)[alone], weights=1 / own[alone] ** 2) < 3.5
    assert abs(mean - 4.0) < 0.25
    pull = (counts / norm - 4.0) * np.sqrt(weights)
    assert abs(pull.std() - 1.0) < 0.08


def test_no_counts_at_all_are_taken_as_one_in_five_bins():
    sigma = steadied(np.zeros(20), np.full(20, 100.0))
    np.testing.assert_allclose(sigma, 1 / (100 * np.sqrt(5)))


def test_many_counts_keep_their_sigma_and_gaps_stay_gaps():
    norm = np.full(50, 10.0)
    norm[20] = 0.0
    own = np.where(norm > 0, np.sqrt(1e6) / 10, np.nan)
    sigma = steadied(own, norm)
    assert np.isnan(sigma[20])
    np.testing.assert_allclose(np.delete(sigma, 20), 100.0, rtol=1e-12)
