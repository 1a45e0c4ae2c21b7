"""The journal: what goes in comes out, whatever happens to the file."""

import errno
import math
import os
import struct
import subprocess
import sys
import threading
from enum import Enum
from pathlib import Path
from zlib import crc32

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import msgpack
import numpy as np
import pytest
from bluesky import RunEngine
from filelock import Timeout
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ophyd.sim import det

from flyback.callbacks.codec import packer, unpack
from flyback.callbacks.journal import HEADER, append_documents, journal_path, writer_lock
from flyback.callbacks.record import JournalError, Recorder, RunIndex, read_journal


def same(a, b):
    """Equal in value, type and dtype, NaN being equal to itself."""
    if isinstance(a, dict):
        return type(b) is dict and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return type(a) is type(b) and repr(a) == repr(b)


def run_documents(uid="a", n=3):
    yield "start", {"uid": uid, "time": 1.0, "shape": (2, 3)}
    yield "descriptor", {"uid": f"{uid}-d", "run_start": uid, "name": "primary", "data_keys": {}}
    yield "stream_resource", {"uid": f"{uid}-r", "run_start": uid, "uri": "file:///x.h5"}
    for i in range(n):
        yield "event", {"uid": f"{uid}-e{i}", "descriptor": f"{uid}-d", "data": {"x": i}}
        yield (
            "stream_datum",
            {"uid": f"{uid}-s{i}", "stream_resource": f"{uid}-r", "descriptor": ""},
        )
    yield "stop", {"uid": f"{uid}-stop", "run_start": uid}


def record(directory, docs):
    with Recorder(directory) as recorder:
        for name, doc in docs:
            recorder(name, doc)


@pytest.fixture
def journal(tmp_path):
    record(tmp_path, run_documents())
    return tmp_path / "a.journal"


def offsets(path):
    """Return where each record ends."""
    with read_journal(path) as reader:
        return [reader.end, *(reader.end for _ in reader)]


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
)
dtypes = st.sampled_from(
    ["<u2", "<i8", "<f4", ">f8", "<c8", "<c16", "|b1", "<U5", "|S3", "<M8[ns]"]
)
arrays = dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0)))
values = st.recursive(
    scalars | arrays,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values)
def test_every_value_comes_back(value):
    assert same(unpack(packer().pack(value)), value)


@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", "f4", "c8", "?", "U3", "M8[s]"])
def test_numpy_scalars_keep_their_dtype(dtype):
    value = np.ones(1, "i8").astype(dtype)[0]
    back = unpack(packer().pack({"v": value}))["v"]
    assert (type(back), back.dtype, back) == (type(value), value.dtype, value)


def test_nan_and_non_contiguous_arrays():
    array = np.arange(12.0).reshape(3, 4)[:, ::2]
    back = unpack(packer().pack([math.nan, array, array.T]))
    assert math.isnan(back[0])
    np.testing.assert_array_equal(back[1], array)
    np.testing.assert_array_equal(back[2], array.T)
    back[1][0] = 5


class Colour(Enum):
    RED = "red"


def test_what_metadata_often_hold_becomes_plain():
    back = unpack(packer().pack({"path": Path("a"), "colour": Colour.RED, "text": np.str_("x")}))
    assert back == {"path": "a", "colour": "red", "text": "x"}


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.zeros(2, [("a", "i4")]), object(), {1, 2}, np.sum],
    ids=["objects", "records", "object", "set", "function"],
)
def test_what_is_not_data_is_refused(tmp_path, value):
    with Recorder(tmp_path) as recorder:
        recorder("start", {"uid": "a"})
        with pytest.raises(JournalError, match=r"cannot be recorded.*is not data"):
            recorder("descriptor", {"uid": "d", "run_start": "a", "value": value})
        recorder("stop", {"uid": "s", "run_start": "a"})
    assert [name for name, _ in read_journal(tmp_path / "a.journal")] == ["start", "stop"]


