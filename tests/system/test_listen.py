"""A run analysed by another process that hears of it on a bus."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import flyback as fb
from flyback.profiles.archive import Archive
from flyback.tests.redis_server import RedisServer
from flyback.tests.small_microscope import SCAN


@pytest.mark.heavy
def test_another_process_derives_the_same(microscope, tmp_path, monkeypatch):
    server = RedisServer(tmp_path)
    server.start()
    here, there = tmp_path / "here", tmp_path / "there"
    command = [sys.executable, "-m", "flyback", "listen", server.uri, "--json", "--all"]
    listener = subprocess.Popen(
        [*command, "--analysis", "virtual_images", "--runs", "1", "--directory", str(there)],
        env={**os.environ, "FLYBACK_READABLE": str(here)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        monkeypatch.setenv("FLYBACK_BUS", server.uri)
        with fb.open(microscope, here, progress=False) as session:
            (uid,) = session.RE(session.plans.raster([session.camera], session.scan_coils, **SCAN))
            live = {c.publisher.start["analysis"]: c for c in session.join(120)}
            out, err = listener.communicate(timeout=120)
    finally:
        listener.kill()
        listener.wait(20)
        server.kill()
    assert listener.returncode == 0, err
    (told,) = json.loads(out.splitlines()[-1])["analyses"]
    assert (told["parent"], told["exit_status"]) == (uid, "success")
    monkeypatch.delenv("FLYBACK_BUS")
    with Archive(there) as archive:
        stored = archive.find(told["uid"])["result"]
        for key in ("bf", "adf"):
            expected = live["virtual_images"].final[key].value
            np.testing.assert_array_equal(np.asarray(stored[key].read())[0], expected)


def test_a_password_in_the_address_is_refused_and_not_shown(flyback):
    status, _, err = flyback("listen", "redis://:pw@127.0.0.1:1", "--analysis", "virtual_images")
    assert status != 0
    assert "FLYBACK_BUS_PASSWORD" in err
    assert "pw@" not in err
