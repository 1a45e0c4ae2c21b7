"""The clock of simulated and recorded scans."""

import threading

import numpy as np
import pytest

from flyback.devices.clock import ScanClock, rate_of


def test_rates():
    assert rate_of("max") == np.inf
    assert rate_of("real") == 0
    assert rate_of("25") == 25
    for wrong in ("fast", -1, float("nan")):
        with pytest.raises(ValueError, match="'real', 'max' or a number"):
            rate_of(wrong)


def test_at_max_the_slowest_camera_paces_the_scan():
    clock = ScanClock("max")
    clock.join("a")
    clock.join("b")
    clock.start(np.arange(1, 101) * 10.0, first_index=5)
    rows, times = clock.take("a", 30, 1)
    assert np.array_equal(rows, range(30))
    np.testing.assert_allclose(np.diff(times), 10)
    assert clock.progress == 0
    clock.take("b", 10, 1)
    assert clock.progress == 10
    clock.leave("b")
    assert clock.progress == 30
    clock.leave("a")
    assert clock.progress == 100


def test_a_camera_takes_only_the_scan_after_it_joined():
    clock = ScanClock("max")
    clock.start(np.ones(3))
    clock.join("late")
    assert clock.take("late", 9, 0.01) is None
    clock.start(np.arange(1.0, 4))
    assert len(clock.take("late", 9, 1)[0]) == 3


def test_held_nothing_passes_and_no_time_is_lost():
    clock = ScanClock("max")
    clock.join("a")
    clock.start(np.arange(1.0, 11))
    clock.hold()
    assert clock.held
    assert clock.take("a", 9, 0.02) is None
    clock.release()
    assert len(clock.take("a", 4, 1)[0]) == 4
    clock.stop()
    assert clock.take("a", 4, 0.01) is None


def test_a_given_rate_replaces_the_dwell():
    clock = ScanClock(1000.0)
    clock.join("a")
    clock.start(np.arange(1, 21) * 1e6)
    got = 0
    while got < 20:
        taken = clock.take("a", 20, 5)
        assert taken is not None
        got += len(taken[0])
        assert np.ptp(taken[1]) < 0.1


def test_waiting_ends_when_the_scan_is_stopped():
    clock = ScanClock("real")
    clock.start(np.array([1e6]))
    timer = threading.Timer(0.05, clock.stop)
    timer.start()
    assert clock.wait_beyond(0, 30) == 0
    timer.join()


def test_a_paced_scan_is_taken_in_whole_blocks_or_after_a_wait():
    clock = ScanClock("real")
    clock.join("a")
    # 100 points at once, 29 of the next, the rest far ahead
    clock.start(np.concatenate([np.zeros(100), np.full(129, 0.001), np.full(10, 3600.0)]))
    sizes = []
    while sum(sizes) < 229:
        taken = clock.take("a", 256, 1.0)
        assert taken is not None
        sizes.append(len(taken[0]))
    # each ends where a chunk of the file does, but the last, whose points had waited
    assert all(end % 64 == 0 for end in np.cumsum(sizes)[:-1])
    assert sum(sizes) == 229
    clock.stop()
