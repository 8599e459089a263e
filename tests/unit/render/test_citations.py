"""Citations: small numbers after cited text, and the sources below the answer."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hostile import HOSTILE
from markdown_it import MarkdownIt
from snapshots import snapshot
from test_untrusted import TEX_COMMAND, Inspector, is_markdowns_own

from claude_magic.render import render_footer, render_reply
from claude_magic.runtime import BlockSnapshot, ReplySnapshot


def web(url: str = "https://example.org/a", title: str | None = "Keepers") -> dict[str, Any]:
    """Return a citation of a web page."""
    return {
        "type": "web_search_result_location",
        "url": url,
        "title": title,
        "cited_text": "x",
        "encrypted_index": "y",
    }


def page(first: int, after: int, quote: str = "The lamp was lit.") -> dict[str, Any]:
    """Return a citation of pages of a document."""
    return {
        "type": "page_location",
        "document_index": 0,
        "document_title": "Report",
        "start_page_number": first,
        "end_page_number": after,
        "cited_text": quote,
    }


def reply(*texts: tuple[str, list[Any]], **changes: Any) -> ReplySnapshot:
    """Return a reply of text blocks with these citations."""
    blocks = tuple(
        BlockSnapshot(
            kind="text", text=text, is_complete=True, data={"type": "text", "text": text, "citations": found}
        )
        for text, found in texts
    )
    return replace(snapshot(**changes), blocks=blocks)


def html_of(*texts: tuple[str, list[Any]]) -> str:
    """Return the HTML of a reply of text blocks with these citations."""
    return render_reply(reply(*texts)).data["text/html"]


def first_paragraph(*texts: tuple[str, list[Any]]) -> str:
    """Return the visible text of its first paragraph."""
    return visible(html_of(*texts).partition("</p>")[0])


def visible(html: str) -> str:
    """Return what can be read of HTML."""
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()


def sources(html: str) -> list[str]:
    """Return the list below the answer."""
    listed = html.partition(">Sources<")[2].partition("</ol>")[0]
    return [visible(item) for item in re.findall(r"<li>(.*?)</li>", listed, re.DOTALL)]


def test_a_number_stands_after_what_is_cited() -> None:
    """It is a link to the page, with its title."""
    html = html_of(("The last left ", []), ("in 1989", [web()]), (".", []))

    assert "in 1989<sup" in html
    assert '<a href="https://example.org/a" title="Keepers"' in html
    assert visible(html.partition("</p>")[0]) == "The last left in 1989[1]."


def test_sources_are_listed_once_in_the_order_of_first_mention() -> None:
    """With the host, unless it equals the title."""
    other = web("https://other.example/b", "Lamps")
    html = html_of(("a", [web()]), (" b", [other, web()]), (" c", [web()]))

    assert visible(html.partition("</p>")[0]) == "a[1] b[2][1] c[1]"
    assert sources(html) == ["Keepers · example.org", "Lamps · other.example"]


def test_a_document_is_named_with_page_and_quote() -> None:
    """It has no URL. The API's end page is exclusive."""
    html = html_of(("a", [page(3, 4)]), (" b", [page(5, 8, "q" * 500)]))

    assert sources(html)[0] == "Report · page 3 · “The lamp was lit.”"
    assert sources(html)[1].startswith("Report · pages 5–7 · “qqq")
    assert len(sources(html)[1]) < 250


@pytest.mark.parametrize(
    "citation",
    [
        {
            "type": "char_location",
            "document_index": 0,
            "document_title": None,
            "start_char_index": 0,
            "end_char_index": 5,
            "cited_text": "Light",
        },
        {
            "type": "content_block_location",
            "document_index": 0,
            "start_block_index": 0,
            "end_block_index": 1,
            "cited_text": "Light",
        },
        {"type": "from_the_future", "cited_text": "Light"},
    ],
)
def test_a_source_without_a_name_is_a_document(citation: dict[str, Any]) -> None:
    """For any kind of citation."""
    assert sources(html_of(("a", [citation]))) == ["Document · “Light”"]


def test_a_search_result_of_the_user_links_to_its_source() -> None:
    """If the source is a web page; otherwise it is only named."""
    result = {
        "type": "search_result_location",
        "source": "https://wiki.example/1",
        "title": "Wiki",
        "search_result_index": 0,
    }
    html = html_of(("a", [result]), (" b", [{**result, "source": "kb/17", "title": None}]))

    assert '<a href="https://wiki.example/1"' in html
    assert sources(html) == ["Wiki · wiki.example", "kb/17"]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "//evil.example",
        "/api",
        "",
        "https://",
        "data:text/html,x",
    ],
)
def test_only_pages_of_the_web_are_linked_to(url: str) -> None:
    """Other sources are only named."""
    assert "<a " not in html_of(("a", [web(url, "T")]))


@pytest.mark.parametrize("citations", [[None], ["x"], [{}], [{"type": 3, "url": 4, "title": []}]])
def test_strange_citations_do_not_break_the_answer(citations: list[Any]) -> None:
    """A newer API may send unknown kinds."""
    assert visible(html_of(("words", citations))).startswith("words")


# Citations split a text anywhere


