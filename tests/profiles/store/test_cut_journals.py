"""Journals that end in the middle of what one device announces at a time."""

import h5py
import numpy as np
import pytest
from event_model import DocumentNames, compose_run, schema_validators

from flyback.callbacks.record import Recorder, read_journal
from flyback.devices.frame_writer import Field, FrameWriter
from flyback.profiles.store.feeding import remove
from flyback.profiles.store.recovery import recover
from flyback.profiles.store.runs import documents, find

FIELDS = [
    Field("frames", "camera_frames", (4, 4), np.dtype("<u2"), "counts"),
    Field("scan_index", "camera_scan_index", (), np.dtype("<i8")),
    Field("time", "camera_time", (), np.dtype("<f8"), "s"),
]
KEYS = [field.data_key for field in FIELDS]
BLOCKS = (16, 5, 11)
X = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
N = {"source": "n", "dtype": "integer", "shape": []}


def rows(start, n):
    index = np.arange(start, start + n)
    frames = np.broadcast_to(index[:, None, None], (n, 4, 4)).astype("<u2")
    return {"frames": frames, "scan_index": index, "time": index * 0.5}


def flight(folder, blocks=BLOCKS, *, steps=False, more=None):
    """Fly, or step with an event after each block, and return the run's documents."""
    writer = FrameWriter(folder, "camera", FIELDS)
    run = compose_run()
    keys = {f.data_key: f.describe("test") for f in FIELDS} | (
        {"x": X, "n": N, **(more or {})} if steps else {}
    )
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    docs = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    for n in blocks:
        start = writer.written
        writer.append(rows(start, n))
        for name, doc in writer.documents():
            if name == "stream_resource":
                doc["run_start"] = run.start_doc["uid"]
            else:
                doc["descriptor"] = stream.descriptor_doc["uid"]
                doc["seq_nums"] = {"start": start + 1, "stop": start + n + 1}
            docs.append((name, doc))
        if steps:
            data = {"x": 0.5, "n": 7} | {key: [1, 2] for key in more or ()}
            stamps = dict.fromkeys(data, 1.0)
            docs.append(("event", stream.compose_event(data=data, timestamps=stamps)))
    writer.close()
    return run.start_doc["uid"], docs, writer.path


def journalled(folder, docs):
    with Recorder(folder) as recorder:
        for name, doc in docs:
            recorder(name, doc)


def cut_after(docs, n_datums):
    """Return the documents up to that many datums."""
    at = [i for i, (name, _) in enumerate(docs) if name == "stream_datum"]
    return docs[: at[n_datums - 1] + 1]


def lengths(run):
    return [run["primary"][key].shape[0] for key in KEYS]


@pytest.mark.parametrize(("n_datums", "n"), [(1, 16), (2, 16), (3, 16), (4, 21), (7, 32), (8, 32)])
def test_all_keys_reach_as_far_as_the_first_was_announced(store, tmp_path, n_datums, n):
    uid, docs, _ = flight(store.frames)
    journalled(tmp_path, cut_after(docs, n_datums))
    report = recover(tmp_path, store.catalog)
    assert (report.recovered, report.shortened, report.problems) == ([uid], {}, {})
    run = find(store.catalog, uid)
    assert lengths(run) == [n, n, n]
    np.testing.assert_array_equal(run["primary"]["camera_scan_index"].read(), np.arange(n))
    np.testing.assert_array_equal(run["primary"]["camera_frames"].read()[:, 0, 0], np.arange(n))
    assert run.metadata["stop"]["num_events"] == {"primary": n}
    recorded = list(read_journal(tmp_path / f"{uid}.journal"))
    for stream in (recorded, documents(store.catalog, uid)):
        reached = dict.fromkeys(KEYS, 0)
        keys = {d["uid"]: d["data_key"] for name, d in stream if name == "stream_resource"}
        for name, doc in stream:
            schema_validators[DocumentNames[name]].validate(doc)
            if name == "stream_datum":
                key = keys[doc["stream_resource"]]
                assert doc["indices"]["start"] == reached[key]
                assert doc["seq_nums"]["start"] == reached[key] + 1
                reached[key] = doc["indices"]["stop"]
        assert reached == dict.fromkeys(KEYS, n)
    assert not recover(tmp_path, store.catalog)


