"""Renders small tables (`%claude status`, `usage`, help) as HTML and as aligned plain text."""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Final

from ..client import excerpt
from ..conversation import Forest, Turn
from ._markdown import render_folded_code
from ._reply import Bundle
from ._sanitise import (
    COLUMN_NUMBERS,
    COLUMN_PROSE,
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
    sentence,
    styled,
    without_math,
)

# In plain text, cells are padded to at most this width, so that one long cell does not widen its column.
_MAX_PADDED_CHARS: Final = 80

# A column with a longer cell may wrap on a narrow page, so that the other columns stay visible. Model names are
# shorter.
_LONGEST_NAME: Final = 26

Row = tuple[str, ...]
Group = tuple[str, Sequence[Row]]


def render_rows(
    groups: Sequence[Group], *, columns: Row = (), numbers: Collection[int] = (), notes: Iterable[str] = ()
) -> Bundle:
    """Return a table of groups of rows as HTML and plain text.

    Args:
        groups: The heading ("" for none) and the rows of each group.
        columns: The names of the columns; "" for none. Without column names, the first cell of each row is its label.
        numbers: Indices of columns with numbers, which are right-aligned.
        notes: Sentences below the table.
    """
    table = _Table(groups=groups, columns=columns, numbers=frozenset(numbers))
    remarks = tuple(notes)
    html = without_math(table.html() + "".join(sentence(FOOTER, remark) for remark in remarks))
    text = "\n\n".join(part for part in (table.text(), "\n".join(remarks)) if part)
    return Bundle({"text/html": html, "text/plain": text}, {})


def with_folded_code(table: Bundle, folds: Sequence[tuple[str, str, str]]) -> Bundle:
    """Return a table with collapsed code blocks below it, given as titles, contents and languages."""
    html = table.data["text/html"] + "".join(render_folded_code(*fold) for fold in folds)
    text = "\n\n".join([table.data["text/plain"], *(f"{title}\n{content}" for title, content, _ in folds)])
    return Bundle({"text/html": html, "text/plain": text}, {})


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Groups of rows with common columns."""

    groups: Sequence[Group]
    columns: Row
    numbers: frozenset[int]

    def html(self) -> str:
        if not self.groups:
            return ""
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
        return styled(self._style(tag, column), text, tag)

    def _style(self, tag: str, column: int) -> str:
        if not self.columns:
            return ROW_VALUE if column == 1 else ROW_LABEL
        if tag == "th":
            return NAME_OF_NUMBERS if column in self.numbers else NAME_OF_WORDS
        if column in self.numbers:
            return COLUMN_NUMBERS
        return COLUMN_PROSE if column in self._prose else COLUMN_WORDS

    @cached_property
    def _prose(self) -> frozenset[int]:
        """Indices of the columns with a cell longer than `_LONGEST_NAME`."""
        cells = (cell for row in self._all_rows() for cell in enumerate(row))
        return frozenset(column for column, text in cells if len(text) > _LONGEST_NAME)

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


_EXCERPT_CHARS: Final = 70
_MAX_ROWS: Final = 80
_SHOWN_AT_TOP: Final = 10

_COLUMNS: Final = ("turn", "question", "model", "context", "thread")
_LEGEND: Final = "● is sent with the next question of its thread, ○ is on another branch: %claude switch N continues from turn N."
_BRANCH: Final = "├\N{NO-BREAK SPACE}"
_BESIDE: Final = "│\N{NO-BREAK SPACE}"
_MAX_DEPTH: Final = 8
_BETWEEN: Final[Row] = ("", "\N{NO-BREAK SPACE}", "", "", "")


def render_history(forest: Forest, thread: str | None = None) -> Bundle:
    """Return the tree of all turns, or of the turns of one thread, as a table.

    Args:
        forest: The turns.
        thread: The thread to show; None shows all.
    """
    heads = {name: each.head for name, each in forest.threads.items() if thread in (None, name)}
    on_path = {turn.id for head in heads.values() for turn in forest.path(head)}
    shown = [turn for turn in forest.turns.values() if thread in (None, turn.thread) or turn.id in on_path]
    if not shown:
        return render_rows([], notes=["No turns yet: the next question starts the conversation."])
    rows: list[Row] = []
    for step in _walk(shown, on_path):
        if rows and step.is_root:
            rows.append(_BETWEEN)
        rows.append((str(forest.numbers[step.turn.id]), *_row(step, heads, step.turn.id in on_path)))
    return render_rows([("", _bounded(rows))], columns=_COLUMNS, numbers=(0, 3), notes=(_LEGEND,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A turn and its position in the tree.

    Attributes:
        turn: The turn.
        depth: The number of nested branches that contain it.
        begins: Whether it is the first turn of its branch.
        is_root: Whether it is the first turn of a conversation.
    """

    turn: Turn
    depth: int = 0
    begins: bool = False
    is_root: bool = False


