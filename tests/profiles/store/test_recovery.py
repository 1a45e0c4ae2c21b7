"""After a crash the catalogue holds what the journal and the files hold."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from event_model import compose_run
from ophyd.sim import motor

from flyback.callbacks.journal import append_documents
from flyback.callbacks.record import Recorder, read_journal
from flyback.profiles.store.feeding import remove
from flyback.profiles.store.frame_files import lookup3, release, rows
from flyback.profiles.store.recovery import REASON, recover
from flyback.profiles.store.runs import documents, find
from flyback.profiles.store.writer import StoreWriter

SCRIPT = Path(__file__).parent / "crashing_run.py"


@pytest.fixture
def killed(store):
    """Fly in another process until 48 frames are announced, and kill it between two blocks."""
    process = subprocess.Popen(
        [sys.executable, SCRIPT, store.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    uid, announced = "", []
    try:
        for line in process.stdout:
            word, value = line.split()
            if word == "start":
                uid = value
            if word == "block" and int(value) < 48:
                process.stdin.write("\n")
                process.stdin.flush()
            if word == "datum":
                announced.append(int(value))
            if announced.count(48) == 3:
                break
        live = recover(store.journal, store.catalog)
    finally:
        process.kill()
        process.communicate()
    return uid, live


def test_a_killed_run_is_read_up_to_its_last_announced_frame(
    store, killed, block_flyer, check_documents
):
    uid, live = killed
    assert (live.live, live.recovered) == ([uid], [])
    report = recover(store.journal, store.catalog)
    assert (report.recovered, report.ended, report.problems) == ([uid], [uid], {})
    run = find(store.catalog, uid)
    assert run.metadata["stop"]["exit_status"] == "fail"
    assert run.metadata["stop"]["reason"] == REASON
    assert run.metadata["stop"]["num_events"] == {"baseline": 1, "primary": 48}
    frames = run["primary"]["camera_frames"].read()
    np.testing.assert_array_equal(frames, block_flyer.frames_at(range(48)))
    np.testing.assert_array_equal(run["primary"]["camera_scan_index"].read(), np.arange(48))
    assert run["baseline"]["motor"].read().tolist() == [0]
    assert check_documents(documents(store.catalog, uid))[1] == []
    recorded = list(read_journal(store.journal / f"{uid}.journal"))
    assert check_documents(recorded)[1] == []
    assert recorded[-1][0] == "stop"
    # Plain readers take the file again.
    (path,) = report.released
    with h5py.File(path, "r+") as file:
        assert len(file["/entry/data/frames"]) == 48

    again = recover(store.journal, store.catalog)
    assert not again
    assert str(again) == "nothing to recover"


def test_a_run_that_the_catalogue_lost_is_fed_again(store, journal, acquire):
    uid, _ = acquire(bp.scan([motor], motor, 0, 1, 4))
    remove(store.catalog.raw, uid)
    assert uid not in store.catalog.raw
    assert recover(journal, store.catalog).recovered == [uid]
    assert find(store.catalog, uid)["primary"]["motor"].read().tolist() == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )


def test_removing_a_run_leaves_its_frames(store, journal, acquire, block_flyer):
    camera = block_flyer.BlockFlyer(name="kept", directory=store.frames, n_frames=8)
    uid, _ = acquire(block_flyer.fly(camera))
    remove(store.catalog.raw, uid)
    assert camera.path.is_file()
    assert recover(journal, store.catalog).recovered == [uid]
    assert find(store.catalog, uid)["primary"]["kept_frames"].shape == (8, 128, 128)


def test_a_run_whose_table_lacks_rows_is_fed_again(store, tmp_path):
    docs = list(step_run(6))
    with Recorder(tmp_path) as recorder:
        for name, doc in docs:
            recorder(name, doc)
    with StoreWriter(store.catalog) as writer:
        for name, doc in docs[:4] + docs[-1:]:
            writer(name, doc)
        assert writer.wait(60)
    uid = docs[0][1]["uid"]
    assert recover(tmp_path, store.catalog).recovered == [uid]
    assert len(find(store.catalog, uid)["primary"]["x"].read()) == 6
    assert not recover(tmp_path, store.catalog)


def step_run(n):
    run = compose_run()
    yield "start", run.start_doc
    key = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    stream = run.compose_descriptor(name="primary", data_keys={"x": key})
    yield "descriptor", stream.descriptor_doc
    for i in range(n):
        yield "event", stream.compose_event(data={"x": float(i)}, timestamps={"x": time.time()})
    yield "stop", run.compose_stop()


def test_rows_that_are_in_no_file_are_left_out(store, tmp_path):
    path = store.frames / "short.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = np.arange(20, dtype="<u2").reshape(5, 2, 2)
    run = compose_run()
    key = {
        "source": "x",
        "dtype": "array",
        "shape": [2, 2],
        "dtype_numpy": "<u2",
        "external": "STREAM:",
    }
    stream = run.compose_descriptor(name="primary", data_keys={"frames": key})
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=path.as_uri(),
        data_key="frames",
        parameters={"dataset": "frames", "chunk_shape": [5, 2, 2], "swmr": False},
    )
    docs = [
        ("start", run.start_doc),
        ("descriptor", stream.descriptor_doc),
        ("stream_resource", resource.stream_resource_doc),
    ]
    for start, stop in ((0, 4), (4, 7), (7, 9)):
        datum = resource.compose_stream_datum(
            indices={"start": start, "stop": stop},
            seq_nums={"start": start + 1, "stop": stop + 1},
            descriptor=stream.descriptor_doc,
        )
        docs.append(("stream_datum", datum))
    uid = run.start_doc["uid"]
    with Recorder(tmp_path) as recorder:
        for name, doc in docs:
            recorder(name, doc)
    report = recover(tmp_path, store.catalog)
    assert report.shortened == {uid: 4}
    assert "4 rows were announced" in str(report)
    stored = find(store.catalog, uid)
    assert stored["primary"]["frames"].shape == (5, 2, 2)
    assert stored.metadata["stop"]["num_events"] == {"primary": 5}
    assert not recover(tmp_path, store.catalog)


def test_a_damaged_journal_gives_what_is_before_the_damage(store, tmp_path):
    docs = list(step_run(5))
    with Recorder(tmp_path) as recorder:
        for name, doc in docs:
            recorder(name, doc)
    uid = docs[0][1]["uid"]
    path = tmp_path / f"{uid}.journal"
    with read_journal(path) as reader:
        for _ in range(5):
            next(reader)
        offset = reader.end
    data = bytearray(path.read_bytes())
    data[offset + 20] ^= 0xFF
    path.write_bytes(data)
    report = recover(tmp_path, store.catalog)
    assert f"damaged at byte {offset}" in report.problems[uid]
    assert (report.recovered, report.ended) == ([uid], [uid])
    assert find(store.catalog, uid)["primary"]["x"].read().tolist() == [0, 1, 2]
    assert path.read_bytes() == data
    assert not recover(tmp_path, store.catalog)


def test_an_empty_journal_is_a_problem_and_not_an_end(store, tmp_path):
    (tmp_path / "nothing.journal").write_bytes(b"")
    append_documents(tmp_path / "nothing.journal", [])
    report = recover(tmp_path, store.catalog)
    assert "ends before its first document" in report.problems["nothing"]


DIE_WRITING = """
import os, signal, sys, h5py, numpy as np
with h5py.File(sys.argv[1], "w", libver="latest") as file:
    data = file.create_dataset("frames", (0, 4), "<u2", maxshape=(None, 4), chunks=(8, 4))
    file.swmr_mode = sys.argv[2] == "swmr"
    for n in range(1, 50):
        data.resize(n, 0)
        data[n - 1] = n
        data.flush()
    os._exit(9)
