"""A plan waits until somebody rings, or until its time is up."""

import threading
import time

import bluesky.preprocessors as bpp
import pytest
from bluesky.utils import RunEngineInterrupted

from flyback.plans.wakeup import Wakeup

LONG_S = 60.0


@pytest.fixture
def wakeup():
    return Wakeup()


def timed(RE, plan):
    began = time.monotonic()
    RE(plan)
    return time.monotonic() - began


def test_a_ring_from_another_thread_ends_the_wait(run_engine, wakeup):
    RE, _ = run_engine
    ringing = threading.Timer(0.05, wakeup.ring)

    def plan():
        ringing.start()
        yield from wakeup.wait(LONG_S)

    assert timed(RE, plan()) < LONG_S / 2
    ringing.join()


def test_a_ring_before_the_wait_is_kept_for_one_wait(run_engine, wakeup):
    RE, _ = run_engine
    wakeup.ring()
    wakeup.ring()
    assert timed(RE, wakeup.wait(LONG_S)) < LONG_S / 2
    assert timed(RE, wakeup.wait(0.05)) >= 0.05


def test_a_ring_after_the_engine_has_gone_is_no_error(run_engine, wakeup):
    RE, _ = run_engine
    RE(wakeup.wait(1e-3))
    wakeup.ring()


def test_a_pause_ends_the_wait_and_the_next_ring_is_heard(run_engine, wakeup):
    RE, _ = run_engine
    waits = []

    def plan():
        while len(waits) < 2:
            waits.append(1)
            if len(waits) == 1:
                threading.Timer(0.05, RE.request_pause).start()
            else:
                threading.Timer(0.05, wakeup.ring).start()
            yield from wakeup.wait(LONG_S)

    began = time.monotonic()
    with pytest.raises(RunEngineInterrupted):
        RE(bpp.rewindable_wrapper(plan(), False))
    RE.resume()
    assert time.monotonic() - began < LONG_S / 2
