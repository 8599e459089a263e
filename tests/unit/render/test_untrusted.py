"""Text of a model is untrusted: it runs, loads or restyles nothing, in any rendering."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hostile import BEACONS, FORMULAS, HOSTILE, TEX
from markdown_it import MarkdownIt
from snapshots import HERE, snapshot

from claude_magic.client import ClaudeError
from claude_magic.render import (
    Column,
    Exchange,
    LiveFrames,
    neutralise_markdown,
    render_comparison,
    render_line,
    render_notice,
    render_reply,
    render_rows,
    render_transcript,
)
from claude_magic.render._answer import render_thinking
from claude_magic.render._frame import GrowingMarkdown
from claude_magic.render._markdown import render_folded_code, render_markdown
from claude_magic.render._sanitise import COLUMN, COLUMN_BODY, COLUMNS, sanitise
from claude_magic.render._tex import Allowance
from claude_magic.runtime import BlockSnapshot, CallSnapshot, Phase
from claude_magic.tools import CallState

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
ATTRIBUTES = {"colspan", "href", "title", "target", "rel", "class", "style", "start"}
CLASSES = {"mathjax_ignore", "tex2jax_ignore", "mathjax_process", "tex2jax_process"}
VOID = {"br", "hr", "img"}
TEX_MARK = re.compile(r"\$|\\[(\[]|\\begin")
TEX_COMMAND = re.compile(
    r"\\(href|html\w*|style|class|cssId|require|include|gdef|def|let|renew|newcol|setOpt)"
)
TEX_THAT_REACHES_OUT = re.compile(
    TEX_COMMAND.pattern
    + r"|\{{100}|\\left\((.*\\left\(){60}|(\\(?:tiny|color)\b.*){60}|\d{4}(\.\d+)? ?(em|pt)"
    + r"|(\\(?:raise|lower|move|sqrt|overline|unheard|Unary)[^$]*){60}|\{9{3,}\}|(\\pmb\{){9}|(\{%\}\n){60}"
)


class Inspector(HTMLParser):
    """Collects everything in HTML that is not on a short list of harmless things.

    Front ends typeset all formulas that they find, so each must be marked as a formula, or be where formulas are
    ignored.

    Attributes:
        findings: Everything that is not harmless.
        prose: The visible text without code.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.findings: list[str] = []
        self.prose = ""
        self._open: list[tuple[str, bool | None]] = []
        self.feed(html)
        self.close()

    @property
    def _is_typeset(self) -> bool | None:
        return self._open[-1][1] if self._open else None

    def handle_data(self, data: str) -> None:
        if any(tag in ("pre", "code") for tag, _ in self._open):
            return
        self.prose += data
        if self._is_typeset is None and TEX_MARK.search(data):
            self.findings.append(f"formula {data!r}")
        if self._is_typeset and TEX_THAT_REACHES_OUT.search(data):
            self.findings.append(f"formula {data!r}")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        is_typeset = ("mathjax_process" in classes) if {*classes} & CLASSES else self._is_typeset
        if tag not in VOID:
            self._open.append((tag, is_typeset))
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
    """Only the elements, attributes and URLs of the short list are left."""
    assert Inspector(render_markdown(payload)).findings == []


