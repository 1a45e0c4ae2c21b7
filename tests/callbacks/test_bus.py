"""Documents over a real Redis server: each once, in order, whatever is killed in between."""

import logging
import threading
from itertools import islice

import numpy as np
import pytest
from event_model import compose_run

from flyback.callbacks import bus
from flyback.callbacks.bus import BusError, BusPublisher, connect, listen
from flyback.callbacks.record import Recorder
from flyback.tests.redis_server import RedisServer


@pytest.fixture(params=["keeps", "forgets"])
def server(request, tmp_path):
    server = RedisServer(tmp_path, keeps=request.param == "keeps")
    server.start()
    yield server
    server.kill()


def run_documents(n, value=None):
    run = compose_run(metadata={"sample": {"name": "LFP", "x": np.float32(0.5)}})
    key = {"source": "x", "dtype": "array", "shape": [2], "dtype_numpy": "<u2"}
    stream = run.compose_descriptor(name="primary", data_keys={"x": key})
    yield "start", dict(run.start_doc)
    yield "descriptor", dict(stream.descriptor_doc)
    for i in range(n):
        data = {"x": np.full(2, i, np.uint16) if value is None else value}
        yield "event", dict(stream.compose_event(data=data, timestamps={"x": 1.0}))
    yield "stop", dict(run.compose_stop())


class Listener:
    """Collects so many documents on a thread."""

    def __init__(self, uri, number):
        self.ended = threading.Event()
        self.begun = threading.Event()
        self.found = []
        self._thread = threading.Thread(target=self._work, args=(uri, number))
        self._thread.start()

    def _work(self, uri, number):
        for document in islice(listen(uri, ended=self.ended, everything=True), number):
            self.found.append(document)
            self.begun.set()

    def documents(self, timeout_s=60):
        self._thread.join(timeout_s)
        self.ended.set()
        self._thread.join(10)
        return self.found


def same(found, docs):
    assert [(name, doc["uid"]) for name, doc in found] == [(n, d["uid"]) for n, d in docs]
    for (_, one), (_, other) in zip(found, docs, strict=True):
        if "data" in other:
            assert one["data"]["x"].dtype == np.uint16
            np.testing.assert_array_equal(one["data"]["x"], other["data"]["x"])


@pytest.fixture
def recorder(tmp_path):
    with Recorder(tmp_path / "journal") as recorder:
        yield recorder


def give(docs, recorder, publisher):
    for name, doc in docs:
        recorder(name, doc)
        publisher(name, doc)


def test_documents_come_as_they_were_given(server, recorder):
    docs = list(run_documents(50))
    listener = Listener(server.uri, len(docs))
    with BusPublisher(server.uri, recorder.directory) as publisher:
        give(docs, recorder, publisher)
        found = listener.documents()
    same(found, docs)
    assert found[0][1]["sample"]["x"].dtype == np.float32


def test_a_server_that_is_killed_and_comes_back_costs_nothing(server, recorder):
    docs = list(run_documents(300))
    listener = Listener(server.uri, len(docs))
    with BusPublisher(server.uri, recorder.directory, capacity=50) as publisher:
        give(docs[:100], recorder, publisher)
        assert listener.begun.wait(30)
        server.kill()
        give(docs[100:250], recorder, publisher)
        server.start()
        give(docs[250:], recorder, publisher)
        same(listener.documents(), docs)


def test_a_full_queue_is_made_good_from_the_journal(server, recorder, monkeypatch):
    held = threading.Event()
    send = BusPublisher._send
    monkeypatch.setattr(BusPublisher, "_send", lambda self, b: held.wait(60) and send(self, b))
    docs = list(run_documents(100))
    with BusPublisher(server.uri, recorder.directory, capacity=10) as publisher:
        give(docs, recorder, publisher)  # returns although nothing is taken
        listener = Listener(server.uri, len(docs))
        held.set()
        same(listener.documents(), docs)


def test_what_is_no_reference_is_not_sent(server, recorder, caplog):
    docs = list(run_documents(1, value=np.zeros(1 << 20, np.uint16)))
    with (
        caplog.at_level(logging.WARNING),
        BusPublisher(server.uri, recorder.directory) as publisher,
    ):
        give(docs, recorder, publisher)
        found = Listener(server.uri, 3).documents()
        assert publisher.refused == 1
    assert [name for name, _ in found] == ["start", "descriptor", "stop"]
    assert "is not for the bus" in caplog.text


@pytest.mark.parametrize("junk", [b"", b"\xc1", b"\x92\xa4evil\x80", b"\x93\x01\x02\x03", b"\x80"])
def test_what_is_no_document_is_passed_over(server, recorder, junk, caplog):
    with connect(server.uri) as client:
        client.xadd(bus.STREAM, {bus.FIELD: junk})
        client.xadd(bus.STREAM, {b"other": b"1"})
    docs = list(run_documents(2))
    with BusPublisher(server.uri, recorder.directory) as publisher:
        give(docs, recorder, publisher)
        same(Listener(server.uri, len(docs)).documents(), docs)
    assert caplog.text.count("passed over") == 2


def test_addresses_are_checked():
    with pytest.raises(BusError, match=r"redis://127"):
        connect("http://127.0.0.1:6379")
    with pytest.raises(BusError, match="FLYBACK_BUS_PASSWORD") as told:
        connect("redis://:secret@127.0.0.1:6379")
    assert "secret" not in str(told.value)
    with pytest.raises(BusError, match="does not answer"):
        next(listen("redis://127.0.0.1:9", ended=threading.Event()))
