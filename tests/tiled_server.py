"""A real Tiled server on loopback."""

import socket
import subprocess
import sys
import threading

import yaml

from flyback.profiles.store import embedded

KEY = "secret"


class Server:
    """``tiled serve config`` in a process of its own."""

    def __init__(self, root, *readable):
        embedded.create(root)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._config = root / "config.yml"
        tree = {"path": "/", "tree": "catalog", "args": embedded.configuration(root, readable)}
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
        for line in self._process.stdout:
            if "Uvicorn running" in line:
                break
        else:
            raise RuntimeError("the server did not start")
        # Read on, or the server stands still when the pipe is full.
        self._reader = threading.Thread(target=self._process.stdout.read)
        self._reader.start()

    def kill(self):
        self._process.kill()
        self._reader.join()
        self._process.communicate()
