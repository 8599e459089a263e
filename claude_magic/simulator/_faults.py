"""Behaviours with a faulty delivery: the request is validated and answered normally, then something goes wrong.

With a `text` argument, the request is not validated, and this text is the undamaged answer, for tests that compare
it exactly.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from ._behaviours import build_message
from ._stream import (
    PING,
    Answer,
    Behaviour,
    Change,
    Post,
    deliver,
    encode_event,
    hang_up,
    message_events,
    stream_head,
)
from ._wire import ERROR_OF_STATUS, JSON, APIError, Chunk, Finish, Gate, HangUp, Head, Hold, Pause, Steps

STATUS_OF_ERROR = {error_type: status for status, (error_type, _) in ERROR_OF_STATUS.items()}
DRIP_BYTES = 16


def answer_for(post: Post, text: str | None) -> Answer:
    """Return the request's normal answer, or an answer with this text."""
    if text is None:
        return post.answer()
    return Answer(message=build_message(post, [{"type": "text", "text": text}]))


# Modified answers.


def change_message(change: Callable[[JSON], JSON]) -> Behaviour:
    """Answer with a modified message, streamed or not."""

    def behave(post: Post) -> Steps:
        answer = post.answer()
        return deliver(post, dataclasses.replace(answer, message=change(answer.message)))

    return behave


def change_events(change: Change, *, text: str | None = None) -> Behaviour:
    """Stream modified events; a request without `stream` is answered normally."""
    return lambda post: deliver(post, answer_for(post, text), change)


def change_bytes(change: Callable[[bytes], Iterable[bytes]], *, text: str | None = None) -> Behaviour:
    """Stream the events' bytes, modified and cut into writes; a request without `stream` is answered normally."""

    def behave(post: Post) -> Steps:
        answer = answer_for(post, text)
        if not post.request.wants_stream:
            yield from deliver(post, answer)
            return
        yield stream_head(post, answer)
        raw = b"".join(map(encode_event, message_events(answer.message)))
        for piece in change(raw):
            yield Chunk(piece)

    return behave


def change_steps(change: Callable[[Steps], Steps], *, text: str | None = None) -> Behaviour:
    """Modify the steps that send a stream or a JSON body."""
    return lambda post: change(deliver(post, answer_for(post, text)))


# Premature ends.


def reset_mid_stream(*, after_events: int = 4, text: str | None = None) -> Behaviour:
    """Reset the connection after some events; without `stream`, in the middle of the body."""
    return _cut(after_events, how="reset", text=text)


def reset_mid_event(*, after_events: int = 4, text: str | None = None) -> Behaviour:
    """Reset the connection after some events, in the middle of the next one."""
    return _cut(after_events, how="reset", text=text, cuts_event=True)


def close_mid_stream(*, after_events: int = 4, text: str | None = None) -> Behaviour:
    """Close the connection after some events, without the last chunk."""
    return _cut(after_events, how="close", text=text)


