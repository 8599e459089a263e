"""Run notebooks on the simulator, and save them with their outputs for readers.

    .venv/bin/python tests/notebooks/save.py notebooks/02-context-and-attachments.ipynb
    .venv/bin/python tests/notebooks/save.py --record notebooks/07-reproducible.ipynb

Cells with the tag `raises-exception` may fail; any other failure leaves the file unchanged. `--record` first records
the cassette of a notebook again: it runs the cells with `replay` set to "record", except those with the tag
`left-out-while-recording`, which show what a replay refuses.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

LEFT_OUT = "left-out-while-recording"


def main(arguments: list[str]) -> None:
    """Run and save each notebook."""
    os.environ["CLAUDE_MAGIC_DEMO"] = "on"
    for path in (Path(argument) for argument in arguments if argument != "--record"):
        notebook = nbformat.read(path, as_version=4)
        if "--record" in arguments:
            record(notebook, path)
        execute(notebook, path)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # the time of the run would change the file with every save
        nbformat.write(notebook, path)


def record(notebook: Any, path: Path) -> None:
    """Record the cassette of a notebook again."""
    path.with_suffix(".cassette.jsonl").unlink(missing_ok=True)
    recording = copy.deepcopy(notebook)
    recording.cells = [cell for cell in recording.cells if LEFT_OUT not in cell.metadata.get("tags", ())]
    for cell in recording.cells:
        cell.source = cell.source.replace('replay = "only"', 'replay = "record"')
    execute(recording, path)


def execute(notebook: Any, path: Path) -> None:
    """Run the cells in the folder of the notebook."""
    resources = {"metadata": {"path": path.parent}}
    # A panel without a kernel, shown from its saved state, would hide its transcript.
    NotebookClient(notebook, timeout=120, store_widget_state=False, resources=resources).execute()


if __name__ == "__main__":
    main(sys.argv[1:])
