"""Run the unit and server tests on the oldest versions that pyproject.toml promises to work with."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / ".floors-venv"


def main() -> int:
    """Install the floors where they changed, then test; return pytest's exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    floors = [requirement.replace(">=", "==") for requirement in project["project"]["dependencies"]]
    tools = [each for each in project["dependency-groups"]["test"] if isinstance(each, str)]
    tools = [each for each in tools if each.startswith(("pytest", "hypothesis", "psutil"))]
    python = TARGET / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = TARGET / "floors.txt"
    wanted = "\n".join(floors + tools)
    if not marker.exists() or marker.read_text(encoding="utf-8") != wanted:
        venv.create(TARGET, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *floors, *tools], check=True)
        subprocess.run([*install, "--no-deps", "--editable", "."], cwd=ROOT, check=True)
        marker.write_text(wanted, encoding="utf-8")
    tests = ["tests/unit", "tests/server", "tests/runtime"]
    return subprocess.run([python, "-m", "pytest", "-q", "-n", "auto", *tests], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
