"""The last lines of a growing text, made fit to be seen: half-written marks are closed or held back.

Without this the picture flickers: a lone `-` under a line makes it a heading for a moment, `**bold` shows its stars
until the closing ones arrive, a link shows its address while it is being written.
"""

from __future__ import annotations

import re
from typing import Final

from ._markdown import parse_blocks

# A last line of nothing but these may become a list, a rule, a heading, a fence, an underline, a table ...
_MARKS: Final = "-=*_+#~`$|:\\ \t>"
_LIST_NUMBER: Final = re.compile(r"\d{1,9}[.)]?")
_HALF_LINK: Final = re.compile(r"!?\[([^\[\]\n]*)(?:\](?:\([^()\s]*)?)?$")
_HALF_DELIMITER_ROW: Final = re.compile(r"[ \t|:\-]*")
_VERBATIM: Final = frozenset({"fence", "code_block", "math_block", "math_open", "sparse_table"})


def settle(source: str) -> str:
    """Return `source` as it should be shown while more of it is coming."""
    shown = _with_table_head(source) or _without_undecided_line(source)
    tokens = parse_blocks(shown)
    last = next((token for token in reversed(tokens) if token.nesting >= 0), None)
    if last is None or last.type in _VERBATIM:
        return shown
    start = shown.rfind("\n\n") + 1
    return shown[:start] + _with_inline_marks_closed(shown[start:])


def _without_undecided_line(source: str) -> str:
    start = source.rfind("\n") + 1
    rest = source[start:].strip(_MARKS)
    return (
        source[: max(0, start - 1)]
        if start < len(source) and (not rest or _LIST_NUMBER.fullmatch(rest))
        else source
    )


def _with_table_head(source: str) -> str | None:
    """Complete the first row or two of a table, so that it does not start its life as a paragraph of bars."""
    lines = source[source.rfind("\n\n") + 1 :].strip("\n").split("\n")
    head = lines[0].strip()
    if not head.startswith("|") or len(head) < 2 or len(lines) > 2:
        return None
    if len(lines) == 2 and (source.endswith("\n") or not _HALF_DELIMITER_ROW.fullmatch(lines[1])):
        return None
    columns = head.strip("|").count("|") + 1
    before = source[: source.rfind(lines[0])] if len(lines) == 1 else source[: source.rfind(lines[0] + "\n")]
    return f"{before}{head.rstrip('|')}|\n|{'---|' * columns}\n"


def _with_inline_marks_closed(paragraph: str) -> str:
    if paragraph.count("`") % 2:
        return paragraph + "`"
    shown = _HALF_LINK.sub(r"\1", paragraph).rstrip("*")
    return shown + "**" if shown.count("**") % 2 else shown
