"""The streams in `tests/streams`, from bytes to message: those of real servers, and malformed ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from claude_magic.client import ErrorEvent, MessageAccumulator, SSEDecoder, StreamEvent, decode_event

FOLDER = Path(__file__).parents[1] / "streams"

THINKING = {"type": "thinking", "thinking": "17 is prime, so no factor.", "signature": "EqQBxyz=="}
OMITTED_THINKING = {"type": "thinking", "thinking": "", "signature": "EqQBxyz=="}
SEARCH_RESULT = {
    "type": "web_search_result",
    "url": "https://example.org/a",
    "title": "Keepers",
    "encrypted_content": "Zm9v",
    "page_age": None,
}
CITATION = {
    "type": "web_search_result_location",
    "url": "https://example.org/a",
    "title": "Keepers",
    "cited_text": "They left in 1989.",
    "encrypted_index": "YmFy",
}


def text(words: str, **extra: object) -> dict[str, Any]:
    return {"type": "text", "text": words, **extra}


def call(
    name: str, arguments: dict[str, Any], call_id: str = "toolu_1", kind: str = "tool_use"
) -> dict[str, Any]:
    return {"type": kind, "id": call_id, "name": name, "input": arguments}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expected result of a stream; by default the reply of plain_text.sse."""

    content: list[dict[str, Any]] = field(default_factory=lambda: [text("Bonjour")])
    stop_reason: str | None = "end_turn"
    input_tokens: int = 12
    output_tokens: int = 5
    is_complete: bool = True
    unknown: int = 0


EXPECTED = {
    "plain_text": Expected(),
    "line_ends_cr": Expected(),
    "line_ends_crlf": Expected(),
    "data_only": Expected(unknown=1),
    "names_only": Expected(),
    "spread_over_data_lines": Expected(unknown=1),
    "starts_twice": Expected(),
    "stopped_too_early": Expected(),
    "wrong_types": Expected(input_tokens=0, unknown=4),
    "ending_with_extras": Expected(),
    "no_usage_at_the_end": Expected(input_tokens=0, output_tokens=0),
    "two_message_deltas": Expected(stop_reason="stop_sequence"),
    "other_line_separators": Expected(content=[text("a\u2028b\u2029c\u0085d🗼 é")]),
    "half_an_emoji": Expected(content=[text("Tide 🌊 and \ufffd")]),
    "unfinished_last_event": Expected(is_complete=False),
    "thinking_shown": Expected(content=[THINKING, text("None.")], output_tokens=30),
    "thinking_omitted": Expected(content=[OMITTED_THINKING, text("None.")], output_tokens=30),
    "overlapping_blocks": Expected(content=[{**THINKING, "thinking": "Hmm."}, text("Bonjour")]),
    "starts_missing": Expected(
        content=[{"type": "thinking", "thinking": "Hm."}, text("Bonjour")], input_tokens=0
    ),
    "tool_call": Expected(
        content=[text("Looking it up."), call("tide_table", {"port": "Brest", "day": 3}, "toolu_b2")],
        stop_reason="tool_use",
        output_tokens=41,
    ),
    "cut_tool_input": Expected(
        content=[call("tide_table", {}, "toolu_b2")], stop_reason="max_tokens", output_tokens=16
    ),
    "tool_use_without_input": Expected(
        content=[call("tide_table", {"port": "Brest"}), call("now", {}, "toolu_2")],
        stop_reason="tool_use",
        output_tokens=20,
    ),
    "tool_input_in_start": Expected(
        content=[call("tide_table", {"port": "Brest"})], stop_reason="tool_use", output_tokens=20
    ),
    "every_block_is_number_0": Expected(content=[text("Looking."), call("now", {})], stop_reason="tool_use"),
    "web_search": Expected(
        content=[
            call("web_search", {"query": "lighthouse keepers"}, "srvtoolu_c3", "server_tool_use"),
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_c3", "content": [SEARCH_RESULT]},
            text("The last left in 1989.", citations=[CITATION]),
        ],
        input_tokens=9210,
        output_tokens=77,
    ),
    "compaction": Expected(
        content=[
            {"type": "compaction", "content": "Earlier: tides.", "encrypted_content": "QUJD"},
            {"type": "redacted_thinking", "data": "Zm9v"},
            text("Bonjour"),
        ]
    ),
    "refusal_with_unknown_event": Expected(
        content=[text("The first step")], stop_reason="refusal", output_tokens=9, unknown=1
    ),
    "unknown_delta_and_block": Expected(
        content=[
            {"type": "hologram", "depth": 3, "layers": [None, {"z": 1.5}]},
            {"type": "poem", "text": "To be", "metre": "iamb"},
            text("Done."),
        ],
        stop_reason="sundown",
        unknown=2,
    ),
    "overloaded_mid_stream": Expected(
        content=[text("Once upon")], stop_reason=None, output_tokens=3, is_complete=False
    ),
    "bare_error": Expected(content=[text("Bon")], stop_reason=None, output_tokens=1, is_complete=False),
    "truncated": Expected(
        content=[
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            text("Bonjour"),
            call("tide_table", {}),
        ],
        stop_reason=None,
        output_tokens=9,
        is_complete=False,
    ),
}


