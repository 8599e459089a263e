"""A notebook with a cassette: the saved outputs are the same after recording and after each replay."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from .conftest import API_KEY, TIMEOUT

SOURCES = (
    "%load_ext claude_magic",
    "%%claude\nName three primes.",
    "%%claude --thread t\nMy name is Ada.",
    "%%claude --thread t\nWhat is my name?",
    "def weather(city: str) -> str:\n    'Return the weather.'\n    return 'rain'",
    "%%claude --tools weather --approve never\nWhat is the weather in Oslo?",
    "%%claude --schema 'name, age int' -o person\nInvent a keeper.",
    "%%claude --compare sonnet,opus\nName a tree.",
    "cities = ['France', 'Spain', 'Italy', 'France']",
    "%%claude --map cities -o capitals\nWhat is the capital of {{ item }}?",
    "claude.ask('Name a bird.')",
    "%claude --quiet Name a fish.",
    "_",
    "%claude Name a plant;",
    "%%claude --max-tokens 5\nTell a long story about tides.",
)


def run_all(folder: Path, environment: dict[str, str]) -> str:
    """Execute the cells in a separate kernel, like `jupyter execute`, and return the file."""
    import nbformat
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [new_code_cell(source, id=f"c{number}") for number, source in enumerate(SOURCES)]
    notebook = new_notebook(cells=cells)
    resources: dict[str, Any] = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook,
        timeout=int(TIMEOUT),
        startup_timeout=int(TIMEOUT),
        kernel_name="python3",
        record_timing=False,
        resources=resources,
    )
    client.execute(env=environment)
    saved: str = nbformat.writes(notebook)
    return saved


def test_restart_and_run_all_leaves_the_notebook_as_it_was(sim, tmp_path):
    """Recorded, replayed, and replayed without server and key: the files are identical, and nothing was sent twice."""
    environment = os.environ | {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / "ipython")}
    server = {"ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": API_KEY, "CLAUDE_MAGIC_REPLAY": "auto"}

    first = run_all(tmp_path, environment | server)
    asked = len(sim.requests)
    again = run_all(tmp_path, environment | server)
    alone = run_all(tmp_path, environment | {"CLAUDE_MAGIC_REPLAY": "only"})

    changes = difflib.unified_diff(first.splitlines(), again.splitlines(), lineterm="", n=0)
    assert "\n".join(changes) == ""
    assert alone == first
    assert len(sim.requests) == asked > len(SOURCES) - 5
    assert first.count("in the cassette: running it again costs nothing") >= 9
    assert API_KEY not in first + (tmp_path / "claude.cassette.jsonl").read_text(encoding="utf-8")
