"""An element's mass in the beam and in crystals, on one time axis."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from flyback.models.base import Quantity
from flyback.models.mass_balance import mass_balance, outside_crystals


def results(times, ratio, sigma=0.0):
    ratio = np.asarray(ratio, float)
    return {
        "time_s": Quantity(np.asarray(times, float), "s", ("frame",)),
        "mass_ratio": Quantity(ratio, "", ("frame",)),
        "mass_ratio_sigma": Quantity(np.broadcast_to(sigma, ratio.shape), "", ("frame",)),
    }


def test_what_crystals_lose_and_the_beam_still_sees_is_outside():
    spectra = results(10.0 * np.arange(11), np.linspace(1.0, 0.9, 11))
    patterns = results([5.0, 50.0, 97.5], [1.0, 0.7, 0.6])
    found = outside_crystals(spectra, patterns)
    assert_allclose(found["in_beam"].value, [0.995, 0.95, 0.9025])
    assert_allclose(found["outside"].value, [-0.005, 0.25, 0.3025])


def test_the_sigma_of_what_is_outside_is_the_scatter_it_has():
    rng = np.random.default_rng(0)
    spectra_s, patterns_s = np.arange(400.0), np.arange(399) + 0.5
    outside = outside_crystals(
        results(spectra_s, rng.normal(1, 0.02, 400), 0.02),
        results(patterns_s, rng.normal(0.8, 0.01, 399), 0.01),
    )
    pulls = (outside["outside"].value - 0.2) / outside["outside_sigma"].value
    assert_allclose(np.mean(pulls**2), 1, atol=0.2)


def test_mass_that_becomes_amorphous_stays_in_the_beam():
    time_s, counts = np.arange(20.0), np.full(20, 1e4)
    amorphous = counts * np.linspace(1, 0.5, 20)
    beam, crystals = (
        mass_balance(area, np.sqrt(area), time_s) | {"time_s": Quantity(time_s, "s", ("frame",))}
        for area in (counts, amorphous)
    )
    found = outside_crystals(beam, crystals)
    assert_allclose(found["outside"].value[-1], 0.5)
    assert found["outside"].value[-1] > 5 * found["outside_sigma"].value[-1]


def test_patterns_beyond_the_spectra_have_no_balance():
    spectra = results([100.0, 110.0, 120.0], [1.0, np.nan, 0.8])
    found = outside_crystals(spectra, results([80.0, 99.0, 110.0, 131.0], np.ones(4)))
    assert_allclose(found["in_beam"].value, [np.nan, 1.0, 0.9, np.nan])
    single = outside_crystals(results([100.0], [1.0]), results([100.0, 101.0], [0.5, 0.5]))
    assert_allclose(single["outside"].value, [0.5, np.nan])


@pytest.mark.parametrize("lacking", ["mass_ratio", "time_s"])
def test_results_without_a_mass_or_times_are_refused(lacking):
    whole = results([0.0, 1.0], [1.0, 1.0])
    part = {key: value for key, value in whole.items() if key != lacking}
    with pytest.raises(ValueError, match=f"fluorescence have no {lacking}"):
        outside_crystals(part, whole)
    with pytest.raises(ValueError, match=f"phases have no {lacking}"):
        outside_crystals(whole, part)
    with pytest.raises(ValueError, match="no spectrum"):
        outside_crystals(results([0.0], [np.nan]), whole)
