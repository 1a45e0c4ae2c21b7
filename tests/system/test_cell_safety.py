"""Whatever becomes of the driver, or of the line to it, the cell's own log shows open circuit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from flyback.devices.potentiostat_link import PotentiostatError
from flyback.plans import operando
from flyback.tests.microscope import close_engine, engine
from flyback.tests.potentiostats import PATIENCE_S, Cell, slow_cycle, until

pytestmark = pytest.mark.heavy

# A session with a protocol of hours; says when the cell is driven and who carries it.
SESSION = """
import json, sys
import flyback as fb
from flyback.__main__ import _end_on_request
from flyback.profiles.schema import parse_profile
if sys.argv[3] == "ask":
    _end_on_request()
profile = {"devices": {"potentiostat": {
    "plugin": "sim_potentiostat", "speed": 100.0, "linger_s": 2.0, "log_path": sys.argv[2]}}}
with fb.open(parse_profile("cell", profile), sys.argv[1], progress=False, warm=False) as s:
    said = []
    def say(name, doc):
        if not said:
            said.append(doc)
            print("driven", s.potentiostat.pid, flush=True)
    s.RE.subscribe(say, "event_page")
    s.RE(s.plans.cycle(s.potentiostat, c_rate=0.1, capacity_mah=0.0589, lower_v=0.01, upper_v=1.5))
"""


def events(path, name):
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    return [entry for entry in logged if entry["event"] == name]


def gone(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return True
    return False


@pytest.fixture
def driver(tmp_path):
    """Start a session in a process of its own, its cell driven."""
    started = []

    def start(how):
        log = tmp_path / "cell.jsonl"
        command = [sys.executable, "-c", SESSION, str(tmp_path / "store"), str(log), how]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        line = process.stdout.readline().split()
        assert line[:1] == ["driven"], "the session ended before the cell was driven"
        assert not events(log, "open_circuit")
        return process, log, int(line[1])

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@needs_posix
@pytest.mark.parametrize("how", ["kill", "terminate", "hang"])
def test_the_circuit_is_open_within_a_second(driver, how):
    process, log, cell_pid = driver("plain" if how != "terminate" else "ask")
    signals = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "hang": signal.SIGSTOP}
    told = time.time()
    process.send_signal(signals[how])
    until(lambda: events(log, "open_circuit"))
    opened = events(log, "open_circuit")[0]
    assert opened["utc"] - told < PATIENCE_S
    reasons = {"kill": "driver is gone", "terminate": "asked for", "hang": "no heartbeat"}
    assert reasons[how] in opened["reason"]
    if how == "hang":
        process.send_signal(signal.SIGKILL)
    until(lambda: gone(cell_pid) or process.poll() is None)
    process.wait(60)
    # the cell's process ends by itself when its driver has been gone for long
    until(lambda: gone(cell_pid))
    if how == "terminate":
        assert process.returncode == 128 + signal.SIGTERM


@needs_posix
def test_without_any_handler_a_terminated_driver_leaves_the_cell_open(driver):
    process, log, cell_pid = driver("plain")
    told = time.time()
    process.terminate()
    until(lambda: events(log, "open_circuit"))
    assert events(log, "open_circuit")[0]["utc"] - told < PATIENCE_S
    until(lambda: gone(cell_pid))


@pytest.fixture
def own(tmp_path):
    RE, documents = engine()
    cell = Cell(tmp_path, timeout_s=1.0)
    yield RE, documents, cell
    cell.close()
    close_engine(RE)


def flown(RE, cell, act):
    """Carry out a protocol and do something to its cell once it is driven."""
    told = []

    def once(name, doc):
        if not told:
            told.append(time.time())
            act()

    RE.subscribe(once, "event_page")
    with pytest.raises(PotentiostatError) as caught:
        RE(operando(cell.potentiostat, slow_cycle()))
    return told[0], str(caught.value)


@needs_posix
def test_a_lost_instrument_ends_the_run_in_bounded_time(own, caplog):
    RE, documents, cell = own
    _, said = flown(RE, cell, lambda: os.kill(cell.potentiostat.pid, signal.SIGKILL))
    assert "was lost" in said
    assert documents.stop["exit_status"] == "fail"
    assert documents.stop["time"] - documents.start["time"] < 15
    assert "could not be told to open the circuit" in caplog.text
    documents.check()


@needs_posix
def test_an_instrument_that_slept_opens_the_circuit_when_it_wakes(own):
    RE, documents, cell = own
    pid = cell.potentiostat.pid
    _, said = flown(RE, cell, lambda: os.kill(pid, signal.SIGSTOP))
    assert "was lost" in said
    assert not cell.events("open_circuit")
    woken = time.time()
    os.kill(pid, signal.SIGCONT)
    until(lambda: cell.events("open_circuit"))
    assert cell.opened() - woken < PATIENCE_S
    assert documents.stop["exit_status"] == "fail"


def test_a_driver_whose_heart_stops_is_told_so(own):
    RE, documents, cell = own
    _, said = flown(RE, cell, cell.potentiostat._heartbeat.stop)
    assert "no heartbeat" in said
    assert cell.opened()
    assert documents.stop["exit_status"] == "fail"
