"""Build a fresh environment from binder/ alone, as Binder does, and run notebooks in it.

This repeats the steps of Binder without its container: install binder/requirements.txt from the repository's folder,
then start everything through binder/start. The notebooks must run on the simulator, without a key, and every cell must
succeed. Four notebooks are run as a sample: the first, the one with the most packages, the one with widgets, and the
one with tables and a journal on disk.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / ".binder-check"
NOTEBOOKS = (
    "01-first-steps.ipynb",
    "02-context-and-attachments.ipynb",
    "05-panels.ipynb",
    "06-map.ipynb",
    "07-reproducible.ipynb",
)


def main() -> int:
    """Build, run, clean up; return 0 if the notebooks ran."""
    shutil.rmtree(TARGET, ignore_errors=True)
    venv.create(TARGET / "env", with_pip=True)
    programs = TARGET / "env" / ("Scripts" if os.name == "nt" else "bin")
    install = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-r", "binder/requirements.txt"], cwd=ROOT, check=True)
    folder = TARGET / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder)
    listed = subprocess.run(
        [programs / "jupyter", "labextension", "list"],
        env=_environment(programs),
        capture_output=True,
        text=True,
    )
    if not re.search(r"claude-magic v\S+ .*enabled.*OK", listed.stdout + listed.stderr):
        sys.exit(f"binder: JupyterLab does not list the front-end extension:\n{listed.stdout}{listed.stderr}")
    convert = [
        programs / "jupyter",
        "nbconvert",
        "--to",
        "notebook",
        "--execute",
        "--inplace",
        *NOTEBOOKS,
    ]
    start = [ROOT / "binder" / "start"] if os.name != "nt" else []
    code = subprocess.run([*start, *convert], cwd=folder, env=_environment(programs), timeout=300).returncode
    if code == 0:
        for notebook in NOTEBOOKS:
            _check(folder / notebook)
        print(f"binder: {' and '.join(NOTEBOOKS)} ran in a fresh environment, on the simulator")
        shutil.rmtree(TARGET)
    return code


def _environment(programs: Path) -> dict[str, str]:
    """Return an environment without a key or settings."""
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(TARGET / "home")}
    if os.name == "nt":
        environment = {**os.environ, **environment, "CLAUDE_MAGIC_DEMO": "auto"}
    (TARGET / "home").mkdir(exist_ok=True)
    return environment


def _check(ran: Path) -> None:
    text = ran.read_text(encoding="utf-8")
    if "simulator" not in text:
        sys.exit("binder: no answer in the notebook says that it came from the simulator")


if __name__ == "__main__":
    sys.exit(main())
