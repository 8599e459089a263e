"""Replies as data: all fields are kept, malformed data does not raise, and blocks are sent back unchanged."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import (
    Completion,
    ContentBlock,
    Message,
    ModelInfo,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    Usage,
)
from claude_magic.client._messages import MOST_TOKENS

REPLY: dict[str, Any] = {
    "id": "msg_01X",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-5-5",
    "content": [
        {"type": "thinking", "thinking": "", "signature": "EqQBxyz=="},
        {"type": "redacted_thinking", "data": "Zm9v"},
        {"type": "text", "text": "Four", "citations": None},
        {"type": "text", "text": "."},
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "f",
            "input": {"x": None},
            "caller": {"type": "direct"},
        },
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
        {"type": "hologram", "depth": 3},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 14, "cache_read_input_tokens": 100, "output_tokens": 4, "speed": "fast"},
    "container": {"id": "container_1"},
}


def message_of(*blocks: dict[str, Any]) -> Message:
    return Message.model_validate({"content": list(blocks)})


def test_c5_a_reply_is_typed_block_by_block() -> None:
    """Promise: known blocks have their classes; unknown ones have their fields as attributes."""
    message = Message.model_validate(REPLY)

    assert [type(block) for block in message.content] == [
        *(
            ThinkingBlock,
            RedactedThinkingBlock,
            TextBlock,
            TextBlock,
            ToolUseBlock,
            ToolUseBlock,
            ContentBlock,
        )
    ]
    assert message.text == "Four."
    assert message.thinking == ""
    assert [block.id for block in message.tool_uses] == ["toolu_1"]
    assert message.content[-1].model_extra == {"depth": 3}
    assert message.model_extra == {"container": {"id": "container_1"}}


def test_c5_a_reply_is_sent_back_unchanged() -> None:
    """Promise: with signatures, empty thinking, nulls, unknown blocks and fields, and nothing else."""
    assert Message.model_validate(REPLY).to_param() == {"role": "assistant", "content": REPLY["content"]}


def test_c5_to_param_returns_a_copy() -> None:
    """Promise: changing it does not change the reply."""
    message = Message.model_validate(REPLY)

    message.to_param()["content"][4]["input"]["x"] = 1

    assert message.to_param() == {"role": "assistant", "content": REPLY["content"]}


def test_c5_a_field_named_like_an_attribute_is_sent_back_too() -> None:
    """Promise: names that this package uses are ordinary fields in a block."""
    block = {"type": "tool_use", "id": "a", "name": "f", "input": {}, "raw_input": "x", "is_complete": False}

    message = message_of(block)

    assert message.to_param()["content"] == [block]
    assert message.tool_uses[0].raw_input is None
    assert message.tool_uses[0].is_complete


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": 5},
        {"type": "text"},
        {"type": "tool_use", "id": "a", "name": "f", "input": [1]},
        {"type": "tool_use", "id": "a"},
        {"type": "thinking", "thinking": None, "signature": "a"},
        {"type": 5},
        {"type": None},
        {},
    ],
)
def test_c5_a_malformed_block_is_kept_unchanged(block: dict[str, Any]) -> None:
    """Promise: one malformed block loses neither the reply nor itself."""
    message = message_of(block, {"type": "text", "text": "Bonjour"})

    assert type(message.content[0]) is ContentBlock
    assert message.to_param()["content"][0] == block
    assert message.text == "Bonjour"


@pytest.mark.parametrize("kind", [{"a": 1}, ["text"], 7, None, True, ""])
def test_a_text_of_no_type_is_a_text_and_another_such_block_is_not_sent_back(kind: Any) -> None:
    """The API rejects a history with a block that has no type."""
    message = message_of({"type": kind, "text": "Bonjour"}, {"type": kind, "thinking": "Hm"}, {"type": kind})

    assert (message.text, message.thinking) == ("Bonjour", "Hm")
    assert message.to_partial_param() == {
        "role": "assistant",
        "content": [{"type": "text", "text": "Bonjour"}],
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("id", None),
            ("id", 7),
            ("role", None),
            ("model", ["m"]),
            ("stop_reason", 5),
            ("stop_sequence", 5),
        ),
        *(("stop_details", "none"), ("usage", None), ("usage", "12"), ("usage", {"input_tokens": "many"})),
    ],
)
def test_c5_a_field_of_the_wrong_type_counts_as_absent(field: str, value: object) -> None:
    """Promise: a malformed reply is parsed, except for the invalid field."""
    message = Message.model_validate({**REPLY, field: value})

    default = Message(content=[])
    assert getattr(message, field) == getattr(default, field)
    assert message.text == "Four."


@pytest.mark.parametrize(
    ("content", "text"), [(None, ""), ("Bonjour", "Bonjour"), ([], ""), (["Bon", "jour"], "Bonjour")]
)
def test_c5_content_may_be_a_string_or_null(content: object, text: str) -> None:
    """Promise: the forms of content that the API accepts are also accepted in responses."""
    assert Message.model_validate({"content": content}).text == text


@pytest.mark.parametrize("reply", [{"choices": []}, {"content": 5}, {"content": [5]}, [], "text"])
def test_c5_an_object_without_content_is_not_a_message(reply: object) -> None:
    """Promise: the reply of another API does not become an empty message."""
    with pytest.raises(ValueError):
        Message.model_validate(reply)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"input_tokens": 5, "output_tokens": 6}, (5, 6)),
        ({"input_tokens": None, "output_tokens": 6.0}, (0, 6)),
        ({"input_tokens": True, "output_tokens": float("inf")}, (0, 0)),
        ({"input_tokens": 1.5, "output_tokens": "6"}, (0, 0)),
        ({"input_tokens": -200_000, "output_tokens": -1.0}, (0, 0)),
        ({"input_tokens": 10**400, "output_tokens": 1e300}, (0, 0)),
        ({"input_tokens": float("nan"), "output_tokens": MOST_TOKENS}, (0, MOST_TOKENS)),
        ({"input_tokens": MOST_TOKENS + 1, "output_tokens": [6]}, (0, 0)),
        ({}, (0, 0)),
    ],
)
def test_c5_counts_that_are_not_numbers_are_treated_as_absent(
    value: dict[str, Any], expected: tuple[int, int]
) -> None:
    """Promise: usage contains only numbers, whatever was sent."""
    usage = Usage.model_validate(value)

    assert (usage.input_tokens, usage.output_tokens) == expected


COUNTS = st.integers() | st.floats() | st.booleans() | st.text(max_size=3) | st.none() | st.just(10**400)


@given(
    st.dictionaries(
        st.sampled_from(
            ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
        ),
        COUNTS,
    ),
    COUNTS,
)
def test_c5_all_counts_in_a_usage_are_valid(fields: dict[str, Any], count: Any) -> None:
    """Promise: code that computes with a usage needs no checks: at any depth, counts are bounded integers, and not negative."""
    nested = {
        "cache_creation": {"ephemeral_1h_input_tokens": count},
        "server_tool_use": {"web_search_requests": count},
        "iterations": [{"type": "message", "input_tokens": count, "cache_creation": {"x_tokens": count}}],
        "credit": count,
    }

    usage = Usage.model_validate({**fields, **nested})

    assert 0 <= usage.total_input_tokens <= 3 * MOST_TOKENS
    assert 0 <= usage.output_tokens <= MOST_TOKENS
    for found in numbers_in(usage.model_dump()):
        assert abs(found) <= MOST_TOKENS
    for name, parts in (("cache_creation", usage.cache_creation), ("server_tool_use", usage.server_tool_use)):
        for found in numbers_in(parts):
            assert type(found) is int, name
            assert found >= 0, name


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in numbers_in(item)]
    if isinstance(value, list):
        return [found for item in value for found in numbers_in(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_c5_other_fields_of_a_usage_are_kept() -> None:
    """Promise: including a gateway's own fields, and a count that was sent as 6.0."""
    usage = Usage.model_validate(
        {
            "cost": 0.0012,
            "speed": "fast",
            "is_byok": True,
            "iterations": [{"input_tokens": 6.0, "model": "m"}],
        }
    )

    assert usage.model_extra == {
        "cost": 0.0012,
        "speed": "fast",
        "is_byok": True,
        "iterations": [{"input_tokens": 6, "model": "m"}],
    }


