"""Costs of requests: by the price list if the model is on it, otherwise unknown."""

from __future__ import annotations

import re
from datetime import date

import pytest

from claude_magic.client import Message, Usage
from claude_magic.runtime._models import (
    MODELS,
    MODELS_AS_OF,
    PRICES_AS_OF,
    bill_of,
    cost_of,
    facts_of,
    format_usd,
    lines_of,
    price_of,
)
from claude_magic.simulator._models import ALL_MODELS

MILLION = 1_000_000


def cost(model: str = "claude-sonnet-5-5", **usage: object) -> float | None:
    return cost_of(model, Usage.model_validate(usage))


def test_input_and_output_have_their_prices() -> None:
    """A million tokens cost the listed price."""
    assert cost(input_tokens=MILLION) == pytest.approx(2)
    assert cost(output_tokens=MILLION) == pytest.approx(10)
    assert cost(input_tokens=1000, output_tokens=100) == pytest.approx(0.003)


def test_a_model_that_is_not_listed_has_no_price() -> None:
    """The prices of gateway names and later models are not guessed."""
    for name in ("llama4", "claude-opus-6", "anthropic.claude-sonnet-5-5", "claude-sonnet-5-5-turbo", ""):
        assert cost(name, input_tokens=10) is None


def test_a_date_at_the_end_of_a_name_does_not_matter() -> None:
    """The API answers under the dated name where there is one."""
    assert cost("claude-haiku-4-5-20251001", input_tokens=MILLION) == pytest.approx(1)


def test_the_prompt_cache_has_prices_of_its_own() -> None:
    """Reads are cheap, writes are expensive, more so for one hour; input_tokens is the rest."""
    assert cost(cache_read_input_tokens=MILLION) == pytest.approx(0.10)
    assert cost(cache_creation_input_tokens=MILLION) == pytest.approx(2.5)
    split = {"ephemeral_5m_input_tokens": 600_000, "ephemeral_1h_input_tokens": 400_000}
    assert cost(cache_creation_input_tokens=MILLION, cache_creation=split) == pytest.approx(1.5 + 1.6)


def test_a_split_of_the_cache_that_is_no_numbers_is_left_aside() -> None:
    """Servers may send invalid values."""
    odd = {"ephemeral_1h_input_tokens": "many"}

    assert cost(cache_creation_input_tokens=MILLION, cache_creation=odd) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"input_tokens": 100_000}, 0.01),
        ({"input_tokens": 100_001}, 0.0500005),
        ({"input_tokens": 1, "cache_read_input_tokens": 100_000}, (0.5 + 5000) / MILLION),
    ],
)
def test_a_long_prompt_makes_all_of_a_request_dearer(parts: dict[str, int], expected: float) -> None:
    """The size of the whole prompt counts, including cached parts."""
    assert cost("claude-haiku-5-5", **parts) == pytest.approx(expected)


def test_surcharges_are_read_from_the_usage() -> None:
    """The usage reports how the request was served."""
    assert cost(output_tokens=MILLION, speed="fast") == pytest.approx(20)
    assert cost(output_tokens=MILLION, speed="standard", inference_geo="global") == pytest.approx(10)
    assert cost(output_tokens=MILLION, inference_geo="us") == pytest.approx(11)
    assert cost(output_tokens=MILLION, service_tier="batch") == pytest.approx(5)


def test_searches_cost_a_cent_each() -> None:
    """Their results also cost input tokens."""
    searches = {"web_search_requests": 3, "web_fetch_requests": 5}

    assert cost(server_tool_use=searches) == pytest.approx(0.03)
    assert cost(server_tool_use=searches, speed="fast") == pytest.approx(0.03)


def test_a_tier_that_is_billed_by_contract_has_no_price() -> None:
    """Priority capacity was bought beforehand."""
    assert cost(input_tokens=10, service_tier="priority") is None


