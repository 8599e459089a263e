"""Streams over real sockets: events as they arrive, and a clear error for every way to break off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from pathlib import Path
from typing import Any

import pytest

from claude_magic.client import (
    AttemptFinished,
    ClaudeError,
    ContentBlockDelta,
    ErrorEvent,
    MessageAccumulator,
    MessageStop,
    NetworkError,
    OverloadedError,
    Ping,
    RequestTimeoutError,
    ServerError,
    SSEDecoder,
    StreamInterruptedError,
    UnknownStatusError,
    decode_event,
)
from claude_magic.client._events import SplitCharacters
from claude_magic.simulator import (
    Simulator,
    close_mid_stream,
    end_without_stop,
    error_event,
    reply,
    reset_mid_stream,
    status,
    stream_bytes,
    stream_events,
)
from claude_magic.simulator._stream import Post
from claude_magic.simulator._wire import Chunk, Pause, Steps

RECORDED = sorted((Path(__file__).parents[1] / "streams").glob("*.sse"))

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 1},
    },
}
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bonjour"}}
BLOCK_STOP = {"type": "content_block_stop", "index": 0}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 9},
}
STOP = {"type": "message_stop"}
PING = {"type": "ping"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


async def read_all(client: Any, request: Any, observer: Any = None) -> Any:
    """Read a stream to its end and return it."""
    async with client.stream_message(request, observer=observer) as stream:
        async for _ in stream:
            pass
    return stream


async def failure_of(client: Any, request: Any, observer: Any = None) -> ClaudeError:
    """Read a stream that fails, and return its error."""
    with pytest.raises(ClaudeError) as caught:
        await read_all(client, request, observer)
    assert_no_http_error_is_chained(caught.value)
    return caught.value


def assert_no_http_error_is_chained(error: BaseException) -> None:
    """Check that no exception of the HTTP library is chained, because those refer to the request and its key."""
    while error.__context__ is not None:
        error = error.__context__
        assert type(error).__module__.partition(".")[0] not in ("httpx2", "httpcore2", "h11", "anyio")


def test_s1_t1_events_arrive_typed_and_in_order_while_the_reply_is_written(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: deltas are returned as they arrive, before the rest is sent, and the message is complete."""
    texts: list[str] = []
    names: list[str] = []

    def patient(post: Post) -> Steps:
        """Send a delta only when the previous ones were returned."""
        sent = 0
        for step in reply(chunks=["Bon", "jour", " !"], chunk_delay=0.0)(post):
            if isinstance(step, Chunk) and b"text_delta" in step.data:
                while len(texts) < sent:
                    yield Pause(0.001)
                sent += 1
            yield step

    sim.script(patient)

    async def main() -> Any:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            async for event in stream:
                if isinstance(event, ContentBlockDelta):
                    texts.append(event.text)
                if not isinstance(event, Ping):
                    names.append(type(event).__name__)
            return stream

    stream = play(main)

    assert texts == ["Bon", "jour", " !"]
    assert names[:2] == ["MessageStart", "ContentBlockStart"]
    assert names.count("ContentBlockDelta") == 3
    assert names[-3:] == ["ContentBlockStop", "MessageDelta", "MessageStop"]
    assert stream.message.text == "Bonjour !"
    assert stream.message.stop_reason == "end_turn"
    assert stream.response.status == 200
    assert stream.response.request_id.startswith("req_")
    assert sim.requests[0].body["stream"] is True


