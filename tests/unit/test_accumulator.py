"""The accumulator: events in any acceptable order give the intended message."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import (
    ContentBlockDelta,
    Message,
    MessageAccumulator,
    ServerSentEvent,
    StreamEvent,
    ToolUseBlock,
    Usage,
    decode_event,
)
from claude_magic.client._events import BlockBuilder, event_of
from claude_magic.client._json import encode_json
from claude_magic.client._messages import events_of

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
whole_blocks = st.one_of(
    objects,
    st.builds(lambda extra, kind: {**extra, "type": kind}, objects, st.text(max_size=12)),
    st.builds(lambda extra, text: {**extra, "type": "text", "text": text}, objects, st.text()),
    st.builds(
        lambda extra, text, signature: {
            **extra,
            "type": "thinking",
            "thinking": text,
            "signature": signature,
        },
        *(objects, st.text(), st.text()),
    ),
    st.builds(lambda extra, data: {**extra, "type": "redacted_thinking", "data": data}, objects, st.text()),
    st.builds(
        lambda extra, kind, arguments: {
            **extra,
            "type": kind,
            "id": "toolu_1",
            "name": "f",
            "input": arguments,
        },
        *(objects, st.sampled_from(("tool_use", "server_tool_use", "mcp_tool_use")), objects),
    ),
    st.builds(
        lambda content: {"type": "web_fetch_tool_result", "tool_use_id": "x", "content": content}, json_values
    ),
)


def event(payload: dict[str, Any]) -> StreamEvent:
    return decode_event(ServerSentEvent(payload["type"], json.dumps(payload).encode()))


def accumulate(payloads: Iterable[dict[str, Any]]) -> MessageAccumulator:
    accumulator = MessageAccumulator()
    for payload in payloads:
        accumulator.add(event(payload))
    return accumulator


def start(usage: dict[str, Any] | None = None) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    return {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage or {}}}


def begin(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: object) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(stop_reason: str | None, usage: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]:
    payload = {"type": "message_delta", "delta": {"stop_reason": stop_reason, **fields}}
    return payload if usage is None else {**payload, "usage": usage}


STOP = {"type": "message_stop"}
PING = {"type": "ping"}
TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "tide_table", "input": {}}


def streamed(pieces: list[str], thoughts: list[str], arguments: list[str]) -> list[dict[str, Any]]:
    """Return the events of a reply with thinking, text and a tool call, each in pieces."""
    return [
        start({"input_tokens": 3, "output_tokens": 1}),
        begin(0, THINKING),
        *(delta(0, "thinking_delta", thinking=thought) for thought in thoughts),
        delta(0, "signature_delta", signature="c2ln"),
        end(0),
        begin(1, TEXT),
        *(delta(1, "text_delta", text=piece) for piece in pieces),
        end(1),
        begin(2, TOOL),
        *(delta(2, "input_json_delta", partial_json=fragment) for fragment in arguments),
        end(2),
        ending("tool_use", {"output_tokens": 20}),
        STOP,
    ]


@given(
    pieces=st.lists(st.text()),
    thoughts=st.lists(st.text()),
    arguments=objects,
    cuts=st.lists(st.integers(0, 200)),
)
def test_s1_pieces_add_up_however_they_were_cut(
    pieces: list[str], thoughts: list[str], arguments: dict[str, Any], cuts: list[int]
) -> None:
    """Promise: text, thinking and tool input are complete, wherever the server cut them."""
    encoded = json.dumps(arguments)
    bounds = [0, *sorted(min(cut, len(encoded)) for cut in cuts), len(encoded)]
    fragments = [encoded[left:right] for left, right in itertools.pairwise(bounds)]

    message = accumulate(streamed(pieces, thoughts, fragments)).message()

    assert message.text == "".join(pieces)
    assert message.thinking == "".join(thoughts)
    assert message.tool_uses[0].input == arguments
    assert message.tool_uses[0].raw_input is None


@given(
    noise=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from((PING, {"type": "weather_report", "sky": 1})))
    )
)
def test_s1_pings_and_unknown_events_change_nothing(noise: list[tuple[int, dict[str, Any]]]) -> None:
    """Promise: events without content may occur anywhere, in any number."""
    payloads = streamed(["Bon", "jour"], ["Hm", "m."], ['{"a":', "1}"])
    noisy = list(payloads)
    for place, payload in noise:
        noisy.insert(place % (len(noisy) + 1), payload)

    assert accumulate(noisy).message() == accumulate(payloads).message()


@given(order=st.permutations([0] * 4 + [1] * 5))
def test_s1_blocks_may_overlap_in_any_way(order: list[int]) -> None:
    """Promise: the deltas of two blocks may alternate; each belongs to its block."""
    queues = [
        [
            begin(0, THINKING),
            delta(0, "thinking_delta", thinking="Hm"),
            delta(0, "thinking_delta", thinking="m."),
            end(0),
        ],
        [begin(1, TEXT), *(delta(1, "text_delta", text=piece) for piece in ("Bon", "jo", "ur")), end(1)],
    ]
    payloads = [queues[index].pop(0) for index in order]

    message = accumulate([start(), *payloads, ending("end_turn"), STOP]).message()

    assert (message.thinking, message.text) == ("Hmm.", "Bonjour")


@given(blocks=st.lists(whole_blocks, max_size=4))
def test_s1_blocks_are_sent_back_unchanged(blocks: list[dict[str, Any]]) -> None:
    """Promise: any block, streamed or in a plain reply, is sent back with all its fields, known or not."""
    payloads = [
        payload for index, block in enumerate(blocks) for payload in (begin(index, block), end(index))
    ]

    streamed_message = accumulate([start(), *payloads, ending("end_turn"), STOP]).message()
    plain_message = Message.model_validate(json.loads(json.dumps({"id": "msg_1", "content": blocks})))

    assert streamed_message.to_param() == plain_message.to_param() == {"role": "assistant", "content": blocks}


@given(blocks=st.lists(whole_blocks | objects, max_size=4))
def test_s1_a_reply_sent_whole_to_a_streaming_call_is_read_as_a_stream(blocks: list[dict[str, Any]]) -> None:
    """Promise: a server that ignores `stream: true` is supported, and no field of its reply is lost."""
    reply = {
        **start({"input_tokens": 3, "output_tokens": 9})["message"],
        "content": blocks,
        "stop_reason": "end_turn",
        "x": [1],
    }
    accumulator = MessageAccumulator()

    for raw in events_of(reply):
        accumulator.add(event_of(raw))

    assert accumulator.is_complete
    assert accumulator.message() == Message.model_validate(reply)


def test_s1_a_streamed_reply_equals_the_plain_one() -> None:
    """Promise: a reply is the same whether it was streamed or not."""
    payloads = streamed(["Bon", "jour"], ["Hm"], ['{"port": "Brest"}'])
    plain = {
        **start()["message"],
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "text", "text": "Bonjour"},
            {**TOOL, "input": {"port": "Brest"}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 20},
    }

    assert accumulate(payloads).message() == Message.model_validate(plain)


def test_s1_usage_is_replaced_field_by_field_and_never_added() -> None:
    """Promise: counts are cumulative; nulls and absent fields keep the earlier count."""
    usage = accumulate(
        [
            start(
                {
                    "input_tokens": 2679,
                    "cache_read_input_tokens": 7,
                    "output_tokens": 3,
                    "service_tier": "standard",
                }
            ),
            ending(None, {"input_tokens": 9000, "output_tokens": 10, "cache_read_input_tokens": None}),
            ending(
                "end_turn",
                {"input_tokens": 10682, "output_tokens": 77, "server_tool_use": {"web_search_requests": 1}},
            ),
        ]
    ).usage

    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (10682, 77, 7)
    assert usage.total_input_tokens == 10689
    assert (usage.service_tier, usage.server_tool_use) == ("standard", {"web_search_requests": 1})


@pytest.mark.parametrize("fragments", [['{"port": "Br'], ["[1, 2]"], ['"text"'], ['{"a": 1}', '{"b": 2}']])
def test_s1_tool_input_that_is_not_a_json_object_is_kept_as_text(fragments: list[str]) -> None:
    """Promise: invalid tool input does not raise, is not guessed, and is not sent back."""
    payloads = [
        start(),
        begin(0, TOOL),
        *(delta(0, "input_json_delta", partial_json=text) for text in fragments),
        end(0),
    ]

    block = accumulate([*payloads, ending("max_tokens"), STOP]).message().content[0]

    assert isinstance(block, ToolUseBlock)
    assert block.raw_input == "".join(fragments)


@pytest.mark.parametrize("levels", [150, 300, 600, 900, 100_000])
def test_s1_arguments_of_any_depth_are_read_or_invalid(levels: int) -> None:
    """Promise: arguments nested more deeply than a request may be are invalid, and do not end the turn."""
    written = f'{{"x": {"[" * levels}{"]" * levels}}}'

    message = accumulate(
        [start(), begin(0, TOOL), delta(0, "input_json_delta", partial_json=written), end(0), STOP]
    ).message()

    assert message.tool_uses[0].raw_input == (None if levels == 150 else written)
    encode_json({"messages": [message.to_param()]})


@pytest.mark.parametrize("fragments", [[], [""], ["", " "]])
def test_s1_no_tool_input_means_an_empty_object(fragments: list[str]) -> None:
    """Promise: a tool without arguments is called without arguments."""
    payloads = [
        start(),
        begin(0, TOOL),
        *(delta(0, "input_json_delta", partial_json=text) for text in fragments),
        end(0),
    ]

    block = accumulate([*payloads, ending("tool_use"), STOP]).message().tool_uses[0]

    assert (block.input, block.raw_input) == ({}, None)


def test_s1_content_starts_with_the_first_delta_of_any_kind() -> None:
    """Promise: thinking counts as content: after it nothing may be replayed (R4)."""
    accumulator = accumulate([start(), begin(0, THINKING), PING])

    assert not accumulator.has_content
    accumulator.add(event(delta(0, "thinking_delta", thinking="")))
    assert accumulator.has_content


@pytest.mark.parametrize(
    ("block", "has_content"),
    [
        ({"type": "text", "text": "All of it."}, True),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}, True),
        ({"type": "redacted_thinking", "data": "x"}, True),
        ({"type": "web_search_tool_result", "tool_use_id": "t", "content": []}, True),
        ({"type": "text", "text": "", "citations": []}, False),
        (THINKING, False),
        (
            {"type": "server_tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
            False,
        ),
        ({"type": "compaction", "content": None}, False),
    ],
)
def test_s1_content_may_arrive_with_the_start_of_a_block(block: dict[str, Any], has_content: bool) -> None:
    """Promise: it has been generated and billed, so nothing may be replayed (R4)."""
    accumulator = accumulate([start({"input_tokens": 3, "output_tokens": 1}), begin(0, block)])

    assert accumulator.has_content is has_content


@pytest.mark.parametrize("block", [{**TEXT, "text": "word " * 300}, {**TOOL, "input": {"x": "word " * 300}}])
def test_s2_content_of_the_start_of_a_block_is_estimated_too(block: dict[str, Any]) -> None:
    """Promise: if the server has counted no output yet, or counted it before."""
    payloads = [start({"input_tokens": 3, "output_tokens": 1}), begin(0, block)]
    counted = [
        start(),
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1}},
        begin(0, block),
    ]

    for each in (payloads, counted):
        usage = accumulate(each).usage
        assert usage.is_estimate
        assert usage.output_tokens > 200


def test_s2_a_snapshot_shows_what_has_arrived_and_the_reply_goes_on() -> None:
    """Promise: a message that is requested in mid-stream does not affect the reply."""
    payloads = streamed(["Bon", "jour"], ["Hm"], ['{"a":', "1}"])
    accumulator = MessageAccumulator()
    texts = []

    for payload in payloads:
        accumulator.add(event(payload))
        texts.append(accumulator.message().text)

    assert texts == [""] * 6 + ["Bon"] + ["Bonjour"] * 8
    assert accumulator.message() == accumulate(payloads).message()


def test_s2_an_earlier_snapshot_does_not_change_later() -> None:
    """Promise: a message is a value, and does not change afterwards."""
    accumulator = accumulate([start(), begin(0, TEXT), delta(0, "text_delta", text="Bon")])
    snapshot = accumulator.message()

    accumulator.add(event(delta(0, "text_delta", text="jour")))

    assert (snapshot.text, accumulator.message().text) == ("Bon", "Bonjour")


def test_s2_incomplete_tool_input_is_text_in_a_snapshot() -> None:
    """Promise: arguments can be displayed while they arrive."""
    block = (
        accumulate([start(), begin(0, TOOL), delta(0, "input_json_delta", partial_json='{"po')])
        .message()
        .content[0]
    )

    assert isinstance(block, ToolUseBlock)
    assert (block.raw_input, block.input, block.is_complete) == ('{"po', {}, False)


def test_s1_blocks_that_were_never_stopped_are_complete_with_the_reply() -> None:
    """Promise: blocks of a server that omits content_block_stop are complete, too."""
    accumulator = accumulate([start(), begin(0, TOOL), delta(0, "input_json_delta", partial_json='{"a":1}')])
    assert not accumulator.message().content[0].is_complete

    accumulator.add(event(STOP))

    assert accumulator.message().content[0].is_complete


def test_s1_deltas_on_top_of_a_start_that_has_content_are_appended() -> None:
    """Promise: text and citations in a block's start are not lost."""
    payloads = [
        start(),
        begin(0, {"type": "text", "text": "Bon", "citations": [{"n": 1}]}),
        delta(0, "text_delta", text="jour"),
        delta(0, "citations_delta", citation={"n": 2}),
        end(0),
    ]

    block = accumulate(payloads).message().content[0]

    assert block.to_param() == {"type": "text", "text": "Bonjour", "citations": [{"n": 1}, {"n": 2}]}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("text_delta", {"text": "Bonjour"}),
        ("thinking_delta", {"thinking": "Hm."}),
        ("signature_delta", {"signature": "c2ln"}),
        ("citations_delta", {"citation": {"n": 1}}),
        ("compaction_delta", {"content": "Earlier"}),
        ("input_json_delta", {"partial_json": "{}"}),
        ("hologram_delta", {"photons": 12}),
    ],
)
@pytest.mark.parametrize("begun", [None, TEXT, THINKING, TOOL, {"type": "redacted_thinking", "data": "Zm9v"}])
def test_s1_no_delta_is_lost_whatever_block_it_meets(
    kind: str, fields: dict[str, Any], begun: dict[str, Any] | None
) -> None:
    """Promise: a delta is added to its block, to a new block, or to `unknown`; it is never dropped."""
    accumulator = accumulate([start(), *([begin(0, begun)] if begun else [])])
    before = accumulator.message().to_param()["content"]
    incoming = event(delta(0, kind, **fields))

    accumulator.add(incoming)

    assert isinstance(incoming, ContentBlockDelta)
    is_in_block = accumulator.message().to_param()["content"] != before or (begun, kind) == (
        TOOL,
        "input_json_delta",
    )
    assert is_in_block != (incoming in accumulator.unknown)


