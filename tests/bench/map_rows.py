"""Compares a map of 10,000 short rows with bare httpx2, and resumes a journal of 100,000 rows.

The map has 64 requests in flight, the limiter off and the journal on; httpx2 sends the same requests.
"""

from __future__ import annotations

import asyncio
import operator
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from loopback_server import loopback_server
from measure import Cost, Figure, at_least, at_most, note, print_figures

from claude_magic.bulk import Journal, MapPlan, MapRequest, make_plan
from claude_magic.bulk._journal import Answer
from claude_magic.runtime import Question, Runtime

ROWS = int(os.environ.get("MAP_ROWS", "10000"))
MANY = int(os.environ.get("MAP_MANY", "100000"))
IN_FLIGHT = 64
ROUNDS = 5
KEY = "sk-ant-bench-0123456789"
PROMPT = "Classify: {{ item }}"


def items(count: int) -> list[str]:
    """Return short rows, all different."""
    return [f"The parcel came late, box {number} was torn." for number in range(count)]


def plan_for(runtime: Runtime, rows: list[str], journal: Path | bool) -> MapPlan:
    """Return the plan of a map whose rows have been read."""
    settings = {"max_tokens": 1024, "thinking": "off"}
    request = MapRequest(
        question=Question(prompt=PROMPT, settings=settings),
        items=rows,
        names={},
        concurrency=IN_FLIGHT,
        max_cost=1e6,
        journal=journal,
    )
    plan = make_plan(request, runtime)
    for _ in plan.read():
        pass
    return plan


def map_once(runtime: Runtime, rows: list[str], journal: Path | bool) -> Cost:
    """Map all rows, and return the cost from reading the first row to the result."""
    cpu, started = time.process_time(), time.perf_counter()
    answers = plan_for(runtime, rows, journal).start().result()
    assert len(answers) == len(rows)
    assert not answers.errors
    return Cost(time.process_time() - cpu, time.perf_counter() - started)


async def bare_once(url: str, rows: list[str]) -> Cost:
    """Send the same requests with bare httpx2, equally many at once, and keep the texts."""
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    limits = httpx2.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    texts: list[str | None] = [None] * len(rows)
    numbers = iter(range(len(rows)))
    async with httpx2.AsyncClient(trust_env=False, headers=headers, limits=limits) as client:

        async def work() -> None:
            for number in numbers:
                body: dict[str, Any] = {
                    "model": "claude-sonnet-5-5",
                    "max_tokens": 1024,
                    "messages": [{"role": "user", "content": f"Classify: {rows[number]}"}],
                }
                response = await client.post(f"{url}/v1/messages", json=body)
                texts[number] = response.json()["content"][0]["text"]

        cpu, started = time.process_time(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return Cost(time.process_time() - cpu, time.perf_counter() - started)


def resumed(runtime: Runtime, folder: Path) -> tuple[float, float]:
    """Return the seconds to resume a finished map of 100,000 rows, and the growth of the peak memory in MB."""
    rows = items(MANY)
    journal = Journal(folder / "many.sqlite")
    plan = plan_for(runtime, rows, folder / "many.sqlite")
    filled = [plan._row_requests.key(plan._row_requests.prompt.fill({"item": row}), 0) for row in rows]
    run = journal.begin_run(prompt=PROMPT, model="m", rows=MANY, requests=MANY, keys=b"")
    for start in range(0, MANY, 10_000):
        part = filled[start : start + 10_000]
        journal.add([Answer(key, "silt", None, "m", None, 1, 1, 0.0, False) for key in part], run)
    journal.close()
    plan.close()
    del plan, filled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    answers = plan_for(runtime, rows, folder / "many.sqlite").start().result()
    seconds = time.perf_counter() - started
    assert len(answers) == MANY
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _median_ratio(dividends: list[float], divisors: list[float]) -> float:
    """Return the median ratio of the rounds; within a round, other load on the machine affects all alike."""
    return statistics.median(map(operator.truediv, dividends, divisors))


def measure(server: str, folder: Path) -> list[Figure]:
    """Run all contestants in turn."""
    url = f"{server}/small/0"
    environment = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": url,
        "CLAUDE_MAGIC_RATE_LIMIT_RPS": "1000000",
        "XDG_CONFIG_HOME": str(folder),
    }
    runtime = Runtime(environment=environment)
    rows = items(ROWS)
    map_once(runtime, rows[:500], False)
    costs: dict[str, list[Cost]] = {"map": [], "no journal": [], "bare": []}
    for number in range(ROUNDS):
        note(f"round {number + 1} of {ROUNDS}")
        costs["bare"].append(asyncio.run(bare_once(url, rows)))
        costs["map"].append(map_once(runtime, rows, folder / f"round-{number}.sqlite"))
        costs["no journal"].append(map_once(runtime, rows, False))
    wall = {name: statistics.median(cost.wall for cost in found) for name, found in costs.items()}
    cpu = {name: statistics.median(cost.cpu for cost in found) for name, found in costs.items()}
    resume, memory = resumed(runtime, folder)
    runtime.close()
    share = _median_ratio([cost.wall for cost in costs["bare"]], [cost.wall for cost in costs["map"]])
    memory_share = _median_ratio(
        [cost.wall for cost in costs["no journal"]], [cost.wall for cost in costs["map"]]
    )
    bare = "bare httpx2"
    return [
        Figure(
            name=f"map of {ROWS:,} rows (requests/s)",
            ours=ROWS / wall["map"],
            peer=ROWS / wall["bare"],
            peer_name=bare,
        ),
        at_least("map: requests/s as a share of bare httpx2", share, 0.85),
        Figure(
            name="map: CPU per row (µs)",
            ours=cpu["map"] / ROWS * 1e6,
            peer=cpu["bare"] / ROWS * 1e6,
            peer_name=bare,
        ),
        at_most(
            "map: share of the time for the journal on disk (%)",
            max(0.0, 1 - memory_share) * 100,
            5.0,
        ),
        at_most(f"map of {MANY:,} rows: resume of a finished run (s)", resume, 3.0),
        at_most(f"map of {MANY:,} rows: peak memory beyond the rows (MB)", memory, 50.0),
    ]


def main() -> None:
    """Measure and print."""
    with loopback_server() as server, tempfile.TemporaryDirectory() as folder:
        # Excludes the budgets of other processes on this machine.
        tempfile.tempdir = folder
        print_figures(measure(server, Path(folder)))


if __name__ == "__main__":
    main()
