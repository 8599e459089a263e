"""Responses other than a reply, over real sockets: each is a clear error, at once."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import zlib
from typing import Any

import brotli
import pytest

from claude_magic.client import (
    ClaudeError,
    ConfigurationError,
    NetworkError,
    OverloadedError,
    RequestTimeoutError,
    ResponseStarted,
    StreamInterruptedError,
    UnknownStatusError,
)
from claude_magic.simulator import Gate, Simulator, drip, hold, slow_body, status, stream_bytes

PAGE = b"<!doctype html><html><head><title>Jupyter Server</title></head><body>Password:</body></html>"


async def send(client: Any, request: Any, is_streamed: bool) -> Any:
    """Send a request in one way or the other, and return the message."""
    if not is_streamed:
        return await client.send_message(request)
    async with client.stream_message(request) as stream:
        async for _ in stream:
            pass
    return stream.message


async def failure(client: Any, request: Any, is_streamed: bool) -> ClaudeError:
    """Send a request that fails, and return its error."""
    with pytest.raises(ClaudeError) as caught:
        await send(client, request, is_streamed)
    return caught.value


both_ways = pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])


@both_ways
def test_e1_a_web_page_instead_of_a_reply_names_its_title_and_base_url(
    is_streamed: bool, sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a wrong port that responds with a 200 and HTML is detected, and not retried."""
    sim.script(status(200, body=PAGE, content_type="text/html; charset=utf-8"))

    async def main() -> ClaudeError:
        async with make_client(sim.url) as client:
            return await failure(client, ask(), is_streamed)

    error = play(main)

    assert isinstance(error, UnknownStatusError)
    assert sleeps == []
    for part in (f"{sim.url}/v1/messages", "200", "text/html", "Jupyter Server", "base_url"):
        assert part in str(error)


@both_ways
@pytest.mark.parametrize(
    ("body", "content_type", "error_class"),
    [
        (b"", "application/json", UnknownStatusError),
        (b"OK", "text/plain", UnknownStatusError),
        (b"[1, 2]", "application/json", UnknownStatusError),
        (b'{"jobs": []}', "application/json", UnknownStatusError),
        (
            b'{"id": "msg_1", "type": "message", "content": [{"type": "te',
            "application/json",
            StreamInterruptedError,
        ),
        (
            b'{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}',
            "application/json",
            OverloadedError,
        ),
        (b'\xef\xbb\xbf{"type": "message", "content": [{"ty', "text/event-stream", StreamInterruptedError),
        (
            b'\xef\xbb\xbf{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}',
            "text/event-stream",
            OverloadedError,
        ),
        (b"\xff\xfe\x00", "application/octet-stream", UnknownStatusError),
    ],
    ids=[
        "empty",
        "text",
        "list",
        "other object",
        "cut",
        "error",
        "mislabelled cut",
        "mislabelled error",
        "binary",
    ],
)
def test_e1_a_200_that_is_not_a_reply_is_a_clear_error(
    body: bytes,
    content_type: str,
    error_class: type[ClaudeError],
    is_streamed: bool,
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
) -> None:
    """Promise: the status 200 alone is not trusted; the error says that the response is not a message."""
    sim.script(status(200, body=body, content_type=content_type))

    async def main() -> ClaudeError:
        async with make_client(sim.url, max_retries=0) as client:
            return await failure(client, ask(), is_streamed)

    assert isinstance(play(main), error_class)


