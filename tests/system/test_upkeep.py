"""What is done with a stored run besides analysing it, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

CIRCLE = np.hypot(*np.mgrid[-16:16, -16:16]) < 8


@pytest.fixture
def played(flyback, tmp_path):
    """The store of one played run with one analysis, and the frames of it."""
    rng = np.random.default_rng(5)
    frames = rng.poisson(20 * CIRCLE, (6, 7, 32, 32)).astype(np.uint16)
    path = tmp_path / "small.npz"
    known = {"radiation": "electron", "energy_kev": 80.0, "step_m": 2e-11}
    np.savez(path, frames=frames, **known)
    code, out, err = flyback(
        "play", path, "--analysis", "virtual_images", "--rate", "max", "--json"
    )
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["runs"][0]["uid"], frames, tmp_path / "store"


@pytest.mark.heavy
def test_verify_finds_one_changed_byte(flyback, played):
    uid, _, store = played
    code, out, err = flyback("verify", uid, "--json")
    assert code == 0, out + err
    checks = json.loads(out.splitlines()[-1])["checks"]
    files = [c for c in checks if c["what"] != "journal"]
    assert len(files) >= 2  # the camera's, and the analysis's results
    assert all("sha256" in c["found"] for c in files), files
    frame_file = next(Path(c["what"]) for c in files if "frames" in c["what"])
    data = bytearray(frame_file.read_bytes())
    data[-7] ^= 1
    frame_file.write_bytes(data)
    code, out, _ = flyback("verify", "last")
    assert code == 1
    assert "FAIL" in out
    assert "not those that it had" in out

    data[-7] ^= 1
    frame_file.write_bytes(data)
    for note in (store / "checksums").iterdir():
        note.unlink()
    code, out, _ = flyback("verify", uid[:8])
    assert code == 0
    assert "no checksum recorded; every announced row is there" in out
    frame_file.unlink()
    code, out, _ = flyback("verify", uid[:8])
    assert code == 1
    assert "the file is missing" in out