@pytest.mark.parametrize(
    "body",
    [
        msgpack.ExtType(1, msgpack.packb(("|O", [1], b"x" * 8))),
        msgpack.ExtType(1, msgpack.packb(("<f8", [1 << 60], b"x" * 8))),
        msgpack.ExtType(1, msgpack.packb(("<f8", [-1, -1], b"x" * 8))),
        msgpack.ExtType(2, msgpack.packb(("<f8", b"x"))),
        msgpack.ExtType(2, msgpack.packb(("|O", b"x" * 8))),
        msgpack.ExtType(9, b""),
    ],
    ids=["objects", "huge", "negative", "short", "object", "unknown"],
)
def test_foreign_values_are_refused_on_reading(journal, body):
    record = msgpack.packb(["event", {"v": body}])
    lengths = struct.pack("<II", len(record), crc32(record))
    with journal.open("ab") as file:
        file.write(lengths + struct.pack("<I", crc32(lengths)) + record)
    reader = read_journal(journal)
    with pytest.raises(JournalError, match="damaged at byte"):
        list(reader)


def test_a_run_comes_back_document_by_document(journal):
    docs = list(read_journal(journal))
    assert docs == list(run_documents())
    assert type(docs[0][1]["shape"]) is tuple


def test_interleaved_runs_have_a_file_each(tmp_path):
    mixed = [
        doc for pair in zip(run_documents("a"), run_documents("b"), strict=True) for doc in pair
    ]
    record(tmp_path, mixed)
    for uid in "ab":
        assert list(read_journal(tmp_path / f"{uid}.journal")) == list(run_documents(uid))


def test_legacy_documents_follow_their_run(tmp_path):
    docs = [
        ("start", {"uid": "a"}),
        ("resource", {"uid": "r"}),
        ("datum", {"resource": "r", "datum_id": "r/0"}),
        ("stop", {"uid": "s", "run_start": "a"}),
    ]
    record(tmp_path, docs)
    assert list(read_journal(tmp_path / "a.journal")) == docs


def test_a_document_of_no_run_is_refused(tmp_path):
    with Recorder(tmp_path) as recorder, pytest.raises(JournalError, match="belongs to no run"):
        recorder("event", {"uid": "e", "descriptor": "d"})


def test_the_index_forgets_a_stopped_run():
    index = RunIndex()
    for name, doc in run_documents():
        assert index.of(name, doc) == ["a"]
    index.forget("a")
    assert index.of("event", {"descriptor": "a-d"}) == []


def test_documents_are_on_disk_when_the_call_returns(tmp_path):
    with Recorder(tmp_path) as recorder:
        for number, (name, doc) in enumerate(list(run_documents())[:-1], 1):
            recorder(name, doc)
            assert len(list(read_journal(tmp_path / "a.journal"))) == number


def test_a_torn_tail_is_left_out_and_reported(journal):
    whole = journal.read_bytes()
    ends = offsets(journal)
    n = len(list(run_documents()))
    for size in range(len(whole)):
        journal.write_bytes(whole[:size])
        with read_journal(journal) as reader:
            docs = list(reader)
        kept = [end for end in ends if end <= size]
        assert len(docs) == max(len(kept) - 1, 0)
        assert reader.torn_bytes == size - (kept[-1] if kept else 0)
    assert len(docs) == n - 1


def test_a_tail_of_zeros_is_a_power_cut(journal):
    with journal.open("ab") as file:
        file.write(bytes(5000))
    reader = read_journal(journal)
    assert len(list(reader)) == len(list(run_documents()))
    assert reader.torn_bytes == 5000


def test_damage_in_the_middle_is_said_after_what_is_before_it(journal):
    ends, whole = offsets(journal), journal.read_bytes()
    for offset in range(ends[3], ends[4]):
        data = bytearray(whole)
        data[offset] ^= 0x55
        journal.write_bytes(data)
        seen = []
        with pytest.raises(JournalError, match=f"damaged at byte {ends[3]}"):
            seen.extend(read_journal(journal))
        # A list keeps what it was given before the error.
        assert len(seen) == 3


