"""The official `anthropic` client works with the simulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from claude_magic.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("official_client.py")
REQUIREMENT = "anthropic>=2.12,<3"
INSTALL_TIMEOUT = 300
"""Seconds; on an idle machine with a warm cache it takes about seven."""


def python_in(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def has_client(python: Path) -> bool:
    if not python.exists():
        return False
    return (
        subprocess.run([python, "-c", "import anthropic"], capture_output=True, check=False).returncode == 0
    )


def install(folder: Path) -> str | None:
    """Create the environment. Return the error, if any."""
    # Our own pip installs into it: one of its own would take longer than the client.
    pip = [sys.executable, "-m", "pip", "--python", python_in(folder), "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", folder],
        [*pip, "install", "--quiet", REQUIREMENT],
    ):
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{command[-1]}: no end within {INSTALL_TIMEOUT} s"
        if result.returncode != 0:
            return result.stderr.strip()[-1000:]
    return None


@pytest.fixture(scope="module")
def client_python() -> Path:
    """Return an interpreter with the official client: that of the benchmarks, else a separate one in the clone."""
    for folder in (ROOT / ".bench-venv", ROOT / ".peers" / "anthropic"):
        if has_client(python_in(folder)):
            return python_in(folder)
    folder = ROOT / ".peers" / "anthropic"
    failure = install(folder)
    if failure is None:
        return python_in(folder)
    message = f"NOT TESTED: the official client could not be installed ({REQUIREMENT}): {failure}"
    if os.environ.get("CI"):
        pytest.fail(message)
    print(f"\n{message}", file=sys.__stderr__)
    pytest.skip(message)


@pytest.mark.timeout(INSTALL_TIMEOUT * 2 + 60)
def test_the_official_client_accepts_the_simulator(client_python):
    """This covers messages, streams, thinking, tools, schemas, search, models, counting, errors and retries."""
    with Simulator(batch_seconds=0.2) as sim:
        result = subprocess.run(
            [client_python, SCRIPT, sim.url], capture_output=True, text=True, timeout=120, check=False
        )

        assert result.returncode == 0, result.stdout + result.stderr
        assert [request.failure for request in sim.requests if request.failure] == []
        assert {request.headers["anthropic-version"] for request in sim.requests} == {"2026-10-21"}
