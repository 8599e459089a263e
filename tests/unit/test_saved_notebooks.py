"""The saved notebooks: their outputs do not depend on the machine or the time of the run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
OF_A_MACHINE = re.compile(
    r"/tmp/|/var/folders/|/home/|/Users/|/root\b|[A-Z]:\\|(?:127\.0\.0\.1|localhost):\d|\bat 0x[0-9a-f]{6}|\b\d+\.\d{9}"
)
"""Folders of their own, ports, addresses in memory, and measured times."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_output_names_a_folder_a_port_or_a_moment(path: Path) -> None:
    """So saving a notebook again changes only the outputs whose cells have changed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    # As strings, because in JSON each backslash is doubled.
    outputs = [text for cell in cells for text in _texts(cell.get("outputs", []))]

    assert outputs
    assert [found.group() for text in outputs for found in OF_A_MACHINE.finditer(text)] == []


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]