def test_s1_blocks_are_ordered_by_index() -> None:
    """Promise: the index is the position in the content, whichever block starts first."""
    payloads = [
        begin(1, {"type": "text", "text": "b"}),
        begin(0, {"type": "text", "text": "a"}),
        end(1),
        end(0),
    ]

    accumulator = accumulate([start(), *payloads, ending("end_turn"), STOP])

    assert accumulator.text == accumulator.message().text == "ab"


def test_s1_an_unknown_block_accepts_known_deltas() -> None:
    """Promise: a new type of block with known deltas is assembled."""
    payloads = [
        begin(0, {"type": "sealed_poem", "text": "To"}),
        delta(0, "text_delta", text=" be"),
        delta(0, "citations_delta", citation={"n": 1}),
        delta(0, "signature_delta", signature="c2ln"),
        end(0),
        begin(1, {"type": "future_tool_use", "id": "a"}),
        delta(1, "input_json_delta", partial_json='{"a": 1}'),
        end(1),
    ]

    message = accumulate([start(), *payloads, ending("end_turn"), STOP]).message()

    assert message.to_param()["content"] == [
        {"type": "sealed_poem", "text": "To be", "citations": [{"n": 1}], "signature": "c2ln"},
        {"type": "future_tool_use", "id": "a", "input": {"a": 1}},
    ]


