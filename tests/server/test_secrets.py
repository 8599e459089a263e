"""The key is sent to the server, and appears nowhere else. All objects that each failure leaves behind are searched."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import traceback
import types
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from claude_magic.client import ClaudeError, Credential
from claude_magic.client._transport import SecretHeader, auth_header
from claude_magic.simulator import (
    Simulator,
    drop_before_headers,
    end_without_stop,
    error_event,
    reply,
    reset_mid_stream,
    slow_headers,
    status,
    stream_bytes,
)

KEY = "sk-ant-test-0123456789abcdef"

QUOTED = (
    b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key: %b"}}'
    % KEY.encode()
)

FAILURES = {
    "status": status(400),
    "quoted": status(401, body=QUOTED),
    "quoted in 200": status(200, body=QUOTED),
    "quoted in page": status(200, body=b"<title>%b</title>" % KEY.encode(), content_type="text/html"),
    "quoted in event": stream_bytes(b"data: %b\n\n" % QUOTED),
    "quoted in an event that is not JSON": stream_bytes(b"data: {oops %b\n\n" % KEY.encode()),
    "quoted across the cut of an excerpt": stream_bytes(b"data: {%b %b\n\n" % (b"o" * 40, KEY.encode())),
    "echoed in an event that breaks off": stream_bytes(b'data: {"type":"ping","key":"%b' % KEY.encode()),
    "quoted in an event after that": stream_bytes(b"data: {oops [REDACTED]\n\ndata: %b\n\n" % KEY.encode()),
    "quoted in the type of an error": stream_bytes(
        b'data: {"type":"error","error":{"type":"%b","message":"no","code":"%b"},"request_id":"%b"}\n\n'
        % (KEY.encode(), KEY.encode(), KEY.encode())
    ),
    "quoted with escapes": status(
        401, body=b'{"error":{"message":"%b"}}' % "".join(f"\\u{ord(char):04x}" for char in KEY).encode()
    ),
    "quoted in base64": status(401, body=base64.b64encode(f"user:{KEY}".encode()), content_type="text/plain"),
    "quoted in part": status(
        502, body=b"<p>token %b was refused" % KEY[:19].encode(), content_type="text/html"
    ),
    "quoted in a redirect": status(302, headers={"location": f"/login?key={quote(KEY)}"}),
    "echoed in headers": status(
        429, headers={"retry-after": KEY, "x-request-id": KEY, "anthropic-ratelimit-requests-limit": KEY}
    ),
    "dropped": drop_before_headers(),
    "slow": slow_headers(20),
    "reset": reset_mid_stream(),
    "truncated": end_without_stop(),
    "overloaded": error_event("overloaded_error", after_deltas=1),
}


def objects_shown_by_a_debugger(error: BaseException) -> Iterator[Any]:
    """Iterate over everything a traceback can show: causes, frames, their locals, and all objects reachable from those."""
    pending: list[Any] = [error]
    seen: set[int] = set()
    while pending:
        found = pending.pop()
        if id(found) in seen or isinstance(found, types.ModuleType | type | Credential | logging.Logger):
            continue
        if isinstance(found, dict) and "__builtins__" in found:
            continue  # the globals of a module
        seen.add(id(found))
        yield found
        if isinstance(found, BaseException):
            pending += [found.args, found.__cause__, found.__context__, found.__dict__]
            pending += [frame.f_locals for frame, _ in traceback.walk_tb(found.__traceback__)]
        elif isinstance(found, dict):
            pending += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set | frozenset):
            pending += found
        elif type(found).__module__.partition(".")[0] in ("claude_magic", "httpx2", "httpcore2", "h11"):
            pending += gc.get_referents(found)


def is_safe(found: Any) -> bool:
    """Return whether an object neither is the key nor prints it."""
    if isinstance(found, SecretHeader):
        return KEY not in repr(found) and KEY not in str(found) and KEY not in found.decode()
    if isinstance(found, bytes | bytearray):
        return KEY.encode() not in found
    return KEY not in (found if isinstance(found, str) else repr(found))


def of_this_test(found: Any) -> bool:
    """Return whether an object belongs to the test, which contains the key."""
    return found is KEY or found is QUOTED or found is FAILURES


async def provoke(client: Any, request: Any) -> ClaudeError:
    """Return the failure while it is being handled, as a debugger would."""
    try:
        async with client.stream_message(request) as stream:
            async for _ in stream:
                pass
    except ClaudeError as error:
        return error
    raise AssertionError("no failure")


@pytest.mark.parametrize("name", FAILURES)
def test_o2_no_error_traceback_or_log_holds_the_key(
    name: str, make_client: Any, play: Any, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: message, repr, causes, frames, their locals and every log record are clean."""
    caplog.set_level(logging.DEBUG)

    async def main(url: str) -> ClaudeError:
        async with make_client(url, timeout=1.0, max_retries=0) as client:
            return await provoke(client, ask())

    with Simulator() as sim:
        sim.script(FAILURES[name])
        error = play(lambda: main(sim.url))
        assert sim.requests[0].headers["x-api-key"] == KEY

    picture = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    leaks = [
        found
        for found in objects_shown_by_a_debugger(error)
        if not of_this_test(found) and not is_safe(found)
    ]
    assert leaks == []
    for text in (
        str(error),
        repr(error),
        "".join(traceback.format_exception(error)),
        picture,
        caplog.text,
    ):
        assert KEY not in text
    assert not any(KEY in str(vars(record)) for record in caplog.records)
    if name.startswith("quoted"):
        assert "[REDACTED]" in str(error)


