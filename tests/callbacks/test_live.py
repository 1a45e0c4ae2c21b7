import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from flyback.callbacks.assets import AssetReader
from flyback.callbacks.live import Analysis, LiveCallback
from flyback.callbacks.publish import Publisher
from flyback.models.base import Quantity
from flyback.tests.run_documents import fly_documents, write_files

N = 300
FRAMES = np.random.default_rng(1).integers(0, 50, (N, 4, 4)).astype(np.uint16)
POSITIONS = np.random.default_rng(2).normal(size=(N, 2))


class Sums:
    """A model of three lines: the sum of each frame."""

    def __init__(self, fail_at=None):
        self.sums, self.fail_at = [], fail_at

    def partial_fit(self, batch):
        if self.fail_at is not None and len(self.sums) >= self.fail_at:
            raise ArithmeticError("the sums do not add up")
        self.sums += [int(frame.sum()) for frame in batch.frames]
        return self

    @property
    def result_(self):
        return {
            "sums": Quantity(np.array(self.sums), "counts", ("frame",)),
            "wave": Quantity(np.full((2, 3), 1 + 2j, np.complex64), "", ("y", "x")),
            "total": Quantity(float(np.sum(self.sums)), "counts"),
            "flags": Quantity(["all", "well"], "", ("reason",)),
            "trust": Quantity(True),
        }


class Converged(Sums):
    def converge(self):
        self.sums = [-1, *self.sums]
        return self


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path, FRAMES, np.arange(N), POSITIONS)


@pytest.fixture
def run(tmp_path, files):
    def run(build, **md):
        docs = fly_documents(files, FRAMES, POSITIONS, camera_cuts=(100, 217), **md)
        emitted = []

        def factory(start):
            def publisher():
                return Publisher(
                    lambda n, d: emitted.append((n, d)),
                    tmp_path / "results",
                    analysis="sums",
                    parent=start,
                    parameters={"a": 1},
                    period_s=0.0,
                )

            return LiveCallback(start, publisher, lambda batch: build())

        analysis = Analysis("sums", factory)
        for name, doc in docs:
            analysis(name, doc)
        return analysis, emitted, docs[0][1]

    return run


def test_results_become_a_valid_derived_run(run):
    analysis, emitted, start = run(Sums)
    for name, doc in emitted:
        schema_validators[DocumentNames[name]].validate(doc)
    derived, stop = emitted[0][1], emitted[-1][1]
    assert derived["parents"] == [start["uid"]]
    assert (derived["purpose"], derived["analysis"]) == ("analysis", "sums")
    assert derived["parameters"] == {"a": 1}
    assert set(derived["versions"]) >= {"flyback", "numpy", "numba"}
    assert stop["exit_status"] == "success"
    np.testing.assert_array_equal(analysis.sums_, FRAMES.sum(axis=(1, 2)))


def test_arrays_are_announced_and_read_back_exactly(run):
    _, emitted, _ = run(Sums)
    reader = AssetReader()
    for name, doc in emitted:
        if name == "stream_resource":
            reader.add(doc)
    values = {
        reader.key(d["stream_resource"]): reader.read(d["stream_resource"], 0, 1)[0]
        for n, d in emitted
        if n == "stream_datum"
    }
    reader.close()
    np.testing.assert_array_equal(values["sums"], FRAMES.sum(axis=(1, 2)))
    assert values["wave"].dtype == np.complex64
    described = next(d for n, d in emitted if n == "descriptor" and d["name"] == "result")
    assert described["data_keys"]["sums"]["units"] == "counts"
    assert described["data_keys"]["wave"]["dims"] == ["y", "x"]


def test_scalars_are_events_and_the_last_is_final(run):
    _, emitted, _ = run(Sums)
    described = {d["uid"]: d["name"] for n, d in emitted if n == "descriptor"}
    events = [d for n, d in emitted if n == "event"]
    totals = [e["data"]["total"] for e in events if described[e["descriptor"]] == "primary"]
    assert totals[-1] == FRAMES.sum()
    assert totals == sorted(totals)
    summary = [e["data"] for e in events if described[e["descriptor"]] == "summary"]
    assert summary == [{"flags": "all; well", "trust": True}]


def test_a_converging_model_converges_once_at_the_end(run):
    analysis, _, _ = run(Converged)
    assert analysis.sums_[0] == -1
    assert len(analysis.sums_) == N + 1


def test_an_exception_fails_the_derived_run_only(run):
    analysis, emitted, _ = run(lambda: Sums(fail_at=1))
    assert emitted[-1][1]["exit_status"] == "fail"
    assert "the sums do not add up" in emitted[-1][1]["reason"]
    (callback,) = analysis.take()
    assert isinstance(callback.error, ArithmeticError)


def test_a_run_without_frames_leaves_no_derived_run(run, tmp_path):
    emitted = []

    def factory(start):
        def publisher():
            raise AssertionError("nothing to publish")

        return LiveCallback(start, publisher, lambda batch: Sums())

    analysis = Analysis("sums", factory)
    analysis("start", {"uid": "r", "time": 0.0})
    analysis("stop", {"run_start": "r", "uid": "s"})
    assert analysis.take()[0].publisher is None
    assert not emitted


def test_an_unknown_result_lists_what_there_is(run):
    analysis, _, _ = run(Sums)
    with pytest.raises(AttributeError, match=r"no 'phase' yet; it has .*'sums'"):
        _ = analysis.phase_
