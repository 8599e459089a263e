"""Fixtures of the runtime tests: a simulator, runtimes connected to it, and separate Python processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from claude_magic.runtime import Reply, Runtime
from claude_magic.simulator import Simulator

KEY = "sk-ant-test-0123456789abcdef"
TEST_TIMEOUT = 120.0
"""Seconds after which a condition will not come true any more, on the slowest of machines."""
PROCESS_TIMEOUT = 300.0


class MakeRuntime(Protocol):
    """Creates a runtime with only these environment variables; it is closed after the test."""

    def __call__(self, **variables: str) -> Runtime: ...


class RunScript(Protocol):
    """Runs Python source in a process of its own, with warnings as errors; returns what it printed.

    What it writes to stderr (tracebacks, warnings, "Task was destroyed") fails the test; asyncio's remarks on slow steps
    do not, because on a busy machine building a client is one.
    """

    def __call__(self, source: str, **variables: str) -> str: ...


@pytest.fixture(autouse=True)
def _empty_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate tests from the developer's settings file, keyring and environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "CLAUDE_MAGIC_")):
            monkeypatch.delenv(name)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A separate simulator for each test."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def make_runtime(tmp_path: Path) -> Iterator[MakeRuntime]:
    """See `MakeRuntime`."""
    runtimes: list[Runtime] = []

    def make(**variables: str) -> Runtime:
        environment = {"XDG_CONFIG_HOME": str(tmp_path / "config"), **variables}
        runtimes.append(Runtime(environment=environment))
        return runtimes[-1]

    yield make
    for runtime in runtimes:
        runtime.close()


@pytest.fixture
def runtime(make_runtime: MakeRuntime, sim: Simulator) -> Runtime:
    """A runtime connected to `sim`, at a rate that delays no request."""
    return make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_RATE_LIMIT_RPS="1000")


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds, or fails."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + TEST_TIMEOUT
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.005)

    return wait


@pytest.fixture
def when() -> Callable[[Reply, Callable[[Reply], object]], None]:
    """Waits until a reply is in a given state, as reported by the reply itself."""

    def wait(reply: Reply, condition: Callable[[Reply], object]) -> None:
        changed = threading.Event()
        forget = reply.observe(lambda _: changed.set())
        deadline = time.monotonic() + TEST_TIMEOUT
        try:
            while not condition(reply):
                assert changed.wait(max(0.0, deadline - time.monotonic())), reply.snapshot()
                changed.clear()
        finally:
            forget()

    return wait


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """See `RunScript`."""

    def run(source: str, **variables: str) -> str:
        process = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(source)],
            env={**os.environ, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PROCESS_TIMEOUT,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        assert [line for line in process.stderr.splitlines() if not line.startswith("Executing <")] == []
        return process.stdout

    return run
