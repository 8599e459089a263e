"""Decoding of server-sent events into typed events. Nothing that a server sends makes that fail, except data that is not JSON."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorEvent,
    MessageAccumulator,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    ServerSentEvent,
    StreamEvent,
    StreamInterruptedError,
    TextBlock,
    UnknownEvent,
    decode_event,
)
from claude_magic.client._events import PlainDeltas, SplitCharacters
from claude_magic.client._stream import read_block

EVENT_NAMES = (
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "ping", "error", "message", "weather_report"),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
sloppy_objects = st.dictionaries(
    st.sampled_from(
        ("type", "index", "delta", "content_block", "message", "usage", "error", "text", "stop_reason")
    ),
    st.sampled_from(EVENT_NAMES) | st.sampled_from(("text_delta", "text", "tool_use")) | json_values,
    max_size=4,
)
sloppy_payloads = st.dictionaries(
    st.sampled_from(("type", "index", "delta", "content_block", "message", "usage", "error")),
    st.sampled_from(EVENT_NAMES) | sloppy_objects | json_values,
    max_size=5,
)


def decode(payload: object, name: str = "") -> StreamEvent:
    return decode_event(ServerSentEvent(name, json.dumps(payload).encode()))


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "Bon"}},
            ContentBlockDelta(2, "text_delta", "Bon", {"type": "text_delta", "text": "Bon"}),
        ),
        (
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "citations_delta", "citation": {"a": 1}},
            },
            ContentBlockDelta(0, "citations_delta", "", {"type": "citations_delta", "citation": {"a": 1}}),
        ),
        ({"type": "content_block_stop", "index": 3}, ContentBlockStop(3)),
        ({"type": "message_stop", "extra": 1}, MessageStop({"type": "message_stop", "extra": 1})),
        ({"type": "ping"}, Ping()),
        (
            {"type": "error", "error": {"type": "api_error"}},
            ErrorEvent({"type": "error", "error": {"type": "api_error"}}),
        ),
        (
            {"type": "weather_report", "sky": 1},
            UnknownEvent("weather_report", {"type": "weather_report", "sky": 1}),
        ),
    ],
)
def test_s1_each_documented_event_has_its_type(payload: dict[str, Any], expected: StreamEvent) -> None:
    """Promise: events are typed, and keep their JSON."""
    assert decode(payload, payload["type"]) == expected


def test_s1_a_message_start_contains_model_id_and_usage() -> None:
    """Promise: they can be shown before the first text."""
    event = decode(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3}}}
    )

    assert isinstance(event, MessageStart)
    assert (event.message.id, event.message.model, event.message.usage.input_tokens) == ("msg_1", "m", 3)


def test_s1_a_block_start_contains_the_typed_block() -> None:
    """Promise: a display knows the type of block before its first delta."""
    event = decode({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}})

    assert isinstance(event, ContentBlockStart)
    assert isinstance(event.block, TextBlock)
    assert not event.block.is_complete


def test_s1_a_message_delta_contains_stop_reason_and_usage() -> None:
    """Promise: any stop reason is accepted; usage that is not reported is None, not zero."""
    event = decode({"type": "message_delta", "delta": {"stop_reason": "sundown"}})

    assert isinstance(event, MessageDelta)
    assert event.stop_reason == "sundown"
    assert event.usage is None


def test_s1_events_of_different_types_are_never_equal_and_never_false() -> None:
    """Promise: events can be compared, and are always truthy."""
    events: list[StreamEvent] = [Ping(), MessageStop(), ContentBlockStop(0)]

    assert [events.index(event) for event in events] == [0, 1, 2]
    assert all(events)


@pytest.mark.parametrize("event", [Ping(), ContentBlockStop(1), ContentBlockDelta(0, "text_delta", "a", {})])
def test_s1_events_cannot_be_changed(event: StreamEvent) -> None:
    """Promise: an event that is passed to several readers is the same for all."""
    with pytest.raises((AttributeError, TypeError)):
        event.index = 5  # type: ignore[union-attr, misc]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("content_block_stop", b'{"index":1}', ContentBlockStop(1)),
        ("message", b'{"type":"content_block_stop","index":1}', ContentBlockStop(1)),
        ("", b'{"type":"content_block_stop","index":1}', ContentBlockStop(1)),
        ("content_block_stop", b'{"type":"unheard_of","index":1}', ContentBlockStop(1)),
        ("ping", b"", Ping()),
        ("ping", b" ", Ping()),
        ("weather_report", b"{}", UnknownEvent("weather_report", {})),
    ],
)
def test_s1_a_missing_name_or_type_is_found_in_the_other(
    name: str, data: bytes, expected: StreamEvent
) -> None:
    """Promise: proxies that drop event names, and servers that omit the type, are supported."""
    assert decode_event(ServerSentEvent(name, data)) == expected


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("error", {"type": "overloaded_error", "message": "Overloaded"}),
        ("error", {"message": "no type"}),
        ("", {"error": {"message": "neither name nor type"}}),
        ("message", {"type": "error", "error": "text"}),
    ],
)
def test_s2_an_error_is_recognised_in_every_format(name: str, payload: dict[str, Any]) -> None:
    """Promise: an error inside a 200 is detected in any gateway's format."""
    assert decode(payload, name) == ErrorEvent(payload)


