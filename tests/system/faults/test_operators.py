"""What an operator does in mid-run: pauses at each message, and every way in which a cell ends."""

import os

import pytest

from flyback.profiles.faults.outcome import Outcome
from flyback.profiles.faults.sessions import Said
from flyback.profiles.faults.table import try_faults

heavy = pytest.mark.heavy


def test_a_run_that_is_paused_after_its_stop_is_whole_whatever_follows():
    said = Said()
    for line in (
        {"document": 1, "name": "start", "run": "a"},
        {"paused": 1.0},
        {"document": 2, "name": "stop", "run": "a"},
        {"document": 1, "name": "start", "run": "b"},
        {"document": 2, "name": "stop", "run": "b", "frames": 3},
        {"paused": 2.0},
        {"ended": "interrupted"},
    ):
        said.take(line)
    assert said.closed == {"b"}
    assert said.frames == {"a": 0, "b": 3}
    assert said.ended == ["interrupted"]


def failed(outcomes: list[Outcome]) -> list[Outcome]:
    return [o for o in outcomes if not o.survived]


@heavy
def test_a_pause_at_any_message_loses_nothing():
    outcomes = list(try_faults(kinds=["pause"]))
    assert failed(outcomes) == []
    # each of some thirty messages, four things to do then
    assert len(outcomes) > 100
    assert sum(o.announced for o in outcomes) > 5000


@heavy
@pytest.mark.skipif(os.name == "nt", reason="faults are injected with POSIX signals")
def test_every_way_out_leaves_the_cell_at_open_circuit_within_a_second():
    outcomes = list(try_faults(kinds=["cell"]))
    assert failed(outcomes) == []
    assert len(outcomes) == 13
    assert sum("open after" in o.what for o in outcomes) == 12
