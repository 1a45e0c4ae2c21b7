"""Runs of elsewhere: taken in whole or not at all, once, and played again."""

import gzip
import json

import msgpack
import numpy as np
import pytest

from flyback.callbacks.record import Recorder, read_journal
from flyback.profiles.archive import Archive
from flyback.profiles.listing import list_runs
from flyback.profiles.replay import replay
from flyback.profiles.store.places import OutsideError
from flyback.profiles.upkeep.ingest import ingest
from flyback.profiles.upkeep.streams import IngestError, read_stream
from flyback.tests.run_documents import fly_documents, write_files


def point(uid, values=(1.0, 2.0), *, stopped=True):
    """Return the documents of a run with one number a point."""
    key = {"source": "test", "dtype": "number", "shape": [], "units": "V"}
    docs = [
        ("start", {"uid": uid, "time": 1e9, "plan_name": "count"}),
        (
            "descriptor",
            {
                "uid": f"{uid}-d",
                "run_start": uid,
                "time": 1e9,
                "name": "primary",
                "data_keys": {"volts": key},
                "object_keys": {},
                "configuration": {},
                "hints": {},
            },
        ),
    ]
    docs += [
        (
            "event",
            {
                "uid": f"{uid}-{n}",
                "descriptor": f"{uid}-d",
                "seq_num": n,
                "time": 1e9 + n,
                "data": {"volts": v},
                "timestamps": {"volts": 1e9 + n},
                "filled": {},
            },
        )
        for n, v in enumerate(values, 1)
    ]
    if stopped:
        stop = {"uid": f"{uid}-s", "run_start": uid, "time": 1e9 + 9, "exit_status": "success"}
        docs.append(("stop", stop | {"num_events": {"primary": len(values)}, "reason": ""}))
    return docs


def write(path, docs):
    name = path.name
    if name.endswith(".journal"):
        with Recorder(path.parent / "made") as recorder:
            for pair in docs:
                recorder(*pair)
        (made,) = (path.parent / "made").glob("*.journal")
        made.replace(path)
    elif ".jsonl" in name:
        text = "".join(json.dumps(pair) + "\n" for pair in docs)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    elif ".json" in name:
        text = json.dumps(docs).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    elif name.startswith("one_after_the_other"):
        path.write_bytes(b"".join(bytes(msgpack.packb(pair) or b"") for pair in docs))
    else:
        path.write_bytes(msgpack.packb(docs))
    return path


FORMS = ["a.json", "a.json.gz", "a.jsonl", "a.jsonl.gz", "a.msgpack", "one_after_the_other.msgpack"]


@pytest.mark.parametrize("form", [*FORMS, "a.journal"])
def test_every_form_gives_the_same_documents(tmp_path, form):
    docs = point("run-one")
    assert list(read_stream(write(tmp_path / form, docs))) == docs


def test_many_runs_interleaved_and_one_without_a_stop(tmp_path):
    a, b = point("aaaaa-1"), point("bbbbb-2", stopped=False)
    mixed = [doc for pair in zip(a, b, strict=False) for doc in pair] + a[len(b) :]
    file = write(tmp_path / "two.jsonl", mixed)
    first = ingest([file], tmp_path / "store")
    assert sorted(first.added) == ["aaaaa-1", "bbbbb-2"]
    assert first.incomplete == ["bbbbb-2"]
    assert not first.problems
    status = {row["uid"]: row["exit_status"] for row in list_runs(tmp_path / "store", 9)}
    assert status == {"aaaaa-1": "success", "bbbbb-2": "incomplete"}
    with Archive(tmp_path / "store") as archive:
        assert list(archive.documents("aaaaa-1", source="journal")) == a

    again = ingest([file], tmp_path / "store")
    assert again.added == []
    assert sorted(again.known) == ["aaaaa-1", "bbbbb-2"]
    assert "nothing new of aaaaa-1" in again.lines()

    whole = write(tmp_path / "whole.json", point("bbbbb-2"))
    assert ingest([whole], tmp_path / "store").added == ["bbbbb-2"]
    status = {row["uid"]: row["exit_status"] for row in list_runs(tmp_path / "store", 9)}
    assert status["bbbbb-2"] == "success"


def changed(number, key, value):
    docs = json.loads(json.dumps(point("run-one")))
    if value is None:
        del docs[number][1][key]
    else:
        docs[number][1][key] = value
    return docs