def test_s1_content_in_message_start_is_not_lost() -> None:
    """Promise: a server that sends all content in the first event is supported."""
    first = start()
    first["message"]["content"] = [{"type": "text", "text": "Bonjour"}]

    message = accumulate([first, ending("end_turn"), STOP]).message()

    assert message.text == "Bonjour"


def test_s1_a_reply_without_content_is_a_message_without_content() -> None:
    """Promise: `max_tokens: 0`, and a stream that ends before its first block, give an empty message instead of an error."""
    assert accumulate([start(), ending("max_tokens", {"output_tokens": 0}), STOP]).message().content == []
    assert MessageAccumulator().message().content == []


def test_s2_uncounted_output_is_estimated_from_all_content() -> None:
    """Promise: text, thinking and tool arguments count; the server's initial count of 1 is not taken as final."""
    reported = {"input_tokens": 100, "output_tokens": 1}
    words, thoughts, arguments = (
        ["seas and tides "] * 100,
        ["it ebbs and flows "] * 50,
        ['{"port": "', "x" * 600, '"}'],
    )
    payloads = [start(reported), *streamed(words, thoughts, arguments)[1:]]
    endings = ("message_delta", "message_stop")
    cut = [payload for payload in payloads if payload["type"] not in endings]

    usage = accumulate(cut).message().usage

    size = sum(map(len, (*words, *thoughts, *arguments)))
    assert usage.is_estimate
    assert size / 4 < usage.output_tokens < size / 2
    assert usage.input_tokens == 100


