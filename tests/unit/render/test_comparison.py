"""Renderings of several answers side by side."""

import pytest
from hostile import HOSTILE
from snapshots import snapshot

from claude_magic.client import OverloadedError
from claude_magic.render import Column, render_comparison
from claude_magic.render._sanitise import COLUMNS
from claude_magic.runtime import Phase


def column(name, *blocks, **changes):
    return Column(name=name, kept_in=f'out["{name}"]', answer=snapshot(*blocks, **changes))


def test_each_column_stands_under_its_model_with_what_it_took():
    """In the order of the names, for every MIME type."""
    data = render_comparison(
        [column("sonnet", ("text", "One."), cost=0.01), column("opus", ("text", "**Two.**"), cost=0.02)]
    ).data

    for text in data.values():
        first, second = text.index("sonnet"), text.index("opus")
        assert (
            first
            < text.index("$0.01")
            < text.index("One.")
            < second
            < text.index("$0.02")
            < text.index("Two.")
        )
    assert data["text/html"].count("min-width:0") == 2
    assert "<strong>Two.</strong>" in data["text/html"]


def test_prices_in_two_headings_are_no_formula():
    """Dollars are escaped in Markdown, and in HTML MathJax ignores the heading."""
    data = render_comparison([column("a", cost=0.01), column("b", cost=0.02)]).data

    assert data["text/markdown"].count(r"\$0.01") == data["text/markdown"].count("$0.01") == 1
    assert data["text/html"].count("mathjax_ignore") >= 2


def test_a_failed_one_says_so_in_its_column_and_where_its_text_is():
    """The other column is not affected."""
    error = OverloadedError("The API is overloaded.", status=529)
    failed = column("opus", ("text", "Half an"), phase=Phase.FAILED, error=error)

    data = render_comparison([column("sonnet", ("text", "Whole.")), failed]).data

    for text in data.values():
        assert "OverloadedError: The API is overloaded." in text
        assert 'out["opus"]' in text.replace("&quot;", '"')
    assert data["text/plain"].index("Whole.") < data["text/plain"].index("OverloadedError")


def test_a_name_is_text_wherever_it_stands():
    """The user typed it, but a saved notebook may come from another person."""
    data = render_comparison([column("<img src=x onerror=alert(1)>"), column("a_b_c")]).data

    assert "<img" not in data["text/html"]
    assert "<img" not in data["text/markdown"]


@pytest.mark.parametrize("payload", HOSTILE)
def test_what_a_model_wrote_cannot_leave_its_column(payload):
    """An answer with unmatched closing tags does not affect other columns."""
    hostile = column("opus", ("text", f"</div></div></div>\n\n{payload}"))
    quiet = column("sonnet", ("text", "Harmless."))

    html = render_comparison([hostile, quiet]).data["text/html"]

    assert html.count("<div") == html.count("</div>")
    assert html.endswith(
        render_comparison([quiet]).data["text/html"].removeprefix(f'<div style="{COLUMNS}">')
    )
