import os
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "agg")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The reference data, which are not part of the repository."""
    folder = Path(os.environ.get("FLYBACK_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the reference data are not in {folder}; set FLYBACK_TEST_DATA")
    return folder


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


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """Where everything that a test needs should be there, a skipped test is a failure."""
    if not os.environ.get("FLYBACK_CI"):
        return
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        terminalreporter.write_line(f"skipped in CI: {report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter is not None and reporter.stats.get("skipped")
    if os.environ.get("FLYBACK_CI") and skipped and session.exitstatus == 0:
        session.exitstatus = 1
