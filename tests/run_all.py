"""`make test`: set up, run all parts one after the other, and report the duration of each.

A part is a target of the Makefile, so `make kernel` runs the same as the whole run does. All parts run even if one has
failed, because a run takes long and later parts may fail for other reasons. The last lines list the reasons.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUP = {
    ".venv/.installed": "packages into .venv",
    "chromium": "a browser, where it is missing",
    "redis": "a Redis server, where it is missing",
}
KEPT_LINES = 400
SHOWN_REASONS = 12
_PYTEST_MARKS = ("FAILED ", "ERROR ")


@dataclass
class Part:
    """A target of the Makefile, and its result."""

    target: str
    does: str
    seconds: float = 0.0
    outcome: str = "not run"
    reasons: tuple[str, ...] = ()

    def run(self) -> bool:
        """Run the target, with its output shown. Return whether it passed."""
        print(f"\n=== {self.target}: {self.does}", flush=True)
        last: deque[str] = deque(maxlen=KEPT_LINES)
        started = time.monotonic()
        self.outcome = "stopped"
        try:
            code = self._follow(last)
        finally:
            self.seconds = time.monotonic() - started
        self.outcome = _summary(last) if code == 0 else f"FAILED (exit code {code})"
        if code:
            self.reasons = _reasons(last)
        return code == 0

    def _follow(self, last: deque[str]) -> int:
        command = [os.environ.get("MAKE", "make"), "--no-print-directory", self.target]
        # The parts run one after the other, so they do not use the job server of an outer `make -j`.
        environment = {
            name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")
        }
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    last.append(line.rstrip())
            except _Terminated:  # Ctrl-C also reaches the part, but SIGTERM does not
                process.send_signal(signal.SIGINT)
                raise
        return process.returncode


class _Terminated(KeyboardInterrupt):
    """This process received SIGTERM."""


def _terminate(_number: int, _frame: object) -> None:
    raise _Terminated


def main(targets: Sequence[str]) -> int:
    """Run the named parts. Return 0 if all of them passed."""
    signal.signal(signal.SIGTERM, _terminate)
    # A process that a shell starts in the background ignores SIGINT, and so would the parts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    described = _descriptions()
    parts = [Part(name, SETUP.get(name) or described[name]) for name in (*SETUP, *targets)]
    stopped = ""
    try:
        for part in parts:
            if not part.run() and part.target in SETUP:
                stopped = f"Stopped early: {part.target} failed, and the parts after it need it."
                break
    except KeyboardInterrupt:
        stopped = "Stopped early: interrupted."
    print(_table(parts))
    for part in parts:
        for reason in part.reasons:
            print(f"{part.target}: {reason}")
    failed = [part for part in parts if part.outcome.startswith("FAILED")]
    if failed:
        named = ", ".join(part.target + _tests_named(part.reasons) for part in failed)
        print(f"Failed: {named}. One part alone: make {failed[0].target}")
    if stopped:
        print(stopped)
    return 1 if failed or stopped else 0


def _descriptions() -> dict[str, str]:
    """Return the Makefile's description of each target, as shown by `make help`."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("## ") for line in lines if ": " in line and "## " in line)
    return {head.partition(":")[0]: text for head, _, text in pairs}


def _summary(lines: deque[str]) -> str:
    """Return the sums of pytest's summary lines; "ok" if the part printed none."""
    closings = [line for line in lines if re.search(r"\d passed.* in [\d.]+s", line)]
    counts: Counter[str] = Counter()
    for closing in closings:
        counts.update({word: int(count) for count, word in re.findall(r"(\d+) ([a-z]+)", closing)})
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "ok"


def _reasons(lines: deque[str]) -> tuple[str, ...]:
    """Return the failures that pytest lists at its end, or the last lines of any other output."""
    named = [line for line in lines if line.startswith(_PYTEST_MARKS)]
    return tuple(named[:SHOWN_REASONS] or [line for line in lines if line.strip()][-SHOWN_REASONS:])


def _tests_named(reasons: tuple[str, ...]) -> str:
    """Return the names of the failed tests, in brackets, for the last line: a truncated log keeps its last line."""
    tests = [
        reason.partition(" ")[2].partition(" - ")[0] for reason in reasons if reason.startswith(_PYTEST_MARKS)
    ]
    return f" ({', '.join(tests)})" if tests else ""


def _table(parts: list[Part]) -> str:
    rows = [(part.target, _clock(part.seconds), part.outcome) for part in parts]
    rows.append(("all", _clock(sum(part.seconds for part in parts)), f"on {_cores()} processors"))
    width = max(len(row[0]) for row in rows)
    return "\n".join(["", "What each part took:", *(f"  {a:<{width}}  {b:>8}  {c}" for a, b, c in rows), ""])


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _cores() -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    from cores import usable

    return usable()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
