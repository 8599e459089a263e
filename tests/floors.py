"""Run the tests, but for those in a browser, on the oldest versions that pyproject.toml promises to work with.

Among them are the oldest IPython (8.37) and the oldest kernel (ipykernel 6.30.1), which behave differently from today's: a kernel
without subshells, history without outputs, the older hook for completion.
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
TOOLS = ("pytest", "hypothesis", "psutil")
NOT_HERE = ("jupyterlab", "notebook", "nbval", "playwright")
FOLDERS = ("tests/unit", "tests/server", "tests/runtime", "tests/kernel")


def main() -> int:
    """Install the floors where they changed, then test; return pytest's exit code."""
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
    command = [python, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile"]
    return subprocess.run([*command, *FOLDERS], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
