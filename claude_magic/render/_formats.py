"""The formats of an answer other than Markdown (`-f text|code|json|html|math`): what stands in place of its text.

A format decides what every front end gets: the HTML, the Markdown for those that prefer it, and the plain text. JSON goes out
as text and HTML only, never as `application/json`: JupyterLab prefers that to HTML, and would show the bare tree without the
thinking, the calls and the footer.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from typing import Final

from ..answers import NoJSONError, extract_json, fenced_blocks, find_code, join_code, reveal
from ..runtime import ReplySnapshot
from ._code import render_code
from ._foreign_html import render_foreign_html
from ._neutralise import neutralise_markdown
from ._prose_with_math import render_prose
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import PLAIN_TEXT
from ._tool_data import render_remark

_TAG: Final = re.compile(r"<(?:!doctype|/?[a-z][a-z0-9]*)\b[^<>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Body:
    """What an answer says, in one format."""

    html: str
    markdown: str
    plain: str


def render_body(text: str, answer_format: str, *, remote_images: bool = False) -> Body:
    """Return the text of a whole answer in a format other than Markdown."""
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


def render_growing(snapshot: ReplySnapshot, *, remote_images: bool = False) -> str:
    """Return the HTML of an answer that is still being written, in a format other than Markdown.

    It costs about as much as the text is long, so it is drawn a few times a second, and not with every delta. JSON and HTML
    are shown as source until they are whole.
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
        return _text_body(text, "The answer holds no code.")
    code, language = join_code(blocks), blocks[0].language
    return Body(_highlighted(code, language), _fenced(code, language), reveal(code, is_code=True))


def _json_body(text: str) -> Body:
    try:
        pretty = _pretty(extract_json(text))
    except NoJSONError as error:
        return _text_body(text, error.message)
    except RecursionError:
        return _text_body(text, "The JSON of the answer is nested too deeply to be laid out.")
    return Body(_highlighted(pretty, "json"), _fenced(pretty, "json"), reveal(pretty, is_code=True))


def _html_body(text: str, *, remote_images: bool) -> Body:
    source = _html_source(text)
    if not source:
        return _text_body(text, "The answer holds no HTML.")
    return Body(
        render_foreign_html(source, remote_images=remote_images),
        _fenced(source, "html"),
        reveal(source, is_code=True),
    )


def _growing_code(text: str) -> str:
    blocks = list(fenced_blocks(text))
    if not blocks:
        return _highlighted(text, "")
    return _highlighted(join_code(find_code(text)), blocks[0].language)


# Steps


def _html_source(text: str) -> str:
    """Return the HTML of an answer: its blocks of HTML, else all of it where there is a tag; "" where there is none."""
    blocks = [block for block in fenced_blocks(text) if block.language in ("html", "xhtml", "htm")]
    blocks = blocks or [
        block for block in fenced_blocks(text) if not block.language and _TAG.match(block.code.strip())
    ]
    if blocks:
        return join_code(blocks)
    return text if _TAG.search(text) else ""


def _inside_fence(text: str) -> str:
    """Return what stands in the first fence, or all of the text while there is none."""
    return next((block.code for block in fenced_blocks(text)), text)


def _pretty(value: object) -> str:
    pretty = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        pretty.encode()
    except UnicodeEncodeError:  # half an emoji, written as an escape, is no character
        return json.dumps(value, indent=2)
    return pretty


def _highlighted(code: str, language: str) -> str:
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{render_code(code, language)}</div>')


def _plain_html(text: str, remark: str = "") -> str:
    note = render_remark(remark) if remark else ""
    body = f'<div style="{PLAIN_TEXT}">{escape(reveal(text.strip(chr(10))), quote=False)}</div>'
    return sanitise(f'<div class="{NO_MATH_CLASSES}">{body}{note}</div>')


def _fenced(text: str, language: str) -> str:
    """Return Markdown that shows `text` as it is."""
    text = reveal(text, is_code=language != "text")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    tag = language if re.fullmatch(r"[\w+#.\-]*", language) else ""
    return "\n".join((fence + tag, text.removesuffix("\n"), fence))
