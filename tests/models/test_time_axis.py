"""Clocks are recovered from pulses that both logs hold, within the bounds that are stated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.time_axis import ClockError, fit_clock, pulse_edges

# beginnings and lengths of the pulses, s: no two gaps alike
TRAIN = [(20.0, 3.0), (30.37, 2.0), (41.11, 4.0), (53.93, 2.5)]


def logged(pulses, end_s, every_s, *, offset_s=0.0, drift=0.0, phase=0.3, noise=0.0, seed=0):
    """What a clock that is off wrote: its readings and the current at them."""
    true = np.arange(phase * every_s, end_s, every_s)
    current = np.zeros(len(true))
    for begin, length in pulses:
        current[(true > begin) & (true <= begin + length)] = 1.0
    current += np.random.default_rng(seed).normal(0, noise, len(true)) if noise else 0
    reading = (true - offset_s) / (1 + drift)
    return reading, current


def twice(gap_s):
    return TRAIN + [(begin + gap_s, length) for begin, length in TRAIN]


def test_ten_seconds_and_fifty_ppm_are_found_to_fifty_milliseconds():
    hours = 3 * 3600.0
    pulses = twice(hours)
    ours = pulse_edges(*logged(pulses, hours + 100, 0.02))  # as the plan's own record
    reading, current = logged(
        pulses, hours + 100, 0.25, offset_s=10.0, drift=50e-6, phase=0.77, noise=0.05
    )
    clock = fit_clock(ours, pulse_edges(reading, current))
    true = 10.0 + reading * (1 + 50e-6)
    assert np.abs(clock.time_s(reading) - true).max() < 0.05
    assert clock.drift == pytest.approx(50e-6, abs=clock.drift_bound)
    assert clock.drift_bound < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    offset_s=st.floats(-4000, 4000),
    drift=st.floats(-2e-4, 2e-4),
    phase=st.floats(0, 0.99),
    every_s=st.sampled_from([0.1, 0.3, 1.0]),
)
def test_the_truth_lies_within_the_stated_bounds(offset_s, drift, phase, every_s):
    pulses = twice(2000.0)
    ours = pulse_edges(*logged(pulses, 2100, 0.1))
    others = logged(pulses, 2100, every_s, offset_s=offset_s, drift=drift, phase=phase)
    clock = fit_clock(ours, pulse_edges(*others))
    true_offset = offset_s + drift * clock.reference_s
    assert abs(clock.offset_s - true_offset) <= clock.offset_bound_s + 1e-6
    assert abs(clock.drift - drift) <= clock.drift_bound + 1e-9
    assert clock.offset_bound_s <= (every_s + 0.1) / 2 + 1e-6


def test_a_log_that_begins_late_still_fits():
    pulses = twice(500.0)
    ours = pulse_edges(*logged(pulses, 600, 0.1))
    reading, current = logged(pulses, 600, 0.2, offset_s=-7.0)
    late = reading > 35 + 7
    clock = fit_clock(ours, pulse_edges(reading[late], current[late]))
    assert clock.offset_s == pytest.approx(-7.0, abs=0.1)


def test_a_sample_between_the_levels_belongs_to_the_edge():
    edges = pulse_edges(np.arange(8.0), np.array([0, 0, 0.4, 1, 1, 1, 0, 0]))
    np.testing.assert_array_equal(edges.after_s, [1, 5])
    np.testing.assert_array_equal(edges.before_s, [3, 6])
    np.testing.assert_array_equal(edges.rising, [True, False])


def test_what_does_not_fit_is_refused_in_a_sentence():
    even = [(10.0 * k, 5.0) for k in range(1, 6)]
    ours = pulse_edges(*logged(even, 60, 0.1))
    fewer = pulse_edges(*logged(even[:3], 60, 0.1))
    with pytest.raises(ClockError, match="ways"):
        fit_clock(ours, fewer)
    with pytest.raises(ClockError, match="fit between"):
        fit_clock(ours, pulse_edges(*logged(TRAIN, 60, 0.1)))
    with pytest.raises(ClockError, match="no pulses"):
        pulse_edges(np.arange(5.0), np.zeros(5))
    with pytest.raises(ClockError, match="increase"):
        pulse_edges(np.array([0.0, 1, 1, 2]), np.array([0.0, 1, 1, 0]))
    with pytest.raises(ClockError, match="same length"):
        pulse_edges(np.arange(5.0), np.zeros(4))
