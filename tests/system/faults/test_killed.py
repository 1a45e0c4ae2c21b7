"""Sessions killed at random points: no announced frame is lost."""

import os

import pytest

from flyback.profiles.faults.outcome import Outcome, lines_of, table_of
from flyback.profiles.faults.table import KINDS, try_faults


def test_the_table_counts_what_is_lost_and_what_is_not_as_promised():
    table = table_of(
        [
            Outcome("a", "here", announced=10, readable=10),
            Outcome("a", "there", announced=10, readable=7, destroyed=2),
            Outcome("b", "here", problems=["the run has no stop"]),
        ]
    )
    assert (table["tried"], table["survived"]) == (3, 1)
    assert (table["frames_announced"], table["frames_lost"]) == (20, 1)
    assert table["by_kind"]["a"]["frames_lost"] == 1
    assert table["by_kind"]["b"]["survived"] == 0
    text = "\n".join(lines_of(table))
    assert "a, there: 1 frames are lost" in text
    assert "b, here: the run has no stop" in text


@pytest.mark.parametrize(
    ("asked", "said"), [({"n": 0}, "at least 1"), ({"kinds": ["kil"]}, "kind of fault")]
)
def test_bad_orders_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        list(try_faults(**asked))


@pytest.mark.heavy
@pytest.mark.skipif(os.name == "nt", reason="each kill starts Python anew there")
def test_no_announced_frame_of_killed_sessions_is_lost():
    assert "kill_session" in KINDS
    outcomes = list(try_faults(seed=1, n=12, kinds=["kill_session"]))
    assert len(outcomes) == 12
    assert [o for o in outcomes if not o.survived] == []
    assert sum(o.announced for o in outcomes) > 500
