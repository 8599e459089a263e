"""Measures the CPU time and the imports that `%load_ext claude_magic` adds to bare IPython."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

from measure import Figure, at_most, print_figures

ROUNDS = 21
MAX_MILLIS = 100
HEAVY = ("httpx2", "pydantic", "ipywidgets", "markdown_it", "nh3")
BARE = "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance()"
WITH_ASYNCIO = f"import asyncio; {BARE}"
LOAD = "; shell.run_line_magic('load_ext', 'claude_magic')"
IMPORTED = (
    f"{BARE}{LOAD}; import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as home:
        imported = json.loads(_run(IMPORTED, home).splitlines()[-1])
        programs = (BARE, BARE + LOAD, WITH_ASYNCIO, WITH_ASYNCIO + LOAD)
        rounds = [[_cpu(code, home) for code in programs] for _ in range(ROUNDS)]
    bare, loaded, bare_kernel, loaded_kernel = (
        statistics.median(column) * 1e3 for column in zip(*rounds, strict=True)
    )
    print_figures(
        [
            at_most("%load_ext over bare IPython: CPU (ms)", loaded - bare, MAX_MILLIS),
            at_most(
                "the same with asyncio already imported, as in a kernel: CPU (ms)",
                loaded_kernel - bare_kernel,
                MAX_MILLIS,
            ),
            Figure(name="bare IPython, start to end: CPU (ms)", ours=bare),
            at_most(f"of {', '.join(HEAVY)} imported by it", len(imported), 0),
        ]
    )


def _cpu(code: str, home: str) -> float:
    before = _cpu_of_children()
    _run(code, home)
    return _cpu_of_children() - before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(code: str, home: str) -> str:
    command = [sys.executable, "-c", f"import os; os.environ['IPYTHONDIR'] = {home!r}; {code}"]
    # Like an installed package: the first run writes bytecode, later runs read it.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=home, env=environment
    ).stdout


if __name__ == "__main__":
    main()
