"""What is done with a stored run besides analysing it, from the command line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from flyback.callbacks.journal import writer_lock

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


@pytest.mark.heavy
def test_export_is_a_nexus_file_that_plain_h5py_opens(flyback, played, tmp_path):
    uid, frames, _ = played
    target = tmp_path / "out.nxs"
    code, out, err = flyback("export", uid, "--to", target)
    assert code == 0, out + err
    script = (
        "import sys, h5py\n"
        "with h5py.File(sys.argv[1]) as f:\n"
        "    e = f[f.attrs['default']]\n"
        "    d = e[e.attrs['default']]\n"
        "    print(f.attrs['NX_class'], e.attrs['NX_class'], d.attrs['NX_class'])\n"
        "    print(d[d.attrs['signal']].shape, int(d[d.attrs['signal']][()].sum()))\n"
    )
    text = subprocess.run(
        [sys.executable, "-c", script, target], capture_output=True, text=True, timeout=60
    )
    assert text.stdout.split("\n")[:2] == [
        "NXroot NXentry NXdata",
        f"(42, 32, 32) {frames.sum()}",
    ], text.stderr
    with h5py.File(target) as file:
        entry: Any = file["entry"]
        shown = entry[entry.attrs["default"]]
        order = np.argsort(shown["scan_index"][()])
        np.testing.assert_array_equal(shown["frames"][()][order], frames.reshape(42, 32, 32))
        assert shown["frames"].dtype == np.uint16
        assert shown["positions"].shape == (42, 2)
        assert shown["positions"].attrs["units"] in ("m", "px")
        process = entry["process_virtual_images"]
        assert process["parents"][0].decode() == uid
        parameters = json.loads(process["parameters/data"][()])
        assert isinstance(parameters, dict)
        assert json.loads(process["versions/data"][()])["flyback"]
        assert entry["virtual_images_bf/bf"].shape == (6, 7)
        assert entry["entry_identifier"][()].decode() == uid
        assert json.loads(entry["documents/start/data"][()])["uid"] == uid
        kinds = []
        file.visititems(lambda name, item: kinds.append(item.attrs.get("NX_class", item)))
        assert all(isinstance(k, str | h5py.Dataset) for k in kinds)  # every group has its class

    nxdata = pytest.importorskip("silx.io.nxdata")
    with h5py.File(target) as file:
        shown = nxdata.get_default(file)
        assert shown is not None
        assert shown.is_valid, shown.issues
        assert shown.signal.shape == (42, 32, 32)

    before = target.read_bytes()
    code, _, err = flyback("export", uid, "--to", target)
    assert code == 2
    assert "nothing is overwritten" in err
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    for name, words in (("no/x.h5", "make it first"), ("x.txt", "must end in one of")):
        code, _, err = flyback("export", uid, "--to", tmp_path / name)
        assert code == 2
        assert words in err


def aged(path, seconds=7200):
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


@pytest.mark.heavy
def test_gc_removes_only_what_it_is_told_to(flyback, played, tmp_path):
    uid, _, store = played
    orphans = {
        "frames": store / "frames" / "orphan.h5",
        "results": store / "results" / "orphan.h5",
        "temporary": store / "results" / "half.partial",
    }
    for path in orphans.values():
        path.write_bytes(b"x" * 1000)
    named = sorted(p for p in store.rglob("*.h5") if p not in orphans.values())
    assert named
    for path in [*named, *(store / "journal").iterdir()]:
        aged(path)

    code, out, _ = flyback("gc", "--json")  # all of it is young
    assert code == 0
    assert json.loads(out.splitlines()[-1])["found"] == []
    for path in orphans.values():
        aged(path)
    code, out, _ = flyback("gc", "--json")
    found = json.loads(out.splitlines()[-1])["found"]
    assert {(one["kind"], one["path"]) for one in found} == {
        (kind, str(path)) for kind, path in orphans.items()
    }
    assert all(one["bytes"] == 1000 and not one["removed"] for one in found)
    assert all(path.exists() for path in orphans.values())

    with writer_lock(aged(store / "journal" / f"{uid}.journal", 9000)) as lock:
        aged(lock.lock_file, 9000)  # a run that began before the leftovers goes on
        code, out, _ = flyback("gc", "--delete", "--yes")
        assert out.startswith("0 found")

    code, out, _ = flyback("gc", "--delete")
    assert [path.exists() for path in orphans.values()] == [True, False, False]
    code, _, err = flyback("gc", "--yes")
    assert code == 2
    assert "needs --delete" in err
    code, out, _ = flyback("gc", "--delete", "--yes")
    assert not orphans["frames"].exists()
    code, out, _ = flyback("gc", "--journals", "--delete")
    assert "journal " in out
    assert list((store / "journal").glob("*.journal"))
    code, out, _ = flyback("gc", "--journals", "--delete", "--yes")
    assert code == 0, out
    assert not list((store / "journal").glob("*.journal"))
    assert all(path.exists() for path in named)
    code, out, err = flyback("verify", "last")
    assert code == 0, out + err
    code, out, err = flyback("replay", "last", "virtual_images")
    assert code == 0, err
    code, out, _ = flyback("gc", "--delete", "--yes")
    assert all(path.exists() for path in named)
