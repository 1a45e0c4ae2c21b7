"""The store writer never waits and never loses."""

import threading

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from event_model import compose_run
from ophyd import Signal

from flyback.callbacks.record import Recorder
from flyback.profiles.store.batches import BatchWriter
from flyback.profiles.store.run_writer import RunWriter
from flyback.profiles.store.runs import find
from flyback.profiles.store.writer import StoreWriter


def step_run(n, **metadata):
    run = compose_run(metadata=metadata)
    yield "start", run.start_doc
    key = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    stream = run.compose_descriptor(name="primary", data_keys={"x": key})
    yield "descriptor", stream.descriptor_doc
    for i in range(n):
        yield "event", stream.compose_event(data={"x": float(i)}, timestamps={"x": 1.0})
    yield "stop", run.compose_stop()


def stored(store, uid):
    return find(store.catalog, uid)["primary"]["x"].read().tolist()


@pytest.fixture
def feed(store, journal):
    """Give documents to the journal and to a writer that remembers them."""

    class Feed:
        def __init__(self, **kwargs):
            self.recorder = Recorder(journal)
            self.writer = StoreWriter(store.catalog, journal=journal, **kwargs)

        def __call__(self, docs):
            for name, doc in docs:
                self.recorder(name, doc)
                self.writer(name, doc)

        def __enter__(self):
            return self

        def __exit__(self, *exc_info):
            self.writer.close()
            self.recorder.close()

    return Feed


def test_rows_are_seen_before_the_run_stops(store, feed):
    docs = list(step_run(5))
    with feed() as give:
        give(docs[:5])
        assert give.writer.wait(60)
        uid = docs[0][1]["uid"]
        table = find(store.catalog, uid)["primary"].base["internal"].read()
        assert table["x"].tolist() == [0, 1, 2]
        assert "stop" not in find(store.catalog, uid).metadata
        give(docs[5:])
        assert give.writer.wait(60)
    assert stored(store, uid) == [0, 1, 2, 3, 4]


def test_a_full_queue_is_made_good_from_the_journal(store, feed, monkeypatch):
    held = threading.Event()
    take = BatchWriter._take

    def slow(self, *args):
        held.wait(60)
        take(self, *args)

    monkeypatch.setattr(BatchWriter, "_take", slow)
    docs = list(step_run(100))
    with feed(capacity=10) as give:
        give(docs)  # returns although nothing is taken
        uid = docs[0][1]["uid"]
        assert "more documents came" in give.writer.problems[uid]
        held.set()
        assert give.writer.wait(60)
        assert give.writer.problems == {}
    assert stored(store, uid) == list(range(100))


def test_a_run_that_fails_harms_no_other_and_is_fed_again(store, feed, monkeypatch, caplog):
    write = RunWriter.__call__
    broken = list(step_run(3, plan_name="broken"))
    failures = [0]

    def fail_once(self, name, doc):
        if doc is broken[3][1]:
            failures[0] += 1
            raise RuntimeError("500: somewhere in the server")
        write(self, name, doc)

    monkeypatch.setattr(RunWriter, "__call__", fail_once)
    good = list(step_run(3))
    with feed() as give:
        give([document for pair in zip(good, broken, strict=True) for document in pair])
        assert give.writer.wait(60)
    assert failures == [1]
    assert "somewhere in the server" in caplog.text
    for docs in (good, broken):
        assert stored(store, docs[0][1]["uid"]) == [0, 1, 2]


def test_without_a_journal_the_problem_stays_known(store, monkeypatch):
    def fail(self, name, doc):
        raise RuntimeError("no")

    monkeypatch.setattr(RunWriter, "__call__", fail)
    docs = list(step_run(1))
    with StoreWriter(store.catalog) as writer:
        for name, doc in docs:
            writer(name, doc)
        assert not writer.wait(60)
    assert writer.problems == {docs[0][1]["uid"]: "RuntimeError: no"}


def test_waiting_ends_at_its_timeout(store, feed, monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(BatchWriter, "_take", lambda *args: held.wait(60))
    with feed() as give:
        give(step_run(1))
        with pytest.raises(TimeoutError, match="still writes after"):
            give.writer.wait(0.05)
        held.set()


def test_an_idle_writer_has_no_thread(store):
    before = set(threading.enumerate())
    with StoreWriter(store.catalog) as writer:
        assert writer.wait(1)
    writer.close()
    assert set(threading.enumerate()) <= before


def test_what_the_run_engine_gives_is_stored(store, RE, tmp_path):
    signals = [Signal(name=f"s{i}", value=float(i)) for i in range(10)]

    @bpp.run_decorator()
    def plan():
        for _ in range(300):
            yield from bps.trigger_and_read(signals)

    with StoreWriter(store.catalog) as writer:
        token = RE.subscribe(writer)
        try:
            (uid,) = RE(plan())
        finally:
            RE.unsubscribe(token)
        assert writer.wait(60), writer.problems
    values = find(store.catalog, uid)["primary"]["s7"].read()
    np.testing.assert_array_equal(values, np.full(300, 7.0))
