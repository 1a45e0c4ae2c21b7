"""The cell's protocol owns time, detectors follow; however a run ends, the circuit is open."""

import threading
import time
from types import SimpleNamespace

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky.suspenders import SuspendBoolHigh
from bluesky.utils import RunEngineInterrupted
from ophyd import Component as Cpt
from ophyd import Device, Signal
from ophyd.status import Status

from flyback.devices.pauses import Pauses
from flyback.devices.potentiostat_link import PotentiostatError
from flyback.models.steps import ProtocolError
from flyback.models.techniques import OCV
from flyback.plans import cell_open_finally_wrapper, cycle, gitt, hold, ocv, operando
from flyback.plans.operando import _flush
from flyback.tests.potentiostats import CAPACITY_MAH, PATIENCE_S, Cell, samples, slow_cycle


class Diode(Device):
    """A detector that counts how often it was read, and can be broken."""

    count = Cpt(Signal, value=0, kind="hinted")
    broken = False

    def trigger(self):
        status = Status(self)
        if self.broken:
            status.set_exception(OSError("the diode was unplugged"))
        else:
            self.count.put(self.count.get() + 1)
            status.set_finished()
        return status


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    made = Cell(tmp_path_factory.mktemp("cell"))
    yield made
    made.close()


@pytest.fixture
def diode():
    return Diode(name="diode")


@pytest.fixture
def flying(cell, run_engine, diode):
    """A protocol of hours, and a way to do something when its first samples have come."""
    RE, documents = run_engine
    cell.potentiostat.on_pause = "open_circuit"
    cell.mark()

    def run(act, **kwargs):
        seen = threading.Event()
        told = []
        token = RE.subscribe(lambda *_: seen.set(), "event_page")

        def wait():
            assert seen.wait(30)
            told.append(time.time())
            act(RE)

        helper = threading.Thread(target=wait)
        helper.start()
        try:
            RE(operando(cell.potentiostat, slow_cycle(), [diode], every_s=20, **kwargs))
        finally:
            helper.join()
            RE.unsubscribe(token)
            run.told = told[0]

    return run, RE, documents


def is_open(cell):
    potentiostat = cell.potentiostat
    assert potentiostat.state.get() not in ("running", "paused")
    potentiostat.trigger().wait(5)
    return potentiostat.current_ma.get() == 0.0 and potentiostat.running is None


def whole(documents):
    """Return the samples, after having looked whether one is missing."""
    documents.check()
    found = samples(documents)
    n = len(found["sample_index"])
    assert np.array_equal(found["sample_index"], np.arange(n))
    assert (np.diff(found["device_time_s"]) > 0).all()
    return found


def test_detectors_follow_the_cells_clock(cell, run_engine, diode):
    RE, documents = run_engine
    cell.mark()
    protocol = [
        {"technique": "OCV", "duration_s": 50},
        {"technique": "CA", "voltage_v": 0.25, "duration_s": 100},
    ]
    RE(operando(cell.potentiostat, {"techniques": protocol}, diode, every_s=20))
    assert documents.start["protocol"]["techniques"] == protocol
    found = whole(documents)
    assert found["device_time_s"][-1] - found["device_time_s"][0] == pytest.approx(149, abs=0.01)
    assert set(found["step_count"]) == {1, 2}
    assert (found["current_ma"][found["step_count"] == 1] == 0).all()
    last = found["step_count"] == 2
    assert np.allclose(found["voltage_v"][last][1:], 0.25, atol=2e-3)
    assert found["capacity_mah"][-1] < 0  # 0.25 V takes lithium up
    events = [e["data"] for e in documents.of("event")]
    assert len(events) >= 2  # a late look at the protocol's end may add one after it
    when = np.array([e["potentiostat_device_time_s"] for e in events])
    # each in a slot of its own, however late in it
    first, last_one = np.triu_indices(len(when), 1)
    assert (when[last_one] - when[first] > 20 * (last_one - first - 1)).all()
    assert [e["diode_count"] for e in events] == list(range(1, len(events) + 1))
    # three clocks for each sample, and they agree
    utc, monotonic = found["utc_s"], found["monotonic_s"]
    assert np.ptp(utc - monotonic) < 0.1
    assert np.ptp(utc - found["device_time_s"] / 100) < 0.2
    page = documents.of("event_page")[0]
    assert page["timestamps"]["potentiostat_voltage_v"] == page["data"]["potentiostat_utc_s"]
    assert is_open(cell)
    assert cell.events("open_circuit")[0]["reason"] == "end of the protocol"


