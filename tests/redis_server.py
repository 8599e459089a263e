"""Starts a Redis or Valkey server of this system in a temporary folder for a test."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("redis-server", "valkey-server", "/usr/sbin/redis-server")
MISSING = "there is no redis-server or valkey-server here: install the package of your system (redis-server, redis or valkey)"


def find_server() -> str | None:
    """Return the path of the server program; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class RedisServer:
    """A server on a Unix socket, without persistence."""

    def __init__(self, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="claude-magic-redis-")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = Path(self._folder.name, "s")
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        """Start the server, and return once it responds."""
        program = find_server()
        assert program is not None
        self.socket.unlink(missing_ok=True)
        command = [
            program,
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--save",
            "",
            "--dir",
            self._folder.name,
        ]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not self.socket.exists() or not self._answers():
            assert self._process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill the server; its data is lost."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: int) -> None:
        """Send the server a signal. SIGSTOP makes it hang."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def command(self, *words: Any) -> Any:
        """Run a command."""
        import redis

        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*words)

    def close(self) -> None:
        """Stop the server, and remove its folder."""
        self.kill()
        self._folder.cleanup()

    def _answers(self) -> bool:
        import redis

        try:
            self.command("PING")
        except redis.exceptions.AuthenticationError:
            return True
        except (redis.exceptions.RedisError, OSError):
            return False
        return True


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run a server; skip the test if the system has none.

    Args:
        options: Additional options of `redis-server`.
    """
    pytest.importorskip("redis")
    if find_server() is None:
        pytest.skip(MISSING)
    server = RedisServer(*options)
    try:
        server.start()
        yield server
    finally:
        server.close()
