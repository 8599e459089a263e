"""TLS handshakes that break or are cancelled, behind a proxy and without one: each costs one attempt, not the client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from claude_magic.client import NetworkError, RequestTimeoutError

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