def test_s1_one_byte_at_a_time_gives_the_same_reply(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: chunk boundaries do not matter, even inside a UTF-8 character."""
    delta = {**DELTA, "delta": {"type": "text_delta", "text": "Grüße 🌍"}}
    events = (START, PING, BLOCK, delta, BLOCK_STOP, END, STOP)
    raw = b"".join(
        f"event: {event['type']}\r\ndata: {json.dumps(event, ensure_ascii=False)}\r\n\r\n".encode()
        for event in events
    )
    sim.script(stream_bytes(raw, chunk_bytes=1))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await read_all(client, ask())

    message = play(main).message

    assert message.text == "Grüße 🌍"
    assert message.usage.output_tokens == 9


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_s1_recorded_streams_are_read_as_they_are_decoded(
    path: Path, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the client returns the same events as the decoder, and accumulates them to the same message."""
    raw = path.read_bytes()
    sim.script(stream_bytes(raw))
    expected, folded = [], MessageAccumulator()
    characters = SplitCharacters()
    for sse in SSEDecoder().feed(raw):
        events = characters.join(decode_event(sse, keeps_halves=True))
        expected += [event for event in events if not isinstance(event, ErrorEvent)]
        if isinstance(events[-1], ErrorEvent | MessageStop):
            break

    async def main() -> tuple[list[Any], Any]:
        seen: list[Any] = []
        async with make_client(sim.url, max_retries=0) as client:
            stream = client.stream_message(ask())
            with contextlib.suppress(ClaudeError):
                async for event in stream:
                    seen.append(event)
            return seen, stream.message

    seen, message = play(main)

    for event in expected:
        folded.add(event)
    without_pings = [event for event in expected if not isinstance(event, Ping)]
    assert [event for event in seen if not isinstance(event, Ping)] == without_pings
    assert message == folded.message()


def test_s1_the_streaming_path_is_a_setting(serve: Any, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: a gateway that serves /v1/messages/stream can be used."""
    heads: list[bytes] = []

    async def handler(reader: Any, writer: Any) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        body = b"".join(
            b"data: %b\n\n" % json.dumps(event).encode() for event in (START, BLOCK, DELTA, END, STOP)
        )
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body
        )
        await writer.drain()

    async def main() -> Any:
        async with serve(handler) as url, make_client(url, messages_path="/v1/messages/stream") as client:
            return await read_all(client, ask())

    assert play(main).message.text == "Bonjour"
    assert heads[0].startswith(b"POST /v1/messages/stream HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "behaviour",
    [
        stream_events(START, OVERLOADED),
        stream_events(OVERLOADED),
        stream_events(START, PING, BLOCK, OVERLOADED),
        stream_events(START, BLOCK, end="chunk"),
        stream_events(START, BLOCK, end="close"),
        stream_events(START, PING, end="reset"),
        stream_events(START, BLOCK, end="eof"),
        stream_bytes(b""),
    ],
    ids=["error", "error first", "error in block", "clean end", "close", "reset", "eof", "empty"],
)
def test_r4_t1_a_failure_before_the_first_content_is_retried_invisibly(
    behaviour: Any, sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a reader of the stream gets one clean reply, each event once."""
    sim.script(behaviour, reply("There."))
    events: list[Any] = []

    async def main() -> list[str]:
        async with make_client(sim.url) as client:
            return [
                type(event).__name__ async for event in client.stream_message(ask(), observer=events.append)
            ]

    names = play(main)

    assert sleeps == [10]
    assert len(sim.requests) == 2
    assert names.count("MessageStart") == names.count("ContentBlockStart") == names.count("MessageStop") == 1
    assert [event.will_retry for event in events if isinstance(event, AttemptFinished)] == [True, False]


def test_r4_thinking_counts_as_content(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: once thinking was shown, nothing is replayed."""
    block = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    }
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "17 is"},
    }
    sim.script(stream_events(START, block, delta, OVERLOADED))

    async def main() -> ClaudeError:
        async with make_client(sim.url) as client:
            return await failure_of(client, ask())

    error = play(main)

    assert isinstance(error, OverloadedError)
    assert (len(sim.requests), sleeps) == (1, [])
    assert error.partial.thinking == "17 is"


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [
        (error_event("overloaded_error", after_deltas=1), OverloadedError),
        (error_event("api_error", after_deltas=1), ServerError),
        (stream_events(START, BLOCK, DELTA, end="close"), StreamInterruptedError),
        (stream_events(START, BLOCK, DELTA, end="reset"), StreamInterruptedError),
        (stream_events(START, BLOCK, DELTA, BLOCK_STOP, end="eof"), StreamInterruptedError),
        (stream_events(START, BLOCK, DELTA, BLOCK_STOP, END, end="chunk"), StreamInterruptedError),
        (reset_mid_stream(), StreamInterruptedError),
        (close_mid_stream(), StreamInterruptedError),
        (end_without_stop(), StreamInterruptedError),
        (
            stream_bytes(b"data: " + json.dumps(START).encode() + b'\n\ndata: {"type": "conte\n\n'),
            ClaudeError,
        ),
    ],
)
def test_s2_t1_a_broken_stream_is_reported_with_its_partial_text_and_leaves_the_pool_healthy(
    behaviour: Any, error_class: type[ClaudeError], sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: never a silent end: a ClaudeError, the message so far, and a client that keeps working."""
    sim.script(behaviour, reply("Next."))

    async def main() -> tuple[ClaudeError, str]:
        async with make_client(sim.url, max_retries=0) as client:
            error = await failure_of(client, ask())
            return error, (await client.send_message(ask())).text

    error, following = play(main)

    assert isinstance(error, error_class)
    assert following == "Next."
    if error.partial is not None and error.partial.text:
        assert "Not retried, because part of the reply had arrived already." in str(error)
        assert str(error.request_id).startswith("req_")


def test_s2_the_partial_text_is_that_of_the_returned_events(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: events before the break are returned first, then the error is raised with exactly their text."""
    second = {**DELTA, "delta": {"type": "text_delta", "text": " le monde"}}
    sim.script(stream_events(START, BLOCK, DELTA, second, OVERLOADED))
    seen: list[str] = []

    async def main() -> OverloadedError:
        async with make_client(sim.url) as client:
            try:
                async for event in client.stream_message(ask()):
                    seen.append(type(event).__name__)
            except OverloadedError as error:
                return error
        raise AssertionError("the stream did not fail")

    error = play(main)

    assert seen == ["MessageStart", "ContentBlockStart", "ContentBlockDelta", "ContentBlockDelta"]
    assert error.partial is not None
    assert error.partial.text == "Bonjour le monde"
    assert error.partial.stop_reason is None
    assert error.status is None


@pytest.mark.parametrize("end", ["chunk", "close", "eof"])
def test_a_lenient_client_accepts_an_end_after_a_stop_reason(
    end: Any, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: gateways that omit message_stop are accepted then; without a stop reason it is still an error."""
    sim.script(
        stream_events(START, BLOCK, DELTA, BLOCK_STOP, END, end=end),
        stream_events(START, BLOCK, DELTA, end=end),
    )

    async def main() -> tuple[str, ClaudeError]:
        async with make_client(sim.url, lenient_stream_end=True) as client:
            complete = await read_all(client, ask())
            return complete.message.text, await failure_of(client, ask())

    text, error = play(main)

    assert text == "Bonjour"
    assert isinstance(error, StreamInterruptedError)


def test_s1_a_server_that_ignores_stream_true_is_supported(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a whole JSON message becomes the equivalent events, including thinking and tools."""
    content = [
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
        {"type": "text", "text": "Here."},
        {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {"port": "Brest"}},
    ]
    message = {
        **START["message"],
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }
    sim.script(status(200, body=json.dumps(message).encode()))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await read_all(client, ask())

    received = play(main).message

    assert (received.text, received.thinking, received.stop_reason) == ("Here.", "Let me see.", "tool_use")
    assert received.usage.output_tokens == 7
    assert received.to_param()["content"] == content


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n "])
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_s1_a_reply_as_json_is_accepted_with_a_byte_order_mark_and_any_content_type(
    content_type: str, before: bytes, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: an answer that was paid for is read, whether it was to be streamed or not."""
    message = {**START["message"], "content": [{"type": "text", "text": "Here."}], "stop_reason": "end_turn"}
    body = before + json.dumps(message).encode()
    sim.script(*[stream_bytes(body, chunk_bytes=1, headers={"content-type": content_type})] * 2)

    async def main() -> list[str]:
        async with make_client(sim.url, max_retries=0) as client:
            streamed = await read_all(client, ask())
            return [streamed.message.text, (await client.send_message(ask())).text]

    assert play(main) == ["Here.", "Here."]


@pytest.mark.parametrize("content_type", ["text/event-stream; charset=utf-8", "application/json"])
@pytest.mark.parametrize("chunk_bytes", [1, 10_000])
def test_s1_a_server_that_always_streams_is_supported(
    content_type: str, chunk_bytes: int, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: events in place of a JSON message give the same message, and the connection is used again."""
    events = [START, PING, BLOCK, DELTA, BLOCK_STOP, END, STOP]
    raw = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    sim.script(*[stream_bytes(raw, chunk_bytes=chunk_bytes, headers={"content-type": content_type})] * 2)

    async def main() -> list[Any]:
        async with make_client(sim.url, max_retries=0) as client:
            return [await client.send_message(ask(max_tokens=100)) for _ in range(2)]

    for message in play(main):
        assert (message.text, message.stop_reason, message.usage.output_tokens) == ("Bonjour", "end_turn", 9)
    assert (len(sim.requests), sim.connections) == (2, 1)


@pytest.mark.parametrize(
    ("behaviour", "error_class"),
    [
        (stream_events(START, BLOCK, DELTA, OVERLOADED), OverloadedError),
        (stream_events(START, BLOCK, DELTA), StreamInterruptedError),
        (stream_events(), StreamInterruptedError),
    ],
    ids=["error event", "no end", "empty"],
)
def test_s1_events_in_place_of_a_json_message_may_fail(
    behaviour: Any, error_class: type[ClaudeError], sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a failure in mid-stream is retried like any other of a request whose reply is read as a whole."""
    sim.script(behaviour, reply("Four."), behaviour)

    async def main() -> tuple[str, ClaudeError]:
        async with make_client(sim.url, max_retries=1) as client:
            message = await client.send_message(ask())
        async with make_client(sim.url, max_retries=0) as client:
            with pytest.raises(ClaudeError) as caught:
                await client.send_message(ask())
        return message.text, caught.value

    text, error = play(main)

    assert text == "Four."
    assert type(error) is error_class
    assert_no_http_error_is_chained(error)


def test_s1_events_with_a_wrong_content_type_are_accepted(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a body that looks like a stream is read as one."""
    raw = b"".join(
        b"data: %b\n\n" % json.dumps(event).encode() for event in (START, BLOCK, DELTA, BLOCK_STOP, END, STOP)
    )
    sim.script(stream_bytes(raw, headers={"content-type": "text/plain"}))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await read_all(client, ask())

    assert play(main).message.text == "Bonjour"


@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n: hello\n\n", b"retry: 3000\nid: 1\n"]
)
def test_s1_events_with_a_wrong_content_type_may_arrive_in_any_pieces(
    before: bytes, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: one byte decides nothing, and no byte is lost. The answer is paid for."""
    raw = b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
        for event in (START, BLOCK, DELTA, BLOCK_STOP, END, STOP)
    )
    sim.script(stream_bytes(before + raw, chunk_bytes=1, headers={"content-type": "text/plain"}))

    async def main() -> Any:
        async with make_client(sim.url, max_retries=0) as client:
            return await read_all(client, ask())

    assert play(main).message.text == "Bonjour"


def test_s1_a_reply_in_small_pieces_from_a_server_that_ignores_stream_true_is_supported(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the bytes that were read to tell it from a stream are part of it."""
    message = {**START["message"], "content": [{"type": "text", "text": "Here."}], "stop_reason": "end_turn"}
    raw = b"\n  " + json.dumps(message).encode()
    sim.script(stream_bytes(raw, chunk_bytes=1, headers={"content-type": "application/json"}))

    async def main() -> Any:
        async with make_client(sim.url, max_retries=0) as client:
            return await read_all(client, ask())

    assert play(main).message.text == "Here."


@pytest.mark.parametrize(
    "body", [b" " * 5000, b"eve", b"\xef\xbb"], ids=["white space", "part of a field", "part of a mark"]
)
def test_s1_a_body_that_never_becomes_a_stream_is_a_clear_error(
    body: bytes, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the search for the first field is bounded, and ends with the body."""
    sim.script(stream_bytes(body, chunk_bytes=7, headers={"content-type": "text/plain"}))

    async def main() -> ClaudeError:
        async with make_client(sim.url, max_retries=0) as client:
            return await failure_of(client, ask())

    assert isinstance(play(main), UnknownStatusError)


def test_c2_endless_pings_do_not_defeat_the_total_timeout(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    """Promise: a stream that is only kept alive ends at stream_timeout, and is not restarted."""
    sim.script(stream_events(START, *[PING] * 2000, chunk_bytes=30, delay=0.02))

    async def main() -> ClaudeError:
        async with make_client(sim.url, stream_timeout=1.0) as client:
            return await failure_of(client, ask())

    error = play(main)

    assert isinstance(error, RequestTimeoutError)
    assert "stream_timeout" in str(error)
    assert (len(sim.requests), sleeps) == (1, [])


def test_c2_silence_in_mid_stream_is_a_timeout_with_the_partial_text(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: `timeout` limits each read, and the message so far is kept."""
    raw = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (START, BLOCK, DELTA))
    sim.script(stream_bytes(raw, delay=20))

    async def main() -> ClaudeError:
        async with make_client(sim.url, timeout=1.0) as client:
            return await failure_of(client, ask())

    error = play(main)

    assert isinstance(error, RequestTimeoutError)
    assert error.partial is not None
    assert error.partial.text == "Bonjour"


def test_s1_events_without_deltas_are_not_held_back_forever(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the number of held events is limited: a reply of whole blocks without deltas is returned."""
    blocks: list[Any] = []
    for index in range(1200):
        blocks.append(
            {
                "type": "content_block_start",
                "index": index,
                "content_block": {"type": "redacted_thinking", "data": "x"},
            }
        )
        blocks.append({"type": "content_block_stop", "index": index})
    sim.script(stream_events(START, *blocks, end="close"))

    async def main() -> tuple[int, bool]:
        async with make_client(sim.url) as client:
            count = 0
            try:
                async for _ in client.stream_message(ask()):
                    count += 1
            except NetworkError as error:
                return count, error.partial is not None
        raise AssertionError("the stream did not fail")

    count, has_partial = play(main)

    assert count == 2401
    assert has_partial


# Leaving early


def test_leaving_a_stream_early_closes_its_connection_and_nothing_else(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: aclose ends the request at the server at once; other requests continue."""
    sim.script(reply(chunks=["x"] * 1000, chunk_delay=0.02), reply("Next."))

    async def main() -> str:
        async with make_client(sim.url) as client:
            async with client.stream_message(ask()) as stream:
                async for event in stream:
                    if type(event).__name__ == "ContentBlockDelta":
                        break
            assert [event async for event in stream] == []
            while not sim.requests[0].client_gone:
                await asyncio.sleep(0.01)
            return str((await client.send_message(ask())).text)

    assert play(main) == "Next."


def test_closing_a_stream_from_another_task_ends_its_iteration(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a Stop button may close a stream that a task is reading; the task gets the end, not an error."""
    sim.script(reply(chunks=["x"] * 1000, chunk_delay=0.02))

    async def main() -> int:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            assert await anext(stream)

            async def count() -> int:
                return len([event async for event in stream])

            reading = asyncio.create_task(count())
            await asyncio.sleep(0.1)
            await stream.aclose()
            return await reading

    assert 0 < play(main) < 900
    while not sim.requests[0].client_gone:
        time.sleep(0.01)


def test_an_abandoned_stream_is_closed_too(sim: Simulator, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: a plain `async for` with `break` does not keep its connection forever."""
    sim.script(reply(chunks=["x"] * 1000, chunk_delay=0.02))

    async def leave(client: Any) -> None:
        async for event in client.stream_message(ask()):
            if type(event).__name__ == "ContentBlockDelta":
                break

    async def main() -> None:
        async with make_client(sim.url) as client:
            await leave(client)
            gc.collect()
            while not sim.requests[0].client_gone:
                await asyncio.sleep(0.01)

    play(main)


def test_a_stream_left_at_its_last_event_keeps_its_connection(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: leaving at message_stop is a success, and the connection is reused."""
    events: list[Any] = []

    async def main() -> None:
        async with make_client(sim.url) as client:
            for _ in range(3):
                async with client.stream_message(ask(), observer=events.append) as stream:
                    async for event in stream:
                        if type(event).__name__ == "MessageStop":
                            break

    play(main)

    assert sim.connections == 1
    assert len([event for event in events if isinstance(event, AttemptFinished) and event.error is None]) == 3


def test_s2_the_pool_works_after_a_thousand_cancelled_streams(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: cancelled early, in mid-stream or twice: no connection, no slot and no task is lost."""
    sim.script(*(reply(chunks=["word "] * 500, chunk_delay=0.005) for _ in range(1000)))

    async def main() -> None:
        async with make_client(sim.url) as client:

            async def read(number: int) -> None:
                async for _ in client.stream_message(ask()):
                    pass

            for round_number in range(20):
                tasks = [asyncio.create_task(read(number)) for number in range(50)]
                await asyncio.sleep(0.004 * (round_number % 10))
                for _ in range(1 + round_number % 2):
                    for task in tasks:
                        task.cancel()
                    await asyncio.sleep(0)
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(result, asyncio.CancelledError) for result in results)

            sim.clear()
            replies = await asyncio.gather(*(client.send_message(ask()) for _ in range(20)))
            assert all(message.text for message in replies)
            connections = client._transport.connections
            while sim.open_connections > 10:
                await asyncio.sleep(0.01)
            assert "0 in use" in repr(connections)
            assert "0 waited for" in repr(connections)

    play(main)


def test_c1_two_hundred_streams_at_once_all_complete(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: concurrency is limited only by the limiter."""
    sim.script(*(reply(chunks=[f"{number} "] * 20) for number in range(200)))

    async def main() -> list[str]:
        async with make_client(sim.url) as client:
            streams = await asyncio.gather(*(read_all(client, ask()) for _ in range(200)))
            return [stream.message.text for stream in streams]

    texts = play(main)

    assert sorted(texts) == sorted(f"{number} " * 20 for number in range(200))
