"""Runs maps against a faulty server: no row is lost or sent twice, and a halved limit is observed and fully used.

The runs take minutes and are not part of `make test` or `make bench`; the tests contain small versions of both. Environment variables:
`FAULT_ROWS` (10,000), `HALVED_AT` (seconds until the limit is halved, 40), `BURST` (number of simultaneous requests that the server
admits; by default a minute's worth) and `SEED`.
"""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from pathlib import Path

from measure import Figure, at_least, at_most, note, print_figures

from claude_magic.simulator import (
    Behaviour,
    Simulator,
    close_mid_stream,
    drop_before_headers,
    scenario,
    status,
)

ROWS = int(os.environ.get("FAULT_ROWS", "10000"))
HALVED_AT = float(os.environ.get("HALVED_AT", "40"))
BURST = int(os.environ.get("BURST", "0")) or None
SEED = int(os.environ.get("SEED", "12"))
FAULTY = 0.3
KILLS = 3
PER_MINUTE = 1200
GRACE = 10.0
MEASURED = 40.0
"""Seconds of measurement after the grace period of a halved limit."""

FAULTS: list[Behaviour] = [
    status(429, retry_after=0.01),
    status(529),
    drop_before_headers(),
    close_mid_stream(after_events=3),
    status(500, body=b'{"type":"error","error":{"ty'),
    status(200, body=b'{"id": "msg_1", "cont', content_type="application/json"),
]
MAP = """
    import sys
    from claude_magic import claude

    rows = int(sys.argv[1])
    out = claude.map("Say exactly: number a{{ item }}", range(rows), max_tokens=1000, max_cost=1e6)
    print(len(out.errors), sum(answer != f"number a{number}" for number, answer in enumerate(out)))
"""


def start(sim: Simulator, folder: Path, rows: int, **settings: str) -> subprocess.Popen[str]:
    """Start the map in a process of its own."""
    environment = {
        **os.environ,
        "ANTHROPIC_API_KEY": "sk-ant-bench-0123456789",
        "ANTHROPIC_BASE_URL": sim.url,
        "XDG_CONFIG_HOME": str(folder),
        "TMPDIR": str(folder),
        **settings,
    }
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(MAP), str(rows)],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kept(folder: Path) -> set[str]:
    """Return the rows with an answer in the journal."""
    path = folder / ".claude-magic" / "journal.sqlite"
    if not path.exists():
        return set()
    database = sqlite3.connect(path)
    try:
        return {text.split("number a")[1] for (text,) in database.execute("SELECT text FROM answers")}
    except sqlite3.OperationalError:
        # The tables do not exist yet.
        return set()
    finally:
        database.close()


def asked(sim: Simulator) -> list[str]:
    """Return the rows of the requests to the simulator, in order of arrival."""
    contents = [seen.body["messages"][0]["content"] for seen in sim.requests if seen.path == "/v1/messages"]
    texts = [content if isinstance(content, str) else content[-1]["text"] for content in contents]
    return [text.split("number a")[1] for text in texts]


def wait_for(process: subprocess.Popen[str], folder: Path, answers: int) -> None:
    """Wait until the journal has `answers` answers, or the process has ended."""
    while process.poll() is None and len(kept(folder)) < answers:
        time.sleep(0.05)


def faults_and_kills(folder: Path) -> list[Figure]:
    """Run the map, kill it three times, and run it again."""
    chance = random.Random(SEED)
    script = [chance.choice(FAULTS) if chance.random() < FAULTY else None for _ in range(ROWS * 3)]
    quick = {
        "CLAUDE_MAGIC_RATE_LIMIT_RPS": "100000",
        "CLAUDE_MAGIC_INITIAL_BACKOFF": "0.01",
        "CLAUDE_MAGIC_MAX_BACKOFF": "0.05",
    }
    again_from_journal = again_in_a_run = in_flight = 0
    answered: set[str] = set()
    runs = 0
    with Simulator(max_recorded=ROWS * 4, max_recorded_bytes=2**30) as sim:
        sim.script(*[fault or scenario("plain") for fault in script])
        seen = 0
        output = ""
        while True:
            durable = kept(folder)
            process = start(sim, folder, ROWS, **quick)
            runs += 1
            if runs <= KILLS:
                wait_for(process, folder, len(durable) + chance.randrange(ROWS // 20, ROWS // 4))
                process.kill()
            output, complaints = process.communicate()
            # Requests in flight may arrive only now.
            while sim.open_connections:
                time.sleep(0.05)
            rows = asked(sim)
            outcomes = zip(rows[seen:], script[seen : len(rows)], strict=True)
            of_run = Counter[str]()
            for row, fault in outcomes:
                again_from_journal += row in durable
                again_in_a_run += of_run[row] > 0
                in_flight += row in answered and row not in durable and not of_run[row]
                of_run[row] += fault is None
            answered |= set(of_run.elements())
            seen = len(rows)
            note(
                f"run {runs}: {len(kept(folder)):,} of {ROWS:,} rows answered, {seen:,} requests {output.strip()}"
            )
            if runs > KILLS and output.startswith("0 "):
                break
            if runs > KILLS + 5:
                raise SystemExit(f"rows without an answer: {output}\n{complaints}")
    wrong = int(output.split()[1])
    return [
        at_most(f"{ROWS:,} rows, {FAULTY:.0%} faults, {KILLS} kills: wrong or missing answers", wrong, 0),
        at_most("the same: rows asked again that the journal had", again_from_journal, 0),
        at_most("the same: rows asked again in the run that was answered", again_in_a_run, 0),
        Figure(name="the same: rows in flight at a kill, answered and asked again", ours=in_flight),
        Figure(name="the same: runs of the line", ours=runs),
    ]


def halve(sim: Simulator) -> None:
    """Halve the rate limit of the server."""
    for limiter in sim._api._service._limiters.values():
        bucket = limiter._requests
        level = bucket.level
        bucket.per_minute //= 2
        bucket._capacity = bucket.per_minute
        bucket._level = min(level, bucket._capacity)


def halved_limit(folder: Path) -> list[Figure]:
    """Halve the limit in mid-run, and count refused and admitted requests after the first ten seconds."""
    with Simulator(requests_per_minute=PER_MINUTE, burst=BURST, max_recorded=100_000) as sim:
        process = start(sim, folder, 100_000, CLAUDE_MAGIC_RATE_LIMIT_RPS="1000")
        while not sim.requests:
            time.sleep(0.05)
        time.sleep(HALVED_AT)
        note(f"{len(sim.requests):,} requests; the limit is halved")
        halve(sim)
        time.sleep(GRACE)
        before = len(sim.requests)
        started = time.monotonic()
        time.sleep(MEASURED)
        seconds = time.monotonic() - started
        counted = sim.requests[before:]
        process.kill()
        process.communicate()
    refused = sum(seen.status == 429 for seen in counted)
    used = (len(counted) - refused) / (PER_MINUTE / 2 / 60 * seconds)
    note(f"{len(counted):,} requests, {refused} refused")
    return [
        at_most(
            "limit halved in mid-run: 429s after ten seconds (%)", refused / max(1, len(counted)) * 100, 1
        ),
        at_least("the same: share of the new limit that is used (%)", used * 100, 90),
    ]


def main() -> None:
    """Measure and print."""
    figures = []
    for part in (faults_and_kills, halved_limit):
        if len(sys.argv) == 1 or sys.argv[1] == part.__name__:
            with tempfile.TemporaryDirectory() as folder:
                figures += part(Path(folder))
    print_figures(figures)


if __name__ == "__main__":
    main()