def read(name: str) -> tuple[MessageAccumulator, list[StreamEvent]]:
    accumulator = MessageAccumulator()
    events = [decode_event(sse) for sse in SSEDecoder().feed((FOLDER / f"{name}.sse").read_bytes())]
    for event in events:
        accumulator.add(event)
    return accumulator, events


def test_every_stream_is_listed_here() -> None:
    """Promise: no stream is left untested."""
    assert {path.stem for path in FOLDER.glob("*.sse")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_stream_says_where_it_came_from(name: str) -> None:
    """Promise: each starts with a comment on its origin."""
    assert (FOLDER / f"{name}.sse").read_bytes().removeprefix(b"\xef\xbb\xbf").startswith(b": ")


@pytest.mark.parametrize("name", EXPECTED)
def test_s1_stream_adds_up_to_its_message(name: str) -> None:
    """Promise: content, stop reason and usage are correct; output that was not counted is estimated."""
    expected = EXPECTED[name]

    accumulator, _ = read(name)

    message = accumulator.message()
    assert message.to_param() == {"role": "assistant", "content": expected.content}
    assert message.stop_reason == expected.stop_reason
    assert accumulator.has_stop_reason == (expected.stop_reason is not None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (
        expected.input_tokens,
        expected.output_tokens,
    )
    assert accumulator.usage == message.usage
    assert accumulator.is_complete == expected.is_complete
    assert accumulator.text == message.text
    assert len(accumulator.unknown) == expected.unknown


@pytest.mark.parametrize("name", ["overloaded_mid_stream", "bare_error"])
def test_s2_an_error_inside_a_stream_is_an_event_and_keeps_the_text(name: str) -> None:
    """Promise: an error after a 200 is detected, and the content before it is kept."""
    accumulator, events = read(name)

    assert isinstance(events[-1], ErrorEvent)
    assert accumulator.text


def test_s1_additional_fields_of_message_delta_are_kept() -> None:
    """Promise: they are attributes of the message, documented or not."""
    message = read("ending_with_extras")[0].message()

    assert message.stop_details == {"type": "other"}
    assert message.model_extra == {
        "container": {"id": "container_1", "expires_at": "2026-11-22T12:00:00Z"},
        "context_management": {"applied_edits": []},
        "input_transformations": [
            {"type": "thinking_dropped", "path": "messages.1.content.0", "reason": "model"}
        ],
    }


def test_s2_a_truncated_reply_knows_which_blocks_are_complete() -> None:
    """Promise: only the part of an incomplete reply that can be sent again is offered: the text, but no incomplete call."""
    message = read("truncated")[0].message()

    assert [block.is_complete for block in message.content] == [True, True, False]
    assert message.to_partial_param() == {"role": "assistant", "content": [text("Bonjour")]}