@pytest.mark.parametrize(
    "text",
    [
        "潮の満ち引きは月が起こす。" * 40,
        "Прилив и отлив вызывает Луна. " * 30,
        "x = [i**2 for i in range(9)]\n" * 20,
    ],
)
def test_s2_the_estimate_is_near_for_other_scripts_and_for_code(text: str) -> None:
    """Promise: between a quarter of the characters and all of them, for all scripts and for code."""
    usage = accumulate(
        [start({"input_tokens": 5, "output_tokens": 1}), begin(0, TEXT), delta(0, "text_delta", text=text)]
    ).usage

    assert len(text) / 4 <= usage.output_tokens <= 1.1 * len(text)


def test_s1_the_servers_count_is_not_replaced_by_an_estimate() -> None:
    """Promise: even if it is far from the estimate."""
    for payloads in (
        streamed(["word " * 500], ["Hm"], ["{}"]),
        [start({"output_tokens": 1}), ending("end_turn", {"output_tokens": 3})],
    ):
        assert not accumulate(payloads).usage.is_estimate


def test_s2_content_after_a_count_makes_it_an_estimate_again() -> None:
    """Promise: if a server reports several counts, only content after the last one is estimated."""
    words = delta(0, "text_delta", text="tide ")
    counted = [start({"input_tokens": 5}), begin(0, TEXT), words, ending(None, {"output_tokens": 900})]

    assert not accumulate(counted).usage.is_estimate
    later = accumulate([*counted, words]).usage
    assert (later.output_tokens, later.is_estimate) == (900, True)


