"""The counts a camera gives for an electron: recovered, and what sigmas make of them."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.spectra.edges import edge
from flyback.models.spectra.eels import EnergyLoss
from flyback.models.spectra.gain import estimate
from flyback.models.spectra.loss_columns import Asked, build

AXIS_EV = np.arange(380.0, 720.0, 0.5)


def camera(gain, n=200, seed=0, spread=0.0):
    """Spectra of Ti L and O K on one mean, counted by a camera; and the true areas in counts."""
    rng = np.random.default_rng(seed)
    columns = build(Asked([edge("Ti_L"), edge("O_K")]), AXIS_EV, AXIS_EV**-3.0, 0.0)
    amounts = np.zeros(columns.values.shape[1])
    own = columns.sums.astype(bool)
    amounts[own[0]] = [4e4, 6e3, 8e3, 7e3, 9e3]
    amounts[own[1]] = [5e4, 3e3, 4e3]
    bright = 0.5 + rng.random((n, 1))
    level = 4000 * (AXIS_EV / 450) ** -3.2
    electrons = rng.poisson(bright * (columns.values @ amounts + level)).astype(float)
    if spread:  # a point spread that couples neighbours
        kernel = np.array([spread, 1 - 2 * spread, spread])
        electrons = np.stack([np.convolve(row, kernel, "same") for row in electrons])
    return (gain * electrons).astype(np.float32), gain * bright * (columns.sums @ amounts)


def fitted(batches, **settings):
    model = EnergyLoss(Experiment(), ["Ti_L", "O_K"], AXIS_EV * 1e-3, offset_ev=0.0, **settings)
    for frames, index in batches:
        model.partial_fit(Batch(frames, index))
    return {name: quantity.value for name, quantity in model.converge().result_.items()}


@pytest.mark.parametrize("gain", [1.0, 3.7, 12.0])
def test_the_gain_is_recovered_and_pulls_have_unit_variance(gain):
    frames, truth = camera(gain, 400)
    found = fitted([(frames, np.arange(400))])
    value, sigma = found["counts_per_electron"], found["counts_per_electron_sigma"]
    assert sigma < 0.05 * gain
    assert abs(value - gain) < 4 * sigma
    assert "before the first edge in 400 spectra" in found["counts_per_electron_source"][0]
    pulls = (found["area"] - truth) / found["area_sigma"]
    # under Ti L some power laws are at their bound of zero in many spectra, which scatter less
    # than the free fit whose sigma is stated; at any gain alike
    assert pulls.std(axis=0)[1] == pytest.approx(1.0, abs=0.12)
    assert 0.65 < pulls.std(axis=0)[0] < 1.12
    assert np.median(found["chi2"]) == pytest.approx(1.0, abs=0.06)
    assert not any("counts_per_electron" in flag for flag in found["flags"])
    # where counts are taken for electrons, sigmas are too small by the root of the gain
    naive = fitted([(frames, np.arange(400))], counts_per_electron=1.0)
    ratio = np.median(found["area_sigma"] / naive["area_sigma"])
    assert ratio == pytest.approx(np.sqrt(gain), rel=0.03)
    assert naive["counts_per_electron_source"] == ["given"]


def test_its_sigma_is_that_of_many_trials():
    found = [
        fitted([(camera(3.7, 40, seed)[0], np.arange(40))]) for seed in range(40)
    ]  # fmt: skip
    values = np.array([each["counts_per_electron"] for each in found])
    sigmas = np.array([each["counts_per_electron_sigma"] for each in found])
    assert np.std((values - 3.7) / sigmas) == pytest.approx(1.0, abs=0.4)
    assert abs(np.mean(values) - 3.7) < 4 * np.mean(sigmas) / np.sqrt(40)


def test_a_point_spread_hides_little_of_it():
    frames, _ = camera(5.0, 300, spread=0.2)
    assert fitted([(frames, np.arange(300))])["counts_per_electron"] == pytest.approx(5.0, rel=0.2)


def test_one_spectrum_is_enough_where_it_is_long():
    frames, _ = camera(12.0, 1)
    level = estimate([frames], np.arange(1), AXIS_EV < 452.0)
    assert level.known
    assert abs(level.value - 12.0) < 4 * level.sigma


def test_batches_and_their_order_change_no_bit():
    frames, _ = camera(3.7, 90)
    whole = fitted([(frames, np.arange(90))])
    for cuts in ([1, 2, 50], [33, 66], list(range(1, 90))):
        parts = list(zip(np.split(frames, cuts), np.split(np.arange(90), cuts), strict=True))
        for order in (parts, parts[::-1]):
            other = fitted(order)
            assert other["counts_per_electron"] == whole["counts_per_electron"]
            assert other["counts_per_electron_sigma"] == whole["counts_per_electron_sigma"]
            np.testing.assert_array_equal(other["area_sigma"], whole["area_sigma"])


def test_what_cannot_be_told_is_said():
    frames, _ = camera(3.7, 2)
    model = EnergyLoss(Experiment(), ["Ti_L"], AXIS_EV[140:] * 1e-3, offset_ev=0.0)
    model.partial_fit(Batch(frames[:, 140:], np.arange(2))).converge()
    found = {name: quantity.value for name, quantity in model.result_.items()}
    assert found["counts_per_electron"] == 1.0
    assert np.isnan(found["counts_per_electron_sigma"])
    assert any("counts_per_electron is unknown: too few" in flag for flag in found["flags"])
    with pytest.raises(ValueError, match="counts_per_electron and resolution_ev must be positive"):
        fitted([], counts_per_electron=0.0)
