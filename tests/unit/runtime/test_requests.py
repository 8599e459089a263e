"""The request for a prompt: valid thinking, effort and limits for each model, and no unrequested fields."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from claude_magic.client import ConfigurationError, MessageRequest
from claude_magic.conversation import Turn
from claude_magic.runtime._models import facts_of
from claude_magic.runtime._requests import (
    FROM_PANEL,
    History,
    Question,
    check_stop_sequences,
    make_request,
)
from claude_magic.runtime._settings import ResolvedSettings, option_layer, resolve
from claude_magic.runtime._turn import ContextFullError, _context_notes

ADAPTIVE = {"type": "adaptive", "display": "summarized"}
HIDDEN = {"type": "adaptive", "display": "omitted"}


class Made(NamedTuple):
    """A request, and its differences from the requested options."""

    request: MessageRequest
    notes: tuple[str, ...]


def make_planned(question: Question, settings: ResolvedSettings, history: History | None = None) -> Made:
    return Made(*make_request(question, settings, history or History(), model=settings.values.model))


def plan(**options: Any) -> Made:
    return make_planned(Question(prompt="Hello"), resolve([option_layer(options)]))


def thinking(**options: Any) -> object:
    return plan(**options).request.thinking


def test_a_plain_prompt_sends_the_four_fields_it_needs() -> None:
    """No effort, system, stop sequence or sampling parameter goes out unasked."""
    body = plan().request.to_body(stream=True)

    assert body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 16_000,
        "messages": [{"role": "user", "content": "Hello"}],
        "thinking": ADAPTIVE,
        "stream": True,
    }


def test_options_reach_the_request() -> None:
    """Each is sent in the field that the API expects."""
    settings = resolve(
        [option_layer({"model": "claude-opus-5", "system": "Be brief.", "effort": "low", "max_tokens": 5})]
    )

    question = Question(prompt="Hello", stop_sequences=["END"])
    body = make_planned(question, settings).request.to_body(stream=False)

    assert body["system"] == "Be brief."
    assert body["output_config"] == {"effort": "low"}
    assert body["stop_sequences"] == ["END"]
    assert body["max_tokens"] == 5


@pytest.mark.parametrize(
    ("model", "show", "hide", "off"),
    [
        ("claude-sonnet-5-5", ADAPTIVE, HIDDEN, {"type": "between_tools"}),
        ("claude-opus-5-5", ADAPTIVE, HIDDEN, HIDDEN),
        ("claude-fable-5-2", ADAPTIVE, HIDDEN, HIDDEN),
        ("claude-haiku-5-5", ADAPTIVE, HIDDEN, {"type": "disabled"}),
        ("claude-opus-5", ADAPTIVE, HIDDEN, {"type": "disabled"}),
        ("claude-sonnet-5", ADAPTIVE, HIDDEN, {"type": "disabled"}),
        ("claude-opus-4-6", ADAPTIVE, HIDDEN, {"type": "disabled"}),
        ("claude-haiku-4-5", {"type": "enabled", "budget_tokens": 8000}, None, None),
        ("claude-opus-4-5-20251101", {"type": "enabled", "budget_tokens": 8000}, None, None),
        ("llama3.3", ADAPTIVE, HIDDEN, {"type": "disabled"}),
    ],
)
def test_thinking_takes_the_form_that_the_model_accepts(
    model: str, show: object, hide: object, off: object
) -> None:
    """Each explicit mode becomes a value that the model accepts."""
    assert thinking(model=model, thinking="show") == show
    assert thinking(model=model, thinking="hide") == hide
    assert thinking(model=model, thinking="off") == off


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "llama3.3", "claude-next-9"])
def test_unasked_no_thinking_is_sent_to_models_that_may_refuse_it(model: str) -> None:
    """The default applies to models that are known to accept it."""
    assert thinking(model=model) is None


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"model": "claude-opus-5-5"}, "claude-opus-5-5 always thinks"),
        ({"model": "claude-haiku-5-5", "effort": "max"}, "always thinks at effort max"),
        ({"model": "claude-opus-5", "effort": "xhigh"}, "always thinks at effort xhigh"),
    ],
)
def test_where_thinking_cannot_be_off_it_is_hidden_and_a_note_says_so(
    options: dict[str, str], note: str
) -> None:
    """Better than a 400 from the API."""
    planned = plan(thinking="off", **options)

    assert planned.request.thinking == HIDDEN
    assert len(planned.notes) == 1
    assert note in planned.notes[0]


def test_a_thinking_budget_stays_below_max_tokens() -> None:
    """If there is no room for it, thinking is off, with a note."""
    assert thinking(model="claude-haiku-4-5", thinking="show", max_tokens=3000) == {
        "type": "enabled",
        "budget_tokens": 1500,
    }
    planned = plan(model="claude-haiku-4-5", thinking="show", max_tokens=2000)
    assert planned.request.thinking is None
    assert "too small for thinking" in planned.notes[0]


def test_max_tokens_is_lowered_to_what_a_known_model_gives() -> None:
    """With a note; for unknown models the value is sent unchanged."""
    planned = plan(model="claude-haiku-4-5", max_tokens=100_000)

    assert planned.request.max_tokens == 64_000
    assert "lowered from 100,000 to 64,000" in planned.notes[0]
    assert plan(model="llama3.3", max_tokens=1_000_000).request.max_tokens == 1_000_000


def test_facts_are_found_under_dated_names_and_unknown_models_have_none() -> None:
    """A date suffix does not change the model."""
    assert facts_of("claude-haiku-4-5-20251001") is facts_of("claude-haiku-4-5") is not None
    assert facts_of("claude-haiku-4-5-latest") is None
    assert facts_of("") is None


def test_stop_sequences_are_a_list_and_one_string_is_one_of_them() -> None:
    """A string must not become a list of characters."""
    assert check_stop_sequences("END") == ["END"]
    assert check_stop_sequences(("a", "b")) == ["a", "b"]
    assert check_stop_sequences([]) is None
    assert check_stop_sequences(None) is None


@pytest.mark.parametrize("bad", [["ok", 5], 7, ["ok", "  "], {"a": 1}])
def test_stop_sequences_that_the_api_would_refuse_are_refused_here(bad: object) -> None:
    """With a message, before anything is sent."""
    with pytest.raises(ConfigurationError, match="stop_sequences"):
        check_stop_sequences(bad)


def test_what_was_said_before_comes_first_and_is_cached() -> None:
    """The turns unchanged, then the question; the server sets the cache breakpoint for the next request."""
    said = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
    ]

    body = make_planned(
        Question(prompt="And?"), resolve([option_layer({})]), History(messages=said)
    ).request.to_body(stream=True)

    assert body["messages"] == [*said, {"role": "user", "content": "And?"}]
    assert body["cache_control"] == {"type": "ephemeral"}


def test_a_first_question_pays_for_no_cache() -> None:
    """A cache write costs a quarter more, and a second question may never come."""
    assert "cache_control" not in plan().request.to_body(stream=True)


@pytest.mark.parametrize(
    ("model", "is_asked"),
    [("claude-sonnet-5-5", True), ("claude-fable-5-2", True), ("claude-opus-4-8", False)],
)
def test_thinking_of_another_system_prompt_is_dropped_by_the_server(model: str, is_asked: bool) -> None:
    """Models that bind their thinking would reject the request; others do not support the field."""
    settings = resolve([option_layer({"model": model, "thinking": "show"})])

    request = make_planned(Question(prompt="And?"), settings, History(is_rebound=True)).request

    binding = {"prefix_mismatch_behavior": "drop_block"}
    assert (request.thinking or {}).get("block_binding") == (binding if is_asked else None)
    assert request.betas == (("thinking-binding-controls-2026-08-01",) if is_asked else ())


def test_further_fields_are_merged_into_the_request() -> None:
    """Objects are merged by field, other values are replaced."""
    extra = {"output_config": {"task_budget": 5}, "service_tier": "standard_only", "max_tokens": 9}
    settings = resolve([option_layer({"effort": "low"})])

    body = make_planned(Question(prompt="Hi", extra=extra), settings).request.to_body(stream=True)

    assert body["output_config"] == {"effort": "low", "task_budget": 5}
    assert body["service_tier"] == "standard_only"
    assert body["max_tokens"] == 9


@pytest.mark.parametrize("name", ["messages", "stream", "model"])
def test_fields_that_are_ours_to_write_cannot_be_set(name: str) -> None:
    """They would break the conversation."""
    with pytest.raises(ConfigurationError, match=f"{name} cannot be set"):
        make_planned(Question(prompt="Hi", extra={name: 1}), resolve([option_layer({})]))


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-sonnet-5-5", "web_search_20260318"),
        ("claude-fable-5", "web_search_20260318"),
        ("claude-opus-4-8", "web_search_20250305"),
        ("claude-haiku-4-5-20251001", "web_search_20250305"),
        ("llama4", "web_search_20250305"),
    ],
)
def test_the_web_search_is_of_the_version_that_the_model_knows(model: str, version: str) -> None:
    """The newest for current models; the universally supported one for older and unknown models."""
    settings = resolve([option_layer({"model": model})])

    tools = make_planned(Question(prompt="Hello", max_searches=5), settings).request.tools

    assert tools == [{"type": version, "name": "web_search", "max_uses": 5}]


@pytest.mark.parametrize(
    ("origin", "remedy"),
    [("In[4]", "--new starts a conversation"), (FROM_PANEL, "Clear starts a conversation")],
)
def test_a_full_context_names_remedies_of_the_place(origin: str, remedy: str) -> None:
    """A panel has buttons and fields, not the options of cells."""
    question = Question(prompt="Hello", origin=origin)
    almost, full = (cast(Turn, SimpleNamespace(context_tokens=tokens)) for tokens in (990_000, 1_000_000))

    (note,) = _context_notes(almost, question, "claude-sonnet-5-5")
    with pytest.raises(ContextFullError) as caught:
        _context_notes(full, question, "claude-sonnet-5-5")

    assert remedy in note
    assert remedy in caught.value.message
    assert ("--" in note + caught.value.message) == (origin != FROM_PANEL)
