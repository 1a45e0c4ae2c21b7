"""One open store a session, and what runs are made of."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bluesky import RunEngine

from flyback.callbacks.record import Recorder, read_journal
from flyback.profiles.store.catalog import open_catalog
from flyback.profiles.store.writer import StoreWriter

HERE = Path(__file__).parent


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules.setdefault(path.stem, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def block_flyer():
    """The module with the small camera that flies."""
    return load(HERE / "block_flyer.py")


@pytest.fixture(scope="session")
def check_documents():
    """The document rules of the checks beside the repository."""
    path = HERE.parents[2] / ".." / "shared" / "checks" / "check_documents.py"
    if not path.is_file():
        pytest.skip("no document checks beside the repository")
    return load(path.resolve()).check


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """An embedded catalogue with its folders."""
    root = tmp_path_factory.mktemp("store")
    for name in ("frames", "journal"):
        (root / name).mkdir()
    with open_catalog(root / "catalog", readable=[root / "frames"]) as catalog:
        yield SimpleNamespace(
            root=root, catalog=catalog, frames=root / "frames", journal=root / "journal"
        )


@pytest.fixture(scope="session")
def RE():
    """One RunEngine a session: each keeps a thread."""
    return RunEngine({})


@pytest.fixture
def journal(tmp_path):
    """Folder of the journals of one test."""
    return tmp_path / "journal"


@pytest.fixture
def acquire(store, RE, journal):
    """Run a plan into journal and store; return the uid and the documents as recorded."""

    def run(plan):
        with (
            Recorder(journal) as recorder,
            StoreWriter(store.catalog, journal=journal) as writer,
        ):
            tokens = [RE.subscribe(recorder), RE.subscribe(writer)]
            try:
                (uid,) = RE(plan)
            finally:
                for token in tokens:
                    RE.unsubscribe(token)
            assert writer.wait(60), writer.problems
        return uid, list(read_journal(journal / f"{uid}.journal"))

    return run
