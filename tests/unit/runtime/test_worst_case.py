"""The highest possible cost of a request, computed before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.client import MessageRequest
from claude_magic.runtime._budget import WorstCase, worst_case


def worst(
    counted: int | None = 1000,
    *,
    model: str = "claude-sonnet-5-5",
    attempts: int = 1,
    max_tokens: int = 1000,
    content: Any = "Hello",
    **fields: Any,
) -> WorstCase:
    messages = [{"role": "user", "content": content}]
    request = MessageRequest(model=model, max_tokens=max_tokens, messages=messages, **fields)
    found = worst_case(request, counted, attempts=attempts)
    assert found is not None
    return found


def test_input_and_max_tokens_at_their_prices_for_every_attempt() -> None:
    """The plain case."""
    found = worst(attempts=4)

    assert found.per_attempt == pytest.approx(0.002 + 0.010)
    assert found.total == pytest.approx(0.048)
    assert (found.input_tokens, found.output_tokens, found.is_counted) == (1000, 1000, True)


@pytest.mark.parametrize(
    ("fields", "input_price"),
    [
        ({"cache_control": {"type": "ephemeral"}}, 2.5),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, 4),
        ({"system": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}, 2.5),
        ({"tools": [{"name": "f", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, 4),
        ({"content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}, 2.5),
    ],
)
def test_what_may_be_written_to_the_cache_costs_more(fields: dict[str, Any], input_price: float) -> None:
    """Wherever the request contains `cache_control`."""
    assert worst(1_000_000, max_tokens=0, **fields).total == pytest.approx(input_price)


def test_near_a_dearer_tier_the_dearer_tier_counts() -> None:
    """The server's count is an estimate, and the tier applies to the whole request."""
    assert worst(90_000, model="claude-haiku-5-5", max_tokens=0).total == pytest.approx(0.009)
    assert worst(99_000, model="claude-haiku-5-5", max_tokens=0).total == pytest.approx(0.0495)


def test_fast_mode_and_a_place_cost_more() -> None:
    """They are fields of the request."""
    plain = worst().total

    assert worst(speed="fast").total == pytest.approx(2 * plain)
    assert worst(inference_geo="us").total == pytest.approx(1.1 * plain)
    assert worst(speed={}, inference_geo=[]).total == pytest.approx(2 * 1.1 * plain)  # not known: the highest


def test_searches_are_paid_and_what_they_find_is_input() -> None:
    """After each search, the whole context so far is input again."""
    search = {"type": "web_search_20260209", "name": "web_search", "max_uses": 2}

    found = worst(tools=[search])

    assert found.input_tokens == 3 * 1000 + (1 + 2) * 10_000
    assert found.per_attempt == pytest.approx(found.input_tokens * 2e-6 + 0.010 + 2 * 0.01)
    unbounded = {"type": "web_search_20260209", "name": "web_search"}
    assert worst(tools=[unbounded]).total > worst(tools=[search]).total


def test_tools_of_this_side_add_no_searches() -> None:
    """They take separate rounds, each admitted separately."""
    tools = [{"name": "web_search_of_mine", "input_schema": {"type": "object"}}]

    assert worst(tools=tools).input_tokens == 1000


def test_no_text_has_more_tokens_than_bytes() -> None:
    """Without a count, the bytes are the upper bound, plus the tokens that the server adds."""
    text = "Zażółć gęślą jaźń. " * 100

    found = worst(None, content=text)

    assert len(text.encode()) < found.input_tokens < len(text.encode()) + 3000
    assert not found.is_counted


def test_a_picture_is_bounded_by_its_size_and_a_pdf_by_the_context() -> None:
    """The number of their bytes does not determine their tokens."""
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "A" * 500_000},
    }
    pdf = {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}
    note = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "short"}}

    assert worst(None, content=[picture]).input_tokens < 8000
    assert worst(None, content=[pdf]).input_tokens == 1_000_000
    assert worst(None, content=[note]).input_tokens < 3000


def test_half_an_emoji_can_be_bounded() -> None:
    """Notebooks may contain lone surrogates."""
    assert worst(None, content="\ud83d").input_tokens > 0


def test_a_model_without_a_price_has_no_worst_case() -> None:
    """The price is not guessed."""
    request = MessageRequest(model="llama4", max_tokens=5, messages=[{"role": "user", "content": "Hello"}])

    assert worst_case(request, 10, attempts=1) is None


def test_models_that_may_stand_in_are_paid_too() -> None:
    """Each model that declines during its answer is billed for the output."""
    alone = worst().total
    fallbacks = [{"model": "claude-opus-5-5"}, {"model": "claude-haiku-5-5", "max_tokens": 4000}]

    found = worst(fallbacks=fallbacks)

    assert found.total == pytest.approx(alone + (1000 * 4 + 1000 * 20 + 1000 * 0.1 + 4000 * 0.5) / 1e6)
    assert worst(fallbacks="default").total >= alone + (1000 * 10 + 1000 * 50) / 1e6


def test_advice_is_paid_each_time() -> None:
    """At the price of the advisor, which reads the whole context so far."""
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5-5", "max_tokens": 700}

    once = worst(tools=[{**advisor, "max_uses": 1}]).total
    twice = worst(tools=[{**advisor, "max_uses": 2}]).total

    assert once > worst().total + (1000 * 4 + 700 * 20) / 1e6
    assert twice > once + (1000 * 4 + 700 * 20) / 1e6
