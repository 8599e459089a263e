"""What `%load_ext claude_magic` adds to bare IPython: time, and imports."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

from measure import Figure, at_most, print_figures

ROUNDS = 21
MAX_MILLIS = 100
HEAVY = ("httpx2", "pydantic", "ipywidgets", "markdown_it", "nh3")
BARE = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance()"
LOADED = f"{BARE}; shell.run_line_magic('load_ext', 'claude_magic')"
IMPORTED = f"{LOADED}; import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as home:
        imported = json.loads(_run(IMPORTED, home).splitlines()[-1])
        bare, loaded = [], []
        for _ in range(ROUNDS):
            bare.append(_seconds(BARE, home))
            loaded.append(_seconds(LOADED, home))
    added = (statistics.median(loaded) - statistics.median(bare)) * 1e3
    print_figures(
        [
            at_most("%load_ext over bare IPython (ms)", added, MAX_MILLIS),
            Figure(name="bare IPython, start to end (ms)", ours=statistics.median(bare) * 1e3),
            at_most(f"of {', '.join(HEAVY)} imported by it", len(imported), 0),
        ]
    )


def _seconds(code: str, home: str) -> float:
    started = time.perf_counter()
    _run(code, home)
    return time.perf_counter() - started


def _run(code: str, home: str) -> str:
    command = [sys.executable, "-c", f"import os; os.environ['IPYTHONDIR'] = {home!r}; {code}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=home).stdout


if __name__ == "__main__":
    main()
