"""The plan that goes where an analysis expects to learn most."""

import threading

import numpy as np
import pytest
from ophyd.utils import LimitError

from flyback.callbacks.frames import FrameSource
from flyback.models.physics import electrons_per_dwell
from flyback.plans.adaptive import follow

FIELD_NM, DWELL_MS = 4.0, 0.5


class Guide:
    """Suggests points by the seed; silent in the rounds of `late`, done after `rounds`."""

    def __init__(self, error_nm=1.0, late=(), rounds=10**9):
        self.asked, self.error_nm, self.late, self.rounds = [], error_nm, set(late), rounds

    def __call__(self, through_index, n_points, *, run, seed, timeout_s):
        if seed in self.late:
            raise TimeoutError("not yet")
        self.asked.append((through_index, n_points, seed))
        self.run = run
        if len(self.asked) > self.rounds:
            return np.empty((0, 2)), 0.0
        rng = np.random.default_rng(seed)
        return rng.uniform(-1, 1, (n_points, 2)), self.error_nm


def budget(scope, points):
    electrons = electrons_per_dwell(scope.column.beam_current_pa.get(), DWELL_MS * 1e-3)
    return points * electrons / (FIELD_NM * 10) ** 2


def plan(scope, guide, points=200, **more):
    settings = {"fov_nm": FIELD_NM, "step_nm": 0.5, "dwell_ms": DWELL_MS, "n_points": 40}
    settings |= {"budget_e_per_a2": budget(scope, points)} | more
    return follow([scope.camera], scope.scan_coils, suggest=guide, **settings)


def rounds(documents):
    return [d["data"] for d in documents.of("event") if "round_through_index" in d["data"]]


def test_rounds_go_on_until_the_dose_is_spent(scope, run_engine):
    RE, documents = run_engine
    guide = Guide()
    RE(plan(scope, guide, seed=5))
    documents.check()
    assert documents.stop["exit_status"] == "success"
    assert [r["round_through_index"] for r in rounds(documents)] == [64, 104, 144, 184, 200]
    assert guide.asked == [(64, 40, 5), (104, 40, 6), (144, 40, 7), (184, 16, 8)]
    assert guide.run == documents.start["uid"]
    assert not any(r["round_fell_back"] for r in rounds(documents))
    spent = [r["round_dose_e_per_a2"] for r in rounds(documents)]
    assert spent[-1] == pytest.approx(budget(scope, 200))
    start = documents.start
    assert start["trajectory"]["type"] == "adaptive"
    assert start["dose_e_per_a2"] == pytest.approx(spent[-1])
    placed = documents.read("scan_coils_commanded")
    assert placed.shape == (200, 2)
    assert np.array_equal(documents.read("camera_scan_index"), np.arange(200))
    asked_for = np.random.default_rng(5).uniform(-1, 1, (40, 2))
    in_order = placed[64:104]
    assert {tuple(p) for p in in_order} == {tuple(p) for p in asked_for}

    def jumps(places):
        return np.linalg.norm(np.diff(places, axis=0), axis=1).mean()

    assert jumps(in_order) < 0.5 * jumps(asked_for)
    assert not scope.beam.on


@pytest.mark.parametrize("end", ["error", "nothing left"])
def test_it_ends_when_nothing_is_to_be_gained(scope, run_engine, end):
    RE, documents = run_engine
    guide = Guide(rounds=2) if end == "nothing left" else Guide(error_nm=0.05)
    RE(plan(scope, guide, error_nm=0.1 if end == "error" else 0.0))
    assert len(rounds(documents)) == (3 if end == "nothing left" else 1)
    assert documents.stop["exit_status"] == "success"


def test_an_answer_that_is_late_is_replaced_by_the_stated_raster(scope, run_engine):
    RE, documents = run_engine
    RE(plan(scope, Guide(late=[1]), timeout_s=0.05, fallback_step_nm=0.25))
    assert [r["round_fell_back"] for r in rounds(documents)] == [0, 0, 1, 0, 0]
    placed = documents.read("scan_coils_commanded")
    through = [r["round_through_index"] for r in rounds(documents)]
    fell_back = placed[through[1] : through[2]]
    assert len(fell_back) == 16  # a sixteenth of 16 x 16 points
    steps = fell_back / 0.25 - np.rint(fell_back[0] / 0.25 * 2) / 2
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)


def test_an_abort_while_it_waits_leaves_nothing_behind(scope, run_engine):
    RE, documents = run_engine
    asked = threading.Event()

    def silent(through_index, n_points, *, run, seed, timeout_s):
        asked.set()
        raise TimeoutError("never")

    def abort():
        assert asked.wait(30)
        RE.abort()

    helper = threading.Thread(target=abort)
    helper.start()
    with pytest.raises(Exception, match=r"."):
        RE(plan(scope, silent))
    helper.join()
    assert documents.stop["exit_status"] == "abort"
    assert not scope.beam.on


def test_what_goes_wrong_in_the_analysis_ends_the_run(scope, run_engine):
    RE, documents = run_engine

    def broken(*args, **kwargs):
        raise RuntimeError("the analysis failed: no disk")

    with pytest.raises(RuntimeError, match="suggest failed: the analysis failed"):
        RE(plan(scope, broken))
    assert documents.stop["exit_status"] == "fail"
    assert not scope.beam.on


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"points": 50}, "the coarse raster alone takes .* more than the budget"),
        ({"n_points": 0}, "n_points must be at least 1"),
        ({"timeout_s": -1.0}, "timeout_s must be positive or None"),
        ({"guide": "domains"}, "suggest must be callable, such as live.domains.next_positions"),
        ({"fov_nm": 1e6, "step_nm": 1e5}, "limited to"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run(scope, run_engine, change, sentence):
    RE, documents = run_engine
    change = {"guide": Guide()} | change
    with pytest.raises((ValueError, TypeError, LimitError), match=sentence):
        RE(plan(scope, **change))
    assert not documents.of("start")


def test_an_unknown_dose_is_refused(scope, run_engine):
    RE, _ = run_engine
    scope.column.beam_current_pa.put(0)
    with pytest.raises(ValueError, match="set the column's beam_current_pa"):
        RE(plan(scope, Guide(), budget_e_per_a2=100.0))


def test_blocks_end_where_rounds_do(scope, run_engine):
    RE, documents = run_engine
    RE(plan(scope, Guide()))
    expected = [64, 104, 144, 184, 200]
    in_order = documents.all
    # as a catalogue replays: all events first
    events_first = sorted(in_order, key=lambda pair: pair[0] == "stream_datum")
    events_first.sort(key=lambda pair: pair[0] == "stop")
    for pairs in (in_order, events_first):
        source = FrameSource(documents.start)
        ends, told = [], []
        for name, doc in pairs:
            ends += [int(batch.scan_index[-1]) + 1 for batch in source(name, doc)]
            if name == "event":
                told.append(source.through)
        assert set(expected) <= set(ends)
        assert all(end % source.block == 0 or end in expected for end in ends)
    assert source.through == 200