def test_the_tables_know_the_same_models() -> None:
    """A model with facts has a price, and its facts are those that the simulator validates against."""
    assert date.fromisoformat(PRICES_AS_OF)
    assert date.fromisoformat(MODELS_AS_OF)
    current = [model for model in ALL_MODELS if model.lifecycle != "retired"]
    assert {facts_of(model.id) for model in current} == set(MODELS.values())
    released = [facts.released for facts in MODELS.values()]
    assert released == sorted(released, reverse=True), "a short name means the first model of its line"
    for model in current:
        facts = facts_of(model.id)
        assert facts is not None
        assert price_of(model.id) is not None
        assert (facts.line, facts.context_window) == (model.line, model.context_tokens)
        assert facts.max_output_tokens == model.output_tokens
        assert model.created.startswith(facts.released[:7])
        assert facts.cache_minimum_tokens == model.cache_minimum_tokens
        assert facts.binds_thinking == model.checks_thinking
        assert facts.retires == model.retires
        assert facts.thinking == set(model.thinking)
        assert facts.disabled_up_to_high == model.disabled_up_to_high


def test_no_cache_price_is_out_of_proportion() -> None:
    """Writes cost 1.25 and 2 times the input, reads a tenth or less, so a typing error in the list would be found."""
    for model in MODELS:
        for tokens in (0, 200_000):
            price = price_of(model, tokens)
            assert price is not None
            assert price.write_5m == pytest.approx(1.25 * price.input)
            assert price.write_1h == pytest.approx(2 * price.input)
            assert 0 < price.read <= 0.1 * price.input
            assert price.output == pytest.approx(5 * price.input)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (12.345, "$12.35"),
        (0.66, "$0.66"),
        (0.2, "$0.20"),
        (0.0123, "$0.0123"),
        (0.00123456, "$0.00123"),
        (0.0000451, "$0.0000451"),
        (1e-10, "under $0.000000001"),
    ],
)
def test_amounts_can_be_read_whatever_their_size(amount: float, text: str) -> None:
    """Three significant digits, and never an exponent."""
    assert format_usd(amount) == text
    assert not re.search("e", format_usd(amount).removeprefix("under"))


def step(
    kind: str, tokens_in: int, tokens_out: int, model: str | None = None, **fields: object
) -> dict[str, object]:
    named = {} if model is None else {"model": model}
    return {"type": kind, "input_tokens": tokens_in, "output_tokens": tokens_out, **named, **fields}


def test_each_step_of_the_servers_is_billed_at_the_price_of_its_model() -> None:
    """An advisor is another model, and its tokens are not in the total counts."""
    steps = [
        step("message", 1000, 100),
        step("advisor_message", 2000, 300, "claude-opus-5-5"),
        step("message", 1500, 200, cache_read_input_tokens=1000),
    ]
    usage = Usage.model_validate({"input_tokens": 1000, "output_tokens": 300, "iterations": steps})

    sonnet, opus = lines_of("claude-sonnet-5-5", usage)

    assert (sonnet.model, sonnet.usage.total_input_tokens, sonnet.usage.output_tokens) == (
        "claude-sonnet-5-5",
        3500,
        300,
    )
    assert sonnet.cost == pytest.approx((2500 * 2 + 1000 * 0.1 + 300 * 10) / MILLION)
    assert (opus.model, opus.usage.input_tokens, opus.usage.output_tokens) == ("claude-opus-5-5", 2000, 300)
    assert opus.cost == pytest.approx((2000 * 4 + 300 * 20) / MILLION)
    assert cost_of("claude-sonnet-5-5", usage) == pytest.approx((sonnet.cost or 0) + (opus.cost or 0))


def test_a_compaction_is_billed_beside_the_answer() -> None:
    """Its tokens are not in the total counts, whether or not the server lists the answer as a step."""
    compaction = step("compaction", 5000, 500, cache_creation_input_tokens=1000, cache_read_input_tokens=0)
    dear = (5000 * 2 + 500 * 10 + 1000 * 2.5) / MILLION
    answer = (1000 * 2 + 100 * 10) / MILLION
    counts = {"input_tokens": 1000, "output_tokens": 100}

    assert cost(**counts, iterations=[compaction]) == pytest.approx(answer + dear)
    assert cost(**counts, iterations=[compaction, step("message", 1000, 100)]) == pytest.approx(answer + dear)


def test_a_request_that_fell_back_is_billed_for_each_model_that_wrote_something() -> None:
    """A model that declined after some output is billed for it; one that declined before any is not."""
    asked, answered = "claude-fable-5-2", "claude-opus-5-5"
    for declined, price in (
        (step("message", 1000, 50, asked), (8000 + 2000) / MILLION),
        (step("message", 1000, 0, asked), 0),
    ):
        steps = [declined, step("fallback_message", 1000, 300, answered)]
        usage = Usage.model_validate({"input_tokens": 1000, "output_tokens": 300, "iterations": steps})

        assert usage.fallback_model == answered
        assert cost_of(asked, usage) == pytest.approx(price + (1000 * 4 + 300 * 20) / MILLION)
        assert lines_of(asked, usage)[0].model == answered


