"""Killed, or told to terminate, in the middle of a scan by the real devices."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from flyback.callbacks.record import read_journal
from flyback.profiles.archive import Archive
from flyback.profiles.replay import replay
from flyback.tests.small_microscope import MICROSCOPE

# A session that says how far it is, as a line a document, and scans for longer than anyone waits.
SESSION = """
import json, sys
import flyback as fb
from flyback.profiles.schema import parse_profile
from flyback.__main__ import _end_on_request
_end_on_request()
profile = json.loads(sys.argv[1])
profile["devices"]["beam"]["rate"] = "real"
profile["analyses"] = {"virtual_images": {}}
frames = set()
def say(name, doc):
    if name == "start":
        print("start", doc["uid"], flush=True)
    if name == "stream_resource" and doc["data_key"] == "camera_frames":
        frames.add(doc["uid"])
    if name == "stream_datum" and doc["stream_resource"] in frames:
        print("frames", doc["indices"]["stop"], flush=True)
with fb.open(parse_profile("crash", profile), sys.argv[2], progress=False) as s:
    s.RE.subscribe(say)
    s.RE(s.plans.raster([s.camera], s.scan_coils, fov_nm=3.0, step_nm=0.03, dwell_ms=10.0))
"""


@pytest.fixture
def scanning(tmp_path):
    """Start a session in a process of its own, a few blocks into a scan."""
    command = [sys.executable, "-c", SESSION, json.dumps(MICROSCOPE), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    uid, announced = None, 0
    while announced < 150:
        line = process.stdout.readline().split()
        assert line, "the session ended before it scanned"
        if line[0] == "start":
            uid = line[1]
        elif line[0] == "frames":
            announced = int(line[1])
    yield process, uid, announced
    process.kill()
    process.wait()
    process.stdout.close()


def rest(process, announced):
    for line in process.stdout:
        if line.startswith("frames"):
            announced = int(line.split()[1])
    return announced


@pytest.mark.heavy
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_is_readable_up_to_the_last_announced_frame(scanning, tmp_path):
    process, uid, announced = scanning
    process.send_signal(signal.SIGKILL)
    announced = rest(process, announced)
    recover = [sys.executable, "-m", "flyback", "recover", "--directory", str(tmp_path), "--json"]
    done = subprocess.run(recover, capture_output=True, text=True, check=True, timeout=120)
    facts = json.loads(done.stdout.splitlines()[-1])
    assert uid in facts["recovered"]
    assert facts["shortened"] == {}
    with Archive(tmp_path) as archive:
        run = archive.find(uid)
        assert run.metadata["stop"]["exit_status"] == "fail"
        frames = run["primary"]["camera_frames"]
        assert frames.shape[0] >= announced
        np.testing.assert_array_equal(
            np.asarray(run["primary"]["camera_scan_index"].read()), np.arange(frames.shape[0])
        )
        assert np.asarray(frames[announced - 1 : announced]).sum() > 0
        again = replay(uid, "virtual_images", session=archive)
        assert again.callback.frames == frames.shape[0]
    again = subprocess.run(recover, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(again.stdout.splitlines()[-1])["recovered"] == []


@pytest.mark.heavy
@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without asking it")
def test_told_to_terminate_the_run_is_ended_and_the_beam_blanked(scanning, tmp_path):
    process, uid, _ = scanning
    process.send_signal(signal.SIGTERM)
    rest(process, 0)
    assert process.wait(60) == 128 + signal.SIGTERM
    documents = list(read_journal(tmp_path / "journal" / f"{uid}.journal"))
    assert documents[-1][0] == "stop"
    assert documents[-1][1]["exit_status"] in ("abort", "fail")
    with Archive(tmp_path) as archive:
        assert archive.find(uid).metadata["stop"]["exit_status"] in ("abort", "fail")
