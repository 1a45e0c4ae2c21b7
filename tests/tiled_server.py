"""A real Tiled server on loopback."""

import socket
import subprocess
import sys
import threading

import yaml

from flyback.profiles.store import embedded

KEY = "secret"


class Server:
    """``tiled serve config`` in a process of its own, on SQLite or on a PostgreSQL database.

    Parameters
    ----------
    root : path
    *readable : paths
    database : str, optional
        ``user@host:port/name`` of a PostgreSQL database for the catalogue and the tables.
    """

    def __init__(self, root, *readable, database=None):
        embedded.create(root)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._config = root / "config.yml"
        arguments = embedded.configuration(root, readable)
        if database is not None:
            arrays, _ = arguments["writable_storage"]
            arguments |= {
                "uri": f"postgresql+asyncpg://{database}",
                "writable_storage": [arrays, f"postgresql://{database}"],
            }
            _tiled("catalog", "init", "--if-not-exists", arguments["uri"])
        tree = {"path": "/", "tree": "catalog", "args": arguments}
        content = {"authentication": {"single_user_api_key": KEY}, "trees": [tree]}
        self._config.write_text(yaml.safe_dump(content))

    def start(self):
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tiled",
                "serve",
                "config",
                self._config,
                "--port",
                str(self.port),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Uvicorn running" in line:
                break
        else:
            raise RuntimeError("the server did not start: " + "".join(said[-20:]))
        # Read on, or the server stands still when the pipe is full.
        self._reader = threading.Thread(target=self._process.stdout.read)
        self._reader.start()

    def kill(self):
        self._process.kill()
        self._reader.join()
        self._process.communicate()


def _tiled(*arguments):
    command = [sys.executable, "-m", "tiled", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
