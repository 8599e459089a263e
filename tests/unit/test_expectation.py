"""The estimate of a request's use of the server's token limits."""

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


def test_the_initial_estimate_is_between_three_and_four_bytes_per_token() -> None:
    """A thousand letters are about 300 tokens, including the surrounding structure."""
    assert 300 <= Expectation().input_tokens(need()) <= 330


def test_the_initial_output_is_a_page_and_at_most_max_tokens() -> None:
    """The server does not reserve `max_tokens`; it is only an upper bound."""
    expectation = Expectation()

    assert expectation.output_tokens(need(max_tokens=64_000)) == 500
    assert expectation.output_tokens(need(max_tokens=100)) == 100


def test_usage_raises_estimates_at_once_and_lowers_them_gradually() -> None:
    """Too low an estimate costs a rejected request, too high a one only a wait."""
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


def test_cache_reads_do_not_count() -> None:
    """The input limit counts uncached tokens and those written to the cache."""
    expectation = Expectation()
    size = need().input_size.text_bytes
    usage = Usage(
        input_tokens=size // 2, cache_creation_input_tokens=size // 2, cache_read_input_tokens=10**6
    )

    expectation.learn(need(), usage)

    assert expectation.input_tokens(need()) == pytest.approx(size, rel=0.01)


def test_an_image_does_not_count_by_its_bytes() -> None:
    """Two megabytes of base64 are one image of the usual size."""
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "A" * 2_000_000},
    }

    expected = Expectation().input_tokens(need([picture, {"type": "text", "text": "What is it?"}]))

    assert 1600 < expected < 1700


def test_a_document_counts_far_less_than_its_bytes() -> None:
    """A page of a PDF has about 60 kB and 2,000 tokens."""
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 60_000}}

    assert 2000 <= Expectation().input_tokens(need([document])) < 2100


def test_system_and_tools_count_and_text_is_measured_in_utf8() -> None:
    """All parts of the input are measured."""
    plain = need("x" * 10).input_size.text_bytes
    with_more = need("x" * 10, system="s" * 100, tools=[{"name": "t" * 50}]).input_size.text_bytes

    assert with_more >= plain + 150
    assert measure_input("漢字").text_bytes == 6
    assert measure_input("\ud800").text_bytes == 3


@pytest.mark.parametrize(
    "usage",
    [Usage(), Usage(input_tokens=-5, output_tokens=-5), Usage(input_tokens=10**15, output_tokens=10**15)],
)
def test_implausible_usage_does_no_lasting_harm(usage: Usage) -> None:
    """A missing, negative or absurd count: the estimate stays positive, and bounded by the request."""
    expectation = Expectation()

    expectation.learn(need(), usage)

    assert 0 < expectation.input_tokens(need()) <= 4 * need().input_size.text_bytes
    assert 0 < expectation.output_tokens(need()) <= 2000