def test_s1_without_any_count_there_is_no_estimate() -> None:
    """Promise: without the input, no price could be computed."""
    usage = accumulate([start({}), *streamed(["word"], ["Hm"], ["{}"])[1:-2]]).usage

    assert not usage.model_fields_set
    assert not usage.is_estimate


def test_an_estimate_is_marked_wherever_it_goes() -> None:
    """Promise: repr, JSON, sums and copies keep the mark; a counted usage does not contain it."""
    counted = Usage(input_tokens=3, output_tokens=4)
    estimated = counted.estimated(90)

    assert "is_estimate=True" in repr(estimated)
    assert "estimate" not in repr(counted)
    assert estimated.model_dump(exclude_none=True) == {
        "input_tokens": 3,
        "output_tokens": 90,
        "is_estimate": True,
    }
    assert "is_estimate" not in counted.model_dump()
    assert (counted + estimated).is_estimate
    assert (estimated + counted).is_estimate
    assert not (counted + counted).is_estimate
    assert Usage.model_validate(estimated.model_dump()) == estimated


def test_s1_the_model_of_a_message_is_the_one_that_replied() -> None:
    """Promise: not the one of the stream's start, if that declined; read from a block, from the usage, or from the whole reply."""
    marker = {
        "type": "fallback",
        "from": {"model": "asked"},
        "to": {"model": "answered"},
        "trigger": {"type": "refusal"},
    }
    counts = {
        "output_tokens": 7,
        "iterations": [
            {"type": "fallback_message", "model": "answered", "input_tokens": 3, "output_tokens": 7}
        ],
    }
    block = [begin(0, marker), end(0)]
    begun = [start({"input_tokens": 3, "output_tokens": 1})]

    assert accumulate([*begun, *block]).message().model == "answered"
    assert accumulate([*begun, ending("end_turn", counts)]).message().model == "answered"
    assert accumulate([*begun, ending("end_turn", {"output_tokens": 7})]).message().model != "answered"
    whole = {**start()["message"], "content": [marker, {"type": "text", "text": "Yes."}], "usage": counts}
    assert Message.model_validate(whole).model == "answered"
    assert Message.model_validate({**whole, "usage": {}}).model == "answered"


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "fallback"},
        {"type": "fallback", "to": None},
        {"type": "fallback", "to": {"model": 5}},
        "fallback",
        None,
        7,
    ],
)
def test_s1_a_fallback_without_a_model_changes_nothing(odd: Any) -> None:
    """Promise: an invalid marker is ignored."""
    reply = {
        "model": "asked",
        "content": [odd] if isinstance(odd, dict | str) else [{"type": "text", "text": "Hi"}],
        "usage": odd,
    }

    assert Message.model_validate(reply).model == "asked"