@pytest.mark.parametrize(
    ("data", "raw"), [(b"[DONE]", "[DONE]"), (b" [DONE] ", "[DONE]"), (b"7", 7), (b"[1]", [1])]
)
def test_s1_data_that_is_not_an_object_is_an_unknown_event(data: bytes, raw: object) -> None:
    """Promise: the end marker of OpenAI-style servers, and other unexpected data, is passed on and breaks nothing."""
    assert decode_event(ServerSentEvent("", data)) == UnknownEvent("", raw)


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"ping"',
        b"<html>",
        b"\xff\xfe",
        b"[" * 5_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 600 + b"]" * 600 + b"}",
    ],
)
def test_s2_data_that_is_not_json_is_a_claude_error(data: bytes) -> None:
    """Promise: invalid data in one event is reported as such, with advice what to check."""
    with pytest.raises(StreamInterruptedError, match=r"not JSON.*Check base_url"):
        decode_event(ServerSentEvent("content_block_delta", data))


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        (rb"\ud83c\udf0a", "🌊"),
        (rb"\ud83c", "\ufffd"),
        (rb"a\udf0ab", "a\ufffdb"),
        (b"\xff", "\ufffd"),
        (b"a\tb", "a\tb"),
    ],
    ids=["pair", "high half", "low half", "not UTF-8", "raw tab"],
)
def test_s1_invalid_unicode_is_replaced(piece: bytes, text: str) -> None:
    """Promise: the client returns no text that cannot be encoded."""
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}' % piece

    event = decode_event(ServerSentEvent("content_block_delta", data))

    assert isinstance(event, ContentBlockDelta)
    assert event.text == text
    event.text.encode()


def sse_of(payload: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(payload["type"], json.dumps(payload).encode())


def delta_sse(kind: str, field: str, text: bytes, index: int = 0) -> ServerSentEvent:
    """Return a delta whose text is these bytes in the stream."""
    data = b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":"%b"}}'
    return ServerSentEvent("content_block_delta", data % (index, kind.encode(), field.encode(), text))


def joined(*sses: ServerSentEvent) -> list[StreamEvent]:
    """Return the events that are passed on for these events of a stream."""
    characters = SplitCharacters()
    events = [event for sse in sses for event in characters.join(decode_event(sse, keeps_halves=True))]
    return [*events, *characters.flush()]


def texts(events: list[StreamEvent], index: int = 0) -> str:
    return "".join(
        each.text for each in events if isinstance(each, ContentBlockDelta) and each.index == index
    )


STOP_0 = sse_of({"type": "content_block_stop", "index": 0})
TEXT_KINDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


@pytest.mark.parametrize(("kind", "field"), TEXT_KINDS.items())
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([rb"a\ud83d", rb"\ude00b"], "a😀b"),
        ([rb"\ud83d", rb"\ude00"], "😀"),
        ([rb"\ud83d", b"", rb"\ude00"], "😀"),
        ([rb"\ud83d\ude00\ud83d", rb"\ude01\ud83d", rb"\ude02"], "😀😁😂"),
        ([rb"\ud83d", rb"\udc80"], "\U0001f480"),
        ([b"\xed\xa0\xbd", b"\xed\xb8\x80"], "😀"),
        ([b"\xed\xa0\xbd\xed\xb8\x80"], "😀"),
        ([b"a\xf0\x9f", b"\x98\x80b"], "a😀b"),
        ([b"\xf0", b"\x9f", b"\x98", b"\x80"], "😀"),
        ([b"caf\xc3", b"\xa9 \xe2\x82", b"\xac"], "café €"),
        ([rb"\ud83d", b"x"], "\ufffdx"),
        ([rb"x\ude00"], "x\ufffd"),
        ([rb"\ud83d"], "\ufffd"),
        ([rb"\ud83d", rb"\ud83d", rb"\ude00"], "\ufffd😀"),
        ([rb"\ude00", rb"\ud83d"], "\ufffd\ufffd"),
        ([b"\xf0\x9f", b"x"], "\ufffdx"),
    ],
)
@pytest.mark.parametrize(
    "end", [[STOP_0], [sse_of({"type": "message_stop"})], []], ids=["stop", "end", "cut"]
)
def test_s1_a_character_split_between_two_deltas_is_joined(
    pieces: list[bytes], text: str, kind: str, field: str, end: list[ServerSentEvent]
) -> None:
    """Promise: half an emoji is held back until the other half arrives, in text, thinking and arguments; without one it is a single U+FFFD."""
    events = joined(*(delta_sse(kind, field, piece) for piece in pieces), *end)

    assert texts(events) == text
    assert all(type(event) is ContentBlockDelta for event in events[: len(pieces)])
    for event in events:
        json.dumps(repr(event), ensure_ascii=False).encode()
        if isinstance(event, ContentBlockDelta):
            assert event.raw[field] == event.text
    if end:
        assert events[-1] == decode_event(end[0])