@pytest.mark.parametrize(
    ("how", "status"), [("abort", "abort"), ("stop", "success"), ("halt", "abort")]
)
@pytest.mark.parametrize("pause_first", [None, "open_circuit", "hold"])
def test_the_operator_ends_it(flying, cell, how, status, pause_first):
    run, RE, documents = flying
    if pause_first:
        cell.potentiostat.on_pause = pause_first
    with pytest.raises(RunEngineInterrupted):
        run(lambda RE: getattr(RE, "request_pause" if pause_first else how)())
    asked = run.told
    if pause_first:
        assert RE.state == "paused"
        assert (cell.potentiostat.state.get()) == "paused"
        asked = time.time()
        getattr(RE, how)()
    assert RE.state == "idle"
    assert cell.opened(0 if pause_first == "open_circuit" else asked) - asked < PATIENCE_S
    assert is_open(cell)
    assert documents.stop["exit_status"] == status
    if how == "halt":
        documents.check()  # there is no chance to collect the last ones
    else:
        assert len(whole(documents)["utc_s"]) > 1


@pytest.mark.parametrize("on_pause", ["open_circuit", "hold"])
def test_a_pause_lets_the_cells_clock_go_on_and_notes_the_gap(flying, cell, on_pause):
    run, RE, documents = flying
    cell.potentiostat.on_pause = on_pause
    with pytest.raises(RunEngineInterrupted):
        run(lambda RE: RE.request_pause())
    assert cell.opened() if on_pause == "open_circuit" else cell.events("hold")
    assert cell.potentiostat.state.get() == "paused"
    threading.Event().wait(0.3)  # 30 s of the cell's time
    again = threading.Event()

    def enough(name, doc):
        if doc["data"]["potentiostat_flags"][-1] & 1 == 0:
            again.set()

    def end():
        assert again.wait(10)
        RE.stop()

    token = RE.subscribe(enough, "event_page")
    helper = threading.Thread(target=end)
    helper.start()
    with pytest.raises(RunEngineInterrupted):
        RE.resume()
    helper.join()
    RE.unsubscribe(token)
    found = whole(documents)
    paused = found["flags"] & 1 == 1
    assert paused.sum() >= 20  # of the cell's seconds
    if on_pause == "open_circuit":
        assert (found["current_ma"][paused] == 0).all()
    else:
        assert np.ptp(found["voltage_v"][paused]) < 1e-3
    ((gap,),) = [[e for e in documents.of("event") if "potentiostat_pauses_held" in e["data"]]]
    began, ended = (gap["data"][f"potentiostat_pauses_{k}_s"] for k in ("began", "ended"))
    assert began <= found["device_time_s"][paused][0] <= ended
    assert found["device_time_s"][paused][-1] <= ended
    assert gap["data"]["potentiostat_pauses_held"] == (on_pause == "hold")
    assert documents.stop["exit_status"] == "success"
    assert is_open(cell)


def test_a_suspender_pauses_and_nothing_is_lost(cell, run_engine, diode):
    RE, documents = run_engine
    cell.mark()
    cell.potentiostat.on_pause = "open_circuit"
    lost = Signal(name="beam_lost", value=False)
    suspender = SuspendBoolHigh(lost)
    seen = []

    def act(name, doc):
        seen.append(doc)
        if len(seen) == 2:
            lost.put(True)
            threading.Timer(0.3, lost.put, (False,)).start()

    RE.subscribe(act, "event_page")
    before = diode.count.get()
    RE(operando(cell.potentiostat, OCV(150), [diode], every_s=10, suspenders=[suspender]))
    found = whole(documents)
    paused = found["flags"] & 1 == 1
    assert paused.sum() >= 15
    running = np.diff(found["device_time_s"])[~paused[1:]].sum()
    assert running == pytest.approx(149, abs=3)  # the protocol's own time, without the pause
    assert len([e for e in documents.of("event") if "potentiostat_pauses_held" in e["data"]]) == 1
    assert diode.count.get() - before >= 8
    assert documents.stop["exit_status"] == "success"
    assert RE.suspenders == ()


def test_a_failing_callback_opens_the_circuit(flying, cell):
    run, _, documents = flying

    def attach(RE):
        def broken(name, doc):
            raise ArithmeticError("a display fell over")

        RE.subscribe(broken, "event_page")

    with pytest.raises(ArithmeticError):
        run(attach)
    assert cell.opened(run.told) - run.told < PATIENCE_S
    assert is_open(cell)
    assert documents.stop["exit_status"] == "fail"


def test_a_dead_detector_ends_the_run_with_the_cell_open(flying, cell, diode):
    run, _, documents = flying
    with pytest.raises(OSError, match="unplugged"):
        run(lambda RE: setattr(diode, "broken", True))
    assert cell.opened(run.told) - run.told < PATIENCE_S
    assert is_open(cell)
    assert documents.stop["exit_status"] == "fail"
    assert len(whole(documents)["utc_s"]) > 1


