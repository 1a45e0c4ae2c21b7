"""Faults beside or inside a session: disks, clocks, queues, callbacks, dead processes."""

import os

import pytest

from flyback.profiles.faults.asking import INSIDE
from flyback.profiles.faults.table import try_faults

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL"),
]
WHOLE = 900
CUT = {"ctrl_c_once", "ctrl_c_twice", "callback_raises"}


@pytest.mark.parametrize("kind", [*INSIDE, "two_sessions"])
def test_nothing_is_lost(kind):
    outcomes = list(try_faults(kinds=[kind]))
    assert outcomes
    assert [o for o in outcomes if not o.survived] == []
    for outcome in outcomes:
        assert outcome.readable == outcome.announced > 0
        assert kind in CUT | {"two_sessions"} or outcome.announced == WHOLE


def test_a_full_disk_ends_the_run_or_not_and_loses_nothing():
    outcomes = list(try_faults(kinds=["disk_full"]))
    if not outcomes:
        pytest.skip("no small disks can be made here")
    assert [o for o in outcomes if not o.survived] == []
    assert len(outcomes) == 3
    assert all(o.readable == o.announced for o in outcomes)