def test_s1_the_last_step_gives_the_context_tokens() -> None:
    """Promise: a loop of server-side tools counts its input again in each step, but the context contains it once."""
    steps = [
        {"type": "message", "input_tokens": 2679, "output_tokens": 50},
        {"type": "message", "input_tokens": 4000, "cache_read_input_tokens": 100, "output_tokens": 60},
        {"type": "compaction", "input_tokens": 90000, "output_tokens": 900},
    ]
    usage = Usage.model_validate({"input_tokens": 6679, "output_tokens": 110, "iterations": steps})

    assert usage.context_tokens == 4160
    assert Usage(input_tokens=5, output_tokens=6).context_tokens == 11


def _text(index: int, text: str = "ab", kind: str = "text_delta") -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, "text": text}}


@pytest.mark.parametrize("kind", ["text_delta", "new_delta"])
def test_blocks_that_never_started_take_linear_time(kind: str) -> None:
    """Each delta finds its block, or that there is none, without a search."""

    class Blocks(list[Any]):
        searches = 0

        def __iter__(self) -> Any:
            self.searches += 1
            return super().__iter__()

        __reversed__ = __iter__

    accumulator = MessageAccumulator()
    accumulator._builders = blocks = Blocks()
    for index in range(50):
        accumulator.add(event_of(_text(index, kind=kind)))

    assert blocks.searches == 0
    assert len(accumulator.blocks()) + len(accumulator.unknown) == 50


def test_a_block_that_ends_after_each_delta_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not joined at each end; the reply is whole nevertheless, and its block complete."""
    built: list[int] = []
    build = BlockBuilder._build
    monkeypatch.setattr(
        BlockBuilder,
        "_build",
        lambda self, *, is_complete: (built.append(1), build(self, is_complete=is_complete))[1],
    )
    accumulator = MessageAccumulator()
    for number in range(100):
        accumulator.add(event_of(_text(0, f"{number} ")))
        accumulator.add(event_of({"type": "content_block_stop", "index": 0}))

    assert len(built) == 1
    assert accumulator.blocks()[0].is_complete
    assert accumulator.text == "".join(f"{number} " for number in range(100))
    (block,) = accumulator.message().content
    assert block.is_complete
    assert block.to_param()["text"] == accumulator.text


def test_a_delta_after_the_end_continues_the_last_block_of_its_index() -> None:
    """As long as no other block has started."""
    accumulator = MessageAccumulator()
    for index, text in ((0, "a"), (1, "b"), (0, "c")):
        accumulator.add(
            event_of(
                {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
            )
        )
        accumulator.add(event_of(_text(index, text)))
        accumulator.add(event_of({"type": "content_block_stop", "index": index}))
    accumulator.add(event_of(_text(0, "!")))

    assert not accumulator.blocks()[1].is_complete
    assert [builder.text for builder in accumulator.blocks()] == ["a", "c!", "b"]
