"""Run every notebook with nbval against the simulator, twice; both runs must give the same outputs.

nbval compares the outputs of cells with the tag `nbval-check-output` with the saved ones. For a notebook with a
cassette, it compares all outputs of all cells, including answers, without a simulator.
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
    recorded = [
        path for path in sorted(FOLDER.glob("*.ipynb")) if path.with_suffix(".cassette.jsonl").exists()
    ]
    command = [sys.executable, "-m", "pytest", "-p", "nbval", "--nbval-cell-timeout=60", "-q"]
    command += [
        "-o",
        "filterwarnings=default",
        "--import-mode=prepend",
        *("-n", "auto", "--dist", "loadfile"),  # the cells of a notebook run together, in order
    ]
    others = [path for path in sorted(FOLDER.glob("*.ipynb")) if path not in recorded]
    alone = {name: value for name, value in environment.items() if name != "CLAUDE_MAGIC_DEMO"}
    for _ in range(2):
        for how, paths, variables in (("--nbval-lax", others, environment), ("--nbval", recorded, alone)):
            code = subprocess.run(
                [*command, how, *map(str, paths)], env=variables, cwd=FOLDER.parent
            ).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
