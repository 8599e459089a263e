"""Compares a small request without streaming, through limiter, retry policy and models, with bare httpx2 and the SDK.

Requests are sent one after the other, and with 16 and 64 in flight at all times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anthropic
import httpx2
import stream_readers as readers
from loopback_server import loopback_server
from measure import Figure, interleave, print_figures, ratio_at_most

from claude_magic.client import Credential, HTTPClaudeClient, MessageRequest

REQUESTS = 128
ROUNDS_BY_WIDTH = {1: 31, 16: 21, 64: 21}
MAX_RATIO = 1.15


async def measure(server: str) -> list[Figure]:
    """Send batches of requests with each client in turn."""
    return [
        figure
        for width, rounds in ROUNDS_BY_WIDTH.items()
        for figure in await _measure(server, width, rounds)
    ]


async def _measure(server: str, width: int, rounds: int) -> list[Figure]:
    url = f"{server}/small/0"
    async with AsyncExitStack() as stack:
        runs = {
            "ours": _batch(_ours(stack, url), width),
            "bare httpx2": _batch(_bare(stack, url), width),
            "SDK": _batch(_sdk(stack, url), width),
        }
        for run in runs.values():
            await run()
        costs = await interleave(runs, rounds=rounds)
    figures = []
    for kind in ("cpu", "wall"):
        micros = {name: getattr(cost, kind) / REQUESTS * 1e6 for name, cost in costs.items()}
        crowd = "" if width == 1 else f", {width} in flight"
        name = f"small request{crowd}, {'CPU' if kind == 'cpu' else 'wall clock'} (µs)"
        figures += [
            ratio_at_most(name, micros["ours"], micros["bare httpx2"], MAX_RATIO, peer_name="bare httpx2"),
            Figure(name=name, ours=micros["ours"], peer=micros["SDK"], peer_name="SDK"),
        ]
    return figures


def _batch(send: Callable[[], Awaitable[object]], width: int) -> Callable[[], Awaitable[object]]:
    async def send_many() -> None:
        for _ in range(REQUESTS // width):
            await send()

    async def run() -> None:
        await asyncio.gather(*(send_many() for _ in range(width)))

    return run


def _ours(stack: AsyncExitStack, url: str) -> Callable[[], Awaitable[object]]:
    client = HTTPClaudeClient(readers.config_for(url), Credential(api_key=readers.KEY))
    stack.push_async_callback(client.aclose)

    async def send() -> str:
        request = MessageRequest(model=readers.MODEL, max_tokens=1024, messages=readers.PROMPT)
        return (await client.send_message(request)).text

    return send


def _bare(stack: AsyncExitStack, url: str) -> Callable[[], Awaitable[object]]:
    headers = {"x-api-key": readers.KEY, "anthropic-version": "2023-06-01"}
    client = httpx2.AsyncClient(trust_env=False, headers=headers)
    stack.push_async_callback(client.aclose)

    async def send() -> str:
        response = await client.post(f"{url}/v1/messages", json=readers.BODY)
        response.raise_for_status()
        return str(response.json()["content"][0]["text"])

    return send


def _sdk(stack: AsyncExitStack, url: str) -> Callable[[], Awaitable[object]]:
    client = anthropic.AsyncAnthropic(api_key=readers.KEY, base_url=url, max_retries=0)
    stack.push_async_callback(client.close)

    async def send() -> object:
        return await client.messages.create(model=readers.MODEL, max_tokens=1024, messages=readers.PROMPT)

    return send


def main() -> None:
    """Measure and print."""
    with loopback_server() as server:
        print_figures(asyncio.run(measure(server)))


if __name__ == "__main__":
    main()
