"""Stored runs in time order: nothing lost, nothing before what it needs, at the pace asked for."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.profiles.archive import Archive
from flyback.profiles.replay import replay_all, stored_documents
from flyback.profiles.replay_order import PIECE, check_speed, interleaved, merged, paced, timed
from flyback.profiles.upkeep.ingest import ingest
from flyback.tests.run_documents import fly_documents, write_files


def catalogue_run(uid, begin, gaps, *, frames, with_events):
    """Return a run as the catalogue gives it: one joined datum, then the events."""
    key = {"source": "t", "dtype": "number", "shape": []}
    stamps = list(itertools.accumulate(gaps, initial=begin))
    docs = [
        ("start", {"uid": uid, "time": begin}),
        ("descriptor", {"uid": f"{uid}-d", "time": begin, "data_keys": {"x": key}}),
        ("descriptor", {"uid": f"{uid}-f", "time": begin, "data_keys": {}}),
        ("stream_resource", {"uid": f"{uid}-r"}),
        (
            "stream_datum",
            {
                "uid": f"{uid}-r/0",
                "stream_resource": f"{uid}-r",
                "descriptor": f"{uid}-d" if with_events else f"{uid}-f",
                "indices": {"start": 0, "stop": frames},
                "seq_nums": {"start": 1, "stop": frames + 1},
            },
        ),
    ]
    docs += [
        ("event", {"uid": f"{uid}/{n}", "descriptor": f"{uid}-d", "seq_num": n, "time": t})
        for n, t in enumerate(stamps[1:], 1)
    ]
    return [*docs, ("stop", {"run_start": uid, "time": stamps[-1] + 1})]


GAPS = st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=40)


@given(GAPS, st.integers(1, 300), st.booleans(), st.floats(0, 1e9))
@settings(deadline=None, max_examples=60)
def test_interleaving_keeps_everything_and_puts_frames_before_their_event(gaps, n, same, begin):
    run = catalogue_run("a", begin, gaps, frames=len(gaps) if same else n, with_events=same)
    rows = interleaved(run)
    times = [t for t, *_ in rows]
    assert times == sorted(times)
    names = [name for _, name, _ in rows]
    assert names[:4] == ["start", "descriptor", "descriptor", "stream_resource"]
    assert names[-1] == "stop"
    assert [d for _, name, d in rows if name == "event"] == [d for k, d in run if k == "event"]
    pieces = [d["indices"] for _, name, d in rows if name == "stream_datum"]
    assert pieces[0]["start"] == 0
    assert pieces[-1]["stop"] == (len(gaps) if same else n)
    assert all(a["stop"] == b["start"] for a, b in itertools.pairwise(pieces))
    assert max(p["stop"] - p["start"] for p in pieces) <= (1 if same else PIECE)
    if same:  # a frame is announced just before the event that it belongs to
        seen = 0
        for _, name, doc in rows:
            seen += name == "stream_datum"
            assert name != "event" or doc["seq_num"] == seen


@given(GAPS, GAPS, st.floats(-50, 50))
@settings(deadline=None, max_examples=60)
def test_runs_are_merged_by_time_and_each_keeps_its_order(first, second, shift):
    runs = {
        "a": catalogue_run("a", 100.0, first, frames=3, with_events=False),
        "b": catalogue_run("b", 100.0 + shift, second, frames=5, with_events=False),
    }
    rows = list(merged({uid: interleaved(run) for uid, run in runs.items()}))
    times = [row[0] for row in rows]
    assert times == sorted(times)
    for uid, run in runs.items():
        mine = [(name, doc) for _, owner, name, doc in rows if owner == uid]
        assert mine == [(name, doc) for _, name, doc in interleaved(run)]


@pytest.mark.parametrize("speed", [0.5, 1.0, 10.0])
def test_the_pace_is_that_of_the_times(speed):
    now = [50.0]
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    run = catalogue_run("a", 1e9, [1, 2, 3], frames=2, with_events=False)
    rows = merged({"a": timed(run)})
    seen = [(name, now[0]) for _, name, _ in paced(rows, speed, clock=lambda: now[0], sleep=sleep)]
    assert seen[-1] == ("stop", pytest.approx(50 + 7 / speed))
    assert sum(waits) == pytest.approx(7 / speed)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
def test_a_speed_that_is_none_is_refused(speed):
    with pytest.raises(ValueError, match="--speed must be above 0"):
        check_speed(speed)


@pytest.mark.heavy
def test_two_runs_together_at_a_speed_give_the_bits_that_each_gives_alone(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    positions = np.stack(np.divmod(np.arange(300), 20), axis=1) * 1.0
    monkeypatch.setenv("FLYBACK_READABLE", str(tmp_path))
    uids = []
    for name in "ab":
        (tmp_path / name).mkdir()
        frames = rng.poisson(9, (300, 16, 16)).astype(np.uint16)
        files = write_files(tmp_path / name, frames, np.arange(300), positions)
        docs = fly_documents(
            files, frames, positions, camera_cuts=(7, 60), radiation="electron", energy_kev=80.0
        )
        (tmp_path / f"{name}.json").write_text(json.dumps(docs))
        uids += ingest([tmp_path / f"{name}.json"], tmp_path / "store").added
    with Archive(tmp_path / "store") as archive:
        alone = [replay_all([uid], "virtual_images", session=archive)[0] for uid in uids]
        journal = [
            replay_all([uid], "virtual_images", session=archive, source="journal")[0]
            for uid in uids
        ]
        together = replay_all(uids, "virtual_images", session=archive, speed=1e6)
        assert [one.parent for one in together] == uids
        for a, b, c in zip(alone, journal, together, strict=True):
            for key, quantity in a.callback.final.items():
                np.testing.assert_array_equal(b.callback.final[key].value, quantity.value)
                np.testing.assert_array_equal(c.callback.final[key].value, quantity.value)
            start = archive.catalog.analysis[c.uid].metadata["start"]
            assert start["replay_of"] == b.uid
            assert start["parents"] == [c.parent]
        order = [name for _, name, _ in stored_documents(archive, uids)]
        assert order.count("start") == order.count("stop") == 2
        recorded = list(archive.documents(uids[0], source="journal"))
        again = [(n, d) for _, n, d in stored_documents(archive, uids[:1], source="journal")]
        assert again == recorded