def test_o2_secrets_in_custom_headers_are_redacted_like_the_key(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a server that quotes them reveals them neither in answers, streamed or not, nor in errors."""
    secret = "gwsecret-ABCDEFGH12345678"
    chunks = [secret[at : at + 5] for at in range(0, len(secret), 5)]
    sim.script(reply(chunks=chunks), reply(secret), status(400, message=secret))

    async def main() -> list[str]:
        async with make_client(sim.url, headers={"x-gw": secret}, max_retries=0) as client:
            async with client.stream_message(ask()) as stream:
                streamed = "".join([getattr(event, "text", "") async for event in stream])
            whole = await client.send_message(ask())
            return [streamed, stream.message.text, whole.text, str(await provoke(client, ask()))]

    for text in play(main):
        assert "[REDACTED]" in text
        assert secret not in text
    assert sim.requests[0].headers["x-gw"] == secret


def test_o2_a_secret_in_the_path_of_base_url_is_in_no_error(
    serve: Any, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: errors name the address without it: before, in and after a response."""
    secret = "sk-ant-path-0123456789abcdef"

    async def handler(reader: Any, writer: Any) -> None:
        for body in (b"<title>Log in</title>", b""):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            assert secret.encode() in head
            if body:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async def main() -> list[str]:
        async with serve(handler) as url, make_client(f"{url}/{secret}/gw", max_retries=0) as client:
            shown = [repr(client), *[str(await provoke(client, ask())) for _ in range(2)]]
        async with make_client(f"{url}/{secret}/gw", max_retries=0) as client:
            return [*shown, str(await provoke(client, ask()))]

    for text in play(main):
        assert "/[REDACTED]/gw" in text
        assert secret not in text


def test_o2_a_name_an_id_and_a_count_of_a_reply_are_redacted(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: everything in a reply except its content may be displayed, so none of it contains the key; streamed or not."""
    events = (
        {
            "type": "message_start",
            "message": {"id": KEY, "model": f"via {KEY}", "usage": {"service_tier": KEY}},
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": KEY, "name": KEY, "input": {}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": f"new_{KEY}", "data": KEY}},
        {"type": "content_block_stop", "index": 0},
        {"type": f"news of {KEY}"},
        {"type": "message_delta", "delta": {"stop_reason": KEY}, "usage": {"output_tokens": 1}},
        {"type": "message_stop", "trace": KEY},
    )
    whole = {
        "id": KEY,
        "type": "message",
        "role": "assistant",
        "model": KEY,
        "content": [{"type": "tool_use", "id": KEY, "name": KEY, "input": {}}],
        "stop_reason": KEY,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    streamed = b"".join(
        b"event: %b\ndata: %b\n\n" % (KEY.encode(), json.dumps(each).encode()) for each in events
    )
    sim.script(stream_bytes(streamed), status(200, body=json.dumps(whole).encode()))

    async def main() -> list[Any]:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            seen = [event async for event in stream]
            return [seen, stream.message, stream.response, await client.send_message(ask())]

    seen, *replies = play(main)

    assert [type(event).__name__ for event in seen] == [
        "MessageStart",
        "ContentBlockStart",
        "ContentBlockDelta",
        "ContentBlockStop",
        "UnknownEvent",
        "MessageDelta",
        "MessageStop",
    ]
    assert KEY not in repr([seen, replies])
    assert [reply.model for reply in (replies[0], replies[2])] == ["via [REDACTED]", "[REDACTED]"]


DELTAS = {
    "text": ({"type": "text", "text": ""}, "text_delta", "text"),
    "thinking": ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"),
    "arguments": (
        {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}},
        "input_json_delta",
        "partial_json",
    ),
}


@pytest.mark.parametrize("size", [1, 3, 9, 25, 1_000])
@pytest.mark.parametrize("kind", DELTAS)
@pytest.mark.parametrize("form", ["as it is", "in base64"])
def test_o2_a_key_in_an_answer_is_redacted_however_it_is_split(
    form: str, kind: str, size: int, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a server or a proxy that quotes the key in content cannot get it into a notebook; the rest is unchanged."""
    quoted = KEY if form == "as it is" else base64.b64encode(KEY.encode()).decode().strip("=")
    written = json.dumps({"a": f"First {quoted}, then {quoted}.", "b": [f"{quoted}{quoted}", "plain 🌊"]})
    start, name, field = DELTAS[kind]
    deltas = [{"type": name, field: written[at : at + size]} for at in range(0, len(written), size)]
    events = (
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )
    sim.script(stream_bytes(b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in events)))

    async def main() -> tuple[list[Any], Any]:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            return [event async for event in stream], stream.message

    seen, message = play(main)

    passed = "".join(event.text for event in seen if type(event).__name__ == "ContentBlockDelta")
    block = message.content[0].to_param()
    kept = block["input"] if kind == "arguments" else json.loads(block[field])
    assert json.loads(passed) == kept
    secret = quoted if form == "in base64" else KEY.removeprefix("sk-ant-test-")
    assert not any(secret[at : at + 16] in passed + repr([seen, message]) for at in range(len(secret) - 15))
    assert passed.count("[REDACTED]") >= 3
    first, second = kept["a"], kept["b"]
    assert first.startswith("First ")
    assert ", then " in first
    assert first.endswith("." if form == "in base64" else "[REDACTED].")
    assert second[1] == "plain 🌊"


@pytest.mark.parametrize("chunk_bytes", [None, 40], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "places", [[(0, "text"), (1, "text")], [(0, "text"), (0, "thinking")]], ids=["blocks", "kinds"]
)
def test_o2_a_key_in_interleaved_deltas_is_redacted(
    places: list[tuple[int, str]],
    chunk_bytes: int | None,
    sim: Simulator,
    make_client: Any,
    play: Any,
    ask: Any,
) -> None:
    """Promise: deltas of another block or kind between the parts of a key do not hide it, and are unchanged."""
    parts = [KEY[at : at + 4] for at in range(0, len(KEY), 4)]
    other = "".join(f"Filler text {number}. " for number in range(len(parts)))
    fillers = [other[at :: len(parts)] for at in range(len(parts))]
    deltas = [
        {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", kind: text}}
        for pair in zip(parts, fillers, strict=True)
        for (index, kind), text in zip(places, pair, strict=True)
    ]
    events = (
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}},
        *(
            {"type": "content_block_start", "index": index, "content_block": DELTAS["text"][0]}
            for index in sorted({index for index, _ in places})
        ),
        *deltas,
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )
    raw = b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events
    )
    sim.script(stream_bytes(raw, chunk_bytes=chunk_bytes))

    async def main() -> tuple[list[Any], Any]:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            return [event async for event in stream], stream.message

    seen, message = play(main)

    shown = [event for event in seen if type(event).__name__ == "ContentBlockDelta"]
    passed = [
        "".join(event.text for event in shown if (event.index, event.kind) == (index, f"{kind}_delta"))
        for index, kind in places
    ]
    secret = KEY.removeprefix("sk-ant-test-")
    assert not any(
        secret[at : at + 16] in repr([passed, message, message.text]) for at in range(len(secret) - 15)
    )
    assert passed[0].endswith("[REDACTED]")
    assert passed[1] == "".join(fillers)