def _cut(
    after_events: int, *, how: Literal["reset", "close"], text: str | None, cuts_event: bool = False
) -> Behaviour:
    def cut(steps: Steps) -> Steps:
        sent = 0
        for step in steps:
            if not isinstance(step, Chunk):
                yield step
                continue
            if sent < after_events and not _is_json(step):
                yield step
                sent += 1
                continue
            if cuts_event or _is_json(step):
                yield Chunk(step.data[: len(step.data) // 2])
            yield from hang_up(how)
            return

    return change_steps(cut, text=text)


def _is_json(chunk: Chunk) -> bool:
    return chunk.data.startswith(b"{")


def end_without_stop(
    *, after_deltas: int | None = 3, has_stop_reason: bool = False, text: str | None = None
) -> Behaviour:
    """End the HTTP body properly, but before `message_stop`.

    Args:
        after_deltas: Number of deltas before the end; None for all.
        has_stop_reason: Send everything except `message_stop`.
        text: The text of the answer.
    """

    def shorten(events: Iterable[JSON]) -> Iterator[JSON]:
        if has_stop_reason:
            yield from (event for event in events if event["type"] != "message_stop")
        else:
            yield from _up_to(events, after_deltas)

    return change_events(shorten, text=text)


def error_event(
    error_type: str = "overloaded_error",
    message: str | None = None,
    *,
    after_deltas: int = 0,
    text: str | None = None,
) -> Behaviour:
    """End the stream with an `error` event; without `stream`, answer with the error.

    Args:
        error_type: The error's type.
        message: The error's text.
        after_deltas: Number of deltas before it; 0 makes it the first event.
        text: The text of the answer.
    """
    error: JSON = {"type": error_type, "message": message or error_type.removesuffix("_error").capitalize()}

    def fail(events: Iterable[JSON]) -> Iterator[JSON]:
        if after_deltas > 0:
            yield from _up_to(events, after_deltas)
        yield {"type": "error", "error": error}

    def behave(post: Post) -> Steps:
        if post.request.wants_stream:
            return change_events(fail, text=text)(post)
        raise APIError(STATUS_OF_ERROR.get(error_type, 500), error["message"], error_type=error_type)

    return behave


def _up_to(events: Iterable[JSON], deltas: int | None) -> Iterator[JSON]:
    """Yield the events up to this number of deltas, at most up to the end of the last block."""
    seen = 0
    for event in events:
        if event["type"] == "message_delta":
            return
        yield event
        seen += event["type"] == "content_block_delta"
        if deltas is not None and seen >= deltas:
            return


# Delays.


def slow_headers(seconds: float, *, text: str | None = None) -> Behaviour:
    """Answer normally after some seconds."""

    def behave(post: Post) -> Steps:
        yield Pause(seconds)
        yield from deliver(post, answer_for(post, text))

    return behave


def slow_body(seconds: float, *, after_deltas: int = 1, text: str | None = None) -> Behaviour:
    """Pause for some seconds in the middle of the body."""
    return _interrupt(Pause(seconds), after_deltas, text)


def hold(gate: Gate, *, after_deltas: int = 1, text: str | None = None) -> Behaviour:
    """Wait after some deltas until the gate is opened; without `stream`, before the body."""
    return _interrupt(Hold(gate), after_deltas, text)


def _interrupt(interruption: Pause | Hold, after_deltas: int, text: str | None) -> Behaviour:
    def interrupt(steps: Steps) -> Steps:
        deltas = 0
        is_pending = True
        for step in steps:
            is_due = is_pending and deltas >= after_deltas
            if isinstance(step, Chunk) and is_pending and (is_due or _is_json(step)):
                yield interruption
                is_pending = False
            yield step
            deltas += isinstance(step, Chunk) and step.data.startswith(b"event: content_block_delta")

    return change_steps(interrupt, text=text)


def drip(delay: float = 0.01, *, chunk_bytes: int = DRIP_BYTES, text: str | None = None) -> Behaviour:
    """Send the body a few bytes at a time, with a pause after each."""

    def trickle(steps: Steps) -> Steps:
        for step in steps:
            if not isinstance(step, Chunk):
                yield step
                continue
            for start in range(0, len(step.data), chunk_bytes):
                yield Chunk(step.data[start : start + chunk_bytes])
                yield Pause(delay)

    return change_steps(trickle, text=text)


# Unusual and broken streams.
#
# Pure functions over events, bytes and steps; `_scenarios` names them.
PINGS_IN_A_STORM = 500
HUGE_EVENT_BYTES = 8 * 1024 * 1024
IDLE_TIME = 0.05
"""Seconds after an answer until the idle connection is closed."""

# Events.


def insert_unknown_event(events: Iterable[JSON]) -> Iterator[JSON]:
    """Insert an event of an unknown type after every third event."""
    for number, event in enumerate(events):
        yield event
        if number % 3 == 1 and event["type"] != "message_stop":
            yield {"type": "weather_report", "sky": "clear", "wind": {"knots": 7}}


def insert_unknown_delta(events: Iterable[JSON]) -> Iterator[JSON]:
    """Insert a delta of an unknown type before each block's end."""
    for event in events:
        if event["type"] == "content_block_stop":
            delta = {"type": "aroma_delta", "aroma": "coffee"}
            yield {"type": "content_block_delta", "index": event["index"], "delta": delta}
        yield event


def insert_unknown_block(events: Iterable[JSON]) -> Iterator[JSON]:
    """Insert a block of an unknown type before the others."""
    for event in events:
        yield {**event, "index": event["index"] + 1} if "index" in event else event
        if event["type"] == "message_start":
            block = {"type": "hologram", "voxels": [1, 2, 3]}
            yield {"type": "content_block_start", "index": 0, "content_block": block}
            yield {"type": "content_block_stop", "index": 0}


def insert_unknown_fields(events: Iterable[JSON]) -> Iterator[JSON]:
    """Add an unknown field to every event."""
    for event in events:
        yield {**event, "obelisk": {"height": 21}}


def storm_of_pings(events: Iterable[JSON]) -> Iterator[JSON]:
    """Send hundreds of pings after the message's start, and one after every event."""
    for event in events:
        yield event
        yield from [PING] * (PINGS_IN_A_STORM if event["type"] == "message_start" else 1)


def two_message_deltas(events: Iterable[JSON]) -> Iterator[JSON]:
    """Send usage first and the stop reason in a second `message_delta`."""
    for event in events:
        if event["type"] == "message_delta":
            yield {**event, "delta": {"stop_reason": None, "stop_sequence": None}}
        yield event


def no_usage_in_delta(events: Iterable[JSON]) -> Iterator[JSON]:
    """Leave `usage` out of the `message_delta`."""
    for event in events:
        if event["type"] == "message_delta":
            event = {key: value for key, value in event.items() if key != "usage"}
        yield event


def overlap_blocks(events: Iterable[JSON]) -> Iterator[JSON]:
    """Send the text in two blocks that are open at the same time, as some gateways do."""
    held = list(events)
    index = next((event["index"] for event in held if _starts_text(event)), None)
    for event in held:
        if index is None or event.get("index", -1) < index:
            yield event
        elif event["index"] > index:
            yield {**event, "index": event["index"] + 1}
        elif _starts_text(event):
            yield from _overlapping(index, [other for other in held if _is_text_delta(other, index)])


def _overlapping(index: int, deltas: Sequence[JSON]) -> Iterator[JSON]:
    half = (len(deltas) + 1) // 2
    both = (index, index + 1)
    for at in both:
        yield {"type": "content_block_start", "index": at, "content_block": {"type": "text", "text": ""}}
    for first, second in itertools.zip_longest(deltas[:half], deltas[half:]):
        yield first
        if second is not None:
            yield {**second, "index": index + 1}
    for at in both:
        yield {"type": "content_block_stop", "index": at}


def _starts_text(event: JSON) -> bool:
    block: JSON = event.get("content_block") or {}
    return (event["type"], block.get("type")) == ("content_block_start", "text")


def _is_text_delta(event: JSON, index: int) -> bool:
    delta: JSON = event.get("delta") or {}
    return (event.get("index"), delta.get("type")) == (index, "text_delta")


def without_tool_input(events: Iterable[JSON]) -> Iterator[JSON]:
    """Start `tool_use` blocks without their `input`."""
    for event in events:
        block = event.get("content_block")
        if block is not None and block["type"] == "tool_use":
            event = {**event, "content_block": {k: v for k, v in block.items() if k != "input"}}
        yield event


def with_cut_tool_input(events: Iterable[JSON]) -> Iterator[JSON]:
    """Omit the last fragment of the tool arguments, which makes their JSON invalid."""
    pending: JSON | None = None
    for event in events:
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            if pending is not None:
                yield pending
            pending = event
            continue
        pending = None
        yield event


def with_huge_event(events: Iterable[JSON]) -> Iterator[JSON]:
    """Send one delta of eight mebibytes."""
    is_pending = True
    for event in events:
        yield event
        if is_pending and _is_text_delta(event, event.get("index", 0)):
            text = "All work and no play. " * (HUGE_EVENT_BYTES // 22)
            yield {**event, "delta": {"type": "text_delta", "text": text}}
            is_pending = False


# Bytes.


def with_line_ends(line_end: bytes) -> Callable[[bytes], Iterable[bytes]]:
    """Use other line endings. The content is unchanged, because JSON escapes its line breaks."""
    return lambda raw: [raw.replace(b"\n", line_end)]


def with_bom(raw: bytes) -> Iterable[bytes]:
    """Prepend a byte order mark."""
    return [b"\xef\xbb\xbf" + raw]


def with_comments(raw: bytes) -> Iterable[bytes]:
    """Insert comment lines and unknown fields between and into events."""
    return [b": hello\n\n:\n" + raw.replace(b"\ndata:", b"\n: a comment\nid: 7\nretry: 9\nnonsense\ndata:")]


def in_single_bytes(raw: bytes) -> Iterable[bytes]:
    """Write every byte separately."""
    return (raw[index : index + 1] for index in range(len(raw)))


def in_pairs_of_events(raw: bytes) -> Iterable[bytes]:
    """Write two events at once."""
    events = raw.split(b"\n\n")[:-1]
    return (b"\n\n".join(events[at : at + 2]) + b"\n\n" for at in range(0, len(events), 2))


def in_one_write(raw: bytes) -> Iterable[bytes]:
    """Write everything at once."""
    return [raw]


def cut_in_characters(raw: bytes) -> Iterator[bytes]:
    """Cut after the first byte of every multi-byte character."""
    start = 0
    for index, byte in enumerate(raw):
        if byte >= 0xC0:
            yield raw[start : index + 1]
            start = index + 1
    yield raw[start:]


def without_last_blank_line(raw: bytes) -> Iterable[bytes]:
    """Omit the last event's blank line, so that the event is never dispatched."""
    return [raw.removesuffix(b"\n")]


def in_many_data_lines(raw: bytes) -> Iterator[bytes]:
    """Spread each event's JSON over several `data:` lines."""
    for event in raw.split(b"\n\n")[:-1]:
        name, _, data = event.partition(b"\ndata: ")
        lines = json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode().split(b"\n")
        yield name + b"\n" + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


# Steps.


def compress_gzip(steps: Steps) -> Steps:
    """Compress the body with gzip, with a flush after every write."""
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return _compress(
        steps, "gzip", lambda data: gzip.compress(data) + gzip.flush(zlib.Z_SYNC_FLUSH), gzip.flush
    )


def compress_brotli(steps: Steps) -> Steps:
    """Compress the body with Brotli, with a flush after every write."""
    try:
        brotli: Any = importlib.import_module("brotli").Compressor()
    except ImportError:
        raise APIError(400, "This scenario needs the package `brotli`, which is not installed.") from None
    return _compress(steps, "br", lambda data: bytes(brotli.process(data) + brotli.flush()), brotli.finish)


def _compress(
    steps: Steps, name: str, compress: Callable[[bytes], bytes], finish: Callable[[], bytes]
) -> Steps:
    for step in steps:
        if isinstance(step, Head):
            head = _without_headers(step, "content-length")
            yield dataclasses.replace(head, headers=(*head.headers, ("content-encoding", name)))
        else:
            yield Chunk(compress(step.data)) if isinstance(step, Chunk) else step
    yield Chunk(bytes(finish()))


def close_when_idle(steps: Steps) -> Steps:
    """Answer completely, then close the server's side of the idle connection."""
    yield from steps
    yield Finish()
    yield Pause(IDLE_TIME)
    yield HangUp("half")


def cut_close_delimited(steps: Steps) -> Steps:
    """Delimit the body by the end of the connection and send only half of it, which HTTP cannot detect."""
    held = list(steps)
    chunks = [step for step in held if isinstance(step, Chunk)]
    for step in held:
        if isinstance(step, Head):
            yield dataclasses.replace(_without_headers(step, "content-length"), is_close_delimited=True)
    body = b"".join(chunk.data for chunk in chunks)
    yield Chunk(body[: len(body) // 2])


def without_api_headers(steps: Steps) -> Steps:
    """Omit the API's own headers, as in the answer of a proxy."""
    for step in steps:
        if isinstance(step, Head):
            step = _without_headers(step, "request-id", "anthropic-organization-id")
        yield step


def _without_headers(head: Head, *names: str) -> Head:
    return dataclasses.replace(head, headers=tuple(pair for pair in head.headers if pair[0] not in names))
