"""What a model wrote is untrusted: nothing of it runs, loads or restyles, in any form that we hand out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hostile import BEACONS, FORMULAS, HOSTILE
from markdown_it import MarkdownIt
from snapshots import snapshot

from claude_magic.render import (
    GrowingMarkdown,
    neutralise_markdown,
    render_markdown,
    render_reply,
    render_thinking,
)
from claude_magic.render._sanitise import sanitise

TAGS = {
    "a",
    "blockquote",
    "br",
    "code",
    "details",
    "div",
    "em",
    "hr",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
} | {
    *(
        "strong",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    )
}
ATTRIBUTES = {"href", "title", "target", "rel", "class", "style", "start"}
CLASSES = {"mathjax_ignore", "tex2jax_ignore", "mathjax_process", "tex2jax_process"}


class Inspector(HTMLParser):
    """Collects whatever in a piece of HTML is not on the short list of harmless things."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.findings: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS or tag == "img":
            self.findings.append(f"<{tag}>")
        for name, value in attrs:
            if not self._is_harmless(name, value or ""):
                self.findings.append(f"<{tag} {name}={value!r}>")

    def handle_comment(self, data: str) -> None:
        self.findings.append(f"comment {data!r}")

    def _is_harmless(self, name: str, value: str) -> bool:
        match name:
            case "href":
                return value.startswith(("http://", "https://", "mailto:"))
            case "class":
                return set(value.split()) <= CLASSES
            case "style":
                return not re.search(r"url|position|@|expression|\\", value)
        return name in ATTRIBUTES


@pytest.mark.parametrize("payload", HOSTILE)
def test_a_hostile_answer_becomes_harmless_html(payload: str) -> None:
    """Only elements, attributes and addresses of the short list are left."""
    assert Inspector(render_markdown(payload)).findings == []


@pytest.mark.parametrize("payload", HOSTILE)
def test_a_hostile_answer_is_harmless_at_every_length_while_it_grows(payload: str) -> None:
    """Half a payload is no way around: each frame of the growing picture is clean, and so is the end."""
    growing = GrowingMarkdown()

    for length in range(len(payload) + 1):
        plan = growing.update(payload[:length] + ("" if length < len(payload) else "\n\nend\n\nof it\n"))
        for block in plan.blocks:
            assert Inspector(block.html).findings == []


@pytest.mark.parametrize("kind", ["text", "thinking", "tool_use", "never_heard_of_it"])
def test_every_kind_of_block_is_untrusted(kind: str) -> None:
    """Thinking, tool input and blocks of the future are as hostile as text."""
    blocks = [(kind, payload) for payload in HOSTILE]

    assert Inspector(render_reply(snapshot(*blocks)).data["text/html"]).findings == []
    assert Inspector(render_thinking("\n\n".join(HOSTILE))).findings == []


def test_what_the_server_says_in_a_footer_is_untrusted() -> None:
    """The model's name and the explanation of a refusal come over the wire too."""
    hostile = "<img src=x onerror=window.pwned=1>"
    shown = snapshot(
        ("text", "no"),
        model=hostile,
        stop_reason="refusal",
        stop_details={"category": hostile, "explanation": hostile},
    )

    assert Inspector(render_reply(shown).data["text/html"]).findings == []


@pytest.mark.parametrize("payload", HOSTILE)
def test_the_sanitiser_alone_would_do(payload: str) -> None:
    """Even if our renderer let raw HTML through, the last step takes out what is not ours."""
    raw = MarkdownIt("commonmark").render(payload)

    findings = [found for found in Inspector(sanitise(raw)).findings if not found.startswith("<img")]
    assert [found for found in findings if "evil.example" not in found] == []


@pytest.mark.parametrize("payload", HOSTILE)
def test_text_markdown_holds_no_html_and_no_live_link(payload: str) -> None:
    """A front end that renders raw HTML in Markdown finds none in ours."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(neutralise_markdown(payload))

    assert [found for found in Inspector(html).findings if not _is_code_language(found)] == []


def _is_code_language(finding: str) -> bool:
    return re.fullmatch(r"<code class='language-[\w+#.\-]+'>", finding) is not None


@pytest.mark.parametrize("payload", BEACONS)
def test_looking_at_an_answer_loads_nothing(payload: str) -> None:
    """No element that loads by itself is left, so nobody learns that the answer was read."""
    assert not re.search(r"<(img|video|audio|source|link|iframe|object|embed)\b", render_markdown(payload))


def test_images_are_loaded_only_where_the_reader_allowed_it() -> None:
    """With `remote_images`, http and https images are shown; nothing else is."""
    answer = "![cat](https://images.example/cat.png) ![d](data:image/png;base64,AA==) ![r](/local.png)"

    assert '<img src="https://images.example/cat.png" alt="cat">' in render_markdown(
        answer, remote_images=True
    )
    assert render_markdown(answer, remote_images=True).count("<img") == 1
    assert '<a href="https://images.example/cat.png"' in render_markdown(answer)


@pytest.mark.parametrize("payload", FORMULAS)
def test_a_formula_that_reaches_out_of_itself_is_shown_as_its_source(payload: str) -> None:
    """Links, styles, ids, macros and monstrous nesting never reach the typesetter."""
    for formula in re.findall(r'_process">(.*?)</(?:span|div)>', render_markdown(payload), re.DOTALL):
        assert not re.search(
            r"\\(href|html|style|class|cssId|require|include|gdef|def|let|renew)|\{{100}", formula
        )


def test_links_name_no_referrer_and_open_elsewhere() -> None:
    """A link of an answer opens a new tab which knows nothing of the notebook."""
    html = render_markdown("[x](https://example.org 'title')")

    assert 'target="_blank"' in html
    assert 'rel="noopener noreferrer"' in html


def test_text_plain_is_what_the_model_wrote() -> None:
    """Plain text needs no escaping, and keeps every character."""
    assert render_reply(snapshot(("text", HOSTILE[0]))).data["text/plain"] == HOSTILE[0]
