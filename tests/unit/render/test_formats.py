"""The formats of an answer other than Markdown."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hostile import BEACONS, HOSTILE
from markdown_it import MarkdownIt
from snapshots import snapshot

from claude_magic.render import render_footer, render_reply
from claude_magic.render._formats import render_growing

from ..work_done import calls_made

FORMATS = ["text", "code", "json", "html", "math"]


def shown(text: str, answer_format: str, *, remote_images: bool = False) -> str:
    """Return the HTML of an answer in a format, without its footer."""
    reply = snapshot(("text", text), format=answer_format)
    html = render_reply(reply, remote_images=remote_images).data["text/html"]
    return html.removesuffix(render_footer(reply, kept_in="claude.last"))


def visible(html: str) -> str:
    """Return what can be read of HTML."""
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()


def plain(text: str, answer_format: str) -> str:
    """Return the plain text of an answer in a format."""
    return render_reply(snapshot(("text", text), format=answer_format)).data["text/plain"]


# Each of them


def test_text_is_shown_as_it_is_written() -> None:
    """No Markdown, formulas or HTML; line breaks and spaces are kept."""
    html = shown("# *a*\n  <b> $x$ \\(y\\)", "text")

    assert visible(html) == "# *a*\n  <b> $x$ \\(y\\)"
    assert "white-space:pre-wrap" in html
    assert "mathjax_ignore" in html
    assert "mathjax_process" not in html


def test_code_is_only_the_code_in_colour() -> None:
    """Without the text around it, but with the footer."""
    reply = snapshot(("thinking", "hm"), ("text", "Sure:\n```python\nx = '<b>'\n```\nBye"), format="code")
    data = render_reply(reply).data

    assert visible(shown("Sure:\n```python\nx = '<b>'\n```\nBye", "code")) == "x = '<b>'"
    assert "jp-mirror-editor-string" in data["text/html"]
    assert "<details" not in data["text/html"]
    assert "1,234&nbsp;tokens&nbsp;in" in data["text/html"]
    assert data["text/plain"] == "x = '<b>'"
    assert data["text/markdown"] == "```python\nx = '<b>'\n```"


def test_an_answer_without_code_is_shown_with_a_quiet_note() -> None:
    """The answer is shown as text."""
    assert visible(shown("I cannot.", "code")) == "I cannot.The answer contains no code."


def test_json_is_laid_out() -> None:
    """Without the text around it, and with unescaped characters."""
    html = shown('Sure: {"a": [1, "ü"]}', "json")

    assert visible(html) == '{\n  "a": [\n    1,\n    "ü"\n  ]\n}'
    assert "<span" in html
    assert plain('Sure: {"a": 1}', "json") == '{\n  "a": 1\n}'


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("No.", "contains no complete JSON"),
        ('{"a": 1', "JSON of the answer is incomplete"),
        ("[" * 5_000, "JSON"),
    ],
)
def test_what_is_not_json_is_shown_as_text_and_says_why(answer: str, note: str) -> None:
    """A refusal, or an answer that was cut."""
    assert visible(shown(answer, "json")).startswith(answer)
    assert note in visible(shown(answer, "json"))


def test_half_an_emoji_in_json_stays_an_escape() -> None:
    """A lone surrogate cannot be displayed."""
    assert visible(shown(r'{"a": "\ud83d"}', "json")) == '{\n  "a": "\\ud83d"\n}'


def test_json_goes_out_as_html_and_text_only() -> None:
    """JupyterLab prefers `application/json` to HTML, and would show only a tree, without the footer."""
    bundle = render_reply(snapshot(("text", "{}"), format="json"))

    assert list(bundle.data) == ["text/html", "text/markdown", "text/plain"]


def test_html_is_shown_as_what_it_is() -> None:
    """Content elements, and styles that change their appearance."""
    html = shown(
        '<h2 style="color: red; padding:3px">Tides</h2><table><tr><td colspan="2">x</td></tr></table>', "html"
    )

    assert '<h2 style="color:red;padding:3px">Tides</h2>' in html
    assert '<td colspan="2">x</td>' in html


@pytest.mark.parametrize(
    "answer",
    [
        "Here you are:\n\n```html\n<p>x</p>\n```\n\nDone.",
        "```\n<p>x</p>\n```",
        "<p>x</p>",
        "<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body><p>x</p></body></html>",
    ],
)
def test_html_is_found_in_a_fence_or_bare(answer: str) -> None:
    """For a page, its body is shown, without title and stylesheet."""
    html = shown(answer, "html")

    assert "<p>x</p>" in html
    assert visible(html) == "x"


def test_an_answer_without_html_is_shown_with_a_quiet_note() -> None:
    """As for code."""
    assert visible(shown("1 < 2", "html")) == "1 < 2The answer contains no HTML."


def test_html_cannot_leave_its_place() -> None:
    """It is in a box that scrolls, and in which nothing is painted outside."""
    html = shown('</div></div></details><p style="margin-top:-999px">x</p>', "html")

    assert html.startswith('<div class="mathjax_ignore tex2jax_ignore" style="overflow:auto;')
    assert "contain:content" in html
    assert html.count("<div") == html.count("</div")


@pytest.mark.parametrize(
    "style",
    [
        "position:fixed",
        "position : absolute",
        "z-index:9",
        "background:url(https://evil.example/b.png)",
        "background:URL(//evil.example/b.png)",
        "background:u\\72l(https://evil.example/b.png)",
        "background:image-set('https://evil.example/b.png' 1x)",
        "background-image:linear-gradient(red,blue)",
        "color:expression(alert(1))",
        "color:var(--x)",
        "width:calc(1px + url(x))",
        "color:red/**/;}",
        "--x:1",
        "behavior:url(x)",
        "-moz-binding:url(x)",
        "animation:x 1s",
        "transform:scale(99)",
        "filter:blur(1px)",
        "content:'x'",
        "box-shadow:0 0 0 9999px red",
        "outline:9999px solid",
    ],
)
def test_styles_that_reach_out_are_taken_away(style: str) -> None:
    """Other styles of the same element are kept, if they can be separated."""
    html = shown(f'<p style="{style};font-weight:bold">x</p>', "html")

    assert re.search(r"<p(?: style=\"(?:font-weight:bold)?\")?>x</p>", html)


@pytest.mark.parametrize(
    "style",
    [
        "color:rgb(1, 2, 3)",
        "background:#ffe",
        "width:calc(100% - 2em)",
        "border:1px solid rgba(0,0,0,.2)",
        "font-family:'Fira Sans', serif",
        "display:grid",
        "grid-template-columns:repeat(3, 1fr)",
        "padding:1px 2px",
        "text-align:right",
    ],
)
def test_styles_of_looks_stay(style: str) -> None:
    """Colours, fonts, borders, spacing, and layout inside the box."""
    assert f'<p style="{style}">' in shown(f'<p style="{style}">x</p>', "html")


def test_images_in_html_are_links_unless_the_reader_allowed_them() -> None:
    """So that viewing an answer contacts no other host."""
    answer = '<p><img src="https://images.example/cat.png" alt="a cat"> <img src="/x.png"> <img src="data:image/png;base64,AA"></p>'

    assert "<img" not in shown(answer, "html")
    assert '<a href="https://images.example/cat.png"' in shown(answer, "html")
    assert "image: a cat" in shown(answer, "html")
    assert shown(answer, "html", remote_images=True).count('src="') == 1


def test_math_typesets_formulas_in_plain_prose() -> None:
    """Without Markdown; amounts of money are kept."""
    html = shown("It costs *$5* and $6.\n\nBut $x^2$ is\n\\[ y \\]\nand \\(z\\) \\$7", "math")

    assert re.findall(r'_process">(.*?)</span>', html) == [r"\(x^2\)", r"\[y\]", r"\(z\)"]
    assert visible(html).startswith("It costs *$5* and $6.\n\nBut")
    assert visible(html).endswith("$7")


def test_a_formula_that_reaches_out_of_itself_is_prose() -> None:
    """As in Markdown."""
    assert "_process" not in shown(r"$\href{javascript:x}{y}$ and \(\def\x{}\)", "math")


def test_environments_are_formulas_too() -> None:
    """All their lines are one formula."""
    answer = "So\n\\begin{align}\na &= b \\\\\n&= c\n\\end{align}\nholds."

    assert shown(answer, "math").count("mathjax_process") == 1


# All of them


@pytest.mark.parametrize("answer_format", ["text", "math", "html"])
def test_thinking_and_calls_stand_above_prose(answer_format: str) -> None:
    """Collapsed, as in Markdown."""
    reply = snapshot(("thinking", "hm"), ("tool_use", "{}"), ("text", "<p>x</p>"), format=answer_format)
    html = render_reply(reply).data["text/html"]

    assert html.count("<details") == 2


@pytest.mark.parametrize("answer_format", ["code", "json"])
def test_data_have_calls_above_them_but_no_thinking(answer_format: str) -> None:
    """Effects of tools are always shown; thinking was not requested."""
    reply = snapshot(("thinking", "hm"), ("tool_use", '{"a": 1}'), ("text", "{}"), format=answer_format)

    assert render_reply(reply).data["text/html"].count("<details") == 1


@pytest.mark.parametrize("answer_format", [*FORMATS, "never heard of"])
@pytest.mark.parametrize(
    "answer", ["", " \n", "x", "```", "```json\n", "{", "<", "$", "\\", "a\r\nb", "\ufdd0", "\ud83d"]
)
def test_scraps_do_not_break_a_format(answer_format: str, answer: str) -> None:
    """Answers may be empty, cut off, or in another format than requested."""
    reply = snapshot(("text", answer), format=answer_format)

    assert render_reply(reply).data["text/html"]
    assert isinstance(render_growing(reply), str)


class Inspector(HTMLParser):
    """Collects everything in HTML that could act, load, or leave its place."""

    ACTIVE = re.compile(
        r"script|style|iframe|object|embed|form|input|button|svg|math|link|meta|base|video|audio|source|img|template"
    )

    def __init__(self, html: str) -> None:
        super().__init__()
        self.findings: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.ACTIVE.fullmatch(tag):
            self.findings.append(f"<{tag}>")
        for name, value in attrs:
            is_bad_link = name in ("href", "src") and not (value or "").startswith(
                ("http://", "https://", "mailto:")
            )
            is_bad_style = name == "style" and re.search(r"url|position|@|expression|\\", value or "")
            if (
                is_bad_link
                or is_bad_style
                or name.startswith("on")
                or name in ("id", "name", "srcset", "srcdoc")
            ):
                self.findings.append(f"<{tag} {name}={value!r}>")


@pytest.mark.parametrize("answer_format", FORMATS)
def test_a_hostile_answer_is_harmless_in_every_format(answer_format: str) -> None:
    """Final and growing, with and without fences."""
    for payload in HOSTILE:
        for text in (payload, f"```html\n{payload}\n```", f"<div>{payload}</div>", f'{{"a": "{payload}"}}'):
            reply = snapshot(("text", text), format=answer_format)

            assert Inspector(render_reply(reply).data["text/html"]).findings == []
            assert Inspector(render_growing(reply)).findings == []


@pytest.mark.parametrize("answer_format", FORMATS)
def test_text_markdown_of_every_format_holds_no_html(answer_format: str) -> None:
    """For front ends that prefer Markdown and render raw HTML."""
    for payload in HOSTILE:
        markdown = render_reply(snapshot(("text", f"<p>{payload}"), format=answer_format)).data[
            "text/markdown"
        ]
        html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)

        assert Inspector(html).findings == []


def test_looking_at_html_loads_nothing() -> None:
    """No element or style is left that loads by itself."""
    for payload in BEACONS:
        assert not re.search(r"<(img|video|audio|source|link|iframe|object|embed)\b", shown(payload, "html"))
        assert not re.search(r"style=\"[^\"]*evil", shown(payload, "html"))


# While it grows


@pytest.mark.parametrize(
    ("answer_format", "answer", "words"),
    [
        ("text", "so far", "so far"),
        ("code", "Sure:\n```python\nx = 1\ny", "x = 1\ny"),
        ("code", "x = 1", "x = 1"),
        ("json", '{"a": [1,', '{"a": [1,'),
        ("json", '```json\n{"a": [1,', '{"a": [1,'),
        ("html", "```html\n<p>x", "<p>x"),
        ("html", "<p>x</p>", "<p>x</p>"),
        ("math", "so $x", "so $x"),
    ],
)
def test_a_growing_answer_is_shown_as_far_as_it_has_come(answer_format: str, answer: str, words: str) -> None:
    """JSON and HTML as source, because incomplete ones cannot be rendered."""
    assert visible(render_growing(snapshot(("text", answer), format=answer_format))) == words


@pytest.mark.parametrize("answer_format", FORMATS)
def test_a_frame_of_an_answer_twice_as_long_is_about_twice_the_work(answer_format: str) -> None:
    """So that it can be drawn several times per second."""
    paragraph = 'Some words, $x$ and `code`, <b>bold</b> {"a": 1} \\(y\\).\n\n```python\nprint(1)\n```\n\n'
    reply = snapshot(("text", paragraph * 400), format=answer_format)
    half = snapshot(("text", paragraph * 200), format=answer_format)
    render_growing(snapshot(("text", paragraph), format=answer_format))

    work = [calls_made(lambda each=each: render_growing(each)) for each in (half, reply)]  # type: ignore[misc]

    assert work[1] <= 2.5 * work[0] + 1_000


@pytest.mark.parametrize(
    "unit", ["$", "\\(", "$a ", "\\begin{align}", "\n\n", "$$x", "\\[ x\n", "<p ", "```\n", "<b>", '{"']
)
@pytest.mark.parametrize("answer_format", FORMATS)
def test_no_answer_holds_up_the_picture(unit: str, answer_format: str) -> None:
    """Unclosed delimiters do not cause quadratic work."""
    words = snapshot(
        ("text", "words"), format=answer_format
    )  # excludes the work of imports and of one-time caches
    pictures = [lambda: (render_reply(words), render_growing(words))]
    for length in (2_000, 8_000):
        reply = snapshot(("text", unit * (length // len(unit))), format=answer_format)
        pictures.append(lambda reply=reply: (render_reply(reply), render_growing(reply)))

    _, small, large = [calls_made(picture) for picture in pictures]

    assert large <= 6 * small + 2_000
