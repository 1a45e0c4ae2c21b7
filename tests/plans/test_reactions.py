"""What rules make of an operando run: the plan does it, and the run says so."""

import json
from types import SimpleNamespace

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine

from flyback.callbacks.rules import Rule, Rules
from flyback.devices.sim.monitors import SimTemperature
from flyback.devices.sim.potentiostat import SimPotentiostat
from flyback.models.base import Event
from flyback.plans.reactions import Cadence
from flyback.plans.techniques import ocv
from flyback.profiles.registry import SettingError
from flyback.profiles.rules import StandingRules
from flyback.tests.microscope import close_engine

SPEED = 200.0


@pytest.fixture(scope="module")
def cell():
    potentiostat = SimPotentiostat(name="cell", speed=SPEED)
    yield potentiostat
    potentiostat.destroy()


@pytest.fixture
def run(cell):
    """Carry out `ocv` under rules; the event comes with the third reading of the detector."""
    engine = RunEngine({})
    thermometer = SimTemperature(name="thermometer")

    def carry_out(rule, event=None, duration_s=400.0):
        standing = StandingRules(rules := Rules([rule]), {"count": bp.count}, {"t": thermometer})
        seen = SimpleNamespace(docs=[], primary=None, begun=False)

        def hear(name, doc):
            seen.docs.append((name, doc))
            if name == "descriptor" and doc["name"] == "primary":
                seen.primary = doc["uid"]
            third = name == "event" and doc["descriptor"] == seen.primary and doc["seq_num"] == 3
            if third and event is not None and not seen.begun:
                seen.begun = True
                rules.heard("analysis", seen.docs[0][1]["uid"], event)

        token = engine.subscribe(hear)
        plan = ocv(
            cell, [thermometer], duration_s=duration_s, every_s=40.0, sample_s=4.0, rules=standing
        )
        try:
            engine(plan)
        finally:
            engine.unsubscribe(token)
        return seen.docs

    yield carry_out
    close_engine(engine)


def rule(do, **settings):
    return Rule("r", "analysis", "onset", do, settings=settings)


def stream(docs, name):
    keys = [d["uid"] for kind, d in docs if kind == "descriptor" and d["name"] == name]
    return [d["data"] for kind, d in docs if kind == "event" and d["descriptor"] in keys]


ONSET = Event("onset", 2, "Li2Pt", {"volume": 0.03})


def test_exposures_get_finer_when_a_rule_fires_and_the_run_says_why(run):
    docs = run(rule("finer_frames", every_s=8.0), ONSET)
    clock = np.array([row["cell_device_time_s"] for row in stream(docs, "primary")])
    steps = np.diff(clock)
    assert np.median(steps[:2]) > 30
    assert np.median(steps[4:]) < 20
    (noted,) = stream(docs, "rules")
    assert (noted["rule_rule"], noted["rule_event"], noted["rule_subject"]) == (
        "r",
        "onset",
        "Li2Pt",
    )
    assert json.loads(noted["rule_says"]) == {"volume": 0.03}
    assert json.loads(noted["rule_settings"]) == {"every_s": 8.0}
    assert noted["rule_scan_index"] == 2
    assert noted["rule_fired_s"] <= noted["rule_acted_s"]
    assert docs[-1][1]["exit_status"] == "success"


def test_a_rule_can_end_the_protocol(run, cell):
    docs = run(rule("end_protocol"), ONSET, duration_s=4000.0)
    clock = [row["cell_device_time_s"] for row in stream(docs, "primary")]
    assert clock[-1] - clock[0] < 2000
    assert cell.running is None


def test_a_rule_can_hold_the_cell_while_its_clock_goes_on(run):
    docs = run(rule("hold_cell", duration_s=100.0), ONSET)
    (pause,) = stream(docs, "pauses")
    assert pause["cell_pauses_ended_s"] - pause["cell_pauses_began_s"] >= 99
    assert pause["cell_pauses_held"] == 1


def test_a_rule_can_run_another_plan_inside_the_run(run):
    docs = run(rule("count", detectors=["@t"], num=2), ONSET)
    starts = [d for kind, d in docs if kind == "start"]
    assert [d["plan_name"] for d in starts] == ["ocv", "count"]
    stops = {d["run_start"]: d for kind, d in docs if kind == "stop"}
    assert all(d["exit_status"] == "success" for d in stops.values())
    assert stops[starts[1]["uid"]]["num_events"] == {"primary": 2}


def test_an_unknown_action_is_refused_before_the_run(run):
    with pytest.raises(SettingError, match="did you mean 'finer_frames'"):
        run(rule("finer_frame"))


def test_a_finer_cadence_lasts_as_long_as_was_said():
    cadence = Cadence(30.0)
    cadence.change(2.0, until_s=100.0)
    assert [cadence.at(t) for t in (50.0, 99.0, 100.0, 101.0)] == [2.0, 2.0, 30.0, 30.0]
    cadence.change(5.0)
    assert cadence.at(1e6) == 5.0
