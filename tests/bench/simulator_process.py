"""The simulator in a process of its own, so that its work is not counted as ours."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from claude_magic.simulator import Simulator


@contextlib.contextmanager
def simulator_process(*, chunk_delay: float = 0.0) -> Iterator[str]:
    """Run a simulator while the block lasts; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__), str(chunk_delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()  # which is what it waits for
        process.wait()
        process.stdout.close()


def main() -> None:
    """Print the URL, then serve until standard input is closed."""
    with Simulator(chunk_delay=float(sys.argv[1])) as simulator:
        print(simulator.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