def test_s1_halves_of_interleaved_blocks_are_not_mixed_up() -> None:
    """Promise: each block, and its text and citations, is joined separately."""
    citation = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "citations_delta", "citation": {}},
    }
    events = joined(
        delta_sse("text_delta", "text", rb"\ud83d", 0),
        delta_sse("text_delta", "text", rb"\ud83e", 1),
        sse_of(citation),
        delta_sse("text_delta", "text", rb"\ude00", 0),
        delta_sse("text_delta", "text", rb"\udd14", 1),
    )

    assert (texts(events, 0), texts(events, 1)) == ("😀", "🤔")


def test_s1_a_block_may_start_with_half_a_character() -> None:
    """Promise: the text of a block's start is joined, too."""
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a\ud83d"}}

    accumulator = MessageAccumulator()
    for event in joined(sse_of(start), delta_sse("text_delta", "text", rb"\ude00"), STOP_0):
        accumulator.add(event)

    assert accumulator.message().text == "a😀"


def test_s1_half_a_character_elsewhere_is_one_replacement_character() -> None:
    """Promise: other fields (a citation, the name of a tool) are repaired when they arrive."""
    cited = {"type": "char_location", "cited_text": "cut \ud83d", "document_title": "\ude00"}
    delta = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "citations_delta", "citation": cited},
    }
    tool = {"type": "tool_use", "id": "t", "name": "f\ud83d", "input": {"\ud83d": "\ude00"}}
    start = {"type": "content_block_start", "index": 0, "content_block": tool}

    (first, second) = joined(sse_of(delta), sse_of(start))

    assert isinstance(first, ContentBlockDelta)
    assert first.raw["citation"] == {**cited, "cited_text": "cut \ufffd", "document_title": "\ufffd"}
    assert isinstance(second, ContentBlockStart)
    assert second.raw == {**tool, "name": "f\ufffd", "input": {"\ufffd": "\ufffd"}}


