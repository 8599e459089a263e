"""Requests as data: only fields that were set are sent, and any text can be encoded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import ConfigurationError, Message, MessageRequest, TextBlock

TURN = {"role": "user", "content": "Bonjour"}

any_text = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too


def request(**fields: Any) -> MessageRequest:
    return MessageRequest(**{"model": "m", "max_tokens": 1000, "messages": [TURN], **fields})


def sent(a_request: MessageRequest, *, stream: bool = False) -> Any:
    return json.loads(a_request.to_json(stream=stream))


def test_c5_only_fields_that_were_set_are_sent() -> None:
    """Promise: no nulls, no defaults, no sampling parameters: the API rejects fields that it does not expect."""
    assert sent(request(system=None, temperature=None, custom=None)) == {
        "model": "m",
        "max_tokens": 1000,
        "messages": [TURN],
    }


def test_s1_streaming_is_chosen_by_the_call_not_by_the_request() -> None:
    """Promise: one request can be sent both ways."""
    assert sent(request(), stream=True)["stream"] is True
    assert "stream" not in sent(request(stream=True), stream=False)


def test_c5_unknown_fields_are_sent_unchanged() -> None:
    """Promise: a new parameter of the API works on the day it appears."""
    assert sent(request(speed="fast", diagnostics={"previous_message_id": None})) == {
        **sent(request()),
        "speed": "fast",
        "diagnostics": {"previous_message_id": None},
    }


def test_c5_a_reply_can_be_a_turn_of_the_next_request() -> None:
    """Promise: replies and blocks can be used directly as turns of a conversation."""
    content = [
        {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "text", "text": "a", "x": None},
    ]
    reply = Message.model_validate({"content": content})

    body = sent(request(messages=[TURN, reply, {"role": "user", "content": [TextBlock(text="b")]}]))

    assert body["messages"] == [
        TURN,
        {"role": "assistant", "content": content},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"model": ""},
            {"model": None},
            {"max_tokens": -1},
            {"max_tokens": "many"},
            {"messages": "Bonjour"},
        ),
        *({"messages": [5]}, {"system": 5}, {"stop_sequences": "END"}, {"tools": {}}),
    ],
)
def test_e1_an_invalid_field_is_named(wrong: dict[str, Any]) -> None:
    """Promise: a ClaudeError that names the field, and does not repeat the prompt."""
    with pytest.raises(
        ConfigurationError, match=f"request's {next(iter(wrong))}.*Nothing was sent"
    ) as caught:
        request(**wrong)

    assert "Bonjour" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [object(), b"\xff", {"a": object()}])
def test_e1_a_value_that_json_cannot_represent_is_a_claude_error(value: object) -> None:
    """Promise: an object that is not data raises before anything is sent."""
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        request(metadata={"user_id": value}).to_json(stream=True)


def test_e1_a_circular_value_is_a_claude_error() -> None:
    """Promise: not a RecursionError."""
    circle: dict[str, Any] = {}
    circle["again"] = circle

    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        request(metadata=circle).to_json(stream=True)


@pytest.mark.parametrize(
    ("prompt", "arrives"),
    [("a\ud83d\ude00b", "a😀b"), ("a\ud83db", "a\ufffdb"), ("\ude00\ud83d", "\ufffd\ufffd"), ("ok", "ok")],
)
def test_e1_a_prompt_with_halves_of_surrogate_pairs_is_sent_as_a_browser_would(
    prompt: str, arrives: str
) -> None:
    """Promise: pasted text can always be encoded: pairs of surrogates are joined, lone ones become U+FFFD."""
    turn = {"role": "user", "content": [{"type": "text", "text": prompt}]}

    body = sent(
        request(messages=[turn], system=prompt, stop_sequences=[prompt], metadata={"user_id": prompt})
    )

    assert body["messages"][0]["content"][0]["text"] == arrives
    assert (body["system"], body["stop_sequences"], body["metadata"]["user_id"]) == (
        arrives,
        [arrives],
        arrives,
    )


@given(prompt=any_text, system=any_text)
def test_e1_any_text_can_be_sent(prompt: str, system: str) -> None:
    """Promise: no prompt crashes the client, and valid text arrives unchanged."""
    body = sent(request(messages=[{"role": "user", "content": prompt}], system=system))

    for text, arrived in ((prompt, body["messages"][0]["content"]), (system, body["system"])):
        assert arrived == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_c5_token_counts_get_only_the_input() -> None:
    """Promise: fields that the counting endpoint rejects are not sent."""
    body = request(
        system="s", tools=[], temperature=1.0, stop_sequences=["x"], metadata={}, custom=1
    ).count_tokens_body()

    assert body == {"model": "m", "messages": [TURN], "system": "s", "tools": []}


def test_c5_a_request_is_not_changed_by_its_caller_afterwards() -> None:
    """Promise: appending to the history while a request is in flight does not change it."""
    turns = [dict(TURN)]
    a_request = request(messages=turns)

    turns.append({"role": "assistant", "content": "later"})
    turns[0]["content"] = "changed"

    assert sent(a_request)["messages"] == [TURN]


def test_c5_a_request_larger_than_the_api_accepts_raises_before_it_is_sent() -> None:
    """Promise: no upload that ends with a 413."""
    a_request = request(messages=[{"role": "user", "content": "x" * 33 * 2**20}])

    with pytest.raises(ConfigurationError, match=r"33\.0 MB; the API takes 32.*Nothing was sent"):
        a_request.to_json(stream=True)
