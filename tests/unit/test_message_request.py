"""Requests as data: what was set is sent, nothing else is, and no text can break the encoder."""

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


def test_c5_only_what_was_set_is_sent() -> None:
    """Promise: no nulls, no defaults, no sampling parameters: the API refuses fields it does not expect."""
    assert sent(request(system=None, temperature=None, custom=None)) == {
        "model": "m",
        "max_tokens": 1000,
        "messages": [TURN],
    }


def test_s1_streaming_is_asked_for_by_the_call_not_by_the_request() -> None:
    """Promise: one request can be sent both ways."""
    assert sent(request(), stream=True)["stream"] is True
    assert "stream" not in sent(request(stream=True), stream=False)


def test_c5_fields_of_the_future_are_sent_as_they_are() -> None:
    """Promise: a new parameter of the API works on the day it appears."""
    assert sent(request(speed="fast", diagnostics={"previous_message_id": None})) == {
        **sent(request()),
        "speed": "fast",
        "diagnostics": {"previous_message_id": None},
    }


def test_c5_a_reply_can_be_a_turn_of_the_next_request() -> None:
    """Promise: a conversation is a list of what was said; replies and blocks go in as they are."""
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
def test_e1_a_field_that_cannot_be_right_is_named(wrong: dict[str, Any]) -> None:
    """Promise: the error is one of ours, names the field, and does not repeat the prompt."""
    with pytest.raises(
        ConfigurationError, match=f"request's {next(iter(wrong))}.*Nothing was sent"
    ) as caught:
        request(**wrong)

    assert "Bonjour" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [object(), b"\xff", {"a": object()}])
def test_e1_a_value_json_cannot_express_is_an_error_of_ours(value: object) -> None:
    """Promise: an object that is no data fails before anything is sent, and says so."""
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        request(metadata={"user_id": value}).to_json(stream=True)


def test_e1_a_value_that_contains_itself_is_an_error_of_ours() -> None:
    """Promise: even a circular value does not end in a RecursionError."""
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
    """Promise: text pasted from elsewhere never fails in the encoder: pairs are joined, lone halves become U+FFFD."""
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
    """Promise: there is no prompt that crashes the client; well-formed text arrives unchanged."""
    body = sent(request(messages=[{"role": "user", "content": prompt}], system=system))

    for text, arrived in ((prompt, body["messages"][0]["content"]), (system, body["system"])):
        assert arrived == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_c5_token_counts_get_only_the_input() -> None:
    """Promise: the counting endpoint is not sent what it refuses."""
    body = request(
        system="s", tools=[], temperature=1.0, stop_sequences=["x"], metadata={}, custom=1
    ).count_tokens_body()

    assert body == {"model": "m", "messages": [TURN], "system": "s", "tools": []}


def test_c5_a_request_is_not_changed_by_its_caller_afterwards() -> None:
    """Promise: appending to the history while a request is under way does not change what is sent."""
    turns = [dict(TURN)]
    a_request = request(messages=turns)

    turns.append({"role": "assistant", "content": "later"})
    turns[0]["content"] = "changed"

    assert sent(a_request)["messages"] == [TURN]


def test_c5_a_request_larger_than_the_api_takes_is_refused_before_it_is_sent() -> None:
    """Promise: nobody waits for an upload that ends in a 413."""
    a_request = request(messages=[{"role": "user", "content": "x" * 33 * 2**20}])

    with pytest.raises(ConfigurationError, match=r"33\.0 MB; the API takes 32.*Nothing was sent"):
        a_request.to_json(stream=True)
