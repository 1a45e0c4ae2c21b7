"""The folder of journals keeps to a size, and never at the cost of what only it holds."""

import os
from pathlib import Path

import pytest

from flyback.callbacks.journal import parts
from flyback.callbacks.record import Recorder
from flyback.profiles.archive import Archive
from flyback.profiles.schema import ProfileError, parse_profile
from flyback.profiles.store.journal_limit import trim_journals
from flyback.profiles.upkeep.clearing import clear
from flyback.tests.profiles.store.test_store_process import emit, rows
from flyback.tests.profiles.store.test_writer import step_run


def journals(archive):
    return {path.stem for path in archive.layout.journal.glob("*.journal")}


@pytest.fixture
def filled(tmp_path):
    """Three runs in the catalogue, the first in parts, and one in a journal alone."""
    with Archive(tmp_path / "archive") as archive:
        archive.recorder = Recorder(archive.layout.journal, part_bytes=400)
        runs = [list(step_run(3)) for _ in range(4)]
        for age, docs in enumerate(runs):
            if age < 3:
                emit(archive, docs)
            else:
                for name, doc in docs:
                    archive.recorder(name, doc)
            for part in parts(archive.layout.journal / f"{docs[0][1]['uid']}.journal"):
                os.utime(part, (1e9 + age, 1e9 + age))
        archive.wait(60)
        yield archive, [docs[0][1]["uid"] for docs in runs]


def test_the_oldest_whole_runs_go_and_stay_in_the_catalogue(filled, caplog):
    archive, uids = filled
    folder = archive.layout.journal
    size = {u: sum(p.stat().st_size for p in parts(folder / f"{u}.journal")) for u in uids}
    assert len(parts(folder / f"{uids[0]}.journal")) > 1
    total = sum(size.values())
    assert trim_journals(folder, archive.catalog, total) == []
    removed = trim_journals(folder, archive.catalog, total - 1)
    assert removed == [folder / f"{uids[0]}.journal"]
    assert journals(archive) == set(uids[1:])
    assert not list(folder.glob(f"{uids[0]}*"))
    assert rows(archive, uids[0]) == [0, 1, 2]
    # nothing goes that only a journal holds, whatever the limit
    trim_journals(folder, archive.catalog, 1)
    assert journals(archive) == {uids[3]}
    assert "beyond their limit" in caplog.text


def test_gc_removes_all_parts_of_a_journal(filled):
    archive, uids = filled
    found = clear(archive.layout.root, delete=True, yes=True, journals=True, young_s=0)
    removed = {one.path: one.bytes for one in found if one.kind == "journal" and one.removed}
    assert {Path(path).stem for path in removed} == set(uids[:3])
    first = archive.layout.journal / f"{uids[0]}.journal"
    assert removed[str(first)] > 400
    assert not list(archive.layout.journal.glob(f"{uids[0]}*"))
    assert journals(archive) == {uids[3]}


def test_a_session_looks_when_a_run_has_ended(tmp_path):
    with Archive(tmp_path, journal_limit_gb=1e-9) as archive:
        docs = list(step_run(3))
        emit(archive, docs)
        archive.wait(60)
        assert journals(archive) == set()
        assert rows(archive, docs[0][1]["uid"]) == [0, 1, 2]


@pytest.mark.parametrize("value", [0, -1, "10", True])
def test_the_profile_states_it_in_gigabytes(value):
    assert parse_profile("p", {"store": {"journal_limit_gb": 20}}).journal_limit_gb == 20
    with pytest.raises(ProfileError, match="journal_limit_gb must be a number above 0"):
        parse_profile("p", {"store": {"journal_limit_gb": value}})
