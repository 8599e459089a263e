"""Measures the time from the server's write to the caller's first delta, beside bare httpx2, which returns bytes."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx2
import stream_readers as readers
from loopback_server import loopback_server
from measure import Figure, print_figures, ratio_at_most

from claude_magic.client import ContentBlockDelta, Credential, HTTPClaudeClient, MessageRequest

REQUESTS = 600
WARM_UP = 20
MAX_RATIO = 1.4
_MOMENT = re.compile(rb'"text":"(\d+)"')


async def measure(server: str) -> list[Figure]:
    """Run both in turn, so that other load on the machine affects both alike; return the medians."""
    url = f"{server}/first/0"
    async with AsyncExitStack() as stack:
        runs = {"ours": _ours(stack, url), "bare httpx2": _bare(stack, url)}
        micros: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(WARM_UP + REQUESTS):
            for name in list(runs) if number % 2 else reversed(runs):
                micros[name].append(await runs[name]() / 1000)
    ours, bare = (statistics.median(found[WARM_UP:]) for found in micros.values())
    return [
        ratio_at_most("server's write to first delta (µs)", ours, bare, MAX_RATIO, peer_name="bare httpx2")
    ]


def _ours(stack: AsyncExitStack, url: str) -> Callable[[], Awaitable[int]]:
    client = HTTPClaudeClient(readers.config_for(url), Credential(api_key=readers.KEY))
    stack.push_async_callback(client.aclose)
    request = MessageRequest(model=readers.MODEL, max_tokens=1024, messages=readers.PROMPT)

    async def nanoseconds() -> int:
        taken = 0
        async with client.stream_message(request) as stream:
            async for event in stream:
                if type(event) is ContentBlockDelta:
                    taken = time.monotonic_ns() - int(event.text)
        return taken

    return nanoseconds


def _bare(stack: AsyncExitStack, url: str) -> Callable[[], Awaitable[int]]:
    headers = {"x-api-key": readers.KEY, "anthropic-version": "2023-06-01"}
    client = httpx2.AsyncClient(trust_env=False, headers=headers)
    stack.push_async_callback(client.aclose)

    async def nanoseconds() -> int:
        taken = 0
        async with client.stream(
            "POST", f"{url}/v1/messages", json={**readers.BODY, "stream": True}
        ) as response:
            async for chunk in response.aiter_bytes():
                now = time.monotonic_ns()
                if moment := _MOMENT.search(chunk):
                    taken = now - int(moment[1])
        return taken

    return nanoseconds


def main() -> None:
    """Measure and print."""
    with loopback_server() as server:
        print_figures(asyncio.run(measure(server)))


if __name__ == "__main__":
    main()
