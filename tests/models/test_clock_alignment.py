"""Two clocks are brought together by pulses: offsets and drifts that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.models.clock_alignment import ClockError, align, edges_of

PULSES = np.array([100.0, 103.0, 110.0, 112.0, 2000.0, 2005.0, 2011.0, 2012.0])


def test_ten_seconds_and_50_ppm_to_50_ms():
    """Pulses of a current, sampled every 0.1 s with noise, as cycler and beamline log them."""
    rng = np.random.default_rng(0)

    def sampled(clock, every_s, phase_s):
        true = np.arange(0, 2100, every_s) + phase_s
        on = (np.searchsorted(PULSES, true) % 2).astype(float)
        return clock(true), on + 0.02 * rng.normal(size=len(true))

    own = edges_of(*sampled(lambda t: t, 0.1, 0.03))
    other = edges_of(*sampled(lambda t: t + 10 + 50e-6 * t, 0.07, 0.01))
    found = align(own, other)
    assert found.pulses == len(PULSES)
    at = np.array([0.0, 1000.0, 2000.0])
    assert np.abs(found(at) - (at + 10 + 50e-6 * at)).max() < 0.05
    assert found.drift == pytest.approx(50e-6, abs=4 * found.drift_sigma)


@given(st.floats(-3000, 3000), st.floats(-100e-6, 100e-6), st.integers(0, 7))
@settings(max_examples=50, deadline=None)
def test_any_offset_with_a_pulse_that_was_missed(offset, drift, missed):
    other = PULSES + offset + drift * PULSES
    found = align(np.delete(PULSES, missed), other)
    np.testing.assert_allclose(found(PULSES), other, atol=1e-6)


def test_pulses_that_say_nothing():
    with pytest.raises(ClockError, match="at least two edges"):
        align(PULSES[:1], PULSES)
    with pytest.raises(ClockError, match="unequal"):
        align(np.arange(10) * 20.0, np.arange(12) * 20.0)
    with pytest.raises(ClockError, match="no offset up to"):
        align(PULSES, PULSES + 1e6)


def test_a_constant_has_no_edges():
    assert len(edges_of(np.arange(5.0), np.ones(5))) == 0
    assert len(edges_of(np.arange(5.0), np.full(5, np.nan))) == 0
    np.testing.assert_allclose(edges_of(np.arange(4.0), np.array([0, 0, 1, 1.0])), [1.5])
