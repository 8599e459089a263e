"""Plain requests over real sockets: the request, the response, and the use of connections."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import httpcore2
import pytest

from claude_magic.client import (
    ClientConfig,
    ConfigurationError,
    Credential,
    HTTPClaudeClient,
    InvalidApiKeyError,
    NetworkError,
    NotFoundError,
)
from claude_magic.simulator import Simulator, reply, status

KEY = "sk-ant-test-0123456789abcdef"

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Grüße"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


def test_c3_c5_t1_a_message_is_sent_and_its_reply_parsed(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: one POST with key, version and JSON type; the reply is a typed message."""
    sim.script(reply("Four."))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await client.send_message(ask("2 + 2?"))

    message = play(main)

    [request] = sim.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip, br"
    assert request.headers["user-agent"].startswith("claude_magic/")
    assert "authorization" not in request.headers
    assert request.body["messages"] == [{"role": "user", "content": "2 + 2?"}]
    assert not request.body.get("stream")
    assert (message.text, message.stop_reason) == ("Four.", "end_turn")
    assert message.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("credential", "settings"),
    [
        (Credential(auth_token="token-1"), {}),
        (Credential(api_key="token-1"), {"auth_header": "authorization"}),
    ],
)
def test_c3_a_bearer_header_is_sent_if_configured(
    credential: Credential, settings: dict[str, Any], sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: tokens always, and keys on request, are sent as `Authorization: Bearer` only."""

    async def main() -> None:
        async with make_client(sim.url, credential=credential, **settings) as client:
            await client.send_message(ask())

    play(main)

    assert sim.requests[0].headers["authorization"] == "Bearer token-1"
    assert "x-api-key" not in sim.requests[0].headers


def test_c3_version_betas_and_extra_headers_are_settings(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: they are sent with every request, including GET."""
    settings = {
        "api_version": "2026-10-21",
        "betas": ("context-management-2025-06-27", "compact-2026-09-04"),
        "headers": {"X-Team": "blue"},
    }

    async def main() -> None:
        async with make_client(sim.url, **settings) as client:
            await client.send_message(ask())
            await client.list_models()

    play(main)

    for request in sim.requests:
        assert request.headers["anthropic-version"] == "2026-10-21"
        assert request.headers["anthropic-beta"] == "context-management-2025-06-27,compact-2026-09-04"
        assert request.headers["x-team"] == "blue"


def test_c1_t1_one_connection_serves_requests_and_streams_one_after_another(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: keep-alive, counted at the server: 30 calls of all kinds, one connection."""

    async def main() -> None:
        async with make_client(sim.url) as client:
            for _ in range(10):
                await client.send_message(ask())
                await client.count_tokens(ask())
                async for _ in client.stream_message(ask()):
                    pass

    play(main)

    assert len(sim.requests) == 30
    assert sim.connections == 1


def test_c1_ten_idle_connections_are_kept(sim: Simulator, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: after 25 calls at once, ten connections stay open, and the next calls use them."""
    sim.script(*(reply("x", chunk_delay=0.2, chunks=["a", "b"]) for _ in range(25)))

    async def main() -> None:
        async with make_client(sim.url) as client:

            async def stream() -> None:
                async for _ in client.stream_message(ask()):
                    pass

            await asyncio.gather(*(stream() for _ in range(25)))
            while sim.open_connections > 10:
                await asyncio.sleep(0.01)
            accepted = sim.connections
            await asyncio.gather(*(client.count_tokens(ask()) for _ in range(10)))

            assert accepted == 25
            assert sim.open_connections == 10
            assert sim.connections == accepted

    play(main)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("br", brotli.compress)])
