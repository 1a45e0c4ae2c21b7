"""Opening catalogues: twice, by two processes, by name, and when it cannot be."""

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import bluesky.plans as bp
import pytest
from adbc_driver_sqlite import dbapi
from ophyd.sim import motor

from flyback.profiles.store.catalog import CatalogError, open_catalog
from flyback.profiles.store.runs import analyses, documents, find
from flyback.profiles.store.tiled_profile import write_tiled_profile


def test_both_containers_are_there_and_empty_in_a_new_catalogue(tmp_path):
    before = set(threading.enumerate())
    with open_catalog(tmp_path / "catalog") as catalog:
        assert (list(catalog.raw), list(catalog.analysis)) == ([], [])
        assert {spec.name for spec in catalog.raw.specs} == {"CatalogOfBlueskyRuns"}
    catalog.close()
    assert {t for t in set(threading.enumerate()) - before if not t.daemon} == set()


def test_the_databases_keep_a_write_ahead_log(store):
    # Each with the copy of SQLite that has it open: two in one process break each other's locks.
    for connect, name in ((sqlite3.connect, "catalog.db"), (dbapi.connect, "tables.db")):
        with (
            closing(connect(str(store.root / "catalog" / name))) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute("PRAGMA journal_mode")
            assert cursor.fetchone() == ("wal",)


def test_it_opens_where_an_event_loop_runs(tmp_path):
    import asyncio

    async def in_a_notebook():
        open_catalog(tmp_path / "catalog").close()

    asyncio.run(in_a_notebook())


WRITE_RUNS = """
import sys
from pathlib import Path
import bluesky.plans as bp
from bluesky import RunEngine
from ophyd.sim import motor
from flyback.profiles.store.catalog import open_catalog
from flyback.profiles.store.writer import StoreWriter
with open_catalog(sys.argv[1]) as catalog, StoreWriter(catalog) as writer:
    RE = RunEngine({})
    RE.subscribe(writer)
    for _ in range(4):
        print(*RE(bp.scan([motor], motor, 0, 1, 5)), flush=True)
    assert writer.wait(60), writer.problems
"""


@pytest.mark.heavy
@pytest.mark.parametrize("others", [1, 3])
def test_processes_write_one_catalogue(store, acquire, others):
    command = [sys.executable, "-c", WRITE_RUNS, store.root / "catalog"]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(others)
    ]
    try:
        theirs = [process.stdout.readline().strip() for process in processes]
        ours = [acquire(bp.scan([motor], motor, 0, 1, 5))[0] for _ in range(4)]
        for process in processes:
            theirs += process.stdout.read().split()
    finally:
        for process in processes:
            process.communicate()
    assert [process.returncode for process in processes] == [0] * others
    assert len(set(theirs)) == 4 * others
    for uid in theirs + ours:
        table = find(store.catalog, uid)["primary"].base["internal"].read()
        assert table["seq_num"].tolist() == [1, 2, 3, 4, 5]


def test_runs_are_found_every_way(store, acquire):
    first, docs = acquire(bp.scan([motor], motor, 0, 1, 2))
    second, _ = acquire(bp.scan([motor], motor, 0, 1, 2))
    catalog = store.catalog
    scan_id = docs[0][1]["scan_id"]

    def uid(which):
        return find(catalog, which).metadata["start"]["uid"]

    assert (uid("last"), uid(-1), uid(-2)) == (second, second, first)
    assert (uid(first), uid(first[:8]), uid(scan_id), uid(str(scan_id))) == (first,) * 4
    assert analyses(catalog, first) == {}


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("abc", "too short"),
        ("00000000-not-there", "has no run"),
        ("%%%%%%", "has no run"),
        (10**6, "no.* run with scan id|does not hold run with scan id"),
        (-(10**6), "does not hold"),
    ],
)
def test_what_is_not_found_is_said(store, which, sentence):
    with pytest.raises(CatalogError, match=sentence):
        find(store.catalog, which)
    with pytest.raises(LookupError):
        documents(store.catalog, which)


def test_an_empty_catalogue_has_no_last_run(tmp_path):
    with open_catalog(tmp_path) as catalog, pytest.raises(CatalogError, match="does not hold"):
        find(catalog, "last")


@pytest.mark.parametrize("name", ["catalog.db", "tables.db"])
def test_a_damaged_database_is_said(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is no database" * 400)
    with pytest.raises(CatalogError, match="run recovery") as caught:
        open_catalog(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_of_something_else_is_said(tmp_path):
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(CatalogError, match="run recovery"):
        open_catalog(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match="choose another directory"):
        open_catalog(tmp_path / "file" / "catalog")


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("http://127.0.0.1:9", "does not answer; start it"),
        ("localhost:8000", "is not the URI"),
        ("http://127.0.0.1:9?api_key=secret", "TILED_API_KEY"),
    ],
)
def test_a_wrong_server_is_said_at_once(uri, sentence):
    with pytest.raises(CatalogError, match=sentence):
        open_catalog(uri=uri)


def test_nothing_to_open_is_said():
    with pytest.raises(CatalogError, match="directory or the URI"):
        open_catalog()
    with pytest.raises(CatalogError, match="directory or the URI"):
        write_tiled_profile()


READ_BY_NAME = """
import sys
import databroker
from tiled.client import from_profile
client = from_profile("flyback")
assert set(client) == {"raw", "analysis"}, client
assert client["raw"][sys.argv[1]].start["uid"] == sys.argv[1]
client.context.close()
broker = databroker.Broker.named("flyback_raw")
header = broker[sys.argv[1]]
assert header.start["uid"] == sys.argv[1]
assert len(header.table()) == 3
assert databroker.catalog["flyback_raw"][sys.argv[1]].stop["exit_status"] == "success"
"""


@pytest.mark.heavy
def test_tiled_and_databroker_open_the_store_by_name(store, acquire, tmp_path):
    uid, _ = acquire(bp.scan([motor], motor, 0, 1, 3))
    file = write_tiled_profile(
        store.root / "catalog", readable=[store.frames], folder=tmp_path / "profiles"
    )
    assert "api_key" not in file.read_text()
    environment = os.environ | {"TILED_PROFILES": str(file.parent)}
    done = subprocess.run(
        [sys.executable, "-c", READ_BY_NAME, uid],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_profile_of_a_server_has_no_key_and_no_twin(tmp_path):
    file = write_tiled_profile(uri="http://host:8000", folder=tmp_path)
    assert "http://host:8000/api/v1/metadata/raw" in file.read_text()
    assert write_tiled_profile(uri="http://host:8001", folder=tmp_path) == file
    file.rename(tmp_path / "other.yml")
    with pytest.raises(CatalogError, match="already"):
        write_tiled_profile(uri="http://host:8000", folder=tmp_path)
    with pytest.raises(CatalogError, match="TILED_API_KEY"):
        write_tiled_profile(uri="http://host:8000?api_key=x", folder=tmp_path)


def test_opening_says_nothing_on_the_terminal(tmp_path, capfd, caplog):
    with caplog.at_level(logging.INFO), open_catalog(tmp_path):
        pass
    assert capfd.readouterr() == ("", "")
