"""A cell's history from its samples: charge, x, dQ/dV and its peaks, however they were cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.base import Batch
from flyback.models.cell_history import CellHistory
from flyback.models.electrochemistry import lithium_capacity_mah, platinum_mol

PLATEAU_V, WIDTH_V, CAPACITY_MAH = 0.35, 0.02, 0.05


def cycle(n=2000, current_ma=0.1, noise=0.0):
    """Discharge and charge of a cell with one plateau: the voltage at each charge is known."""
    volts = np.linspace(0.9, 0.05, 4001)
    passed = CAPACITY_MAH * (
        0.8 / (1 + np.exp((volts - PLATEAU_V) / (WIDTH_V / 4))) + 0.2 * (0.9 - volts) / 0.85
    )
    hours = passed[-1] / current_ma
    half = np.linspace(0, hours, n)
    down = np.interp(half * current_ma, passed, volts)
    voltage = np.concatenate([down, down[::-1]])
    time_s = 1e9 + np.concatenate([half, hours + half]) * 3600
    current = np.concatenate([np.full(n, -current_ma), np.full(n, current_ma)])
    voltage = voltage + np.random.default_rng(1).normal(0, noise, len(voltage))
    return time_s, voltage, current


def fed(samples, at=(), **settings):
    time_s, voltage, current = samples
    model, first = CellHistory(**settings), 0
    for stop in [*sorted(at), len(time_s)]:
        rows = slice(first, stop)
        if stop > first:
            frames = np.column_stack([voltage[rows], current[rows]])
            model.partial_fit(Batch(frames, np.arange(first, stop), {"time_s": time_s[rows]}))
        first = max(first, stop)
    return model


@pytest.mark.parametrize("noise", [0.0, 0.001])
def test_the_plateau_of_each_half_cycle_is_a_peak_told_when_it_is_passed(noise):
    model = fed(cycle(noise=noise))
    assert [event.subject for event in model.events_] == ["discharge", "charge"]
    for event in model.events_:
        assert event.kind == "dqdv_peak"
        assert event.says["voltage_v"] == pytest.approx(PLATEAU_V, abs=0.011)
    down, up = model.events_
    assert down.says["dqdv_mah_per_v"] < 0 < up.says["dqdv_mah_per_v"]
    voltage = cycle(noise=noise)[1]
    # not long after: within a few bins of the plateau
    assert 0.28 < voltage[down.scan_index] < PLATEAU_V < voltage[up.scan_index] < 0.42


def test_the_charge_under_a_curve_is_the_charge_that_passed():
    result = fed(cycle()).result_
    total = result["dqdv_mah_per_v"].value.sum(axis=1) * 0.01
    np.testing.assert_allclose(np.abs(total), CAPACITY_MAH, rtol=2e-3)
    assert result["charge_mah"].value[-1] == pytest.approx(0, abs=1e-4)
    assert result["charge_mah"].value.min() == pytest.approx(-CAPACITY_MAH, rel=2e-3)


def test_x_in_lixpt_is_the_charge_over_the_platinum():
    n_pt = platinum_mol(100.0, 1.0)
    result = fed(cycle(), n_pt_mol=n_pt).result_
    highest = result["lithium_per_platinum"].value.max()
    assert highest == pytest.approx(CAPACITY_MAH / lithium_capacity_mah(n_pt, 1.0), rel=2e-3)


@settings(max_examples=20, deadline=None)
@given(at=st.lists(st.integers(0, 400), max_size=6))
def test_how_samples_were_cut_changes_nothing(at):
    samples = cycle(n=200, noise=0.001)
    whole, cut = fed(samples), fed(samples, at)
    assert cut.events_ == whole.events_
    for key, quantity in whole.result_.items():
        np.testing.assert_array_equal(cut.result_[key].value, quantity.value, err_msg=key)


def test_a_slope_without_a_plateau_has_no_peak():
    n = 500
    samples = (1e9 + np.arange(n), np.linspace(0.9, 0.1, n), np.full(n, -0.1))
    assert fed(samples).events_ == []


def test_broken_samples_and_rest_are_passed_over():
    time_s, voltage, current = cycle()
    voltage[100], current[5] = np.nan, np.nan
    model = fed((time_s, voltage, current), rest_ma=0.01)
    assert len(model.events_) == 2
    rest = fed((1e9 + np.arange(9.0), np.full(9, 1.0), np.zeros(9)))
    assert "dqdv_mah_per_v" not in rest.result_
    assert "time_s" in CellHistory().result_


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"bin_v": 0}, "bin_v"), ({"peak_over_mean": 1}, "peak_over"), ({"rest_ma": -1}, "rest_ma")],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        CellHistory(**settings)
