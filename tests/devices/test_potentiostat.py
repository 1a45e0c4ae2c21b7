"""The same device drives another make of potentiostat, over loopback Channel Access."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from flyback.devices.potentiostat import Potentiostat
from flyback.devices.potentiostat_link import PotentiostatError
from flyback.devices.potentiostat_samples import samples_of
from flyback.devices.sim.potentiostat import SimPotentiostat, free_port, search_at
from flyback.models.protocol import Protocol
from flyback.models.steps import Limits, ProtocolError
from flyback.models.techniques import CA, GCPL, OCV
from flyback.plans import cycle, operando
from flyback.tests.microscope import close_engine, engine
from flyback.tests.potentiostats import samples

IOC = Path(__file__).parents[1] / "hardware_ioc.py"
NAMES = {"program": "PRG", "command": "CMD", "samples": "DAT"}


class Box:
    """The other make's process, and its log."""

    def __init__(self, folder):
        self.log = folder / "box.jsonl"
        port = free_port()
        command = [sys.executable, str(IOC), "box:", str(port), str(self.log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready"
        self.leave = search_at(port)

    def events(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.leave()


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    made = Box(tmp_path_factory.mktemp("box"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def potentiostat(box):
    made = Potentiostat(
        "box:", name="pot", records=NAMES, limits={"upper_v": 2.0, "lower_v": 0.1}, timeout_s=2.0
    )
    made.connect()
    yield made
    made.destroy()


@pytest.fixture
def run_engine():
    RE, documents = engine()
    yield RE, documents
    close_engine(RE)


def test_a_plan_runs_on_hardware_of_another_make(box, potentiostat, run_engine):
    RE, documents = run_engine
    RE(
        cycle(
            potentiostat,
            c_rate=10,
            capacity_mah=0.01,
            lower_v=0.5,
            upper_v=1.5,
            cycles=1,
            sample_s=0.1,
        )
    )
    documents.check()
    found = samples(documents, "pot")
    assert np.array_equal(found["sample_index"], np.arange(len(found["sample_index"])))
    down = found["step_count"] == 1
    assert (found["current_ma"][down] == -0.1).all()
    assert (found["current_ma"][found["step_count"] == 2] == 0.1).all()
    assert ((found["voltage_v"] <= 0.5) & down).sum() == 1
    # V = V0 + Q / C + I R, by what was read
    charge_c = found["capacity_mah"] * 3.6
    model = 1.0 + charge_c / 1e-4 + found["current_ma"] * 1e-3 * 200
    assert np.abs(found["voltage_v"] - model).max() < 0.01
    assert found["device_time_s"][0] > 1000
    assert box.events()[-1]["event"] == "open_circuit"
    assert potentiostat.range_ma.get() == 0.1
    assert np.isinf(potentiostat.hardware_limits.to_dict().get("power_mw", np.inf))


def test_it_is_paused_and_aborted(box, potentiostat, run_engine):
    RE, documents = run_engine
    pages = []

    def act(name, doc):
        pages.append(doc)
        if len(pages) == 1:
            RE.loop.call_soon(lambda: RE.loop.create_task(RE._request_pause_coro()))

    RE.subscribe(act, "event_page")
    with pytest.raises(RunEngineInterrupted):
        RE(long_rest(potentiostat))
    assert box.events()[-1]["reason"] == "pause"
    assert potentiostat.state.get() == "paused"
    RE.abort()
    assert box.events()[-1]["reason"] == "commanded"
    assert documents.stop["exit_status"] == "abort"


def long_rest(potentiostat):
    return operando(potentiostat, Protocol([OCV(60)], sample_s=0.1))


def test_its_trip_is_the_runs_reason(box, potentiostat, run_engine):
    RE, documents = run_engine
    protocol = {"techniques": [{"technique": "OCV", "duration_s": 30}], "sample_s": 0.05}
    seen = []

    def act(name, doc):
        seen.append(doc)
        potentiostat._heartbeat.stop()

    RE.subscribe(act, "event_page")
    with pytest.raises(PotentiostatError, match="opened the circuit by itself: no heartbeat"):
        RE(operando(potentiostat, protocol))
    assert "no heartbeat" in [event.get("reason") for event in box.events()]
    assert documents.stop["exit_status"] == "fail"


def test_a_cell_outside_its_window_is_not_started(box, potentiostat):
    potentiostat.limits = Limits(lower_v=2.5, upper_v=3.0)
    before = len(box.events())
    potentiostat.prepare(Protocol([OCV(1)])).wait(2)
    with pytest.raises(
        ProtocolError, match=r"stands at .* V, below lower_v = 2.5 V of the profile"
    ):
        potentiostat.kickoff()
    potentiostat.limits = Limits()
    outward = GCPL(0.1, 2.0, 3.0, capacity_mah=1.0)
    potentiostat.prepare(Protocol([outward], Limits(lower_v=2.0))).wait(2)
    with pytest.raises(ProtocolError, match=r"below lower_v = 2 V of the plan"):
        potentiostat.kickoff()
    assert len(box.events()) == before


def test_the_range_is_the_smallest_that_holds_the_currents(potentiostat):
    potentiostat.limits = Limits(current_ma=0.5)
    potentiostat.prepare(Protocol([GCPL(0.02, 0.5, 1.5, capacity_mah=1)])).wait(2)
    assert potentiostat.range_ma.get() == 0.1
    potentiostat.prepare(Protocol([CA(1.0, 5)])).wait(2)
    assert potentiostat.range_ma.get() == 1.0  # whatever the limit allows may flow
    with pytest.raises(ProtocolError, match=r"current_ma = 0.5 mA of the profile"):
        potentiostat.prepare(Protocol([GCPL(0.7, 0.5, 1.5, capacity_mah=1)]))
    potentiostat.limits = Limits()


def test_it_refuses_what_it_was_not_prepared_for(potentiostat):
    fresh = Potentiostat("box:", name="fresh", records=NAMES)
    for call in (fresh.kickoff, fresh.complete):
        with pytest.raises(PotentiostatError):
            call()
    fresh.destroy()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"records": {"volts": "V"}}, "there is no record volts"),
        ({"on_pause": "sleep"}, "on_pause is"),
        ({"range_ma": 0}, "range_ma must be"),
        ({"limits": {"volts": 1}}, "limits are lower_v"),
        ({"limits": {"lower_v": 2, "upper_v": 1}}, "leave no room"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Potentiostat("nowhere:", name="pot", **settings)


def test_an_instrument_that_is_not_there_is_named():
    lost = Potentiostat("nowhere:", name="pot", timeout_s=0.3)
    with pytest.raises(PotentiostatError, match="pot does not answer at 'nowhere:'"):
        lost.connect()
    assert lost.trigger().exception(5) is not None
    lost.stop()
    lost.destroy()


def test_a_cell_that_cannot_be_made_says_why(tmp_path):
    with pytest.raises(ValueError, match="has no thickness; it has thickness_nm"):
        SimPotentiostat(name="pot", cell={"thickness": 3}, log_path=tmp_path / "cell.jsonl")
    with pytest.raises(ValueError, match="speed must lie"):
        SimPotentiostat(name="pot", speed=0)


@pytest.mark.parametrize(
    "flat", [[], [1, 2, 3], [0, 1, 1, 11, *range(11)], [0, 5, 2, 12, *range(12)]]
)
def test_a_record_that_is_no_samples_is_refused(flat):
    with pytest.raises(ValueError, match="numbers"):
        samples_of(np.array(flat, float))