def test_a_text_that_citations_cut_is_one_markdown_text() -> None:
    """Emphasis, lists and tables continue across the cut."""
    html = html_of(("one **bo", []), ("ld", [web()]), ("** two\n\n- a", []), ("b\n- c", [web()]))

    assert "<strong>bold<sup" in html
    assert html.count("<li>") == 3
    assert visible(html.partition("</p>")[0]) == "one bold[1] two"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([("a *b*", 1), (" c", 0)], "a b[1] c"),
        ([("a ", 0), ("**b**", 1), ("c", 0)], "a b[1]c"),
        ([("a\n", 1), ("b", 0)], "a[1]\nb"),
        ([("see [x](https://x.example)", 1), (".", 0)], "see x[1]."),
        ([("see https://x.example/a", 1), (".", 0)], "see https://x.example/a[1]."),
        ([("a `b", 0), ("c", 1), ("d` e", 0)], "a bc[1]d e"),
        ([("# Title", 1), ("\n\ntext", 0)], "Title[1]\ntext"),
        ([("| a | b |\n|---|---|\n| c | d |", 1), ("\n", 0)], "a\nb\n\n\n\n\nc\nd[1]"),
        ([("\n\n", 1), ("a", 0)], "a"),
        ([("a", 0), (" ", 1), ("b", 0)], "a[1] b"),
    ],
)
def test_a_number_does_not_change_what_it_stands_in(texts: list[tuple[str, int]], expected: str) -> None:
    """Emphasis, links, code, headings and tables are parsed as without it."""
    html = html_of(*((text, [web()] * cited) for text, cited in texts))

    assert visible(html.partition("Sources")[0]) == expected


@pytest.mark.parametrize(
    "texts",
    [
        [("```python\nx = ", 0), ("1", 1), ("\n```\n", 0)],
        [("```python\nx = 1\n```", 1), ("\n", 0)],
        [("a\n\n---", 1), ("\n\nb", 0)],
        [("Title\n===", 1), ("\n\nb", 0)],
        [("$$\nx", 1), ("\n$$", 0)],
        [("    code", 1), ("\n\nb", 0)],
    ],
)
def test_where_a_number_would_break_a_block_there_is_none(texts: list[tuple[str, int]]) -> None:
    """Code, rules and formulas are not changed; the source is listed nevertheless."""
    cited = html_of(*((text, [web()] * count) for text, count in texts))
    bare = reply(*((text, []) for text, _ in texts))

    assert cited.startswith(
        render_reply(bare).data["text/html"].removesuffix(render_footer(bare, kept_in="claude.last"))
    )
    assert sources(cited) == ["Keepers · example.org"]


def test_a_model_cannot_forge_a_number() -> None:
    """The marks contain noncharacters, which are removed from the model's text."""
    html = html_of(("real", [web()]), (" forged \ufdd01\ufdd1", []))

    assert html.count("<sup") == 1


def test_without_citations_a_text_is_left_as_it_is() -> None:
    """Even if it contains such characters."""
    bundle = render_reply(snapshot(("text", "a\ufdd01\ufdd1b")))

    assert "<sup" not in bundle.data["text/html"]
    assert bundle.data["text/plain"] == "a\ufdd01\ufdd1b"


# Other front ends


def test_markdown_has_the_numbers_and_the_sources_too() -> None:
    """As links with escaped labels, for front ends that prefer Markdown."""
    markdown = render_reply(
        reply(("The last left ", []), ("in 1989", [web(title="A [b](c) <d>")]), (".", []))
    ).data["text/markdown"]
    html = MarkdownIt("commonmark", {"html": True}).render(markdown)

    assert '1989<a href="https://example.org/a">[1]</a>.' in html
    assert visible(html).endswith("A [b](c) <d>")


def test_plain_text_is_what_the_model_wrote() -> None:
    """Without numbers."""
    assert render_reply(reply(("a", [web()]), (" b", []))).data["text/plain"] == "a b"


@pytest.mark.parametrize(
    ("answer_format", "is_listed"), [("text", True), ("math", True), ("code", False), ("json", False)]
)
def test_formats_of_prose_list_the_sources(answer_format: str, is_listed: bool) -> None:
    """Code and JSON do not."""
    html = render_reply(reply(("a", [web()]), format=answer_format)).data["text/html"]

    assert (">Sources<" in html) is is_listed


@pytest.mark.parametrize("payload", HOSTILE)
def test_citations_are_untrusted(payload: str) -> None:
    """Titles, URLs and quotes come from web pages, and the text around them from a model."""
    cited = [
        web(payload, payload),
        web("https://e.example/" + payload, payload),
        page(1, 2, payload),
        {"title": payload, "source": payload},
    ]
    bundle = render_reply(reply((payload, cited), (f"\n\n{payload}", cited), ("\n\nx", cited)))
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table").render(bundle.data["text/markdown"])

    assert Inspector(bundle.data["text/html"]).findings == []
    assert [found for found in Inspector(markdown).findings if not is_markdowns_own(found)] == []
    assert not TEX_COMMAND.search(Inspector(markdown).prose)


def test_many_citations_take_time_in_proportion() -> None:
    """An answer of a research task has hundreds."""
    texts = [(f"Sentence {n}.", [web(f"https://example.org/{n}")]) for n in range(2_000)]

    assert len(sources(html_of(*texts))) == 2_000