@pytest.mark.parametrize("payload", HOSTILE)
def test_a_hostile_answer_is_harmless_at_every_length_while_it_grows(payload: str) -> None:
    """Incomplete payloads do not bypass it: each frame is clean, and so is the final output."""
    growing = GrowingMarkdown()
    seen: set[str] = set()
    frames = 200 if len(payload) < 2_000 else 40

    for length in [*range(0, len(payload), max(1, len(payload) // frames)), len(payload)]:
        plan = growing.update(payload[:length] + ("" if length < len(payload) else "\n\nend\n\nof it\n"))
        for html in {block.html for block in plan.blocks} - seen:
            assert Inspector(html).findings == []
            seen.add(html)


@pytest.mark.parametrize("kind", ["text", "thinking", "tool_use", "never_heard_of_it"])
def test_every_kind_of_block_is_untrusted(kind: str) -> None:
    """Thinking, tool input and unknown blocks are treated like text."""
    blocks = [(kind, payload) for payload in HOSTILE]

    assert Inspector(render_reply(snapshot(*blocks)).data["text/html"]).findings == []
    assert Inspector(render_thinking("\n\n".join(HOSTILE), allowance=Allowance())).findings == []


@pytest.mark.parametrize("payload", [*HOSTILE, *TEX])
def test_what_stands_around_an_answer_is_untrusted(payload: str) -> None:
    """Calls and results, sources, errors, notes and names: neither markup nor formulas."""
    call = CallSnapshot(name=payload, arguments={payload: payload}, state=CallState.FAILED, result=payload)
    source = {"url": payload, "title": payload, "cited_text": payload, "document_title": payload}
    linked = {"url": f"https://ok.example/{payload}", "title": payload}
    search = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {"query": payload}}
    pages = [
        {"url": f"https://ok.example/{payload}", "title": payload, "page_age": payload},
        {"url": payload},
    ]
    found = {"type": "web_search_tool_result", "tool_use_id": "1", "content": pages}
    unknown = {"type": payload, "id": payload, "name": payload, "input": {payload: payload}}
    blocks = (
        BlockSnapshot(kind="text", text="Cited.", is_complete=True, data={"citations": [source, linked]}),
        BlockSnapshot(kind="tool_use", text="", is_complete=True, call=call),
        BlockSnapshot(kind="server_tool_use", text="", is_complete=True, data=search),
        BlockSnapshot(kind="web_search_tool_result", text="", is_complete=True, data=found),
        BlockSnapshot(kind="server_tool_use", text="", is_complete=True, data=unknown),
        BlockSnapshot(
            kind=f"{payload}_tool_result", text=payload, is_complete=True, data={"content": payload}
        ),
        BlockSnapshot(kind=payload, text=payload, is_complete=True),
    )
    facts = {
        "model": payload,
        "notes": (payload,),
        "stop_reason": payload,
        "stop_details": {payload: payload},
    }
    answered = replace(snapshot(**facts), blocks=blocks)
    failed = replace(answered, phase=Phase.FAILED, error=ClaudeError(payload))
    column = Column(name=payload, kept_in=payload, answer=failed)
    exchange = Exchange(question=payload, attached=(payload,), answer=answered)

    shown = {
        "reply": render_reply(answered).data["text/html"],
        "failure": render_reply(failed).data["text/html"],
        "while it grows": "".join(LiveFrames().slots(replace(answered, phase=Phase.STREAMING), 0.0)),
        "comparison": render_comparison([column]).data["text/html"],
        "transcript": "".join(bundle.data["text/html"] for bundle in render_transcript(exchange, **HERE)),
        "notice": render_notice(payload).data["text/html"],
        "line": render_line(payload),
        "rows": render_rows([(payload, [(payload, payload)])], columns=(payload,), notes=(payload,)).data[
            "text/html"
        ],
        "code": render_folded_code(payload, payload, payload),
    }

    ours = {
        "<div class='claude-magic-transcript'>",
        *(f"<div style={style!r}>" for style in (COLUMN, COLUMN_BODY, COLUMNS)),
    }
    findings = {
        place: [each for each in Inspector(html).findings if each not in ours]
        for place, html in shown.items()
    }
    assert {place: found for place, found in findings.items() if found} == {}


def test_what_the_server_says_in_a_footer_is_untrusted() -> None:
    """The model's name and the explanation of a refusal come from the server."""
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
    """Even if the renderer passed raw HTML through, the sanitiser would remove it."""
    raw = MarkdownIt("commonmark").render(payload)

    findings = [
        found for found in Inspector(sanitise(raw)).findings if not found.startswith(("<img", "formula"))
    ]
    assert [found for found in findings if "evil.example" not in found] == []


@pytest.mark.parametrize("payload", HOSTILE)
def test_text_markdown_holds_no_html_and_no_live_link(payload: str) -> None:
    """Front ends that render raw HTML in Markdown find none."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(neutralise_markdown(payload))

    assert [found for found in Inspector(html).findings if not is_markdowns_own(found)] == []


def is_markdowns_own(finding: str) -> bool:
    """Return whether a finding is only the language of a code block, or the mark of a formula."""
    return re.fullmatch(r"<code class='language-[\w+#.\-]+'>|formula .*", finding, re.DOTALL) is not None


@pytest.mark.parametrize("payload", [*FORMULAS, *TEX])
def test_text_markdown_holds_no_formula_that_reaches_out_of_itself(payload: str) -> None:
    """Whatever a front end treats as a formula, unsafe commands outside of code are disabled."""
    html = MarkdownIt("commonmark").render(neutralise_markdown(payload))

    assert not TEX_COMMAND.search(Inspector(html).prose)


@pytest.mark.parametrize("payload", BEACONS)
def test_looking_at_an_answer_loads_nothing(payload: str) -> None:
    """No element that loads by itself is left, so no server learns that the answer was viewed."""
    assert not re.search(r"<(img|video|audio|source|link|iframe|object|embed)\b", render_markdown(payload))


def test_images_are_loaded_only_where_the_reader_allowed_it() -> None:
    """With `remote_images`, only http and https images are loaded."""
    answer = "![cat](https://images.example/cat.png) ![d](data:image/png;base64,AA==) ![r](/local.png)"

    assert '<img src="https://images.example/cat.png" alt="cat">' in render_markdown(
        answer, remote_images=True
    )
    assert render_markdown(answer, remote_images=True).count("<img") == 1
    assert '<a href="https://images.example/cat.png"' in render_markdown(answer)


@pytest.mark.parametrize("payload", FORMULAS)
def test_a_formula_that_reaches_out_of_itself_is_shown_as_its_source(payload: str) -> None:
    """Links, styles, ids, macros, extreme nesting and lengths never reach MathJax."""
    for formula in re.findall(r'_process">(.*?)</(?:span|div)>', render_markdown(payload), re.DOTALL):
        assert not TEX_THAT_REACHES_OUT.search(formula)


def test_links_name_no_referrer_and_open_elsewhere() -> None:
    """Links open in a new tab, without a reference to the notebook."""
    html = render_markdown("[x](https://example.org 'title')")

    assert 'target="_blank"' in html
    assert 'rel="noopener noreferrer"' in html


def test_text_plain_is_what_the_model_wrote() -> None:
    """Plain text needs no escaping, and keeps every character."""
    assert render_reply(snapshot(("text", HOSTILE[0]))).data["text/plain"] == HOSTILE[0]
