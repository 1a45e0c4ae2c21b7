"""A real PostgreSQL server on loopback, from Debian's package or whatever is on PATH."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

OTHER_USER = "postgres"  # of Debian's package; initdb refuses to run as root


def programs() -> Path:
    """Return the folder of initdb and pg_ctl; skip the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("there is no PostgreSQL on this machine (apt-get install postgresql)")
    return found[-1].parent if found else Path(on_path or "").resolve().parent


def _version(path: Path) -> float:
    return float(path.parent.parent.name)


class Postgres:
    """One cluster in a folder of its own, that listens on loopback only."""

    def __init__(self):
        self._bin = programs()
        self._user = OTHER_USER if os.geteuid() == 0 else None
        # Not below pytest's folder: that one is closed to other users.
        self._folder = Path(tempfile.mkdtemp(prefix="flyback-postgres-"))
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._data = self._folder / "data"
        self._run("initdb", "-D", self._data, "-U", "flyback", "--auth=trust", "--no-sync")

    def start(self):
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c fsync=off"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-w", "-o", options, "start")

    def database(self):
        """Make an empty database and return ``user@host:port/name``."""
        name = f"flyback_{uuid.uuid4().hex[:8]}"
        arguments = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "flyback", name]
        self._run("createdb", *arguments)
        return f"flyback@127.0.0.1:{self.port}/{name}"

    def close(self):
        """Stop the server at once and remove its folder."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder)

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self._bin / program, *arguments],
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
