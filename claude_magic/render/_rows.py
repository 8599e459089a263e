"""Tables of a few rows, for `%claude status`, `usage`, help and the like: as HTML and as aligned plain text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from ._reply import Bundle
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import (
    COLUMN_NUMBERS,
    COLUMN_WORDS,
    FOOTER,
    NAME_OF_NUMBERS,
    NAME_OF_WORDS,
    ROW,
    ROW_LABEL,
    ROW_VALUE,
    ROWS_HEADING,
    SCROLLING_TABLE,
    TABLE,
)

# One long cell does not make every other as long.
_MAX_PADDED_CHARS: Final = 80

Row = tuple[str, ...]
Group = tuple[str, Sequence[Row]]


def render_rows(
    groups: Sequence[Group],
    *,
    columns: Row = (),
    numbers: Collection[int] = (),
    notes: Iterable[str] = (),
) -> Bundle:
    """Return groups of rows, each under its heading ("" for none).

    Args:
        groups: Headings and rows.
        columns: What each column is; "" for none. Without it, the first cell of a row is the label of the others.
        numbers: Which columns, counted from 0, hold numbers, and stand at the right.
        notes: Sentences below the table.
    """
    table = _Table(groups=groups, columns=columns, numbers=frozenset(numbers))
    sentences = tuple(notes)
    # Two amounts in dollars are not a formula.
    html = f'<div class="{NO_MATH_CLASSES}">{table.html()}{"".join(map(_note_html, sentences))}</div>'
    text = "\n\n".join(part for part in (table.text(), "\n".join(sentences)) if part)
    return Bundle({"text/html": sanitise(html), "text/plain": text}, {})


def _note_html(sentence: str) -> str:
    return f'<div style="{FOOTER}">{escape(sentence, quote=False)}</div>'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """All groups, which share their columns."""

    groups: Sequence[Group]
    columns: Row
    numbers: frozenset[int]

    def html(self) -> str:
        count = max((len(row) for row in self._all_rows()), default=1)
        lines = (line for group in self.groups for line in self._html_lines(*group, count))
        body = "".join(f'<tr style="{ROW}">{line}</tr>' for line in lines)
        return f'<div style="{SCROLLING_TABLE}"><table style="{TABLE}"><tbody>{body}</tbody></table></div>'

    def text(self) -> str:
        return "\n\n".join("\n".join(self._text_lines(*group)) for group in self.groups)

    def _all_rows(self) -> Iterator[Row]:
        yield self.columns
        for _, rows in self.groups:
            yield from rows

    def _html_lines(self, heading: str, rows: Sequence[Row], count: int) -> Iterator[str]:
        if heading:
            yield f'<th colspan="{count}" style="{ROWS_HEADING}">{escape(heading, quote=False)}</th>'
        if self.columns:
            yield "".join(self._cell("th", *cell) for cell in enumerate(self.columns))
        for row in rows:
            yield "".join(self._cell("td", *cell) for cell in enumerate(row))

    def _cell(self, tag: str, column: int, text: str) -> str:
        return f'<{tag} style="{self._style(tag, column)}">{escape(text, quote=False)}</{tag}>'

    def _style(self, tag: str, column: int) -> str:
        if not self.columns:
            return ROW_VALUE if column == 1 else ROW_LABEL
        if tag == "th":
            return NAME_OF_NUMBERS if column in self.numbers else NAME_OF_WORDS
        return COLUMN_NUMBERS if column in self.numbers else COLUMN_WORDS

    def _text_lines(self, heading: str, rows: Sequence[Row]) -> Iterator[str]:
        if heading:
            yield heading
        widths = self._widths()
        for row in (self.columns, *rows) if self.columns else rows:
            cells = (
                text.rjust(width) if column in self.numbers else text.ljust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=False))
            )
            yield "  ".join(cells).rstrip()

    def _widths(self) -> list[int]:
        widths: list[int] = []
        for row in self._all_rows():
            widths += [0] * (len(row) - len(widths))
            for column, text in enumerate(row):
                widths[column] = min(_MAX_PADDED_CHARS, max(widths[column], len(text)))
        return widths
