"""Databases that another connection holds: whoever comes waits, and nothing is lost or doubled."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from adbc_driver_manager.dbapi import Cursor
from adbc_driver_sqlite import dbapi
from event_model import compose_run

from flyback.callbacks.record import Recorder
from flyback.profiles.store import patience
from flyback.profiles.store.catalog import CatalogError, open_catalog
from flyback.profiles.store.patience import Patience, is_locked
from flyback.profiles.store.runs import find
from flyback.profiles.store.writer import StoreWriter


def step_run(n):
    run = compose_run()
    yield "start", run.start_doc
    key = {"source": "x", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}
    stream = run.compose_descriptor(name="primary", data_keys={"x": key})
    yield "descriptor", stream.descriptor_doc
    for i in range(n):
        yield "event", stream.compose_event(data={"x": float(i)}, timestamps={"x": time.time()})
    yield "stop", run.compose_stop()


def write(writer, docs):
    for name, doc in docs:
        writer(name, doc)
    return docs[0][1]["uid"]


def stored(catalog, uid):
    table = find(catalog, uid)["primary"].base["internal"].read()
    return list(zip(table["seq_num"], table["x"], strict=True))


def rows(n):
    return [(i + 1, float(i)) for i in range(n)]


@pytest.fixture
def seen(monkeypatch):
    """Tell when a request has found a database locked."""
    found = threading.Event()

    def noted(error):
        locked = is_locked(error)
        if locked:
            found.set()
        return locked

    monkeypatch.setattr(patience, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(patience, "is_locked", noted)
    return found


@pytest.fixture
def catalog(tmp_path, seen):
    with open_catalog(tmp_path / "catalog") as catalog:
        yield catalog


@pytest.fixture
def tables(tmp_path, catalog):
    """Another connection to the tables."""
    path = str(tmp_path / "catalog" / "tables.db")
    with closing(dbapi.connect(path, autocommit=True)) as connection:
        yield lambda statement: execute(connection, statement)


def execute(connection, statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.fetchall()


def test_a_run_waits_while_another_holds_the_tables(catalog, tables, seen):
    tables("BEGIN IMMEDIATE")
    # No journal: it is not fed again, it is written.
    with StoreWriter(catalog) as writer:
        uid = write(writer, list(step_run(5)))
        assert seen.wait(60)
        tables("COMMIT")
        assert writer.wait(60), writer.problems
    assert stored(catalog, uid) == rows(5)


def test_a_transaction_that_another_overtakes_is_made_again(catalog, tables, seen, monkeypatch):
    with StoreWriter(catalog) as writer:
        first = write(writer, list(step_run(3)))
        assert writer.wait(60), writer.problems
    overtaken = []
    execute_one = Cursor.execute

    def overtake(self, operation, *args, **kwargs):
        # Tiled has looked for the table by now, and is about to number its rows.
        if operation.startswith("INSERT INTO _dataset_id_counter") and not overtaken:
            overtaken.append(operation)
            tables("UPDATE _dataset_id_counter SET value = value + 1")
        return execute_one(self, operation, *args, **kwargs)

    monkeypatch.setattr(Cursor, "execute", overtake)
    with StoreWriter(catalog) as writer:
        second = write(writer, list(step_run(4)))
        assert writer.wait(60), writer.problems
    assert overtaken
    assert seen.is_set()
    assert (stored(catalog, first), stored(catalog, second)) == (rows(3), rows(4))


def test_a_run_that_outlasts_patience_is_fed_from_its_journal(tmp_path, seen, monkeypatch):
    monkeypatch.setattr(Patience.__init__, "__defaults__", (0.0,))
    docs = list(step_run(5))
    with open_catalog(tmp_path / "catalog") as catalog:
        path = str(tmp_path / "catalog" / "tables.db")
        with (
            closing(dbapi.connect(path, autocommit=True)) as other,
            Recorder(tmp_path / "journal") as recorder,
            StoreWriter(catalog, journal=tmp_path / "journal") as writer,
        ):
            execute(other, "BEGIN IMMEDIATE")
            for name, doc in docs:
                recorder(name, doc)
            uid = write(writer, docs)
            assert not writer.wait(60)
            assert "database is locked" in writer.problems[uid]
            execute(other, "COMMIT")
            assert writer.wait(60), writer.problems
        assert stored(catalog, uid) == rows(5)


READ_TABLES = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as connection:
    (table,) = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'table_%'")
    print(*connection.execute(f"SELECT count(*) FROM {table[0]}").fetchone())
"""


def test_opened_twice_in_one_process_the_rows_are_there_for_all(tmp_path, catalog):
    with StoreWriter(catalog) as writer:
        write(writer, list(step_run(2)))
        assert writer.wait(60), writer.problems
    open_catalog(tmp_path / "catalog").close()
    with StoreWriter(catalog) as writer:
        write(writer, list(step_run(3)))
        assert writer.wait(60), writer.problems
    # In another process: two copies of SQLite in one do not see each other's locks.
    command = [sys.executable, "-c", READ_TABLES, tmp_path / "catalog" / "tables.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5"]


def test_a_database_held_by_another_program_is_not_called_broken(tmp_path, seen):
    (tmp_path / "catalog").mkdir()
    with closing(dbapi.connect(str(tmp_path / "catalog" / "tables.db"), autocommit=True)) as other:
        execute(other, "BEGIN EXCLUSIVE")
        with pytest.raises(CatalogError, match="held by another program"):
            open_catalog(tmp_path / "catalog")


def ask(app, patience_s):
    """Give a request of two parts to an application; return what it answers."""
    parts = [
        {"type": "http.request", "body": b"one", "more_body": True},
        {"type": "http.request", "body": b"two"},
        {"type": "http.disconnect"},
    ]
    answers = []

    async def receive():
        return parts.pop(0)

    async def send(message):
        answers.append(message["type"])

    asyncio.run(Patience(app, patience_s)({"type": "http", "state": {}}, receive, send))
    return answers


class Locked:
    """An application that finds the database locked so many times."""

    def __init__(self, times, *, after="nothing"):
        self.times, self.after, self.bodies = times, after, []

    async def __call__(self, scope, receive, send):
        scope["state"]["attempts"] = scope["state"].get("attempts", 0) + 1
        assert scope["state"]["attempts"] == 1
        self.bodies.append([(await receive())["body"], (await receive())["body"]])
        if self.after == "start":
            await send({"type": "http.response.start", "status": 200})
        if len(self.bodies) <= self.times:
            raise sqlite3.OperationalError("database is locked")
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200})


def test_a_request_is_made_again_with_the_same_body():
    app = Locked(2)
    assert ask(app, 60.0) == ["http.response.start"]
    assert app.bodies == [[b"one", b"two"]] * 3


@pytest.mark.parametrize(("patience_s", "after"), [(0.0, "nothing"), (60.0, "start")])
def test_a_request_is_not_made_again_for_ever_nor_once_answered(patience_s, after):
    app = Locked(10, after=after)
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        ask(app, patience_s)
    assert len(app.bodies) == 1


def test_other_errors_are_passed_on_at_once():
    async def broken(scope, receive, send):
        raise sqlite3.OperationalError("no such table")

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        ask(broken, 60.0)
