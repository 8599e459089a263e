"""Run notebooks on the simulator and save them with their outputs, as they are shown to readers.

    .venv/bin/python tests/notebooks/save.py notebooks/02-context-and-attachments.ipynb

Cells tagged `raises-exception` may fail; any other failure leaves the file as it was.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(paths: list[str]) -> None:
    """Run and save each notebook."""
    os.environ["CLAUDE_MAGIC_DEMO"] = "on"
    for path in map(Path, paths):
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": path.parent}}
        # A dead panel, drawn from its saved state, would hide the transcript that is there to be read.
        NotebookClient(notebook, timeout=120, store_widget_state=False, resources=resources).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # when it ran; it would make every save a change
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
