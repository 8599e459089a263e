"""Run notebooks on the simulator and save them with their outputs, as they are shown to readers.

    .venv/bin/python tests/notebooks/save.py notebooks/02-context-and-attachments.ipynb
    .venv/bin/python tests/notebooks/save.py --record notebooks/07-reproducible.ipynb

Cells tagged `raises-exception` may fail; any other failure leaves the file as it was. `--record` records the cassette of a notebook again
before: it runs the cells with `replay` at "record", without those tagged `left-out-while-recording`, which show what a replay refuses.
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
            cell.metadata.pop("execution", None)  # when it ran; it would make every save a change
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
    # A dead panel, drawn from its saved state, would hide the transcript that is there to be read.
    NotebookClient(notebook, timeout=120, store_widget_state=False, resources=resources).execute()


if __name__ == "__main__":
    main(sys.argv[1:])