"""


@pytest.mark.parametrize(("mode", "kept"), [("swmr", 49), ("plain", 0)])
def test_only_what_a_dead_swmr_writer_left_is_released(tmp_path, mode, kept):
    path = tmp_path / "dead.h5"
    subprocess.run([sys.executable, "-c", DIE_WRITING, path, mode], check=False)
    before = path.read_bytes()
    assert rows(path, "frames") == kept
    assert release(path) is (mode == "swmr")
    assert release(path) is False
    if mode == "swmr":
        with h5py.File(path, "r+") as file:
            assert file["frames"][:, 0].tolist() == list(range(1, 50))
    else:
        assert path.read_bytes() == before


def test_a_closed_file_is_not_touched(tmp_path):
    path = tmp_path / "closed.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["frames"] = np.arange(3)
    copy = shutil.copy(path, tmp_path / "copy.h5")
    assert release(path) is False
    assert path.read_bytes() == Path(copy).read_bytes()
    assert rows(path, "frames") == 3
    assert rows(path, "nothing") == 0


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # The examples in lookup3.c's driver5.
        (b"", 0xDEADBEEF),
        (b"Four score and seven years ago", 0x17770551),
    ],
)
def test_lookup3_is_bob_jenkinss(data, value):
    assert lookup3(data) == value