@pytest.mark.parametrize(
    ("docs", "sentence"),
    [
        (changed(0, "time", "noon"), r"document 0 of .* \(start\) breaks the schema at time"),
        (changed(3, "seq_num", None), r"document 3 of .* \(event\) breaks the schema"),
        (changed(2, "descriptor", "x"), r"document 2 of .* names the descriptor x"),
        (changed(2, "data", {"amps": 1}), r"document 2 of .* data keys amps, volts"),
        (changed(4, "run_start", "x"), r"document 4 of .* run x, which did not start"),
        (changed(0, "uid", "../../etc/x"), r"document 0 .* cannot name a file"),
        (changed(0, "uid", "x" * 300), r"document 0 .* 300 characters"),
        ([*point("a-run"), *point("a-run")], r"document 5 .* another run of this file"),
        ([*point("a-run"), point("a-run")[2]], r"document 5 .* which has stopped"),
        ([["start"]], r"document 0 of .* is not a pair"),
        ([["begin", {}]], r"document 0 of .* no kind"),
        ({"start": 1}, r"holds no list"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_kept(tmp_path, docs, sentence):
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(docs))
    with pytest.raises(IngestError, match=sentence) as raised:
        ingest([file], tmp_path / "store")
    assert len(str(raised.value).splitlines()) == 1
    assert list((tmp_path / "store" / "journal").glob("*.journal*")) == []
    assert list((tmp_path / "store").glob("ingest-*")) == []


def test_arrays_of_objects_are_never_unpickled(tmp_path):
    docs = point("run-one")
    docs[2][1]["data"]["volts"] = {b"nd": True, b"type": "|O", b"kind": b"O", b"data": b"cos\n"}
    with pytest.raises(IngestError, match="no plain array"):
        list(read_stream(write(tmp_path / "a.msgpack", docs)))
    docs[2][1]["data"]["volts"] = {
        b"nd": True, b"type": "<f8", b"kind": b"", b"shape": [1 << 40], b"data": b"12345678",
    }  # fmt: skip
    with pytest.raises(IngestError, match="has 8 bytes"):
        list(read_stream(write(tmp_path / "a.msgpack", docs)))
    docs[2][1]["data"]["volts"][b"shape"] = [1]
    read = list(read_stream(write(tmp_path / "a.msgpack", docs)))
    assert read[2][1]["data"]["volts"].dtype == np.float64


def test_frames_outside_the_archive_are_told_of_and_not_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    frames = rng.poisson(9, (12, 16, 16)).astype(np.uint16)
    positions = np.stack([np.arange(12) // 4, np.arange(12) % 4], axis=1) * 1.0
    (tmp_path / "elsewhere").mkdir()
    files = write_files(tmp_path / "elsewhere", frames, np.arange(12), positions)
    docs = fly_documents(files, frames, positions, radiation="electron", energy_kev=80.0)
    file = write(tmp_path / "run.json", docs)
    report = ingest([file], tmp_path / "store")
    (uid,) = report.added
    assert report.unreadable == {uid: str(tmp_path / "elsewhere" / "camera.h5")}
    for source in ("catalogue", "journal"):
        with (
            Archive(tmp_path / "store") as archive,
            pytest.raises(OutsideError, match=r"elsewhere.*FLYBACK_READABLE"),
        ):
            replay(uid, "virtual_images", session=archive, source=source)

    monkeypatch.setenv("FLYBACK_READABLE", str(tmp_path / "elsewhere"))
    with Archive(tmp_path / "store") as archive:
        done = replay(uid, "virtual_images", session=archive)
        assert done.callback.frames == 12


def test_a_link_out_of_the_storage_is_outside(tmp_path):
    from flyback.profiles.store.places import outside

    store = tmp_path / "frames"
    store.mkdir()
    (tmp_path / "secret.h5").write_bytes(b"")
    (store / "link.h5").symlink_to(tmp_path / "secret.h5")
    inside = {"uri": f"file://localhost{store}/a.h5"}
    assert outside(inside, [store]) is None
    for uri in (
        f"file://localhost{store}/../secret.h5",
        f"file://localhost{store}/%2e%2e/secret.h5",
        f"file://localhost{store}/link.h5",
        f"file://elsewhere{store}/a.h5",
        "http://host/a.h5",
    ):
        assert outside({"uri": uri}, [store]), uri
    assert outside({"root": str(store), "resource_path": "../secret.h5"}, [store])
    assert outside({"root": str(store), "resource_path": "/etc/passwd"}, [store])


@pytest.mark.heavy
@pytest.mark.data
def test_recorded_streams_of_other_beamlines(tmp_path, data_folder):
    files = sorted((data_folder / "bluesky" / "apstools_misc").glob("*.json"))
    report = ingest(files, tmp_path)
    assert len(report.added) == len(files)
    assert not report.problems
    rows = {row["uid"]: row for row in list_runs(tmp_path, 99)}
    assert set(rows) == set(report.added)
    with Archive(tmp_path) as archive:
        for file in files:
            docs = [tuple(pair) for pair in json.loads(file.read_text())]
            uid = docs[0][1]["uid"]
            assert list(read_journal(archive.layout.journal / f"{uid}.journal")) == docs
            stored = list(archive.documents(uid))
            assert [name for name, _ in stored].count("event") == len(
                [n for n, _ in docs if n == "event"]
            )
            sent = [d for name, d in docs if name == "event"]
            got = [d for name, d in stored if name == "event"]
            sent.sort(key=lambda d: d["time"])
            for a, b in zip(sent, got, strict=True):
                assert a["seq_num"] == b["seq_num"]
                assert set(a["data"]) == set(b["data"])
                for key, value in a["data"].items():
                    np.testing.assert_array_equal(b["data"][key], value)
    assert ingest(files, tmp_path).added == []
