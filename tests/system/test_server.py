"""The same session with a Tiled server in place of the embedded catalogue."""

from dataclasses import replace

import numpy as np
import pytest

import flyback as fb
from flyback.tests.small_microscope import SCAN
from flyback.tests.tiled_server import KEY, Server


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path, monkeypatch):
    archive = tmp_path / "archive"
    root = tmp_path / "server"
    for folder in (root, archive / "frames", archive / "results"):
        folder.mkdir(parents=True)
    database = None
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres").database()
    server = Server(root, archive / "frames", archive / "results", database=database)
    server.start()
    monkeypatch.setenv("TILED_API_KEY", KEY)
    yield server
    server.kill()


@pytest.mark.heavy
def test_a_profile_can_name_a_server(server, microscope, tmp_path):
    remote = replace(microscope, store_uri=server.uri)
    with fb.open(remote, tmp_path / "archive", progress=False) as session:
        (uid,) = session.RE(session.plans.raster([session.camera], session.scan_coils, **SCAN))
        live = {c.publisher.start["analysis"]: c for c in session.join(120)}
        assert session.archive.problems == []
        run = session.catalog[uid]
        assert run["primary"]["camera_frames"].shape == (900, 32, 32)
        frames = np.asarray(run["primary"]["camera_frames"][5:7])
        assert frames.dtype == np.uint16
        assert frames.sum() > 0
        again = fb.replay(uid, "ptychography", session=session)
        np.testing.assert_array_equal(again["object"], live["ptychography"].final["object"].value)
        assert KEY not in str(run.metadata)