def _as_texts(pieces: list[str]) -> list[dict[str, Any]]:
    """Return a block for each piece, with the piece as its initial text."""
    return [
        {"type": "content_block_start", "index": at, "content_block": {"type": "text", "text": piece}}
        for at, piece in enumerate(pieces)
    ]


def _as_start_and_deltas(pieces: list[str]) -> list[dict[str, Any]]:
    """Return one block: the first piece is its initial text, the others are deltas."""
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces[1:]]
    return [
        *_as_texts(pieces[:1]),
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
    ]


def _by_turns(pieces: list[str]) -> list[dict[str, Any]]:
    """Return blocks with a piece as initial text and another as delta."""
    starts = _as_texts(pieces[::2])
    deltas = [
        {"type": "content_block_delta", "index": at, "delta": {"type": "text_delta", "text": piece}}
        for at, piece in enumerate(pieces[1::2])
    ]
    turns = [event for pair in zip(starts, deltas, strict=False) for event in pair]
    return [*turns, *starts[len(deltas) :]]


@pytest.mark.parametrize("chunk_bytes", [None, 40], ids=["at once", "in pieces"])
@pytest.mark.parametrize("size", [1, 4, 7, 25])
@pytest.mark.parametrize("write", [_as_texts, _as_start_and_deltas, _by_turns])
def test_o2_a_key_in_the_initial_texts_of_blocks_is_redacted(
    write: Any, size: int, chunk_bytes: int | None, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: the initial text of a block is searched together with the text before and after it, and is unchanged else."""
    written = f"First {KEY}, then more."
    events = (
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}},
        *write([written[at : at + size] for at in range(0, len(written), size)]),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )
    raw = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    sim.script(stream_bytes(raw, chunk_bytes=chunk_bytes))

    async def main() -> tuple[list[Any], Any]:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            return [event async for event in stream], stream.message

    seen, message = play(main)

    secret = KEY.removeprefix("sk-ant-test-")
    found = message.text + repr([seen, message])
    assert not any(secret[at : at + 16] in found for at in range(len(secret) - 15))
    assert message.text.startswith("First ")
    assert message.text.endswith("[REDACTED], then more.")


@pytest.mark.parametrize("place", ["extra", "type of more", "nested"])
def test_o2_an_unknown_field_of_a_delta_is_redacted(
    place: str, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a delta keeps its unknown fields and its text, but no key."""
    more: dict[str, Any] = {"extra": KEY, "type of more": {KEY: 1}, "nested": {"a": [f"x {KEY} y"]}}
    delta = {"type": "text_delta", "text": "Hello 🌊", "index": 1, place: more[place]}
    events = (
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {}}},
        *_as_texts(["Say: "]),
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    )
    sim.script(stream_bytes(b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)))

    async def main() -> tuple[list[Any], Any]:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            return [event async for event in stream], stream.message

    seen, message = play(main)

    assert KEY not in repr([seen, message])
    assert message.text == "Say: Hello 🌊"
    assert "[REDACTED]" in repr(seen)


