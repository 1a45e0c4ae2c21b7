"""Signs, charge, composition and dQ/dV of a cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyback.models.electrochemistry import (
    c_rate,
    current_ma,
    differential_capacity,
    lithium_capacity_mah,
    lithium_per_platinum,
    passed_charge_mah,
    platinum_mol,
)


def test_a_film_has_the_capacity_that_the_field_states():
    one_gram = 1 / 195.084
    assert lithium_capacity_mah(one_gram, 1.0) == pytest.approx(137.4, abs=0.05)
    assert lithium_capacity_mah(one_gram) == pytest.approx(274.8, abs=0.05)
    assert lithium_capacity_mah(platinum_mol(100, 1.0)) == pytest.approx(0.059, abs=1e-4)


def test_lithiation_is_negative_and_raises_x():
    n_pt = platinum_mol(100)
    lithiating = -current_ma(0.5, lithium_capacity_mah(n_pt))
    time_s = np.linspace(0, 7200, 11)
    charge = passed_charge_mah(time_s, np.full(11, lithiating))
    assert charge[-1] < 0
    assert lithium_per_platinum(charge, n_pt)[-1] == pytest.approx(2.0)
    assert lithium_per_platinum(-charge, n_pt, start=2.0)[-1] == pytest.approx(0.0)


@given(rate=st.floats(-10, 10), capacity=st.floats(1e-6, 1e3))
def test_c_rate_and_current_are_each_others_inverse(rate, capacity):
    assert c_rate(current_ma(rate, capacity), capacity) == pytest.approx(rate, abs=1e-12)


def naive_dq_dv(voltage, charge, edges, parts=2000):
    """The charge of many small parts of each stretch, thrown into the bins."""
    total = np.zeros(len(edges) - 1)
    for k in range(len(voltage) - 1):
        middle = (np.arange(parts) + 0.5) / parts
        v = voltage[k] + (voltage[k + 1] - voltage[k]) * middle
        total += (
            np.histogram(v, edges, weights=np.full(parts, charge[k + 1] - charge[k]))[0] / parts
        )
    return total / np.diff(edges)


def test_dq_dv_agrees_with_the_oracle_and_keeps_the_charge():
    rng = np.random.default_rng(0)
    voltage = np.cumsum(rng.normal(0.01, 0.02, 40))
    charge = np.cumsum(rng.random(40))
    edges = np.linspace(voltage.min() - 0.013, voltage.max() + 0.017, 15)
    found = differential_capacity(voltage, charge, edges)
    np.testing.assert_allclose(found, naive_dq_dv(voltage, charge, edges), atol=0.05, rtol=0.01)
    assert (found * np.diff(edges)).sum() == pytest.approx(charge[-1] - charge[0], rel=1e-12)


def test_dq_dv_of_a_plateau_and_of_a_slope():
    edges = np.array([0.0, 0.1, 0.2, 0.3])
    flat = differential_capacity(np.full(5, 0.15), np.arange(5.0), edges)
    np.testing.assert_allclose(flat, [0, 40, 0])
    down = differential_capacity(np.array([0.3, 0.0]), np.array([0.0, -0.6]), edges)
    np.testing.assert_allclose(down, [-2, -2, -2])  # lithiation is negative


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: current_ma(1, 0), "capacity_mah must be positive"),
        (lambda: current_ma(float("nan"), 1), "c_rate must be a finite"),
        (lambda: platinum_mol(-1), "thickness_nm must be positive"),
        (lambda: passed_charge_mah([0, 1], [1]), "same length"),
        (lambda: passed_charge_mah([1, 0], [1, 1]), "must not decrease"),
        (lambda: differential_capacity([0, np.nan], [0, 1], [0, 1]), "must be finite"),
        (lambda: differential_capacity([0, 1], [0, 1], [1, 0]), "rising"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_samples_have_no_charge():
    assert passed_charge_mah([], []).shape == (0,)
