"""Tables of a few rows, for `%claude status`, `usage`, help and the like: as HTML and as aligned plain text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

from ._reply import Bundle
from ._sanitise import NO_MATH_CLASSES, sanitise
from ._styles import FOOTER, ROW, ROW_LABEL, ROW_NUMBER, ROW_VALUE, ROWS_HEADING, SCROLLING_TABLE, TABLE

Row = tuple[str, ...]


def render_rows(
    groups: Sequence[tuple[str, Sequence[Row]]],
    *,
    columns: Row = (),
    numbers: Collection[int] = (),
    notes: Iterable[str] = (),
) -> Bundle:
    """Return groups of rows, each under its heading ("" for none). The first cell of a row is its label.

    Args:
        groups: Headings and rows.
        columns: What each column is; "" for none.
        numbers: Which columns, counted from 0, hold numbers, and stand at the right.
        notes: Sentences below the table.
    """
    count = max((len(row) for _, rows in groups for row in (columns, *rows)), default=1)
    body = "".join(_group_html(*group, columns, numbers, count) for group in groups)
    html = f'<div style="{SCROLLING_TABLE}"><table style="{TABLE}"><tbody>{body}</tbody></table></div>'
    sentences = [*notes]
    html += "".join(f'<div style="{FOOTER}">{escape(note, quote=False)}</div>' for note in sentences)
    text = "\n\n".join(
        part for part in (_text(groups, columns, numbers, count), "\n".join(sentences)) if part
    )
    html = f'<div class="{NO_MATH_CLASSES}">{html}</div>'  # two amounts in dollars are not a formula
    return Bundle({"text/html": sanitise(html), "text/plain": text}, {})


def _group_html(heading: str, rows: Sequence[Row], columns: Row, numbers: Collection[int], count: int) -> str:
    lines = (
        [f'<th colspan="{count}" style="{ROWS_HEADING}">{escape(heading, quote=False)}</th>']
        if heading
        else []
    )
    for tag, row in (*([("th", columns)] if columns else []), *(("td", row) for row in rows)):
        lines.append("".join(_cell(tag, *cell, numbers) for cell in enumerate(row)))
    return "".join(f'<tr style="{ROW}">{line}</tr>' for line in lines)


def _cell(tag: str, column: int, text: str, numbers: Collection[int]) -> str:
    style = ROW_NUMBER if column in numbers else ROW_VALUE if column == 1 and tag == "td" else ROW_LABEL
    return f'<{tag} style="{style}">{escape(text, quote=False)}</{tag}>'


def _text(
    groups: Sequence[tuple[str, Sequence[Row]]], columns: Row, numbers: Collection[int], count: int
) -> str:
    rows = [row for _, rows in groups for row in (columns, *rows)]
    widths = [
        max((len(row[column]) for row in rows if column < len(row)), default=0) for column in range(count)
    ]

    def line(row: Row) -> str:
        cells = (
            text.rjust(width) if column in numbers else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=False))
        )
        return "  ".join(cells).rstrip()

    def block(heading: str, rows: Sequence[Row]) -> str:
        return "\n".join(
            [*([heading] if heading else []), *([line(columns)] if columns else []), *map(line, rows)]
        )

    return "\n\n".join(block(*group) for group in groups)