def test_c2_compressed_replies_are_decoded(
    encoding: str, compress: Callable[[bytes], bytes], sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: gzip and brotli, which every request accepts, are supported."""
    body = compress(json.dumps(MESSAGE).encode())
    sim.script(status(200, body=body, headers={"content-encoding": encoding}))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await client.send_message(ask())

    assert play(main).text == "Grüße"


def test_c2_sockets_send_at_once_and_are_kept_alive(sim: Simulator, make_client: Any, play: Any) -> None:
    """Promise: TCP_NODELAY and SO_KEEPALIVE are on, read from the live socket."""

    async def main() -> tuple[int, int]:
        async with make_client(sim.url) as client:
            response = await client._transport.open("GET", "/v1/models")
            live = response._response.extensions["network_stream"].get_extra_info("socket")
            options = (
                live.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                live.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            )
            await response.aclose()
            return options

    nodelay, keepalive = play(main)
    assert nodelay
    assert keepalive


def test_c5_long_replies_are_streamed_internally(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: above 8,000 max_tokens the same call streams; at 8,000 it does not."""

    async def main() -> list[str]:
        async with make_client(sim.url) as client:
            messages = [await client.send_message(ask(max_tokens=size)) for size in (8000, 8001)]
            return [message.text for message in messages]

    short, long = play(main)

    assert [bool(request.body.get("stream")) for request in sim.requests] == [False, True]
    assert short == long != ""


def test_c4_execute_takes_a_prompt_and_returns_text_and_usage(
    sim: Simulator, make_client: Any, play: Any
) -> None:
    """Promise: takes one prompt; returns text, usage and the whole message."""
    sim.script(reply("Four."))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await client.execute(
                "2 + 2?", model="claude-haiku-5-5", max_tokens=500, system="Be brief."
            )

    completion = play(main)

    assert completion.text == "Four."
    assert completion.usage == completion.message.usage
    assert sim.requests[0].body["system"] == "Be brief."


def test_count_tokens_counts_without_max_tokens(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the free estimate, with only the fields that the endpoint accepts."""

    async def main() -> int:
        async with make_client(sim.url) as client:
            return await client.count_tokens(ask("How long is this?"))

    assert play(main) > 0
    assert sim.requests[0].path == "/v1/messages/count_tokens"
    assert "max_tokens" not in sim.requests[0].body
    assert "stream" not in sim.requests[0].body


def test_models_are_listed_over_all_pages_and_retrieved_one_by_one(
    sim: Simulator, make_client: Any, play: Any
) -> None:
    """Promise: all pages are requested; an unknown model is a NotFoundError."""

    async def main() -> None:
        async with make_client(sim.url) as client:
            models = await client.list_models()
            assert len(models) > 5
            assert (await client.retrieve_model(models[0].id)).id == models[0].id
            with pytest.raises(NotFoundError):
                await client.retrieve_model("claude/../none")

    play(main)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> bytes:
    """Respond to one request with JSON, and return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    await writer.drain()
    return head


def test_openai_style_model_lists_are_accepted(serve: Any, make_client: Any, play: Any) -> None:
    """Promise: the lists of llama.cpp and LM Studio are supported, too."""
    body = json.dumps({"object": "list", "data": [{"id": "llama", "object": "model", "created": 1}]}).encode()

    async def handler(reader: Any, writer: Any) -> None:
        await _answer(reader, writer, body)

    async def main() -> Any:
        async with serve(handler) as url, make_client(url) as client:
            return await client.list_models()

    assert [model.id for model in play(main)] == ["llama"]


def test_circular_model_pages_end(serve: Any, make_client: Any, play: Any) -> None:
    """Promise: a server whose `has_more` is always true does not hang the client."""
    paths: list[bytes] = []
    body = json.dumps({"data": [{"id": "a"}, {"id": "b"}], "has_more": True, "last_id": "b/ö"}).encode()

    async def handler(reader: Any, writer: Any) -> None:
        while True:
            paths.append((await _answer(reader, writer, body)).split()[1])

    async def main() -> Any:
        async with serve(handler) as url, make_client(url) as client:
            return await client.list_models()

    assert len(play(main)) == 2
    assert paths == [b"/v1/models?limit=1000", b"/v1/models?limit=1000&after_id=b%2F%C3%B6"]


def test_a_missing_key_is_a_clear_error_at_first_use_and_nothing_is_sent(play: Any, ask: Any) -> None:
    """Promise: creating the client works; using it says what to do."""

    async def main() -> None:
        async with HTTPClaudeClient(ClientConfig()) as client:
            with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
                await client.send_message(ask())
            with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
                client.stream_message(ask())
            health = await client.health_check()
            assert (health.is_reachable, health.is_authenticated) == (False, None)

    play(main)


def test_another_host_than_the_official_one_needs_no_key(sim: Simulator, play: Any, ask: Any) -> None:
    """Promise: a local server gets a placeholder, because some require the header."""

    async def main() -> None:
        async with HTTPClaudeClient(ClientConfig(base_url=sim.url)) as client:
            await client.send_message(ask())

    play(main)

    assert sim.requests[0].headers["x-api-key"] == "none"


def test_using_a_closed_client_raises(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a ConfigurationError at once, without retries."""

    async def main() -> None:
        client = make_client(sim.url)
        await client.aclose()
        with pytest.raises(ConfigurationError, match="closed"):
            await client.send_message(ask())

    play(main)

    assert sleeps == []


# Proxies


@pytest.mark.parametrize("no_proxy", ["", "localhost", "*", "[::1", "a b,,://"])
@pytest.mark.parametrize(
    "proxy",
    [
        "http://127.0.0.1:9",
        "socks5://user:hunter2@127.0.0.1:9",
        "socks5h://127.0.0.1:9",
        "socks4://127.0.0.1:9",
        "gopher://x",
        "http://[::1",
        "http://host:port",
        "://",
        "http://",
        " ",
    ],
)
def test_loopback_is_never_proxied(
    proxy: str,
    no_proxy: str,
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise: whatever the proxy variables contain, this machine is reached directly."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("NO_PROXY", no_proxy)

    async def main() -> None:
        for host in ("127.0.0.1", "localhost"):
            async with make_client(f"http://{host}:{sim.port}") as client:
                await client.send_message(ask())

    play(main)

    assert len(sim.requests) == 2


def test_other_hosts_go_through_the_proxy_of_the_environment(
    serve: Any, make_client: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: HTTP_PROXY is used; the proxy gets the absolute URL."""
    heads: list[bytes] = []

    async def handler(reader: Any, writer: Any) -> None:
        heads.append(await _answer(reader, writer, b'{"data": []}'))

    async def main() -> None:
        async with serve(handler) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy)
            async with make_client("http://api.gateway.test") as client:
                assert await client.list_models() == []

    play(main)

    assert heads[0].startswith(b"GET http://api.gateway.test/v1/models?limit=1000 HTTP/1.1")


def test_a_proxy_for_other_hosts_does_not_stop_a_gateway(
    serve: Any, make_client: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: only the variable that applies to this server must be valid."""

    async def handler(reader: Any, writer: Any) -> None:
        await _answer(reader, writer, b'{"data": []}')

    async def main() -> None:
        async with serve(handler) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy)
            monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
            monkeypatch.setenv("ALL_PROXY", "gopher://nowhere")
            async with make_client("http://api.gateway.test") as client:
                assert await client.list_models() == []

    play(main)


def test_a_proxy_that_cannot_be_reached_is_named_without_its_password(
    make_client: Any, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the failure of a proxy is not attributed to the server."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused
        monkeypatch.setenv("all_proxy", f"http://user:hunter2@127.0.0.1:{reserved.getsockname()[1]}")

        async def main() -> NetworkError:
            async with make_client("http://api.gateway.test", max_retries=0) as client:
                with pytest.raises(NetworkError) as caught:
                    await client.list_models()
                return caught.value

        error = play(main)

    assert not error.was_sent
    assert "(from all_proxy)" in str(error)
    assert "hunter2" not in str(error)


def test_unreadable_certificates_are_not_attributed_to_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Promise: the error names the wrong variable."""
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE") as caught:
        HTTPClaudeClient(ClientConfig(), Credential(api_key=KEY))

    assert "PROXY" not in str(caught.value)


def test_an_invalid_proxy_is_a_configuration_error_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise: the error names the invalid variable, but not a password in it."""
    monkeypatch.setenv("HTTPS_PROXY", "gopher://user:hunter2@host")

    with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
        HTTPClaudeClient(ClientConfig(), Credential(api_key=KEY))

    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


# Health


def test_c4_health_check_asks_for_one_model_and_sends_no_message(
    sim: Simulator, make_client: Any, play: Any
) -> None:
    """Promise: never billed: the only request is a GET of the model list."""

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await client.health_check()

    health = play(main)

    assert (health.is_reachable, health.is_authenticated) == (True, True)
    assert health.latency >= 0
    assert [(request.method, request.path) for request in sim.requests] == [("GET", "/v1/models")]


def test_c4_health_check_detects_a_rejected_key(make_client: Any, play: Any, ask: Any) -> None:
    """Promise: reachable, but not authenticated; a message call raises an InvalidApiKeyError."""
    with Simulator(api_key="sk-ant-another-key-000") as sim:

        async def main() -> Any:
            async with make_client(sim.url) as client:
                with pytest.raises(InvalidApiKeyError):
                    await client.send_message(ask())
                return await client.health_check()

        health = play(main)

    assert (health.is_reachable, health.is_authenticated) == (True, False)
    assert "key" in health.detail


def test_c4_health_check_falls_back_without_a_model_list(serve: Any, make_client: Any, play: Any) -> None:
    """Promise: a server without /v1/models is checked with an empty token count, never with a message."""
    seen: list[bytes] = []

    async def handler(reader: Any, writer: Any) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(b" ".join(head.split()[:2]))
            if head.startswith(b"POST"):
                assert await reader.readexactly(2) == b"{}"
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    async def main() -> Any:
        async with serve(handler) as url, make_client(url) as client:
            return await client.health_check()

    health = play(main)

    assert (health.is_reachable, health.is_authenticated) == (True, None)
    assert seen == [b"GET /v1/models?limit=1", b"POST /v1/messages/count_tokens"]


def test_c4_health_check_of_a_dead_server_does_not_raise(
    make_client: Any, play: Any, sleeps: list[float]
) -> None:
    """Promise: not reachable, reported at once, without an exception."""

    async def main() -> Any:
        async with make_client("http://127.0.0.1:9") as client:
            return await client.health_check()

    health = play(main)

    assert (health.is_reachable, health.is_authenticated) == (False, None)
    assert "No connection to http://127.0.0.1:9" in health.detail
    assert sleeps == []


def test_connections_are_reused_with_one_write_per_request(
    sim: Simulator, make_client: Any, play: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: sequential requests share a connection, and the HTTP library uses the client's network backend."""
    written: list[bytes] = []
    connect = httpcore2.AnyIOBackend.connect_tcp

    async def connect_and_note(*args: Any, **kwargs: Any) -> Any:
        stream = await connect(*args, **kwargs)
        write = stream.write

        async def note(buffer: bytes, timeout: float | None = None) -> None:
            written.append(buffer)
            await write(buffer, timeout)

        monkeypatch.setattr(stream, "write", note)
        return stream

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect_and_note)

    async def main() -> None:
        async with make_client(sim.url) as client:
            for _ in range(3):
                assert (await client.send_message(ask())).text
            assert repr(client._transport.connections) == "<Connections: 0 in use, 1 idle, 0 waited for>"

    play(main)

    assert [piece[:4] for piece in written] == [b"POST"] * 3
    assert all(piece.endswith(b"}") for piece in written)
