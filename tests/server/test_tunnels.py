"""Proxies that open no tunnel, and TLS handshakes that break or are cancelled: each costs one attempt, not the client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from claude_magic.client import (
    AttemptFinished,
    AttemptNotSent,
    AttemptStarted,
    NetworkError,
    RequestTimeoutError,
)

HELLO = b"\x16"
"""The first byte of a TLS handshake."""


@pytest.mark.parametrize("sent", [b"", b"NOT TLS"], ids=["closed", "garbage"])
def test_a_broken_handshake_in_a_tunnel_is_reported_and_the_next_attempt_opens_another(
    sent: bytes, serve: Any, make_client: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the error is that of TLS, nothing was sent, and no connection of the pool stays in use."""
    hellos: list[bytes] = []

    async def break_off(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        hellos.append(await reader.readexactly(1))
        writer.write(sent)
        await writer.drain()

    async def main() -> tuple[NetworkError, str]:
        async with serve(break_off) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            async with make_client("https://api.gateway.test", max_retries=2) as client:
                with pytest.raises(NetworkError) as caught:
                    await client.list_models()
                return caught.value, repr(client._transport.connections)

    error, connections = play(main)

    assert hellos == [HELLO] * 3
    assert not isinstance(error, RequestTimeoutError)
    assert not error.was_sent
    assert "(from HTTPS_PROXY)" in str(error)
    assert "SSL" in str(error) or not sent  # a closed connection may be a reset
    assert connections == "<Connections: 0 in use, 0 idle, 0 waited for>"


@pytest.mark.parametrize("is_proxied", [True, False], ids=["tunnel", "direct"])
def test_a_cancelled_handshake_closes_its_connection(
    is_proxied: bool, serve: Any, make_client: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: a question that is interrupted while it connects leaves no open socket, and the next one connects again."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def stall(reader: Any, writer: Any) -> None:
        if is_proxied:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        arrived.put_nowait(await reader.readexactly(1))
        while await reader.read(4096):
            pass
        ended.put_nowait(None)

    async def main() -> None:
        async with serve(stall) as server:
            monkeypatch.setenv("HTTPS_PROXY", server)
            url = "https://api.gateway.test" if is_proxied else server.replace("http:", "https:")
            async with make_client(url) as client:
                for _ in range(2):
                    asking = asyncio.create_task(client.list_models())
                    assert await arrived.get() == HELLO
                    asking.cancel()
                    await asyncio.wait([asking])
                    await ended.get()
                    assert (
                        repr(client._transport.connections) == "<Connections: 0 in use, 0 idle, 0 waited for>"
                    )

    play(main)


SILENCE = None
NO_TUNNEL: dict[str, bytes | None] = {
    "closed": b"",
    "silence": SILENCE,
    "part of a reply": b"HTTP/1.1 200",
    "garbage": b"\x16\x03\x01\x00",
    "not allowed": b"HTTP/1.1 407 Login as user:hunter%40 or user:hunter@\r\ncontent-length: 0\r\n\r\n",
    "server not found": b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad",
    "silence in the tunnel": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("reply", NO_TUNNEL.values(), ids=NO_TUNNEL)
@pytest.mark.parametrize("is_streamed", [True, False], ids=["stream", "whole"])
def test_a_request_without_a_tunnel_was_not_sent(
    reply: bytes | None,
    is_streamed: bool,
    serve: Any,
    make_client: Any,
    play: Any,
    ask: Any,
    monkeypatch: Any,
) -> None:
    """Promise: nothing counts as perhaps billed if only the proxy was asked; the message names it without the password."""
    seen: list[bytes] = []
    steps: list[Any] = []

    async def refuse(reader: Any, writer: Any) -> None:
        seen.append(await reader.readline())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply or b"")
        if reply is SILENCE or reply == NO_TUNNEL["silence in the tunnel"]:
            await reader.read()

    async def main() -> NetworkError:
        async with serve(refuse) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.replace("//", "//user:hunter%40@"))
            async with make_client("https://api.gateway.test", max_retries=1, timeout=0.3) as client:
                asking = (
                    anext(client.stream_message(ask(), observer=steps.append))
                    if is_streamed
                    else client.send_message(ask(), observer=steps.append)
                )
                with pytest.raises(NetworkError) as caught:
                    await asking
                return caught.value

    error = play(main)

    attempts = [step.error for step in steps if isinstance(step, AttemptFinished)]
    assert [each.was_sent for each in attempts] == [False, False]
    assert set(seen) == {b"CONNECT api.gateway.test:443 HTTP/1.1\r\n"}
    assert "billed" not in str(error)
    assert "hunter" not in str(error)


@pytest.mark.parametrize("is_streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("through_proxy", [True, False], ids=["connecting", "sent"])
def test_a_request_that_is_cancelled_while_it_connects_was_not_sent(
    through_proxy: bool,
    is_streamed: bool,
    serve: Any,
    make_client: Any,
    play: Any,
    ask: Any,
    monkeypatch: Any,
) -> None:
    """Promise: an interrupt before anything was sent is reported as such, and the message of the cancellation is the caller's."""
    steps: list[Any] = []
    seen = asyncio.Event()

    async def stall(reader: Any, _writer: Any) -> None:
        await reader.readline()
        seen.set()
        await reader.read()

    async def main() -> asyncio.CancelledError:
        async with serve(stall) as server:
            url = "https://api.gateway.test" if through_proxy else server
            if through_proxy:
                monkeypatch.setenv("HTTPS_PROXY", server)
            async with make_client(url) as client:
                stream = client.stream_message(ask(), observer=steps.append)
                asking = anext(stream) if is_streamed else client.send_message(ask(), observer=steps.append)
                task = asyncio.ensure_future(asking)
                await seen.wait()
                task.cancel("the user's")
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                return caught.value

    cancelled = play(main)

    assert cancelled.args == ("the user's",)
    kinds = [type(step) for step in steps]
    assert kinds == [AttemptStarted, *([AttemptNotSent] if through_proxy else [])]


def test_a_stream_whose_time_ends_before_its_tunnel_opens_was_not_sent(
    serve: Any, make_client: Any, play: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the deadline of a whole stream says whether the request was sent, like the limit of one step."""

    async def stall(reader: Any, _writer: Any) -> None:
        await reader.read()

    async def main(url: str) -> bool:
        async with serve(stall) as server:
            monkeypatch.setenv("HTTPS_PROXY", server)
            async with make_client(url or server, stream_timeout=0.3) as client:
                with pytest.raises(RequestTimeoutError) as caught:
                    await anext(client.stream_message(ask()))
                return caught.value.was_sent

    assert play(lambda: main("https://api.gateway.test")) is False
    assert play(lambda: main("")) is True
