"""A file is summed when it is closed, not before, and never on the caller's thread."""

import hashlib
import json
import threading

import h5py
import numpy as np
import pytest

from flyback.callbacks.checksums import Checksums, is_open


def documents(path):
    yield "start", {"uid": "run-one"}
    uri = "file://localhost" + path.as_uri().removeprefix("file://")
    for key in ("a", "b"):  # two keys of one file: one checksum
        yield "stream_resource", {"uid": key, "run_start": "run-one", "uri": uri}
    yield "stop", {"uid": "s", "run_start": "run-one"}


def test_a_file_that_is_being_written_waits_until_it_is_closed(tmp_path, monkeypatch):
    path = tmp_path / "frames.h5"
    looked = threading.Semaphore(0)
    monkeypatch.setattr("flyback.callbacks.checksums.LOOK_AGAIN_S", 0.01)

    def seen(path):
        looked.release()
        return is_open(path)

    monkeypatch.setattr("flyback.callbacks.checksums.is_open", seen)
    with h5py.File(path, "w", libver="latest") as file, Checksums(tmp_path / "sums") as sums:
        file["x"] = np.arange(10)
        file.swmr_mode = True
        for pair in documents(path):
            sums(*pair)
        for _ in range(3):
            assert looked.acquire(timeout=20)
        assert not (tmp_path / "sums").exists()
        file.close()
    noted = json.loads((tmp_path / "sums" / "run-one.json").read_text())
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert noted == {str(path): {"sha256": right, "bytes": path.stat().st_size}}


@pytest.mark.parametrize("what", ["missing", "open"])
def test_closing_does_not_wait_for_what_never_comes(tmp_path, what):
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.swmr_mode = True
        with Checksums(tmp_path / "sums") as sums:
            for pair in documents(path if what == "open" else tmp_path / "none.h5"):
                sums(*pair)
    noted = tmp_path / "sums" / "run-one.json"
    assert noted.exists() == (what == "missing")
