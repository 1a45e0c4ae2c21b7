"""However a scan ends, the beam is off, the run is closed and what was announced can be read."""

import signal
import sys
import threading

import numpy as np
import pytest
from bluesky.utils import FailedStatus, RunEngineInterrupted

from flyback.plans import raster
from flyback.tests.microscope import microscope

N = 40 * 40


@pytest.fixture
def flying(tmp_path, run_engine):
    """A real-time scan of 1.6 s, and a way to do something when the first frames are announced."""
    RE, documents = run_engine
    scope = microscope(tmp_path, rate="real")
    scope.beam.warm(32)

    def run(act):
        seen = threading.Event()
        token = RE.subscribe(lambda *_: seen.set(), "stream_datum")

        def wait():
            assert seen.wait(30)
            act(RE, scope)

        helper = threading.Thread(target=wait)
        helper.start()
        try:
            RE(raster(scope.camera, scope.scan_coils, fov_nm=4, step_nm=0.1, dwell_ms=1.0))
        finally:
            helper.join()
            RE.unsubscribe(token)

    return run, RE, documents, scope


def closed(documents, scope, status):
    documents.check()
    assert documents.stop["exit_status"] == status
    assert scope.blanker.position == "closed"
    assert not scope.beam.on
    n = documents.announced("camera_frames")
    if n:
        assert np.array_equal(documents.read("camera_scan_index"), np.arange(n))
        assert documents.read("camera_frames").sum(axis=(1, 2)).min() > 0
    return n


@pytest.mark.parametrize(
    ("how", "status"), [("abort", "abort"), ("stop", "success"), ("halt", "abort")]
)
@pytest.mark.parametrize("pause_first", [False, True])
def test_the_operator_ends_it(flying, how, status, pause_first):
    run, RE, documents, scope = flying
    first = "request_pause" if pause_first else how
    with pytest.raises(RunEngineInterrupted):
        run(lambda RE, _: getattr(RE, first)())
    if pause_first:
        assert RE.state == "paused"
        assert not scope.beam.on
        getattr(RE, how)()
    assert RE.state == "idle"
    assert closed(documents, scope, status) < N


def test_a_pause_holds_the_scan_and_loses_nothing(flying):
    run, RE, documents, scope = flying
    with pytest.raises(RunEngineInterrupted):
        run(lambda RE, _: RE.request_pause())
    assert not scope.beam.on
    assert scope.beam.clock.held
    done = scope.beam.clock.progress
    assert done < N
    RE.resume()
    assert closed(documents, scope, "success") == N
    assert np.array_equal(documents.read("scan_coils_scan_index"), np.arange(N))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_control_c_twice_pauses_and_blanks(flying):
    run, RE, documents, scope = flying

    def press(RE, _):
        main = threading.main_thread().ident
        for _ in range(2):
            signal.pthread_kill(main, signal.SIGINT)
            # the handler needs to see the presses apart
            threading.Event().wait(0.2)

    with pytest.raises(RunEngineInterrupted):
        run(press)
    assert RE.state == "paused"
    assert not scope.beam.on
    RE.abort()
    closed(documents, scope, "abort")


def test_a_failing_callback_ends_the_run_blanked(flying):
    run, _, documents, scope = flying

    def broken(name, doc):
        raise ArithmeticError("a display fell over")

    def attach(RE, _):
        RE.subscribe(broken, "stream_datum")

    with pytest.raises(ArithmeticError):
        run(attach)
    assert not scope.beam.on
    assert documents.stop["exit_status"] == "fail"


def test_a_failing_camera_ends_the_run_blanked(flying, monkeypatch):
    run, _, documents, scope = flying

    def unplug(RE, scope):
        def broken(*_):
            raise OSError("the camera was unplugged")

        monkeypatch.setattr(scope.beam, "expose_scan", broken)

    with pytest.raises(FailedStatus) as caught:
        run(unplug)
    assert "unplugged" in str(caught.value.__cause__)
    assert closed(documents, scope, "fail") < N
    assert "unplugged" in documents.stop["reason"] or documents.stop["reason"]


def test_silent_coils_end_the_run_in_bounded_time(flying):
    run, _, documents, scope = flying
    scope.camera.timeout_s = 0.3
    with pytest.raises(FailedStatus) as caught:
        run(lambda RE, scope: scope.beam.clock.hold())
    assert "heard nothing" in str(caught.value.__cause__)
    closed(documents, scope, "fail")


def test_the_next_scan_is_whole_after_an_abort(flying):
    run, RE, documents, scope = flying
    with pytest.raises(RunEngineInterrupted):
        run(lambda RE, _: RE.abort())
    documents.all.clear()
    scope.beam.clock.rate = float("inf")
    RE(raster(scope.camera, scope.scan_coils, fov_nm=4, step_nm=0.4))
    assert closed(documents, scope, "success") == 100


def test_blanking_in_mid_scan_holds_it_and_opening_lets_it_go_on(flying):
    run, _, documents, scope = flying

    def blink(RE, scope):
        scope.blanker.set("closed").wait(1)
        assert scope.beam.clock.held
        done = scope.beam.clock.progress
        threading.Event().wait(0.1)
        assert scope.beam.clock.progress == done
        scope.blanker.set("open").wait(1)

    run(blink)
    assert closed(documents, scope, "success") == N
