"""Compares the CPU time per event, at one event per TCP write, with bare httpx2 and the SDK."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import stream_readers as readers
from loopback_server import loopback_server
from measure import Figure, interleave, note, print_figures, ratio_at_most

DELTAS = 2_000
ROUNDS = 7
MAX_RATIO = 1.4
MAX_OVER_FLOOR = 1.3


async def measure(server: str) -> list[Figure]:
    """Read the same paced stream with each client in turn."""
    url = f"{server}/paced/{DELTAS}"
    async with AsyncExitStack() as stack:
        runs = {
            "ours": readers.ours(stack, url),
            "bare httpx2": readers.bare(stack, url),
            "SDK helper": readers.sdk_helper(stack, url),
            "floor": readers.floor(stack, url),
        }
        note(f"{await runs['bare httpx2']()} reads for {DELTAS + 5} events")
        await runs["ours"]()
        costs = await interleave(runs, rounds=ROUNDS)
    micros = {name: cost.cpu / DELTAS * 1e6 for name, cost in costs.items()}
    name = "CPU per event, one per TCP write (µs)"
    return [
        ratio_at_most(name, micros["ours"], micros["bare httpx2"], MAX_RATIO, peer_name="bare httpx2"),
        ratio_at_most(name, micros["ours"], micros["floor"], MAX_OVER_FLOOR, peer_name="floor"),
        Figure(name=name, ours=micros["ours"], peer=micros["SDK helper"], peer_name="SDK helper"),
    ]


def main() -> None:
    """Measure and print."""
    with loopback_server() as server:
        print_figures(asyncio.run(measure(server)))


if __name__ == "__main__":
    main()
