"""Run all tests except those in a browser on the oldest versions that pyproject.toml allows.

The oldest IPython (8.37) and kernel (ipykernel 6.30.1) behave differently from current ones: no subshells, no outputs
in the history, and an older completion hook. Arguments select tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / ".floors-venv"
TOOLS = ("pytest", "hypothesis")
NOT_HERE = ("jupyterlab", "notebook", "nbval", "playwright", "hatchling")
FOLDERS = ("tests/unit", "tests/server", "tests/runtime", "tests/kernel")
OURS_ALONE = (
    "tests/unit/conversation",  # the tree of turns and its files
    "tests/unit/test_cores.py",
    "tests/unit/test_deadline.py",
    "tests/unit/test_labextension.py",  # what JupyterLab loads, and how the wheel carries it
    "tests/unit/test_limit_tracker.py",  # what follows from the server's headers
    "tests/unit/test_pace.py",
    "tests/server/test_rate_limit.py",
    "tests/unit/test_retry.py",
    "tests/unit/test_server_limits.py",
    "tests/unit/test_sse.py",
    "tests/server/test_pacing.py",
    "tests/kernel/test_conversations.py",  # which turns are sent; cells and their keys are in test_context.py and test_reference.py
    "tests/kernel/test_formats.py",
    "tests/kernel/test_shared_limiter.py",
    "tests/kernel/test_turn_order.py",
    "tests/kernel/test_usage.py",
)


def main() -> int:
    """Install the minimum versions if they have changed, then run the tests. Return pytest's exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    optional = [each for each in (*groups["lab"], *groups["test"]) if isinstance(each, str)]
    tools = [each for each in optional if each.startswith(TOOLS)]
    promised = [each for each in optional if not each.startswith((*TOOLS, *NOT_HERE))]
    floors = [each.replace(">=", "==") for each in (*project["project"]["dependencies"], *promised)]
    python = TARGET / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = TARGET / "floors.txt"
    wanted = "\n".join(floors + tools)
    if not marker.exists() or marker.read_text(encoding="utf-8") != wanted:
        venv.create(TARGET, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *floors, *tools], check=True)
        subprocess.run([*install, "--no-deps", "--editable", "."], cwd=ROOT, check=True)
        marker.write_text(wanted, encoding="utf-8")
    left_out = [f"--ignore={each}" for each in OURS_ALONE]
    command = [python, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", *left_out]
    command += [
        "-W",
        "ignore::DeprecationWarning",
    ]  # old packages with newer dependencies use deprecated names
    return subprocess.run([*command, *(sys.argv[1:] or FOLDERS)], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