def test_an_exception_in_a_plan_opens_the_circuit(cell, run_engine):
    RE, _ = run_engine
    potentiostat = cell.potentiostat
    cell.mark()

    def forgetful():
        yield from bps.open_run()
        yield from bps.prepare(potentiostat, slow_cycle(), wait=True)
        yield from bps.declare_stream(potentiostat, name="cell", collect=True)
        yield from bps.kickoff(potentiostat, wait=True)
        assert potentiostat.state.get() == "running"
        raise ArithmeticError("and fails")

    with pytest.raises(ArithmeticError):
        RE(cell_open_finally_wrapper(forgetful(), potentiostat))
    assert is_open(cell)


def test_a_limit_is_overshot_by_one_sample_at_most(cell, run_engine):
    RE, documents = run_engine
    cell.mark()
    RE(
        cycle(
            cell.potentiostat,
            c_rate=5,
            capacity_mah=CAPACITY_MAH,
            lower_v=0.2,
            upper_v=1.0,
            cycles=2,
        )
    )
    found = whole(documents)
    v, i = found["voltage_v"], found["current_ma"]
    assert documents.start["c_rate"] == 5
    for beyond in ((v < 0.2) & (i < 0), (v > 1.0) & (i > 0)):
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], beyond, [0]]))))[::2]
        assert runs.max(initial=0) <= 1
    assert v.min() > 0.1
    assert v[found["step_count"] > 1].max() < 1.1
    assert set(found["cycle_count"]) == {1, 2}
    assert is_open(cell)


def test_a_safety_limit_trips_and_the_run_says_which(cell, run_engine):
    RE, documents = run_engine
    cell.mark()
    protocol = {
        "techniques": [{"technique": "OCV", "duration_s": 500}],
        "limits": {"time_s": 60},
    }
    with pytest.raises(PotentiostatError, match="time_s = 60 s"):
        RE(operando(cell.potentiostat, protocol))
    assert documents.stop["exit_status"] == "fail"
    assert "time_s = 60 s" in documents.stop["reason"]
    found = whole(documents)
    assert (found["device_time_s"] - found["device_time_s"][0] > 60).sum() <= 1
    assert is_open(cell)


def test_the_plans_are_protocols(cell, run_engine):
    RE, documents = run_engine
    RE(ocv(cell.potentiostat, duration_s=20))
    RE(hold(cell.potentiostat, voltage_v=0.5, duration_s=20))
    RE(
        gitt(
            cell.potentiostat,
            capacity_mah=CAPACITY_MAH,
            c_rate=-1,
            pulse_s=10,
            rest_s=10,
            pulses=2,
            lower_v=0.0,
            upper_v=3.0,
        )
    )
    names = [s["plan_name"] for s in documents.of("start")]
    assert names == ["ocv", "hold", "gitt"]
    kinds = [s["protocol"]["techniques"][0]["technique"] for s in documents.of("start")]
    assert kinds == ["OCV", "CA", "GITT"]
    assert all(s["exit_status"] == "success" for s in documents.of("stop"))


def test_what_cannot_be_is_refused_before_anything_happens(cell, run_engine, diode):
    RE, _ = run_engine
    potentiostat = cell.potentiostat
    for message, plan in (
        ("below upper_v", lambda: cycle(potentiostat, capacity_mah=1, lower_v=1.0, upper_v=0.1)),
        ("above upper_v = 3.5 V", lambda: hold(potentiostat, voltage_v=4.0, duration_s=1)),
        ("every_s must be", lambda: ocv(potentiostat, diode, duration_s=1, every_s=0)),
        (
            "current_ma = 100 mA",
            lambda: cycle(potentiostat, capacity_mah=1e3, lower_v=0.1, upper_v=1),
        ),
    ):
        cell.mark()
        with pytest.raises((ProtocolError, ValueError), match=message):
            RE(plan())
        assert not cell.events("start")
    with pytest.raises(TypeError, match="can be read"):
        RE(ocv(potentiostat, ["camera"], duration_s=1))


def test_a_gap_whose_note_is_interrupted_is_noted_later():
    pot = SimpleNamespace(name="pot", pauses=Pauses(name="pauses"))
    pot.pauses.begin(1.0, 101.0, held=True)
    pot.pauses.end(2.0, 102.0)
    cut = _flush(pot)
    assert next(cut).command == "create"
    assert cut.send(None).command == "read"
    assert cut.throw(KeyError("stop")).command == "drop"
    with pytest.raises(KeyError):
        cut.send(None)
    commands = [message.command for message in _flush(pot)]
    assert commands == ["create", "read", "save", "collect"]
    assert [message.command for message in _flush(pot)] == ["collect"]