def test_appending_cuts_the_torn_tail(journal):
    journal.write_bytes(journal.read_bytes()[:-7])
    append_documents(journal, [("stop", {"uid": "new", "run_start": "a"})])
    docs = list(read_journal(journal))
    assert docs[:-1] == list(run_documents())[:-1]
    assert docs[-1] == ("stop", {"uid": "new", "run_start": "a"})


def test_appending_to_nothing_begins_a_journal(tmp_path):
    (tmp_path / "a.journal").write_bytes(HEADER[:5])
    append_documents(tmp_path / "a.journal", run_documents())
    assert list(read_journal(tmp_path / "a.journal")) == list(run_documents())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"PK\x03\x04" * 9, "is not a journal"), (HEADER[:-4] + b"\x63\0\0\0", "version 99")],
)
def test_other_files_are_told_apart(tmp_path, content, sentence):
    path = tmp_path / "x.journal"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=sentence):
        read_journal(path)


def test_a_missing_journal_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_journal(tmp_path / "none.journal")


@pytest.mark.parametrize("uid", ["", "../x", "a/b", "c:d"])
def test_a_uid_that_is_no_file_name_is_refused(tmp_path, uid):
    with pytest.raises(JournalError, match="cannot name a file"):
        journal_path(tmp_path, uid)


def test_a_journal_is_never_overwritten(journal):
    with Recorder(journal.parent) as recorder, pytest.raises(JournalError, match="File exists"):
        recorder("start", {"uid": "a"})
    assert list(read_journal(journal)) == list(run_documents())


def test_an_open_journal_is_locked_until_its_stop(tmp_path):
    lock = writer_lock(tmp_path / "a.journal")
    with Recorder(tmp_path) as recorder:
        recorder("start", {"uid": "a"})
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
        recorder("stop", {"uid": "s", "run_start": "a"})
        lock.acquire(timeout=0)
        lock.release()


def test_a_dead_process_holds_no_lock(tmp_path):
    code = (
        "import os, sys\nfrom flyback.callbacks.record import Recorder\n"
        "Recorder(sys.argv[1])('start', {'uid': 'a'})\nos._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    with writer_lock(tmp_path / "a.journal").acquire(timeout=0):
        assert len(list(read_journal(tmp_path / "a.journal"))) == 1


def test_several_threads_may_record(tmp_path):
    with Recorder(tmp_path) as recorder:

        def work(uid):
            for name, doc in run_documents(uid, 200):
                recorder(name, doc)

        threads = [threading.Thread(target=work, args=(uid,)) for uid in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for uid in "abc":
        assert list(read_journal(tmp_path / f"{uid}.journal")) == list(run_documents(uid, 200))


class FullDisk:
    """A file on a disk that is full for as long as the reserve is there."""

    def __init__(self, file, reserve):
        self.file, self.reserve = file, reserve

    def write(self, data):
        if self.reserve.exists():
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_ends_the_run_and_leaves_room_for_its_stop(tmp_path):
    RE = RunEngine({})
    recorder = Recorder(tmp_path)
    stops, seen = [], []
    RE.subscribe(recorder)
    RE.subscribe(lambda name, doc: stops.append(doc), "stop")
    RE.subscribe(lambda name, doc: seen.append(name))

    @bpp.run_decorator()
    def plan():
        yield from bps.trigger_and_read([det])
        (open_journal,) = recorder._open.values()
        open_journal._file = FullDisk(open_journal._file, tmp_path / "journal.reserve")
        yield from bps.trigger_and_read([det])

    with pytest.raises(JournalError, match="cannot be written: No space left on device"):
        RE(plan())
    assert stops[0]["exit_status"] == "fail"
    assert "No space left" in stops[0]["reason"]
    docs = list(read_journal(tmp_path / f"{stops[0]['run_start']}.journal"))
    # The event that found the disk full is neither recorded nor handed on to anyone else.
    assert [name for name, _ in docs] == seen == ["start", "descriptor", "event", "stop"]
    recorder.close()
    # The next run keeps its own reserve again.
    with Recorder(tmp_path):
        assert (tmp_path / "journal.reserve").stat().st_size == 1 << 20


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="choose another directory"):
        Recorder(tmp_path / "file" / "journal")
