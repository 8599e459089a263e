"""Run every notebook top to bottom with nbval, against the simulator, and once more: the second run must give the same.

nbval compares what cells print with what was saved, where a cell asks for it (tag `nbval-check-output`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "notebooks"


def main() -> int:
    """Run nbval twice; return its exit code."""
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANTHROPIC_", "CLAUDE_MAGIC_"))
        },
        "CLAUDE_MAGIC_DEMO": "on",
        "CLAUDE_MAGIC_LIVE": "0",  # nbval does not follow updates of an output
    }
    command = [sys.executable, "-m", "pytest", "-p", "nbval", "--nbval-lax", "--nbval-cell-timeout=60", "-q"]
    command += [
        "-o",
        "filterwarnings=default",
        "--import-mode=prepend",
        *("-n", "auto", "--dist", "loadfile"),  # the cells of a notebook stay together, in their order
        *map(str, sorted(FOLDER.glob("*.ipynb"))),
    ]
    for _ in range(2):
        code = subprocess.run(command, env=environment, cwd=FOLDER.parent).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
