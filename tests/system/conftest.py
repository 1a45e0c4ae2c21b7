import pytest

from flyback.__main__ import main
from flyback.profiles.schema import parse_profile
from flyback.tests.small_microscope import MICROSCOPE


@pytest.fixture(scope="session")
def microscope():
    return parse_profile("small_microscope", MICROSCOPE)


@pytest.fixture
def flyback(capsys, tmp_path, monkeypatch):
    """Run a command line; return its exit status and what it wrote to both streams."""
    monkeypatch.setenv("FLYBACK_DIRECTORY", str(tmp_path / "store"))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run