@pytest.mark.parametrize("n_datums", [7, 9])
def test_what_one_key_lost_counts_for_none(store, tmp_path, n_datums):
    uid, docs, path = flight(store.frames)
    with h5py.File(path, "r+") as file:
        file["entry/data/scan_index"].resize(24, 0)
    journalled(tmp_path, cut_after(docs, n_datums))
    assert recover(tmp_path, store.catalog).shortened == {uid: 8}
    run = find(store.catalog, uid)
    assert lengths(run) == [24, 24, 24]
    assert run.metadata["stop"]["num_events"] == {"primary": 24}
    # Fed once more, when the journal has its stop, it is the same.
    remove(store.catalog.raw, uid)
    recover(tmp_path, store.catalog)
    assert lengths(find(store.catalog, uid)) == [24, 24, 24]


def test_a_key_of_which_nothing_is_left_takes_no_other_with_it(store, tmp_path):
    uid, docs, path = flight(store.frames)
    with h5py.File(path, "r+") as file:
        del file["entry/data/time"]
    journalled(tmp_path, docs)
    assert recover(tmp_path, store.catalog).shortened == {uid: 32}
    stream = find(store.catalog, uid)["primary"]
    assert "camera_time" not in stream
    assert [stream[key].shape[0] for key in KEYS[:2]] == [32, 32]


@pytest.mark.parametrize("n_datums", [1, 3, 10, 12])
def test_a_step_that_was_cut_off_gets_an_event_that_knows_nothing(store, tmp_path, n_datums):
    uid, docs, _ = flight(store.frames, (1, 1, 1, 1, 1), steps=True)
    journalled(tmp_path, cut_after(docs, n_datums))
    report = recover(tmp_path, store.catalog)
    assert (report.recovered, report.shortened, report.in_flight) == ([uid], {}, {})
    n = -(-n_datums // 3)
    run = find(store.catalog, uid)
    assert lengths(run) == [n] * 3
    assert run.metadata["stop"]["num_events"] == {"primary": n}
    table = run["primary"].read()
    assert table["camera_frames"].shape == (n, 4, 4)
    np.testing.assert_array_equal(table["x"], [0.5] * (n - 1) + [np.nan])
    known = list(np.asarray(table["n"])[: n - 1])
    assert known == [7] * (n - 1)
    assert not recover(tmp_path, store.catalog)
    # fed once more, when the journal has the event, it is the same
    remove(store.catalog.raw, uid)
    recover(tmp_path, store.catalog)
    assert lengths(find(store.catalog, uid)) == [n] * 3
    for name, doc in read_journal(tmp_path / f"{uid}.journal"):
        schema_validators[DocumentNames[name]].validate(doc)


def test_a_step_with_an_array_that_nobody_read_is_left_out_and_that_is_said(store, tmp_path):
    array = {"source": "x", "dtype": "array", "shape": [2], "dtype_numpy": "<i8"}
    uid, docs, _ = flight(store.frames, (1, 1, 1), steps=True, more={"a": array})
    journalled(tmp_path, cut_after(docs, 9))
    report = recover(tmp_path, store.catalog)
    assert (report.recovered, report.in_flight) == ([uid], {uid: 1})
    assert "1 frames of the last step" in str(report)
    assert lengths(find(store.catalog, uid)) == [2] * 3


def test_frames_whose_events_come_later_are_kept(store, tmp_path):
    uid, docs, _ = flight(store.frames, steps=True)
    journalled(tmp_path, [(name, doc) for name, doc in docs if name != "event"])
    assert recover(tmp_path, store.catalog).recovered == [uid]
    assert lengths(find(store.catalog, uid)) == [32, 32, 32]