@given(st.text(st.sampled_from("a€é😀\ud83d\ude00\udcf0\udc9f"), max_size=12), st.data())
def test_s1_text_cut_anywhere_is_the_text_in_one_piece(text: str, data: st.DataObject) -> None:
    """Promise: the position at which a server cuts its UTF-16 makes no difference, and all text is valid Unicode."""
    units = text.encode("utf-16-be", "surrogatepass")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(units) // 2))))
    bounds = [0, *cuts, len(units) // 2]
    pieces = [
        units[2 * a : 2 * b].decode("utf-16-be", "surrogatepass") for a, b in itertools.pairwise(bounds)
    ]

    def sent(piece: str) -> ServerSentEvent:
        return delta_sse("text_delta", "text", json.dumps(piece)[1:-1].encode())

    in_pieces = texts(joined(*map(sent, pieces), STOP_0))

    assert in_pieces == texts(joined(sent(text), STOP_0))
    in_pieces.encode()


@given(name=st.sampled_from(("", *EVENT_NAMES)), payload=sloppy_payloads | json_values)
def test_s1_no_json_makes_decoding_or_accumulating_fail(name: str, payload: object) -> None:
    """Promise: decoder and accumulator accept fields of any type in any event."""
    event = decode(payload, name)
    accumulator = MessageAccumulator()

    accumulator.add(event)

    accumulator.message().to_param()
    assert isinstance(accumulator.text, str)


@given(payloads=st.lists(sloppy_payloads, max_size=8))
def test_s1_no_order_of_malformed_events_makes_accumulating_fail(payloads: list[dict[str, Any]]) -> None:
    """Promise: the state after one malformed event does not break the next."""
    accumulator = MessageAccumulator()

    for payload in payloads:
        accumulator.add(decode(payload))

    json.dumps(accumulator.message().to_param())
    accumulator.message().to_partial_param()
    repr(accumulator.message())


PLAIN = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":%s}%s}'
FIELDS = (
    ("text_delta", "text"),
    ("thinking_delta", "thinking"),
    ("input_json_delta", "partial_json"),
    ("signature_delta", "signature"),
)


def decoded_block(block: bytes) -> StreamEvent | None:
    """Decode an event without `PlainDeltas`."""
    sse = read_block(block)
    try:
        return None if sse is None else decode_event(sse, keeps_halves=True)
    except StreamInterruptedError:
        return None


@pytest.mark.parametrize(("kind", "field"), FIELDS)
@pytest.mark.parametrize("padding", ["", " ", " " * 50])
def test_s1_deltas_like_the_last_one_take_the_fast_path(kind: str, field: str, padding: str) -> None:
    """Promise: all deltas with text, including escapes, non-ASCII and padding; those of another block only later."""
    plain = PlainDeltas()
    texts = ["a", '\\n"}}', " }", "Grüße 🌍", "\u2028"]
    blocks = [(PLAIN % (3, kind, field, json.dumps(text), padding)).encode() for text in texts]

    assert plain.decode(blocks[0]) is None
    plain.expect(ContentBlockDelta(3, kind, "a", {"type": kind, field: "a"}))

    assert [plain.decode(block) for block in blocks] == [
        ContentBlockDelta(3, kind, text, {"type": kind, field: text}) for text in texts
    ]
    assert plain.decode((PLAIN % (4, kind, field, '"a"', padding)).encode()) is None


@pytest.mark.parametrize(
    "block",
    [
        b'"a"}}',
        b"",
        (PLAIN % (0, "text_delta", "text", '""', "")).encode(),
        (PLAIN % (0, "text_delta", "text", '"a"', "}")).encode(),
        (PLAIN % (0, "text_delta", "text", '"a"', ',"text":"b"')).encode(),
        (PLAIN % (0, "text_delta", "text", '"a","text":"b"', "")).encode(),
        (PLAIN % (0, "text_delta", "text", "5", "")).encode(),
        (PLAIN % (0, "text_delta", "text", "null", "")).encode(),
        (PLAIN % (0, "text_delta", "text", r'"\ud83d"', "")).encode(),
        (PLAIN % (0, "text_delta", "text", '"a"\n', "")).encode(),
        (PLAIN % (0, "text_delta", "text", '"a"', "\n")).encode(),
        (PLAIN % (0, "text_delta", "text", '"a"', "")).encode() + b"\nid: 5",
        (PLAIN % (0, "text_delta", "text", '"a"', "")).encode() + b"\ndata: }",
        (PLAIN % (0, "text_delta", "text", '"%s"', "")).encode() % b"\xf0\x9f",
    ],
)
def test_s1_the_fast_path_skips_other_events(block: bytes) -> None:
    """Promise: nothing is returned as text that the full decoder would not return."""
    plain = PlainDeltas()
    plain.expect(ContentBlockDelta(0, "text_delta", "a", {"type": "text_delta", "text": "a"}))

    assert plain.decode(block) is None


@given(
    st.sampled_from(FIELDS),
    st.text(max_size=4),
    st.lists(
        st.tuples(
            st.integers(0, 120), st.integers(0, 3), st.sampled_from(["", '"', "}", "{", " ", "\n", ",", "\\"])
        ),
        max_size=3,
    ),
)
def test_s1_the_fast_path_and_the_full_decoder_agree(
    names: tuple[str, str], text: str, changes: list[tuple[int, int, str]]
) -> None:
    """Promise: for any malformed event, the fast path returns the same as the full decoder, or None."""
    kind, field = names
    plain = PlainDeltas()
    plain.expect(ContentBlockDelta(0, kind, "a", {"type": kind, field: "a"}))
    block = PLAIN % (0, kind, field, json.dumps(text), "")
    for at, length, inserted in changes:
        block = block[:at] + inserted + block[at + length :]

    found = plain.decode(block.encode())

    assert found is None or found == decoded_block(block.encode())
    if text and not changes:
        assert found is not None


def test_split_characters_of_many_blocks_take_linear_time() -> None:
    """The end of a block does not search the characters that other blocks hold back."""

    class Held(dict[Any, Any]):
        searches = 0

        def __iter__(self) -> Any:
            self.searches += 1
            return super().__iter__()

    characters = SplitCharacters()
    characters.held = held = Held()
    passed: list[Any] = []
    for index in range(50):
        delta = {"type": "text_delta", "text": "a\ud83d"}
        passed += characters.join(ContentBlockDelta(index, "text_delta", delta["text"], delta))
    for index in range(49):
        passed += characters.join(ContentBlockStop(index))
    passed += characters.flush()

    assert held.searches <= 2
    assert not held
    assert [event.text for event in passed if isinstance(event, ContentBlockDelta)] == [
        *["a"] * 50,
        *["\ufffd"] * 50,
    ]
