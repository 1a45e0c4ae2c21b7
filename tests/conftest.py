import os
from pathlib import Path

import pytest

from flyback.tests.postgres import Postgres

os.environ.setdefault("MPLBACKEND", "agg")

# an extra's tests run in a step of their own, batterydf's too, which goes with no extra
EXTRAS = tuple(
    f"the extra '{name}'" for name in ("formats", "cells", "pybamm", "train", "validation")
)
MAY_BE_SKIPPED = (
    "root may write everywhere",
    "batterydf is not installed",
    "no small disks can be made here",  # only root can, and not in every container
    *EXTRAS,
)
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The reference data, which are not part of the repository."""
    folder = Path(os.environ.get("FLYBACK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the reference data are not in {folder}; set FLYBACK_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server on loopback; without its programs the test is skipped."""
    server = Postgres()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session", autouse=True)
def own_directory(tmp_path_factory):
    """No test writes into anybody's archive."""
    before = os.environ.get("FLYBACK_DIRECTORY")
    os.environ["FLYBACK_DIRECTORY"] = str(tmp_path_factory.mktemp("archive"))
    yield
    if before is None:
        del os.environ["FLYBACK_DIRECTORY"]
    else:
        os.environ["FLYBACK_DIRECTORY"] = before


def _missing(reporter) -> list:
    """Return the tests that were skipped although CI has all that they need."""
    skipped = reporter.stats.get("skipped", []) if os.environ.get("FLYBACK_CI") else []
    return [r for r in skipped if not any(reason in str(r.longrepr) for reason in MAY_BE_SKIPPED)]


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    for report in _missing(terminalreporter):
        terminalreporter.write_line(f"must not be skipped in CI: {report.nodeid}", red=True)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _missing(reporter) and session.exitstatus == 0:
        session.exitstatus = 1
