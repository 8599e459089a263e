"""Tables of (label, value, source), for `%claude status` and help: as HTML and as aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ._reply import Bundle
from ._sanitise import sanitise
from ._styles import ROW_LABEL, ROW_VALUE, ROWS_HEADING, SCROLLING_TABLE, TABLE

Row = tuple[str, ...]


def render_rows(groups: Sequence[tuple[str, Sequence[Row]]]) -> Bundle:
    """Return groups of rows, each under its heading ("" for none). The first cell of a row is its label."""
    html = "".join(_group_html(heading, rows) for heading, rows in groups)
    text = "\n\n".join(_group_text(heading, rows) for heading, rows in groups)
    return Bundle({"text/html": sanitise(html), "text/plain": text}, {})


def _group_html(heading: str, rows: Sequence[Row]) -> str:
    title = f'<div style="{ROWS_HEADING}">{escape(heading, quote=False)}</div>' if heading else ""
    body = "".join(f"<tr>{''.join(_cell(*cell) for cell in enumerate(row))}</tr>" for row in rows)
    return f'{title}<div style="{SCROLLING_TABLE}"><table style="{TABLE}"><tbody>{body}</tbody></table></div>'


def _cell(column: int, text: str) -> str:
    return f'<td style="{ROW_VALUE if column == 1 else ROW_LABEL}">{escape(text, quote=False)}</td>'


def _group_text(heading: str, rows: Sequence[Row]) -> str:
    columns = max((len(row) for row in rows), default=0)
    padded = [(*row, *[""] * (columns - len(row))) for row in rows]
    widths = [max(len(row[column]) for row in padded) for column in range(columns)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in padded
    ]
    return "\n".join([heading, *lines] if heading else lines)
