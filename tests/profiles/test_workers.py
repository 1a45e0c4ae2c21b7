"""What a process has been told of a run, and what it is told again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.profiles.workers import Fed


def datum(start, stop):
    return {
        "stream_resource": "r",
        "descriptor": "d",
        "uid": f"r/{start}",
        "indices": {"start": start, "stop": stop},
        "seq_nums": {"start": start + 1, "stop": stop + 1},
    }


@given(st.lists(st.integers(1, 9), max_size=8), st.lists(st.integers(1, 9), max_size=8))
@settings(max_examples=60, deadline=None)
def test_rows_are_handed_over_once_however_they_were_joined(one, other):
    """The journal has the datums as announced, the queue some of them joined."""
    fed, rows = Fed(), []
    total = min(sum(one), sum(other))
    for sizes in (one, other):
        start = 0
        for size in sizes:
            stop = min(start + size, total)
            fresh = fed.fresh("stream_datum", datum(start, stop)) if stop > start else None
            if fresh is not None:
                rows += range(fresh["indices"]["start"], fresh["indices"]["stop"])
                assert fresh["seq_nums"]["start"] == fresh["indices"]["start"] + 1
                assert fresh["seq_nums"]["stop"] == fresh["indices"]["stop"] + 1
            start = stop
    assert rows == list(range(total))


@given(st.lists(st.sampled_from([("event", 1), ("event", 2), ("event_page", 3)]), max_size=12))
def test_events_are_handed_over_once(given_):
    fed = Fed()
    order = sorted(set(given_), key=lambda each: each[1])
    for name, seq_num in order:
        doc = {"descriptor": "d", "uid": "e", "seq_num": [seq_num] if "page" in name else seq_num}
        assert fed.fresh(name, doc) == doc
    for name, seq_num in given_:
        doc = {"descriptor": "d", "uid": "e", "seq_num": [seq_num] if "page" in name else seq_num}
        assert fed.fresh(name, doc) is None


def test_other_documents_are_known_by_their_uid():
    fed = Fed()
    for name, doc in [
        ("start", {"uid": "a"}),
        ("descriptor", {"uid": "b", "run_start": "a"}),
        ("stream_resource", {"uid": "c", "run_start": "a"}),
        ("datum", {"datum_id": "e/0", "resource": "e"}),
        ("datum_page", {"datum_id": ["e/1", "e/2"], "resource": "e"}),
        ("stop", {"uid": "f", "run_start": "a"}),
    ]:
        assert fed.fresh(name, doc) == doc
        assert fed.fresh(name, doc) is None
