"""Runs the simulator in a process of its own, so that its work is not measured."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from claude_magic.simulator import Simulator, reply


@contextlib.contextmanager
def simulator_process(
    *, chunk_delay: float = 0.0, answer: Path | None = None, deltas: int = 1, times: int = 1
) -> Iterator[str]:
    """Run a simulator for the duration of the block and yield its URL.

    Args:
        chunk_delay: Seconds between two deltas.
        answer: A file with the text of the first answers; None leaves the answers to the simulator.
        deltas: Number of deltas of that text.
        times: Number of requests that the text answers.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            Path(__file__),
            str(chunk_delay),
            *([answer, str(deltas), str(times)] if answer else []),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        # The process ends when its standard input is closed.
        process.stdin.close()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Print the URL, then serve until standard input is closed."""
    with Simulator(chunk_delay=float(sys.argv[1])) as simulator:
        if len(sys.argv) > 2:
            text, deltas = Path(sys.argv[2]).read_text(encoding="utf-8"), int(sys.argv[3])
            size = -(-len(text) // deltas)
            behaviour = reply(chunks=[text[at : at + size] for at in range(0, len(text), size)])
            simulator.script(*[behaviour] * int(sys.argv[4]))
        print(simulator.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
