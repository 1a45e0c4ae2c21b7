"""A real Redis server on loopback that can be killed and started again."""

import shutil
import socket
import subprocess
import time

import pytest

PROGRAMS = ("valkey-server", "redis-server")


class RedisServer:
    """Keeps an append-only file in its folder, so that a new one knows what the old one knew."""

    def __init__(self, folder, *, keeps=True):
        self._program = next((found for p in PROGRAMS if (found := shutil.which(p))), None)
        if self._program is None:
            pytest.skip("there is no redis-server on this machine (apt-get install redis-server)")
        self._folder, self._keeps = folder, keeps
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.uri = f"redis://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        keep = ["--appendonly", "yes", "--appendfsync", "always"] if self._keeps else []
        self._process = subprocess.Popen(
            [
                self._program,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--dir", str(self._folder), *keep),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)  # another process: there is nothing to wait on but its answers

    def kill(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False
