"""Renders answers in formats other than Markdown (`-f text|code|json|html|math`).

Each format has three forms: HTML, Markdown for front ends that prefer it, and plain text. JSON is never published as
`application/json`, because JupyterLab prefers that to HTML, and would show only the tree, without thinking, calls and
footer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Final

from ..context import fence_around
from ..runtime import ReplySnapshot
from ..schema import NoJSONError, extract_json, fenced_blocks, find_code, join_code, reveal
from ._markdown import render_code
from ._neutralise import neutralise_markdown
from ._sanitise import MATH_CLASSES, PLAIN_TEXT, PROSE, QUIET, render_foreign_html, styled, without_math
from ._syntax import Formula, find_environment, find_formula, with_newlines, without_labels
from ._tex import TOO_MANY_FORMULAS, Allowance

# Plain text in which only formulas are typeset, for `-f math`. It is not Markdown: asterisks, hashes and line breaks
# are kept. Formulas are recognised by the same rules as in Markdown.
_BLANK_LINES: Final = re.compile(r"(\n[ \t]*\n\s*)")
_MARK: Final = re.compile(r"[$\\]")


def render_prose(text: str) -> str:
    """Return safe HTML of `text` with its formulas typeset."""
    # A formula ends at a blank line, so a lone dollar affects its own paragraph at most.
    allowance = Allowance()
    parts = _BLANK_LINES.split(with_newlines(text.strip("\r\n")))
    html = "".join(
        "".join(_render_paragraph(part, allowance)) if index % 2 == 0 else part
        for index, part in enumerate(parts)
    )
    remark = styled(QUIET, TOO_MANY_FORMULAS) if allowance.has_no_formulas_left else ""
    return without_math(f'<div style="{PROSE}">{html}</div>{remark}')


def _render_paragraph(text: str, allowance: Allowance) -> Iterator[str]:
    memory: dict[str, Any] = {}
    position = done = 0
    while mark := _MARK.search(text, position):
        start = mark.start()
        found = find_environment(text, start) or find_formula(text, start, memory)
        if found is None:
            # A backslash escapes the next character; before a dollar it is dropped.
            is_escape = text[start] == "\\"
            position = min(start + 1 + is_escape, len(text))
            if is_escape and text.startswith("$", start + 1):
                yield _plain(text[done:start])
                done = start + 1
            continue
        before = text[done:start]
        yield _plain(before.removesuffix("\n") if found.is_display else before)
        yield _formula(found, text[start : found.end], allowance)
        position = done = found.end
        if found.is_display and text.startswith("\n", done):
            position = done = done + 1
    yield _plain(text[done:])


def _formula(formula: Formula, source: str, allowance: Allowance) -> str:
    if not allowance.admit_formula(formula.source):
        return _plain(source)
    opening, closing = (r"\[", r"\]") if formula.is_display else (r"\(", r"\)")
    tex = _plain(without_labels(formula.source))
    return f'<span class="{MATH_CLASSES}">{opening}{tex}{closing}</span>'


def _plain(text: str) -> str:
    return escape(reveal(text), quote=False)


_TAG: Final = re.compile(r"<(?:!doctype|/?[a-z][a-z0-9]*)\b[^<>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """The content of an answer in one format: as HTML, Markdown and plain text."""

    html: str
    markdown: str
    plain: str


def render_body(text: str, answer_format: str, *, remote_images: bool) -> Body:
    """Return the content of a complete answer in a format other than Markdown."""
    match answer_format:
        case "code":
            return _code_body(text)
        case "json":
            return _json_body(text)
        case "html":
            return _html_body(text, remote_images=remote_images)
        case "math":
            return Body(render_prose(text), neutralise_markdown(text), reveal(text))
    return _text_body(text)


def render_growing(snapshot: ReplySnapshot) -> str:
    """Return the HTML of an answer that is still streaming, in a format other than Markdown.

    The time is proportional to the length of the text, so callers limit the frame rate. JSON and HTML are shown as
    source until they are complete.
    """
    text = snapshot.text
    match snapshot.format:
        case "code":
            return _growing_code(text)
        case "json" | "html" as language:
            return _highlighted(_inside_fence(text), language)
        case "math":
            return render_prose(text)
    return _plain_html(text)


# The formats


def _text_body(text: str, remark: str = "") -> Body:
    return Body(_plain_html(text, remark), _fenced(text, "text"), reveal(text))


def _code_body(text: str) -> Body:
    blocks = find_code(text)
    if not blocks:
        return _text_body(text, "The answer contains no code.")
    return _source_body(join_code(blocks), blocks[0].language)


def _source_body(source: str, language: str) -> Body:
    return Body(_highlighted(source, language), _fenced(source, language), reveal(source, is_code=True))


def _json_body(text: str) -> Body:
    try:
        pretty = _pretty(extract_json(text))
    except NoJSONError as error:
        return _text_body(text, error.message)
    except RecursionError:
        return _text_body(text, "The JSON of the answer is nested too deeply to be laid out.")
    return _source_body(pretty, "json")


def _html_body(text: str, *, remote_images: bool) -> Body:
    source = _html_source(text)
    if not source:
        return _text_body(text, "The answer contains no HTML.")
    return replace(
        _source_body(source, "html"), html=render_foreign_html(source, remote_images=remote_images)
    )


def _growing_code(text: str) -> str:
    blocks = list(fenced_blocks(text))
    if not blocks:
        return _highlighted(text, "")
    return _highlighted(join_code(find_code(text)), blocks[0].language)


# Steps


def _html_source(text: str) -> str:
    """Return the HTML in an answer: its code blocks with HTML, else the whole text if it contains a tag, else ""."""
    blocks = [block for block in fenced_blocks(text) if block.language in ("html", "xhtml", "htm")]
    blocks = blocks or [
        block for block in fenced_blocks(text) if not block.language and _TAG.match(block.code.strip())
    ]
    if blocks:
        return join_code(blocks)
    return text if _TAG.search(text) else ""


def _inside_fence(text: str) -> str:
    """Return the content of the first fence; the whole text if there is none."""
    return next((block.code for block in fenced_blocks(text)), text)


def _pretty(value: object) -> str:
    pretty = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        pretty.encode()
    except UnicodeEncodeError:  # a lone surrogate cannot be encoded: keep it as an escape
        return json.dumps(value, indent=2)
    return pretty


def _highlighted(code: str, language: str) -> str:
    return without_math(render_code(code, language))


def _plain_html(text: str, remark: str = "") -> str:
    note = styled(QUIET, remark) if remark else ""
    return without_math(styled(PLAIN_TEXT, reveal(text.strip("\n"))) + note)


def _fenced(text: str, language: str) -> str:
    """Return a fenced Markdown code block with `text`."""
    text = reveal(text, is_code=language != "text")
    fence = fence_around(text)
    tag = language if re.fullmatch(r"[\w+#.\-]*", language) else ""
    return "\n".join((fence + tag, text.removesuffix("\n"), fence))
