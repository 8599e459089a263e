r"""Plain text in which only the formulas are typeset, for `-f math`.

No Markdown: stars, hashes and line ends stay as written. What counts as a formula is what counts as one in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any, Final

from ..answers import reveal
from . import _math
from ._allowance import TOO_MANY_FORMULAS, Allowance
from ._markdown import notice
from ._sanitise import MATH_CLASSES, NO_MATH_CLASSES, sanitise
from ._styles import PROSE

_LINE_END: Final = re.compile(r"\r\n?")
_BLANK_LINES: Final = re.compile(r"(\n[ \t]*\n\s*)")
_MARK: Final = re.compile(r"[$\\]")


def render_prose(text: str) -> str:
    """Return safe HTML of `text` with its formulas typeset."""
    # No formula reaches over a blank line, so a lone dollar spoils its own paragraph at most.
    allowance = Allowance()
    parts = _BLANK_LINES.split(_LINE_END.sub("\n", text.strip("\r\n")))
    html = "".join(
        "".join(_render_paragraph(part, allowance)) if index % 2 == 0 else part
        for index, part in enumerate(parts)
    )
    remark = notice(TOO_MANY_FORMULAS) if allowance.has_no_formulas_left else ""
    return sanitise(f'<div class="{NO_MATH_CLASSES}"><div style="{PROSE}">{html}</div>{remark}</div>')


def _render_paragraph(text: str, allowance: Allowance) -> Iterator[str]:
    memory: dict[str, Any] = {}
    position = done = 0
    while mark := _MARK.search(text, position):
        start = mark.start()
        found = _math.find_environment(text, start) or _math.find_formula(text, start, memory)
        if found is None:
            # A backslash takes what follows along; before a dollar it has done its work then.
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


def _formula(formula: _math.Formula, source: str, allowance: Allowance) -> str:
    if not allowance.admit_formula(formula.source):
        return _plain(source)
    opening, closing = (r"\[", r"\]") if formula.is_display else (r"\(", r"\)")
    tex = _plain(_math.without_labels(formula.source))
    return f'<span class="{MATH_CLASSES}">{opening}{tex}{closing}</span>'


def _plain(text: str) -> str:
    return escape(reveal(text), quote=False)
