"""The decoder for server-sent events: bytes in, events out, for any chunks and line ends."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claude_magic.client import ServerSentEvent, SSEDecoder, StreamInterruptedError

STREAMS = sorted((Path(__file__).parents[1] / "streams").glob("*.sse"), key=lambda path: path.name)

# What a careless decoder trips over, as building blocks of streams.
FRAGMENTS = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"),
    *(
        b"data",
        b"data:",
        b"data: ",
        b"data:  two",
        b"data: x",
        b"data:\xe2\x80\xa8",
        b"data: \xf0\x9f\x97\xbc",
    ),
    *(b"event", b"event:", b"event: ping", b"event:ping", b"event: message_stop", b"event: caf\xc3\xa9"),
    *(
        b":",
        b": comment",
        b"id: 1",
        b"id: \x00",
        b"id",
        b"retry: 10",
        b"retry: x",
        b"unknown: y",
        b" data: z",
    ),
    *(b"\xef\xbb\xbf", b"\xef\xbb", b"\xff", b"\x00", b"\x0b", b"\x85", b"event: ping\ndata: {}\n\n"),
)
byte_streams = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join) | st.binary(max_size=60)


def decode(chunks: Iterable[bytes]) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def feed_all(decoder: SSEDecoder, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        decoder.feed(chunk)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut data at some positions, which may coincide."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


def decode_by_the_standard(data: bytes) -> list[ServerSentEvent]:
    """Parse a whole stream line by line, as specified in WHATWG HTML 9.2.6."""
    lines = re.split(rb"\r\n|\r|\n", data.removeprefix(b"\xef\xbb\xbf"))[:-1]
    events, name, buffer = [], b"", b""
    for line in lines:
        if not line:
            if buffer:
                events.append(ServerSentEvent(name.decode("utf-8", "replace"), buffer.removesuffix(b"\n")))
            name = buffer = b""
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"event":
            name = value
        elif field == b"data":
            buffer += value + b"\n"
    return events


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"event: a\ndata: 1\n\n", [("a", b"1")]),
        (b"event: a\r\ndata: 1\r\n\r\n", [("a", b"1")]),
        (b"event: a\rdata: 1\r\r", [("a", b"1")]),
        (b"data:1\n\ndata:  1\n\n", [("", b"1"), ("", b" 1")]),
        (b"data: 1\ndata: 2\ndata\ndata: 3\n\n", [("", b"1\n2\n\n3")]),
        (b"data\n\n", [("", b"")]),
        (b"data:\n\n", [("", b"")]),
        (b"event: a\n\ndata: 1\n\n", [("", b"1")]),
        (b"event: a\nevent: b\ndata: 1\n\n", [("b", b"1")]),
        (b"event: a\nevent\ndata: 1\n\n", [("", b"1")]),
        (b"data: 1\nevent: a\n\n", [("a", b"1")]),
        (b"event: ping\n\ndata: 1\n\n", [("", b"1")]),
        (b": comment\n:\ndata: 1\n: another\n\n", [("", b"1")]),
        (b"id: 7\nid: a\x00b\nretry: 10\nretry: soon\nwhatever\ndata: 1\n\n", [("", b"1")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("", b"1")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", []),
        (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [("", b"1")]),
        (b" data: 1\n\n", []),
        (b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n", [("", b"1"), ("", b"2")]),
        (
            "data: a\u2028b\u2029c\u0085d\x0be\x0cf\n\n".encode(),
            [("", "a\u2028b\u2029c\u0085d\x0be\x0cf".encode())],
        ),
        (b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff")]),
        (b"event: content_block_delta\ndata: 1\ndata: 2\n\n", [("content_block_delta", b"1\n2")]),
        (b"event: content_block_delta\ndata:1\n\n", [("content_block_delta", b"1")]),
        (b"", []),
    ],
)
def test_s1_events_follow_the_rules_of_whatwg(data: bytes, expected: list[tuple[str, bytes]]) -> None:
    """Promise: names, data lines, comments, line ends and byte order marks are parsed as the HTML standard requires."""
    assert decode([data]) == expected
    assert decode_by_the_standard(data) == expected


@settings(max_examples=400)
@given(data=byte_streams, places=st.lists(st.integers(min_value=0), max_size=8))
@example(data=b"\xef\xbb\xbfdata: 1\r\n\r\n", places=[1, 2, 12, 13, 14])
def test_s1_any_bytes_cut_anywhere_give_the_events_of_the_standard(data: bytes, places: list[int]) -> None:
    """Promise: the events do not depend on the chunks, and are those of the standard's algorithm."""
    expected = decode_by_the_standard(data)

    assert decode([data]) == expected
    assert decode(cut(data, places)) == expected


