"""Readers of a stream, one for each client. Each reads one complete reply and returns the number of deltas or reads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anthropic
import httpx2
import httpx_sse
import orjson

from claude_magic.client import ClientConfig, ContentBlockDelta, Credential, HTTPClaudeClient, MessageRequest

KEY = "sk-ant-bench"
MODEL = "claude-sonnet-5-5"
PROMPT = [{"role": "user", "content": "Why do rivers meander?"}]
BODY = {"model": MODEL, "max_tokens": 1024, "messages": PROMPT}
Reader = Callable[[], Awaitable[int]]


def config_for(base_url: str) -> ClientConfig:
    """Return settings whose limiter never delays a request."""
    return ClientConfig(base_url=base_url, rate_limit_rps=1e6)


def ours(stack: AsyncExitStack, base_url: str) -> Reader:
    """Read with claude_magic: typed events, accumulated."""
    client = HTTPClaudeClient(config_for(base_url), Credential(api_key=KEY))
    stack.push_async_callback(client.aclose)
    request = MessageRequest(model=MODEL, max_tokens=1024, messages=PROMPT)

    async def read() -> int:
        count = 0
        async with client.stream_message(request) as stream:
            async for event in stream:
                count += type(event) is ContentBlockDelta
        assert stream.message.text
        return count

    return read


def sdk_helper(stack: AsyncExitStack, base_url: str) -> Reader:
    """Read with `messages.stream()` of the official SDK: typed events, accumulated."""
    client = _sdk(stack, base_url)

    async def read() -> int:
        count = 0
        async with client.messages.stream(model=MODEL, max_tokens=1024, messages=PROMPT) as stream:
            async for event in stream:
                count += event.type == "content_block_delta"
            message = await stream.get_final_message()
        assert message.content
        return count

    return read


def sdk_raw(stack: AsyncExitStack, base_url: str) -> Reader:
    """Read with `create(stream=True)` of the official SDK: typed events, not accumulated."""
    client = _sdk(stack, base_url)

    async def read() -> int:
        count = 0
        events = await client.messages.create(model=MODEL, max_tokens=1024, messages=PROMPT, stream=True)
        async for event in events:
            count += event.type == "content_block_delta"
        return count

    return read


def sse_and_json(stack: AsyncExitStack, base_url: str) -> Reader:
    """Read with `httpx-sse` and `json.loads` on httpx2: dictionaries, not accumulated."""
    client = _bare(stack)

    async def read() -> int:
        count = 0
        async with client.stream(
            "POST", f"{base_url}/v1/messages", json={**BODY, "stream": True}
        ) as response:
            async for event in httpx_sse.EventSource(response).aiter_sse():
                count += json.loads(event.data)["type"] == "content_block_delta"
        return count

    return read


def floor(stack: AsyncExitStack, base_url: str) -> Reader:
    """Read with the minimum: httpx2, events split at blank lines by hand, orjson, a list of texts, no checks."""
    client = _bare(stack)

    async def read() -> int:
        pieces: list[str] = []
        rest = b""
        async with client.stream(
            "POST", f"{base_url}/v1/messages", json={**BODY, "stream": True}
        ) as response:
            async for chunk in response.aiter_bytes():
                *events, rest = (rest + chunk).split(b"\n\n")
                for event in events:
                    data = orjson.loads(event[event.index(b"data: ") + 6 :])
                    if data["type"] == "content_block_delta":
                        pieces.append(data["delta"]["text"])
        assert "".join(pieces)
        return len(pieces)

    return read


def bare(stack: AsyncExitStack, base_url: str) -> Reader:
    """Read with httpx2 alone: bytes, discarded."""
    client = _bare(stack)

    async def read() -> int:
        reads = 0
        async with client.stream(
            "POST", f"{base_url}/v1/messages", json={**BODY, "stream": True}
        ) as response:
            async for _ in response.aiter_bytes():
                reads += 1
        return reads

    return read


def _sdk(stack: AsyncExitStack, base_url: str) -> anthropic.AsyncAnthropic:
    client = anthropic.AsyncAnthropic(api_key=KEY, base_url=base_url, max_retries=0)
    stack.push_async_callback(client.close)
    return client


def _bare(stack: AsyncExitStack) -> httpx2.AsyncClient:
    client = httpx2.AsyncClient(
        trust_env=False, headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    )
    stack.push_async_callback(client.aclose)
    return client