def test_a_step_that_names_no_model_is_that_of_the_one_that_was_asked() -> None:
    """Without a fallback, that is the model that answered."""
    steps = [step("message", 1000, 50), step("fallback_message", 0, 0, "claude-opus-5-5")]
    usage = Usage.model_validate({"input_tokens": 1000, "output_tokens": 50, "iterations": steps})

    assert [line.model for line in lines_of("claude-opus-5-5", usage, requested="claude-fable-5-2")] == [
        "claude-opus-5-5",
        "claude-fable-5-2",
    ]


@pytest.mark.parametrize(
    "usage",
    [
        {"iterations": [step("message", 10, 1), step("advisor_message", 10, 1, "claude-opus-6")]},
        {
            "iterations": [step("message", 10, 1), step("advisor_message", 10, 1, "claude-opus-5-5")],
            "speed": "fast",
        },
        {"service_tier": "flex"},
        {"speed": "turbo"},
        {"speed": {}},
        {"inference_geo": "eu"},
        {"inference_geo": ["us"]},
        {"server_tool_use": {"oracle_requests": 1}},
        {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_24h_input_tokens": 5}},
        {"fallback_credit": {"status": {"type": "redeemed"}}},
    ],
)
def test_what_the_list_does_not_know_has_no_price(usage: dict[str, object]) -> None:
    """No price is better than one that differs from the bill."""
    assert cost(**{"input_tokens": 10, "output_tokens": 1, **usage}) is None


def test_what_the_list_knows_to_be_free_changes_no_price() -> None:
    """Web fetch, tool search, an unavailable place, a credit that was not applied, counts of zero."""
    odd = {
        "server_tool_use": {"web_fetch_requests": 9, "tool_search_requests": 2, "oracle_requests": 0},
        "inference_geo": "not_available",
        "fallback_credit": {"status": {"type": "not_applied", "reason": "expired"}},
        "cache_creation": {"ephemeral_24h_input_tokens": 0},
    }

    assert cost(output_tokens=MILLION, **odd) == pytest.approx(10)


def test_factors_multiply_tokens_and_not_fees() -> None:
    """Fast, in the US, in a batch: each applies to all kinds of tokens, but not to searches."""
    factors = {"speed": "fast", "inference_geo": "us", "service_tier": "batch"}
    tokens = {"input_tokens": MILLION, "cache_read_input_tokens": MILLION, "output_tokens": MILLION}

    bill = cost("claude-opus-5-5", **tokens, **factors, server_tool_use={"web_search_requests": 2})

    assert bill == pytest.approx((4 + 0.2 + 20) * 2 * 1.1 * 0.5 + 0.02)


def test_the_split_of_the_cache_stands_for_a_total_that_is_missing() -> None:
    """Some servers send one of the two."""
    split = {"ephemeral_5m_input_tokens": 100_000, "ephemeral_1h_input_tokens": 200_000}

    assert cost(cache_creation=split) == pytest.approx(0.25 + 0.8)


def test_a_refusal_before_any_output_is_free_and_one_after_some_is_not() -> None:
    """The server counts both."""
    usage = {"input_tokens": 1000, "output_tokens": 3}
    text = [{"type": "text", "text": "The first step"}]
    for content, expected in (([], 0.0), (text, (2000 + 30) / MILLION)):
        fields = {"model": "claude-sonnet-5-5", "content": content, "stop_reason": "refusal", "usage": usage}
        (line,) = bill_of(Message.model_validate(fields), requested="claude-sonnet-5-5")

        assert line.cost == pytest.approx(expected)


def test_steps_that_are_no_steps_are_left_aside() -> None:
    """Servers may send invalid steps; the total counts apply."""
    for odd in (
        "many",
        [1, None],
        [{"input_tokens": 5}],
        [{"type": ["message"]}],
        {},
        [{"type": "message", "input_tokens": "x"}],
    ):
        assert cost(input_tokens=MILLION, iterations=odd) == pytest.approx(2)
