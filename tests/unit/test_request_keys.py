"""The key of a request: what may change the answer changes it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.client import MessageRequest, RequestKeys, request_key

CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def request(**changes: Any) -> MessageRequest:
    """A request with a little of everything."""
    fields: dict[str, Any] = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "output_config": {"effort": "low"},
        "thinking": {"type": "disabled"},
        "temperature": 0.5,
    }
    return MessageRequest(**{**fields, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"model": "claude-opus-5-5"},
        {"max_tokens": 101},
        {"system": "Be long."},
        {"messages": [{"role": "user", "content": "Ho"}]},
        {"messages": [{"role": "assistant", "content": "Hi"}]},
        {"tools": None},
        {"output_config": {"effort": "high"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        {"thinking": {"type": "adaptive"}},
        {"temperature": 0.6},
        {"top_k": 3},
        {"stop_sequences": ["x"]},
        {"betas": ("new-thing",)},
        {"a_field_of_tomorrow": 1},
    ],
)
def test_what_may_change_the_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert request_key(request(**change)) != request_key(request())


@pytest.mark.parametrize(
    "change",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"metadata": {"user_id": "me"}},
        {"service_tier": "auto"},
        {"system": [{"type": "text", "text": "Be brief.", **CACHED}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", **CACHED}]}]},
        {"messages": [{"content": "Hi", "role": "user"}]},
        {"tools": [{"input_schema": {"type": "object"}, "name": "f", **CACHED}]},
        {"betas": ()},
    ],
)
def test_how_it_travels_and_is_billed_does_not(change: dict[str, Any]) -> None:
    """Online and in a batch, cached or not: the same question."""
    assert request_key(request(**change)) == request_key(request())


def test_a_property_that_is_called_as_the_cache_is_stays() -> None:
    """Inside of the schema of a tool it is the user's own."""
    tools = [{"name": "f", "input_schema": {"type": "object", "properties": {"cache_control": {}}}}]

    assert request_key(request(tools=tools)) != request_key(request())


def test_draws_are_told_apart() -> None:
    keys = {request_key(request(), repetition) for repetition in range(12)}

    assert len(keys) == 12
    assert request_key(request(), 0) == request_key(request())


def test_the_key_of_many_is_the_key_of_one() -> None:
    keys = RequestKeys(request(messages=[]))

    assert keys.key(request().messages, 3) == request_key(request(), 3)


def test_a_key_stays_what_it_is() -> None:
    """Journals hold it, so it is the same in each process, and in each version: a change of this asks everything again."""
    assert request_key(request()).hex() == "8d28a197127650420916593b59e034ed"


def test_halves_of_characters_have_a_key() -> None:
    assert len(request_key(request(messages=[{"role": "user", "content": "\ud83d"}]))) == 16
