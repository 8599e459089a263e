"""Compares the CPU time per event, at many events per read, with the SDK, httpx-sse and bare httpx2."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import stream_readers as readers
from loopback_server import loopback_server
from measure import Figure, at_most, cost_of, interleave, note, print_figures, ratio_at_most

SHORT, LONG = 20_000, 100_000
ROUNDS = 7
PEERS: dict[str, Callable[[AsyncExitStack, str], readers.Reader]] = {
    "SDK helper": readers.sdk_helper,
    "SDK raw": readers.sdk_raw,
    "httpx-sse + json": readers.sse_and_json,
    "bare httpx2": readers.bare,
    "floor": readers.floor,
}
CONTESTANTS = {"ours": readers.ours, **PEERS}
MAX_HELPER_SHARE = 0.1
MAX_OVER_FLOOR = 1.5
MAX_GROWTH = 1.25
"""Cost per event at 100,000 deltas divided by that at 20,000: linear, within the noise of the measurement."""


async def measure(server: str) -> list[Figure]:
    """Run all contestants at 20,000 deltas, and claude_magic and the SDK's helper at 100,000."""
    short = await _micros_per_event(server, SHORT, list(CONTESTANTS), rounds=ROUNDS)
    long = await _micros_per_event(server, LONG, ["ours"], rounds=ROUNDS)
    note("the SDK's helper on 100,000 deltas takes a while")
    helper = await _micros_per_event(server, LONG, ["SDK helper"], rounds=1)
    name = f"CPU per event, {SHORT:,} deltas, many per read (µs)"
    return [
        ratio_at_most(name, short["ours"], short["SDK helper"], MAX_HELPER_SHARE, peer_name="SDK helper"),
        ratio_at_most(name, short["ours"], short["floor"], MAX_OVER_FLOOR, peer_name="floor"),
        *(
            Figure(name=name, ours=short["ours"], peer=short[peer], peer_name=peer)
            for peer in list(PEERS)[1:-1]
        ),
        Figure(
            name=f"CPU per event, {LONG:,} deltas, many per read (µs)",
            ours=long["ours"],
            peer=helper["SDK helper"],
            peer_name="SDK helper",
        ),
        at_most(
            f"cost per event at {LONG:,} deltas / at {SHORT:,}",
            long["ours"] / short["ours"],
            MAX_GROWTH,
            peer=helper["SDK helper"] / short["SDK helper"],
            peer_name="SDK helper",
        ),
    ]


async def _micros_per_event(server: str, deltas: int, names: list[str], *, rounds: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        runs = {name: CONTESTANTS[name](stack, f"{server}/burst/{deltas}") for name in names}
        warm = {name: CONTESTANTS[name](stack, f"{server}/burst/100") for name in names}
        for run in warm.values():
            await cost_of(run)
        costs = await interleave(runs, rounds=rounds)
    return {name: cost.cpu / deltas * 1e6 for name, cost in costs.items()}


def main() -> None:
    """Measure and print."""
    with loopback_server() as server:
        print_figures(asyncio.run(measure(server)))


if __name__ == "__main__":
    main()
