"""The store in a process of its own: the same rows, and nothing lost when it is killed."""

import pytest

from flyback.profiles.archive import Archive
from flyback.profiles.schema import ProfileError, parse_profile
from flyback.profiles.store.runs import find
from flyback.tests.profiles.store.test_writer import step_run


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive", store_worker="process") as opened:
        yield opened


def emit(archive, docs):
    for name, doc in docs:
        archive.emit(name, doc)


def rows(archive, uid):
    return find(archive.catalog, uid)["primary"]["x"].read().tolist()


def process_of(archive):
    return archive.writer._batches.process


@pytest.mark.heavy
def test_what_another_process_wrote_is_read_here_and_it_ends_with_the_session(tmp_path):
    docs = list(step_run(5))
    with Archive(tmp_path / "archive", store_worker="process") as archive:
        there = process_of(archive)
        emit(archive, docs[:5])
        archive.wait(120)
        uid = docs[0][1]["uid"]
        run = find(archive.catalog, uid)
        assert run["primary"].base["internal"].read()["x"].tolist() == [0, 1, 2]
        assert "stop" not in run.metadata
        emit(archive, docs[5:])
        archive.wait(120)
        assert rows(archive, uid) == [0, 1, 2, 3, 4]
        assert archive.problems == []
    assert there.poll() == 0


@pytest.mark.heavy
def test_a_process_that_is_killed_in_a_run_is_started_anew_and_the_run_is_fed_again(archive):
    docs, after = list(step_run(20)), list(step_run(3))
    emit(archive, docs[:8])
    archive.wait(120)
    there = process_of(archive)
    there.kill()
    there.wait(60)
    emit(archive, docs[8:])
    archive.wait(120)
    assert rows(archive, docs[0][1]["uid"]) == list(range(20))
    emit(archive, after)
    archive.wait(120)
    assert rows(archive, after[0][1]["uid"]) == [0, 1, 2]
    assert process_of(archive).pid != there.pid
    assert archive.problems == []


def test_a_profile_chooses_in_one_line():
    assert parse_profile("p", {"store": {"worker": "process"}}).store_worker == "process"
    assert parse_profile("p", {}).store_worker == "thread"
    with pytest.raises(ProfileError, match="worker must be 'thread' or 'process', got 'fiber'"):
        parse_profile("p", {"store": {"worker": "fiber"}})
