"""Tables of (label, value, source), for `%claude status` and help: as HTML and as aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ._reply import Bundle
from ._sanitise import sanitise
from ._styles import ROW, ROW_LABEL, ROW_VALUE, ROWS_HEADING, SCROLLING_TABLE, TABLE

Row = tuple[str, ...]


def render_rows(groups: Sequence[tuple[str, Sequence[Row]]]) -> Bundle:
    """Return groups of rows, each under its heading ("" for none). The first cell of a row is its label."""
    columns = max((len(row) for _, rows in groups for row in rows), default=1)
    body = "".join(_group_html(heading, rows, columns) for heading, rows in groups)
    html = f'<div style="{SCROLLING_TABLE}"><table style="{TABLE}"><tbody>{body}</tbody></table></div>'
    return Bundle({"text/html": sanitise(html), "text/plain": _text(groups, columns)}, {})


def _group_html(heading: str, rows: Sequence[Row], columns: int) -> str:
    title = f'<th colspan="{columns}" style="{ROWS_HEADING}">{escape(heading, quote=False)}</th>'
    cells = ["".join(_cell(*cell) for cell in enumerate(row)) for row in rows]
    return "".join(f'<tr style="{ROW}">{row}</tr>' for row in ([title, *cells] if heading else cells))


def _cell(column: int, text: str) -> str:
    return f'<td style="{ROW_VALUE if column == 1 else ROW_LABEL}">{escape(text, quote=False)}</td>'


def _text(groups: Sequence[tuple[str, Sequence[Row]]], columns: int) -> str:
    rows = [row for _, rows in groups for row in rows]
    widths = [
        max((len(row[column]) for row in rows if column < len(row)), default=0) for column in range(columns)
    ]
    return "\n\n".join(_group_text(heading, rows, widths) for heading, rows in groups)


def _group_text(heading: str, rows: Sequence[Row], widths: Sequence[int]) -> str:
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([heading, *lines] if heading else lines)