def test_c5_a_deeply_nested_usage_is_parsed() -> None:
    """Promise: no nesting depth loses the reply."""
    deep: Any = {}
    for _ in range(990):
        deep = {"iterations": [deep]}

    assert Usage.model_validate({"output_tokens": 7, "x": deep}).output_tokens == 7


def test_c5_a_sum_of_usages_may_exceed_the_limit_of_one() -> None:
    """Promise: the limit applies to reported counts, not to the total of a long session."""
    total = Usage(input_tokens=MOST_TOKENS) + Usage(input_tokens=MOST_TOKENS, output_tokens=2)

    assert (total.input_tokens, total.output_tokens) == (2 * MOST_TOKENS, 2)


@pytest.mark.parametrize("count", [-1, 0, 10**400, float("nan"), True, "8192", 1.5])
def test_c5_a_models_limits_are_counts_or_unknown(count: Any) -> None:
    """Promise: code that computes with a model's size gets a valid one."""
    model = ModelInfo.model_validate({"id": "m", "max_tokens": count, "max_input_tokens": count})

    assert (model.max_tokens, model.max_input_tokens) == (None, None)


def test_c5_total_input_is_the_sum_of_its_three_parts() -> None:
    """Promise: the prompt's size includes input that was read from the cache and written to it."""
    usage = Usage(input_tokens=1, cache_creation_input_tokens=20, cache_read_input_tokens=300)

    assert usage.total_input_tokens == 321
    assert Usage(input_tokens=1).total_input_tokens == 1


