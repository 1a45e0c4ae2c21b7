"""A real Tiled server on loopback, that goes away and comes back."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from event_model import compose_run

from flyback.callbacks.record import Recorder
from flyback.profiles.store.catalog import CatalogError, open_catalog
from flyback.profiles.store.recovery import recover
from flyback.profiles.store.runs import documents, find
from flyback.profiles.store.writer import StoreWriter
from flyback.tests.tiled_server import KEY, Server


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)]
)
def server(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("server")
    (root / "frames").mkdir()
    database = None
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres").database()
    server = Server(root, root / "frames", database=database)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILED_API_KEY", KEY)
        yield server
    server.kill()


def counts(i):
    return np.full((2, 3), 65_000 + i, np.uint16)


def step_run(n):
    run = compose_run()
    yield "start", run.start_doc
    keys = {
        "x": {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"},
        "n": {"source": "n", "dtype": "integer", "shape": []},
        "counts": {"source": "c", "dtype": "array", "shape": [2, 3], "dtype_numpy": "<u2"},
        "unsaid": {"source": "c", "dtype": "array", "shape": [2, 3]},
        "told": {"source": "t", "dtype": "string", "shape": []},
    }
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    yield "descriptor", stream.descriptor_doc
    for i in range(n):
        data = {
            "x": float(i),
            "n": i,
            "counts": counts(i),
            "unsaid": counts(i),
            "told": f"état {i}",
        }
        yield "event", stream.compose_event(data=data, timestamps=dict.fromkeys(data, 1.0))
    yield "stop", run.compose_stop()


@pytest.mark.heavy
def test_a_server_that_goes_away_costs_nothing(server, tmp_path):
    first, second = list(step_run(10)), list(step_run(4))
    with (
        open_catalog(uri=server.uri) as catalog,
        Recorder(tmp_path) as recorder,
        StoreWriter(catalog, journal=tmp_path) as writer,
    ):

        def give(docs):
            for name, doc in docs:
                recorder(name, doc)
                writer(name, doc)

        give(first[:6])
        assert writer.wait(60)
        server.kill()
        give(first[6:])
        assert not writer.wait(60)
        give(second)
        assert not writer.wait(60)
        assert set(writer.problems) == {first[0][1]["uid"], second[0][1]["uid"]}
        with pytest.raises(CatalogError, match="does not answer"):
            recover(tmp_path, catalog)
        server.start()
        assert writer.wait(60), writer.problems
        for docs, n in ((first, 10), (second, 4)):
            uid = docs[0][1]["uid"]
            stream = find(catalog, uid)["primary"]
            assert stream["x"].read().tolist() == list(range(n))
            assert stream["n"].read().tolist() == list(range(n))
            assert stream["told"].read().tolist() == [f"état {i}" for i in range(n)]
            for key in ("counts", "unsaid"):
                read = stream[key].read()
                assert read.dtype == np.uint16, key
                np.testing.assert_array_equal(read, [counts(i) for i in range(n)])
            again = documents(catalog, uid)
            assert [name for name, _ in again] == [name for name, _ in docs]
            assert {again[2][1]["data"][key].dtype for key in ("counts", "unsaid")} == {
                np.dtype(np.uint16)
            }
        assert not recover(tmp_path, catalog)


def test_a_session_that_ended_without_the_server_is_recovered(server, tmp_path):
    docs = list(step_run(5))
    with open_catalog(uri=server.uri) as catalog, Recorder(tmp_path) as recorder:
        for name, doc in docs:
            recorder(name, doc)
        report = recover(tmp_path, catalog)
        assert report.recovered == [docs[0][1]["uid"]]
        assert find(catalog, docs[0][1]["uid"])["primary"]["x"].shape == (5,)


def test_a_wrong_key_is_said(server, monkeypatch):
    monkeypatch.setenv("TILED_API_KEY", "wrong")
    with pytest.raises(CatalogError, match="TILED_API_KEY holds its key"):
        open_catalog(uri=server.uri)


def test_something_else_that_answers_is_said():
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            with pytest.raises(CatalogError, match="Tiled server"):
                open_catalog(uri=f"http://127.0.0.1:{other.server_port}")
        finally:
            other.shutdown()
            thread.join()
