"""The embedded catalogue: Tiled in this process, everything in SQLite and plain files.

Nothing listens on a port. Several processes may open the same directory at once: the catalogue and
the tables are SQLite with write-ahead logging, and who finds one locked waits (see `patience`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sqlite3
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from filelock import FileLock

from .errors import CatalogError
from .patience import Patience, is_locked, set_busy_timeout, wait_for_writers

CATALOG_FILE = "catalog.db"
TABLES_FILE = "tables.db"
ARRAYS_FOLDER = "arrays"
EXPORTER = "bluesky_tiled_plugins.exporters:json_seq_exporter"


def create(directory: Path) -> None:
    """Make the databases of a catalogue where they are missing.

    Tiled would start ``python -m tiled catalog init`` for this, which takes many seconds.

    Raises
    ------
    CatalogError
        If a database is there and is not one of this Tiled.
    OSError
        If the directory cannot be written.
    """
    (directory / ARRAYS_FOLDER).mkdir(parents=True, exist_ok=True)
    with FileLock(directory / f"{CATALOG_FILE}.lock"):
        _set_journal_mode(directory / TABLES_FILE, "WAL", _connect_to_tables)
        if not (directory / CATALOG_FILE).exists():
            # Under another name first: a process killed here must not leave half a database.
            unfinished = directory / f"{CATALOG_FILE}.new"
            unfinished.unlink(missing_ok=True)
            _in_own_loop(_initialise(unfinished))
            # The log is folded in: no side file may be needed when the database is moved.
            _set_journal_mode(unfinished, "DELETE")
            os.replace(unfinished, directory / CATALOG_FILE)
            _set_journal_mode(directory / CATALOG_FILE, "WAL")


def configuration(directory: Path, readable: Iterable[Path]) -> dict[str, Any]:
    """Return the arguments of Tiled's ``catalog`` tree for a directory."""
    return {
        "uri": f"sqlite:///{(directory / CATALOG_FILE).as_posix()}",
        "writable_storage": [
            (directory / ARRAYS_FOLDER).as_uri(),
            f"sqlite:///{(directory / TABLES_FILE).as_posix()}",
        ],
        "readable_storage": [Path(folder).resolve().as_uri() for folder in readable],
    }


def connect(directory: Path, readable: Iterable[Path]) -> Any:
    """Start Tiled in this process on an existing catalogue and return its context."""
    with warnings.catch_warnings():
        # Starlette asks for another HTTP library than the one Tiled is built on.
        warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
        import starlette.testclient  # noqa: F401

    from bluesky_tiled_plugins.exporters import json_seq_exporter
    from tiled.catalog import from_uri
    from tiled.client import Context
    from tiled.config import Authentication
    from tiled.media_type_registration import default_serialization_registry
    from tiled.server.app import build_app
    from tiled.server.settings import get_settings
    from tiled.storage import EmbeddedSQLStorage

    # Tiled reports each start of a server on the terminal; this one is nobody's business.
    logging.getLogger("tiled.server.app").setLevel(logging.WARNING)
    default_serialization_registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    arguments = configuration(directory, readable)
    tree = from_uri(arguments.pop("uri"), **arguments)
    app = build_app(tree, authentication=Authentication())
    # Tiled keeps one settings object a process: a second application would change this one's key.
    # The key is known here only; nothing outside the process can reach the application anyway.
    settings = app.dependency_overrides[get_settings]()
    own = settings.model_copy(update={"single_user_api_key": secrets.token_hex()})
    app.dependency_overrides[get_settings] = lambda: own
    app.add_middleware(Patience)
    context = Context.from_app(app)
    for storage in tree.context.writable_storage.values():
        if isinstance(storage, EmbeddedSQLStorage):
            wait_for_writers(storage)
    return context


async def _initialise(path: Path) -> None:
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.catalog.alembic_constants import ALEMBIC_DIR
    from tiled.catalog.core import REQUIRED_REVISION, initialize_database

    engine = create_async_engine(f"sqlite+aiosqlite:///{path.as_posix()}")
    try:
        await initialize_database(engine)
        scripts = ScriptDirectory(str(ALEMBIC_DIR))
        async with engine.begin() as connection:
            await connection.run_sync(
                lambda c: MigrationContext.configure(c).stamp(scripts, REQUIRED_REVISION)
            )
    finally:
        await engine.dispose()


def _in_own_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, also where this thread has a running loop (notebooks)."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="create-catalogue")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _connect_to_tables(path: Path) -> Any:
    """Open the tables with the SQLite that Tiled opens them with.

    A process may open a database with one copy of SQLite only: the locks of one copy do not hold
    off the other, which then takes itself for alone and deletes the log that the first writes.
    """
    from adbc_driver_sqlite import dbapi

    connection = dbapi.connect(str(path), autocommit=True)
    set_busy_timeout(connection)
    return connection


def _set_journal_mode(
    path: Path, mode: str, connect: Callable[[Path], Any] = sqlite3.connect
) -> None:
    from adbc_driver_manager import Error

    try:
        with closing(connect(path)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA journal_mode={mode}")
            cursor.fetchall()
    except (sqlite3.DatabaseError, Error) as error:
        if is_locked(error):
            raise CatalogError(
                f"the database {path} is held by another program; close that and try again"
            ) from error
        why = str(error).splitlines()[0]
        raise CatalogError(
            f"the database {path} cannot be used ({why}); move it away and run recovery, which "
            "fills a new one from the journals"
        ) from error