@both_ways
def test_a_redirect_is_not_followed(
    is_streamed: bool, sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: the key is not sent to another host; the error contains the target."""
    with Simulator() as other:
        sim.script(status(308, headers={"location": f"{other.url}/v1/messages"}))

        async def main() -> ClaudeError:
            async with make_client(sim.url) as client:
                return await failure(client, ask(), is_streamed)

        error = play(main)

        assert other.requests == []
    assert isinstance(error, UnknownStatusError)
    assert error.status == 308
    assert other.url in str(error)
    assert sleeps == []


@both_ways
def test_s2_a_corrupt_compressed_body_is_an_interrupted_reply(
    is_streamed: bool, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: data that cannot be decompressed is reported as such, and the pool keeps working."""
    kind = "text/event-stream" if is_streamed else "application/json"
    broken = gzip.compress(b"data: {}\n\n" * 100)[:-20] + b"\x00" * 20
    sim.script(
        status(200, body=b"\x1f\x8b" + broken[5:], content_type=kind, headers={"content-encoding": "gzip"})
    )

    async def main() -> ClaudeError:
        async with make_client(sim.url, max_retries=0) as client:
            error = await failure(client, ask(), is_streamed)
            await client.send_message(ask())
            return error

    error = play(main)

    assert isinstance(error, StreamInterruptedError)
    assert "decompressed" in str(error)


def test_s2_a_body_cut_by_the_connection_is_an_interrupted_reply(
    serve: Any, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a body with fewer bytes than announced is not accepted as the reply."""

    async def handler(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"id":'
        )
        await writer.drain()

    async def main() -> ClaudeError:
        async with serve(handler) as url, make_client(url, max_retries=0) as client:
            return await failure(client, ask(), False)

    error = play(main)

    assert isinstance(error, StreamInterruptedError)
    assert error.was_sent


@both_ways
@pytest.mark.parametrize("size", [10_000, 500_000, 5_000_000, 33_000_000])
def test_e1_a_large_request_that_is_rejected_before_it_was_read_is_not_sent_again(
    size: int, is_streamed: bool, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the answer counts, not the write that fails because the server has closed the connection."""
    body = b'{"type": "error", "error": {"type": "request_too_large", "message": "Too large"}}'
    posts: list[bytes] = []

    def reject(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # the test is over
                return
            posts.append(connection.recv(100))
            head = b"HTTP/1.1 413 Too Large\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=reject, args=[server])
        thread.start()

        async def main() -> ClaudeError:
            async with make_client(f"http://127.0.0.1:{server.getsockname()[1]}") as client:
                return await failure(client, ask("x" * size), is_streamed)

        error = play(main)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()

    assert isinstance(error, UnknownStatusError)
    assert (error.status, len(posts)) == (413, 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ],
)
def test_e1_a_server_with_another_protocol_is_a_network_error(
    answer: bytes, serve: Any, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a port with SSH, TLS or anything else gives a ClaudeError with the address."""

    async def handler(reader: Any, writer: Any) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()

    async def main() -> tuple[str, ClaudeError]:
        async with serve(handler) as url, make_client(url, max_retries=0) as client:
            return url, await failure(client, ask(), False)

    url, error = play(main)

    assert type(error) is NetworkError
    assert url in str(error)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "xn--", "a..b", "*"])
def test_e1_an_unreachable_host_is_a_clear_error(
    host: str, make_client: Any, play: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: whatever the resolver or the URL parser raises for a name, the error is a ClaudeError with the name."""

    def resolve(*_arguments: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")  # as without a network

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    async def main() -> ClaudeError:
        async with make_client(f"http://{host}", max_retries=0) as client:
            return await failure(client, ask(), False)

    error = play(main)

    assert isinstance(error, NetworkError | ConfigurationError)
    assert host in str(error)


def test_c2_a_slow_reply_is_limited_in_total(sim: Simulator, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: slow bytes never reach the read timeout, but the timeout of the whole call applies."""
    sim.script(drip(0.05))

    async def main() -> ClaudeError:
        async with make_client(sim.url, timeout=1.0, max_retries=0) as client:
            return await failure(client, ask(), False)

    error = play(main)

    assert isinstance(error, RequestTimeoutError)
    assert "not complete within 2 s" in str(error)


def test_c2_a_silent_body_reaches_the_read_timeout(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the call fails `timeout` seconds after the headers if no body arrives."""
    sim.script(slow_body(20))

    async def main() -> ClaudeError:
        async with make_client(sim.url, timeout=1.0, max_retries=0) as client:
            return await failure(client, ask(), False)

    assert isinstance(play(main), RequestTimeoutError)


def test_a_cancelled_call_closes_its_connection_before_the_body_has_arrived(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the search for the beginning of a stream holds no connection."""
    sim.script(hold(Gate()))

    async def main() -> None:
        async with make_client(sim.url) as client:
            has_started = asyncio.Event()

            def note(event: object) -> None:
                if isinstance(event, ResponseStarted):
                    has_started.set()

            call = asyncio.create_task(client.send_message(ask(), observer=note))
            await has_started.wait()
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            while not sim.requests[0].client_gone:
                await asyncio.sleep(0.01)

    play(main)


def test_e1_the_status_of_an_error_counts_even_if_its_body_breaks_off(
    serve: Any, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a 529 with a truncated body is still an OverloadedError, and the available part of the body is read."""

    async def handler(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 529 \r\ncontent-length: 999\r\nrequest-id: req_cut\r\n\r\nupstream says")
        await writer.drain()

    async def main() -> ClaudeError:
        async with serve(handler) as url, make_client(url, max_retries=0) as client:
            return await failure(client, ask(), False)

    error = play(main)

    assert isinstance(error, OverloadedError)
    assert error.request_id == "req_cut"
    assert "upstream says" in str(error)


def test_r4_a_keepalive_connection_that_the_server_closed_meanwhile_is_not_used(
    serve: Any, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a stale connection is noticed before anything is sent on it, so it costs neither error nor
    wait."""
    served: list[int] = []
    reply = json.dumps({"id": "msg_1", "content": [], "usage": {}}).encode()

    async def handler(reader: Any, writer: Any) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        served.append(length)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(reply), reply)
        )
        await writer.drain()

    async def main() -> None:
        async with serve(handler) as url, make_client(url) as client:
            for _ in range(5):
                await client.send_message(ask())
                await asyncio.sleep(0.02)

    play(main)

    assert len(served) == 5
    assert sleeps == []


@both_ways
@pytest.mark.parametrize("is_whole", [True, False], ids=["a whole response", "a few bytes"])
def test_r4_bytes_behind_a_response_are_not_the_answer_to_the_next_question(
    is_whole: bool, is_streamed: bool, serve: Any, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a gateway that sends more than it announced costs a connection, but neither answers nor attempts."""

    def response_to(number: int) -> bytes:
        content = [{"type": "text", "text": f"Answer {number}"}]
        body = json.dumps({"id": "msg_1", "content": content, "usage": {}}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        return head + body

    served: list[int] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
            served.append(len(served) + 1)
            writer.write(response_to(served[-1]) + (response_to(99) if is_whole else b"\r\n}}"))
            await writer.drain()

    async def main() -> list[str]:
        async with serve(handler) as url, make_client(url) as client:
            return [(await send(client, ask(), is_streamed)).text for _ in range(3)]

    assert play(main) == ["Answer 1", "Answer 2", "Answer 3"]
    assert served == [1, 2, 3]
    assert sleeps == []


@pytest.mark.parametrize(
    "count", [b"-5", b"1e400", b"9" * 400, b"9" * 5000, b"true", b'"12"', b"NaN", b"null", b"[]"]
)
def test_e1_an_invalid_token_count_is_an_error(
    count: bytes, serve: Any, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a budget never relies on an implausible number."""
    body = b'{"input_tokens": %s}' % count

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    async def main() -> ClaudeError:
        async with serve(handler) as url, make_client(url, max_retries=0) as client:
            with pytest.raises(ClaudeError) as caught:
                await client.count_tokens(ask())
            return caught.value

    error = play(main)

    assert isinstance(error, UnknownStatusError)
    assert len(str(error)) < 700


@both_ways
@pytest.mark.parametrize("count", [b"-5", b"9" * 400, b"9" * 5000, b"1e400", b"true"])
def test_e1_implausible_usage_does_not_lose_the_reply(
    count: bytes, is_streamed: bool, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the text of a reply is returned, whatever its usage is."""
    fields = b'"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}]'
    sim.script(
        status(200, body=b'{%s, "usage": {"input_tokens": %s, "output_tokens": %s}}' % (fields, count, count))
    )

    async def main() -> Any:
        async with make_client(sim.url) as client:
            if not is_streamed:
                return await client.send_message(ask())
            async with client.stream_message(ask()) as stream:
                async for _ in stream:
                    pass
            return stream.message

    message = play(main)

    assert message.text == "Hi"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (0, 0)


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps({"type": kind, **fields}).encode()


_START = _event("message_start", message={"id": "msg_1", "model": "m", "usage": {}}) + _event(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)
_END = _event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}) + _event(
    "message_stop"
)


def _text(text: str) -> bytes:
    return _event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def _bomb(encoding: str, megabytes: int) -> bytes:
    """Return a compressed stream with a long answer, in few bytes."""
    compressor: Any = (
        brotli.Compressor(quality=5) if encoding == "br" else zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    )
    write, finish = (
        (compressor.process, compressor.finish)
        if encoding == "br"
        else (compressor.compress, compressor.flush)
    )
    large = _text("a" * 1_000_000)
    return b"".join([write(_START), *(write(large) for _ in range(megabytes)), write(_END), finish()])


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_s2_a_compressed_stream_stops_neither_other_tasks_nor_the_deadline(
    encoding: str, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a few bytes that decompress to gigabytes end with stream_timeout; the rest of the loop runs meanwhile."""
    body = _bomb(encoding, 300 if encoding == "br" else 60)
    sim.script(
        status(200, body=body, content_type="text/event-stream", headers={"content-encoding": encoding})
    )
    turns = 0

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> tuple[ClaudeError, int]:
        async with make_client(sim.url, max_retries=0, stream_timeout=0.5) as client:
            stream = client.stream_message(ask())
            await anext(stream)
            watching = asyncio.create_task(watch())
            with pytest.raises(ClaudeError) as caught:
                async for _ in stream:
                    pass
            watching.cancel()
            return caught.value, turns

    error, turns = play(main)

    assert isinstance(error, RequestTimeoutError)
    assert error.partial is not None
    assert error.partial.text.startswith("aaa")
    assert turns >= 2


@pytest.mark.parametrize("encoding", ["br", "gzip", None])
def test_s2_a_stream_is_bounded_and_its_beginning_is_kept(
    encoding: str | None,
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise: an endless reply does not fill the memory; the error says so, and the partial answer stays."""
    monkeypatch.setattr("claude_magic.client._stream._EVENTS_IN_MOST", 2)
    monkeypatch.setattr("claude_magic.client._stream.DEFAULT_MAX_EVENT_BYTES", 1_500_000)
    plain = [_START, *[_text("a" * 1_000_000)] * 5, _END]
    body = _bomb(encoding, 5) if encoding else b"".join(plain)
    headers = {"content-encoding": encoding} if encoding else {}
    answer = status(200, body=body, content_type="text/event-stream", headers=headers)
    sim.script(answer, answer)

    async def main() -> tuple[ClaudeError, Any]:
        async with make_client(sim.url, max_event_bytes=1_200_000) as client:
            error = await failure(client, ask(), True)
        async with make_client(sim.url, max_event_bytes=3_000_000) as client:
            return error, await send(client, ask(), True)

    error, message = play(main)

    assert isinstance(error, StreamInterruptedError)
    assert "more than 3,000,000 bytes" in str(error)
    assert "max_event_bytes" in str(error)
    assert error.partial is not None
    assert len(error.partial.text) in (1_000_000, 2_000_000)
    assert len(message.text) == 5_000_000


@pytest.mark.parametrize("chunk_bytes", [None, 7, 1])
@pytest.mark.parametrize("size", [1_000_000, 150, 1])
@pytest.mark.parametrize("end", [b"", b"\0" * 9, b"\0\0trailing"], ids=["no end", "padding", "garbage"])
def test_c2_all_members_of_a_gzip_body_are_read(
    end: bytes, size: int, chunk_bytes: int | None, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a proxy may compress each part alone (RFC 1952); what is no member is ignored."""
    words = [f"word {number} 🌊 " for number in range(5)]
    body = _START + b"".join(map(_text, words)) + _END
    members = [gzip.compress(body[at : at + size]) for at in range(0, len(body), size)]
    sim.script(
        stream_bytes(b"".join(members) + end, chunk_bytes=chunk_bytes, headers={"content-encoding": "gzip"})
    )

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await send(client, ask(), True)

    assert play(main).text == "".join(words)