@given(data=byte_streams)
def test_s1_one_byte_at_a_time_is_the_same_as_all_at_once(data: bytes) -> None:
    """Promise: the smallest chunks lose nothing and add nothing."""
    assert decode(data[place : place + 1] for place in range(len(data))) == decode([data])


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_s1_recorded_streams_survive_every_cut_in_two(path: Path) -> None:
    """Promise: a cut inside a character, a byte order mark, or between CR and LF changes nothing."""
    data = path.read_bytes()
    expected = decode([data])

    assert expected == decode_by_the_standard(data)
    for place in range(len(data)):
        assert decode([data[:place], data[place:]]) == expected


@pytest.mark.parametrize("tail", [b"data: 2", b"data: 2\n", b"event: message_stop\ndata: {}\n", b"data: 2\r"])
def test_s2_an_event_without_its_blank_line_is_never_dispatched(tail: bytes) -> None:
    """Promise: a truncated event is not returned, and `close` drops it."""
    decoder = SSEDecoder()

    events = decoder.feed(b"data: 1\n\n" + tail)

    assert events == [("", b"1")]
    decoder.close()
    assert decoder.feed(b"\n\n") == []


@pytest.mark.parametrize("chunk_bytes", [1 << 24, 65_536, 1_000])
def test_s1_an_event_of_8_mib_arrives_whole(chunk_bytes: int) -> None:
    """Promise: an event of megabytes, such as a fetched web page, is decoded from chunks of any size."""
    data = b"event: content_block_start\ndata: " + b"x" * (8 << 20) + b"\n\n"

    events = decode(data[place : place + chunk_bytes] for place in range(0, len(data), chunk_bytes))

    assert [(event.event, len(event.data)) for event in events] == [("content_block_start", 8 << 20)]


def test_s1_a_large_event_in_many_pieces_is_not_searched_again_for_each() -> None:
    """Promise: linear time. A search that restarts for each of 65,000 pieces would read 500 GB, for minutes."""
    pieces = [b"data: ", *[b"x" * 256] * 65_000, b"\n\n"]

    (event,) = decode(pieces)

    assert len(event.data) == 256 * 65_000


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: " + b"x" * 200 + b"\n\n"],
        [b"data: " + b"x" * 200],
        [b"data: ", *[b"x"] * 200],
        [b"x" * 200],
        [b"data: xxxxxxxx\n"] * 20,
    ],
    ids=["whole", "unfinished", "byte by byte", "no field", "many lines"],
)
def test_s1_an_event_above_the_limit_is_rejected_with_advice(chunks: Sequence[bytes]) -> None:
    """Promise: a server cannot exhaust memory; the error names the setting to raise, and is not retried."""
    decoder = SSEDecoder(max_event_bytes=100)

    with pytest.raises(StreamInterruptedError, match=r"more than 100 bytes.*raise max_event_bytes") as caught:
        feed_all(decoder, chunks)

    assert not caught.value.is_transient


def test_s1_events_before_one_that_is_too_large_are_still_returned() -> None:
    """Promise: earlier events in the same chunk are not lost; later calls keep raising."""
    decoder = SSEDecoder(max_event_bytes=100)

    events = decoder.feed(b"data: 1\n\ndata: " + b"x" * 200 + b"\n\ndata: 3\n\n")

    assert events == [("", b"1")]
    for _ in range(2):
        with pytest.raises(StreamInterruptedError):
            decoder.feed(b"data: 4\n\n")


def test_s1_comments_before_an_event_that_is_too_large_do_not_delay_the_error() -> None:
    """Promise: if there is nothing to return first, the same call raises."""
    with pytest.raises(StreamInterruptedError):
        SSEDecoder(max_event_bytes=100).feed(b": ping\n\ndata: " + b"x" * 200 + b"\n\n")


def test_s1_the_limit_applies_to_one_event_not_to_a_chunk() -> None:
    """Promise: many small events in one read are not treated as a large one."""
    decoder = SSEDecoder(max_event_bytes=100)

    assert len(decoder.feed(b"data: 1\n\n" * 1_000)) == 1_000
