"""Measures the bucket on a Redis server with four processes: over-admission, efficiency and round trips."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from pathlib import Path

from measure import Figure, at_least, at_most, note, print_figures

from claude_magic.client import RedisBucket

PROCESSES = 4
ROUNDS = int(os.environ.get("REDIS_ROUNDS", "3"))
GRAIN = 1e-6
SHAPES = {
    # name: rate, capacity, acquires per process, simultaneous waiters per process (None: all)
    "crowd": (200.0, 200.0, 250, None),
    "8 at once": (200.0, 200.0, 250, 8),
    "one after the other": (100.0, 10.0, 100, 1),
}


async def acquire(url: str, account: str, shape: str, start_at: float) -> None:
    """Acquire in one of the processes, and print the times of the grants on a clock that all processes share."""
    rate, capacity, count, at_once = SHAPES[shape]
    bucket = RedisBucket(url, rate, capacity, account=account)
    # Connects to the server.
    await bucket.acquire(1e-6)
    print("ready", flush=True)
    sys.stdin.readline()
    granted: list[float] = []
    free = asyncio.Semaphore(at_once or count)

    async def take() -> None:
        async with free:
            await bucket.acquire()
            granted.append(time.monotonic())

    await asyncio.sleep(max(0.0, start_at - time.monotonic()))
    await asyncio.gather(*(take() for _ in range(count)))
    await bucket.aclose()
    print(json.dumps(granted))


def over_admission(times: list[float], rate: float, capacity: float) -> int:
    """Return the number of grants by which the worst time window exceeds capacity + rate x window."""
    worst = 0
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            allowed = int(capacity + rate * (times[last] - start) + GRAIN)
            worst = max(worst, bisect_right(times, times[last]) - first - allowed)
    return worst


def calls_of(url: str) -> int:
    """Return the number of scripts that the server has run."""
    import redis

    with redis.Redis.from_url(url, decode_responses=True) as client:
        stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


def once(url: str, shape: str, number: int) -> tuple[list[float], float, int]:
    """Acquire in four processes at once; return all grants, their duration in seconds, and the number of calls."""
    command = [sys.executable, __file__, url, f"{shape} {number}", shape]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(PROCESSES)]  # type: ignore[call-overload]
    for process in processes:
        process.stdout.readline()
    before, started = calls_of(url), time.monotonic()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    granted = sorted(
        at for process in processes for at in json.loads(process.communicate()[0].splitlines()[-1])
    )
    return granted, granted[-1] - started, calls_of(url) - before


def measure(url: str) -> list[Figure]:
    """Run each shape several times."""
    figures = []
    for shape, (rate, capacity, count, at_once) in SHAPES.items():
        over, share, trips = [], [], []
        for number in range(ROUNDS):
            note(f"{shape}, round {number + 1} of {ROUNDS}")
            granted, _, calls = once(url, shape, number)
            total = PROCESSES * count
            over.append(over_admission(granted, rate, capacity))
            # The burst takes no time; each later grant takes 1 / rate seconds.
            share.append((total - capacity) / rate / (granted[-1] - granted[0]))
            trips.append(calls / total)
        what = f"Redis bucket, {PROCESSES} processes, {shape}"
        # Four processes that each wait for a grant before the next acquire do not use the whole rate.
        if at_once != 1:
            figures.append(at_least(f"{what}: efficiency", statistics.median(share), 0.97))
        figures += [
            at_most(f"{what}: over-admission (grants)", max(over), 0),
            at_most(f"{what}: round trips per acquire", max(trips), 1.0),
        ]
    return figures


def main() -> None:
    """Start a server, measure, and print."""
    if len(sys.argv) > 1:
        url, account, shape = sys.argv[1:]
        asyncio.run(acquire(url, account, shape, time.monotonic()))
        return
    with tempfile.TemporaryDirectory(prefix="claude-magic-redis-") as folder:
        socket = Path(folder, "s")
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.01)
            print_figures(measure(f"unix://{socket}"))
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