def test_o2_response_headers_given_to_observers_are_redacted(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Promise: a proxy that echoes the key in a header does not get it into a cell."""
    sim.script(reply("Hi", headers={"x-echo": KEY}))
    events: list[Any] = []

    async def main() -> None:
        async with make_client(sim.url) as client:
            await client.send_message(ask(), observer=events.append)

    play(main)

    assert KEY not in repr(events)
    assert events[1].headers["x-echo"] == "[REDACTED]"


def test_c3_o2_no_header_collection_prints_the_key(sim: Simulator, make_client: Any, play: Any) -> None:
    """Promise: it is masked in the client's headers, and in those of the request in flight."""

    async def main() -> None:
        async with make_client(sim.url) as client:
            response = await client._transport.open("GET", "/v1/models")
            request = response._response.request
            transport = client._transport

            assert request.headers["x-api-key"] == "[REDACTED]"
            for shown in (request.headers, request.headers.raw, vars(transport), client, response):
                assert KEY not in repr(shown)
            await response.aclose()

    play(main)

    assert sim.requests[0].headers["x-api-key"] == KEY


def test_o2_the_header_with_the_key_shows_nothing() -> None:
    """Promise: it prints and decodes as masked, in every way."""
    for credential in (Credential(api_key=KEY), Credential(auth_token=KEY)):
        name, value = auth_header(credential, "x-api-key")

        assert KEY.encode() in bytes(value)
        assert KEY not in f"{name!r} {value!r} {value} {value.decode()} {[value]}"


def test_o2_a_changed_header_is_searched_again(sim: Simulator, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: remembered clean headers hide no other value, and no name with the key."""
    sim.script(
        reply("1", headers={"x-echo": "fine"}),
        reply("2", headers={"x-echo": "fine"}),
        reply("3", headers={"x-echo": KEY, "x-other": "fine"}),
        reply("4", headers={"x-echo": "fine", f"x-{KEY}": "fine"}),
    )

    async def main() -> list[dict[str, str]]:
        async with make_client(sim.url) as client:
            found = []
            for _ in range(4):
                async with client.stream_message(ask()) as stream:
                    async for _ in stream:
                        pass
                found.append(stream.response.headers)
            return found

    headers = play(main)

    assert [each["x-echo"] for each in headers] == ["fine", "fine", "[REDACTED]", "fine"]
    assert headers[3]["x-[REDACTED]"] == "fine"
    assert KEY not in repr(headers)


def test_o2_few_headers_are_remembered(sim: Simulator, make_client: Any, play: Any, ask: Any) -> None:
    """Promise: a server with new or long headers in each response does not exhaust memory."""
    sim.script(*(reply("x", headers={f"x-{n}-{m}": "v" for m in range(40)}) for n in range(30)))
    sim.script(reply("x", headers={"x-long": "v" * 5000}))

    async def main() -> set[str]:
        async with make_client(sim.url) as client:
            for _ in range(31):
                await client.send_message(ask())
            return set(client._transport._clean_texts)

    remembered = play(main)

    assert 0 < len(remembered) < 600
    assert max(map(len, remembered)) <= 200


def test_o1_each_attempt_is_logged_once_with_its_fields_and_without_the_prompt(
    sim: Simulator, make_client: Any, play: Any, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: method, path, status, attempt, delay, duration, request id and tokens; no part of prompt or reply."""
    caplog.set_level(logging.DEBUG)
    sim.script(status(529), reply("A secret answer."))

    async def main() -> None:
        async with make_client(sim.url) as client:
            await client.send_message(ask("A secret question."))
            async for _ in client.stream_message(ask("A secret question.")):
                pass

    play(main)

    records = [vars(record) for record in caplog.records if record.name == "claude_magic.client"]
    assert [(record["status"], record["attempt"], record["delay"]) for record in records] == [
        (529, 1, 10.0),
        (200, 2, None),
        (200, 1, None),
    ]
    for record in records:
        assert (record["method"], record["path"]) == ("POST", "/v1/messages")
        assert record["request_id"].startswith("req_")
        assert record["duration"] >= 0
    assert records[1]["output_tokens"] > 0
    assert records[2]["input_tokens"] > 0
    assert "secret" not in caplog.text


def test_o1_a_cancelled_stream_is_logged(
    sim: Simulator, make_client: Any, play: Any, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise: an attempt that the caller cancelled is logged, too."""
    caplog.set_level(logging.INFO, logger="claude_magic.client")
    sim.script(reply(chunks=["x"] * 1000, chunk_delay=0.02))

    async def main() -> None:
        async with make_client(sim.url) as client:
            stream = client.stream_message(ask())
            await anext(stream)
            task = asyncio.create_task(drain(stream))
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])

    play(main)

    [record] = caplog.records
    assert "cancelled" in record.getMessage().lower()


async def drain(stream: Any) -> None:
    """Read to the end."""
    async for _ in stream:
        pass
