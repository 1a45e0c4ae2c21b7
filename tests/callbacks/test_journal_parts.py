"""A long journal goes on in another file, and reads as one."""

import errno
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.callbacks.journal import append_documents, part_path, parts
from flyback.callbacks.record import JournalError, Recorder, read_journal


def documents(n=40, width=20):
    yield "start", {"uid": "a", "time": 1.0}
    yield "descriptor", {"uid": "d", "run_start": "a", "name": "primary", "data_keys": {}}
    for i in range(n):
        yield "event", {"uid": f"e{i}", "descriptor": "d", "data": {"x": "." * (i % width)}}
    yield "stop", {"uid": "s", "run_start": "a"}


def recorded(folder, docs, part_bytes):
    with Recorder(folder, part_bytes=part_bytes) as recorder:
        for name, doc in docs:
            recorder(name, doc)
    return Path(folder) / "a.journal"


@given(part_bytes=st.integers(1, 3000), width=st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_any_size_of_parts_gives_the_same_documents(tmp_path_factory, part_bytes, width):
    docs = list(documents(width=width))
    path = recorded(tmp_path_factory.mktemp("journal"), docs, part_bytes)
    with read_journal(path) as reader:
        assert list(reader) == docs
        assert reader.torn_bytes == 0
    for part in parts(path)[:-1]:
        # one record may be longer than a part
        assert part.stat().st_size <= part_bytes + 500
    assert len(parts(path)) > 1 or path.stat().st_size <= part_bytes


def test_a_torn_tail_counts_in_the_last_part_alone(tmp_path):
    docs = list(documents())
    path = recorded(tmp_path, docs[:-1], 600)
    last = parts(path)[-1]
    assert len(parts(path)) > 3
    with last.open("ab") as file:
        file.write(b"\x00\x01\x02")
    with read_journal(path) as reader:
        assert list(reader) == docs[:-1]
        assert (reader.path, reader.torn_bytes) == (last, 3)
    append_documents(path, docs[-1:])
    assert list(read_journal(path)) == docs
    middle = parts(path)[1]
    middle.write_bytes(middle.read_bytes()[:-2])
    with pytest.raises(JournalError, match=r"0001 is damaged.*not the last part"):
        list(read_journal(path))


def test_a_kill_before_the_header_of_a_new_part_loses_nothing(tmp_path):
    docs = list(documents())
    path = recorded(tmp_path, docs[:-1], 600)
    part_path(path, len(parts(path))).write_bytes(b"")
    assert list(read_journal(path)) == docs[:-1]
    append_documents(path, docs[-1:])
    assert list(read_journal(path)) == docs


def test_a_reader_follows_a_writer_into_the_next_part(tmp_path):
    docs = list(documents())
    recorder = Recorder(tmp_path, part_bytes=600)
    for name, doc in docs[:5]:
        recorder(name, doc)
    with read_journal(tmp_path / "a.journal") as reader:
        # opened while the first part was short: it has grown, and others have come
        for name, doc in docs[5:]:
            recorder(name, doc)
        assert list(reader) == docs
    recorder.close()


def test_where_no_part_can_be_made_the_journal_goes_on_in_the_old_one(tmp_path, monkeypatch):
    plain = Path.open

    def refuse(self, mode="r", *args, **kwargs):
        if "x" in mode and self.suffix == ".0001":
            raise OSError(errno.EMFILE, "too many open files")
        return plain(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    docs = list(documents())
    path = recorded(tmp_path, docs, 600)
    assert parts(path) == [path]
    assert list(read_journal(path)) == docs