def test_s1_merged_usage_replaces_only_fields_of_the_update() -> None:
    """Promise: defaults, nulls and invalid values of an update do not overwrite a count, and nothing is added up."""
    usage = Usage.model_validate({"input_tokens": 5, "output_tokens": 1, "speed": "fast"})

    merged = usage.merged(Usage.model_validate({"output_tokens": 9, "input_tokens": None, "iterations": [1]}))

    assert merged == Usage.model_validate(
        {"input_tokens": 5, "output_tokens": 9, "speed": "fast", "iterations": [1]}
    )
    for nonsense in ("many", 1.5, float("inf"), True, None, -3, 10**400):
        assert merged.merged(Usage.model_validate({"output_tokens": nonsense, "speed": None})) == merged


@pytest.mark.parametrize(
    ("blocks", "kept"),
    [
        ([{"type": "text", "text": "Bon"}], [0]),
        ([{"type": "text", "text": " \n"}], []),
        ([{"type": "thinking", "thinking": "a", "signature": ""}, {"type": "text", "text": "b"}], [1]),
        ([{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "b"}], [0, 1]),
        ([{"type": "redacted_thinking", "data": "a"}], [0]),
        ([{"type": "text", "text": "b"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}], [0]),
        ([{"type": "server_tool_use", "id": "a", "name": "f", "input": {}}], []),
        (
            [
                {"type": "server_tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "a", "content": []},
            ],
            [0, 1],
        ),
        ([{"type": "tool_use", "name": "no id"}, {"type": "hologram"}], [1]),
        ([], []),
    ],
)
def test_s2_a_partial_reply_offers_only_content_that_the_api_accepts(
    blocks: list[dict[str, Any]], kept: list[int]
) -> None:
    """Promise: the history after an incomplete reply contains no unanswered call, no unsigned thinking and no blank text."""
    param = message_of(*blocks).to_partial_param()

    assert param == ({"role": "assistant", "content": [blocks[place] for place in kept]} if kept else None)


def test_o2_a_repr_is_short() -> None:
    """Promise: a message as the value of a cell does not fill the page."""
    message = Message.model_validate({**REPLY, "content": [{"type": "text", "text": "x" * 100_000}] * 3})

    assert len(repr(message)) < 700
    assert "(100,000 characters)" in repr(message)
    assert repr(TextBlock(text="Bonjour")) == "TextBlock(text='Bonjour')"
    assert repr(Usage(input_tokens=3)) == "Usage(input_tokens=3)"


def test_c5_messages_survive_copying_and_pickling() -> None:
    """Promise: a reply can be stored and sent between processes."""
    message = Message.model_validate(REPLY)

    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message


def test_c5_a_block_that_is_constructed_has_its_type() -> None:
    """Promise: blocks can be created for a request, not only received."""
    assert TextBlock(text="Bonjour").to_param() == {"type": "text", "text": "Bonjour"}


def test_c5_models_of_other_servers_need_only_an_id() -> None:
    """Promise: OpenAI-style model lists are accepted, including unexpected values."""
    model = ModelInfo.model_validate({"id": "llama", "object": "model", "created": 5, "max_tokens": "big"})

    assert (model.id, model.display_name, model.max_tokens) == ("llama", "", None)
    with pytest.raises(ValueError):
        ModelInfo.model_validate({"object": "model"})


def test_c4_str_of_a_completion_is_its_text() -> None:
    """Promise: printing the result of `execute` prints the answer."""
    message = Message.model_validate(REPLY)

    assert str(Completion(text=message.text, usage=message.usage, message=message)) == "Four."