def _walk(turns: Sequence[Turn], on_path: set[str]) -> Iterator[_Step]:
    """Yield the turns in the order of the table. After a turn, its branches come first, then its main continuation.

    Only branches are indented, so a long thread stays flat.
    """
    ids = {turn.id for turn in turns}
    children: defaultdict[str | None, list[Turn]] = defaultdict(list)
    for turn in turns:
        children[turn.parent if turn.parent in ids else None].append(turn)
    pending = [_Step(turn=turn, is_root=True) for turn in reversed(children[None])]
    while pending:
        step = pending.pop()
        yield step
        branches = children[step.turn.id]
        if not branches:
            continue
        main = next((each for each in reversed(branches) if each.id in on_path), branches[-1])
        pending.append(_Step(turn=main, depth=step.depth))
        pending += [
            _Step(turn=each, depth=step.depth + 1, begins=True)
            for each in reversed(branches)
            if each is not main
        ]


def _row(step: _Step, heads: Mapping[str, str | None], is_on_path: bool) -> Row:
    turn, depth = step.turn, min(step.depth, _MAX_DEPTH)
    lines = _BESIDE * (depth - 1) + (_BRANCH if step.begins else _BESIDE) if depth else ""
    mark = "●" if is_on_path else "○"
    words = f"{excerpt(turn.prompt, _EXCERPT_CHARS)}{' (broke off)' if turn.is_partial else ''}"
    tokens = f"{turn.context_tokens:,}" if turn.context_tokens else ""
    names = ", ".join(name for name, head in heads.items() if head == turn.id)
    return f"{lines}{mark} {words}", turn.model, tokens, names


def _bounded(rows: list[Row]) -> list[Row]:
    """Return the rows with the middle of a long list left out. Readers mostly look for the last turns."""
    if len(rows) <= _MAX_ROWS:
        return rows
    end = len(rows) - _MAX_ROWS + _SHOWN_AT_TOP
    left_out = sum(row is not _BETWEEN for row in rows[_SHOWN_AT_TOP:end])
    gap: Row = ("", f"… {left_out:,} turns …", "", "", "")
    return [*rows[:_SHOWN_AT_TOP], gap, *rows[end:]]


_WIDTH = 88
"""Characters per line of an error. JupyterLab breaks longer lines in the middle of a word."""

# IPython prints the name of an exception in red in every colour scheme.
_RED, _PLAIN = "\x1b[0;31m", "\x1b[0m"


def short_traceback(error: BaseException, *, colors: bool) -> list[str]:
    """Return the lines for `_render_traceback_`: the name and message of the error, without frames."""
    name, message = type(error).__name__, str(error)
    if isinstance(error, KeyboardInterrupt):
        name, message = "KeyboardInterrupt", message or "interrupted"
    first, *rest = wrap_error(f"{name}: {message}")
    if not colors:
        return [first, *rest]
    return [f"{_RED}{name}{_PLAIN}{first[len(name) :]}", *rest]


_UNBROKEN = re.compile(r"\{\{.{1,60}?\}\}|`[^`\n]{1,60}`")
_SPACE_IN_CODE = "\ue000"


def wrap_error(text: str) -> list[str]:
    """Wrap an error message between words, but not within `{{ name }}` or backticks."""
    text = _UNBROKEN.sub(lambda match: match[0].replace(" ", _SPACE_IN_CODE), text)
    return [
        line.replace(_SPACE_IN_CODE, " ")
        for paragraph in text.splitlines()
        for line in textwrap.wrap(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def file_size(size: int) -> str:
    """Return a size in bytes as text: "4 kB", "2.5 MB"."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"
