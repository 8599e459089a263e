"""The key of a request: it depends on everything that may change the answer, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.client import MessageRequest, RequestKeys, request_key

CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def request(**changes: Any) -> MessageRequest:
    """Return a request with many kinds of content."""
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
def test_fields_that_may_change_the_answer_change_the_key(change: dict[str, Any]) -> None:
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
def test_delivery_and_billing_do_not_change_the_key(change: dict[str, Any]) -> None:
    """Online and in a batch, cached or not: the same request."""
    assert request_key(request(**change)) == request_key(request())


def test_a_property_named_cache_control_is_part_of_the_key() -> None:
    """In a tool's schema it is a user-defined property."""
    tools = [{"name": "f", "input_schema": {"type": "object", "properties": {"cache_control": {}}}}]

    assert request_key(request(tools=tools)) != request_key(request())


def test_repetitions_have_different_keys() -> None:
    keys = {request_key(request(), repetition) for repetition in range(12)}

    assert len(keys) == 12
    assert request_key(request(), 0) == request_key(request())


def test_the_key_of_many_is_the_key_of_one() -> None:
    keys = RequestKeys(request(messages=[]))

    assert keys.key(request().messages, 3) == request_key(request(), 3)


def test_keys_are_stable() -> None:
    """Journals store keys, so they are the same in every process and version: a change would repeat all requests."""
    assert request_key(request()).hex() == "8d28a197127650420916593b59e034ed"


def test_lone_surrogates_have_a_key() -> None:
    assert len(request_key(request(messages=[{"role": "user", "content": "\ud83d"}]))) == 16
