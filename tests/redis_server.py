"""A Redis or Valkey server of this system, in a folder of its own, for as long as a test needs it."""

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
    """Return the program, or None where the system has none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class RedisServer:
    """A server on a Unix socket; nothing is written to the disk."""

    def __init__(self, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="claude-magic-redis-")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = Path(self._folder.name, "s")
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, and return once it answers."""
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
        """End it at once; what it held is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal: SIGSTOP leaves it there, and silent."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def command(self, *words: Any) -> Any:
        """Run a command."""
        import redis

        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*words)

    def close(self) -> None:
        """End it, and remove its folder."""
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
    """Run a server; skip the test where the system has none.

    Args:
        options: Further options of `redis-server`.
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
