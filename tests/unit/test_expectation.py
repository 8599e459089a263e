"""What a request is expected to take of the server's token limits."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.client import MessageRequest, Usage
from claude_magic.client._server_limits import Expectation, Need, measure_input


def need(content: Any = "x" * 1000, *, max_tokens: int = 2000, **fields: Any) -> Need:
    return Need(
        MessageRequest(
            model="claude-haiku-5-5",
            max_tokens=max_tokens,
            messages=[{"role": "user", "content": content}],
            **fields,
        )
    )


def test_before_the_first_answer_a_token_has_between_three_and_four_bytes() -> None:
    """A thousand letters are some 300 tokens, with the frame around them."""
    assert 300 <= Expectation().input_tokens(need()) <= 330


def test_output_is_a_page_at_first_and_never_above_max_tokens() -> None:
    """`max_tokens` reserves nothing at the server; it only bounds what can come."""
    expectation = Expectation()

    assert expectation.output_tokens(need(max_tokens=64_000)) == 500
    assert expectation.output_tokens(need(max_tokens=100)) == 100


def test_usage_corrects_both_up_at_once_and_down_by_and_by() -> None:
    """To expect too little costs a refused request, too much only a wait."""
    expectation = Expectation()
    size = need().input_size.text_bytes

    expectation.learn(need(), Usage(input_tokens=size, output_tokens=1500))
    assert expectation.input_tokens(need()) == pytest.approx(size)
    assert expectation.output_tokens(need()) == pytest.approx(500 + 0.3 * 1000)

    expectation.learn(need(), Usage(input_tokens=size // 2, output_tokens=1))
    assert size / 2 < expectation.input_tokens(need()) < size

    for _ in range(40):
        expectation.learn(need(), Usage(input_tokens=size // 2, output_tokens=1))
    assert expectation.input_tokens(need()) == pytest.approx(size / 2, rel=0.02)


def test_what_is_read_from_the_prompt_cache_does_not_count() -> None:
    """The limit of input counts fresh tokens and those written to the cache."""
    expectation = Expectation()
    size = need().input_size.text_bytes
    usage = Usage(
        input_tokens=size // 2, cache_creation_input_tokens=size // 2, cache_read_input_tokens=10**6
    )

    expectation.learn(need(), usage)

    assert expectation.input_tokens(need()) == pytest.approx(size, rel=0.01)


def test_a_picture_counts_by_itself_and_not_by_its_bytes() -> None:
    """Two megabytes of base64 are one picture of the usual size."""
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "A" * 2_000_000},
    }

    expected = Expectation().input_tokens(need([picture, {"type": "text", "text": "What is it?"}]))

    assert 1600 < expected < 1700


def test_a_document_counts_far_less_than_its_bytes() -> None:
    """A page of a PDF has some 60 kB and 2,000 tokens."""
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 60_000}}

    assert 2000 <= Expectation().input_tokens(need([document])) < 2100


def test_system_and_tools_count_and_other_writing_takes_more_bytes() -> None:
    """All parts of the input are measured, in UTF-8."""
    plain = need("x" * 10).input_size.text_bytes
    with_more = need("x" * 10, system="s" * 100, tools=[{"name": "t" * 50}]).input_size.text_bytes

    assert with_more >= plain + 150
    assert measure_input("漢字").text_bytes == 6
    assert measure_input("\ud800").text_bytes == 3


@pytest.mark.parametrize(
    "usage",
    [Usage(), Usage(input_tokens=-5, output_tokens=-5), Usage(input_tokens=10**15, output_tokens=10**15)],
)
def test_usage_that_makes_no_sense_does_no_lasting_harm(usage: Usage) -> None:
    """No count, a negative one, an absurd one: the expectation stays a positive number, bounded by the request."""
    expectation = Expectation()

    expectation.learn(need(), usage)

    assert 0 < expectation.input_tokens(need()) <= 4 * need().input_size.text_bytes
    assert 0 < expectation.output_tokens(need()) <= 2000
