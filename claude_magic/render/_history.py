"""The tree of turns as a table: the way to the head of a thread down the left, former branches beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ..runtime import Forest, Turn
from ._reply import Bundle
from ._rows import Row, render_rows

_EXCERPT_CHARS: Final = 70
_MAX_ROWS: Final = 80
_SHOWN_AT_TOP: Final = 10

_COLUMNS: Final = ("turn", "model", "context", "thread")
_LEGEND: Final = "● is sent with the next question, ○ is on a former branch, ◐ broke off."


def render_history(forest: Forest, thread: str | None = None) -> Bundle:
    """Return the tree of all turns, or of those of one thread.

    Args:
        forest: The turns.
        thread: The thread to show; None shows all.
    """
    heads = {name: each.head for name, each in forest.threads.items() if thread in (None, name)}
    on_path = {turn.id for head in heads.values() for turn in forest.path(head)}
    shown = [turn for turn in forest.turns.values() if thread in (None, turn.thread) or turn.id in on_path]
    if not shown:
        return render_rows([("", [("No turns yet: the next question begins the conversation.",)])])
    rows = [_row(turn, depth, heads, turn.id in on_path) for turn, depth in _walk(shown, on_path)]
    return render_rows([("", _bounded(rows))], columns=_COLUMNS, numbers=(2,), notes=(_LEGEND,))


def _walk(turns: Sequence[Turn], on_path: set[str]) -> Iterator[tuple[Turn, int]]:
    """Yield the turns with their depth. Only a branch is deeper than where it begins, so that long threads stay flat."""
    ids = {turn.id for turn in turns}
    children: defaultdict[str | None, list[Turn]] = defaultdict(list)
    for turn in turns:
        children[turn.parent if turn.parent in ids else None].append(turn)
    pending = [(turn, 0) for turn in reversed(children[None])]
    while pending:
        turn, depth = pending.pop()
        yield turn, depth
        branches = children[turn.id]
        if not branches:
            continue
        main = next((each for each in reversed(branches) if each.id in on_path), branches[-1])
        pending.append((main, depth))
        pending += [(each, depth + 1) for each in reversed(branches) if each is not main]


def _row(turn: Turn, depth: int, heads: Mapping[str, str | None], is_on_path: bool) -> Row:
    mark = "◐" if turn.is_partial else "●" if is_on_path else "○"
    branch = "\N{NO-BREAK SPACE}" * 4 * (depth - 1) + "└\N{NO-BREAK SPACE}" if depth else ""
    tokens = f"{turn.context_tokens:,}" if turn.context_tokens else ""
    names = ", ".join(name for name, head in heads.items() if head == turn.id)
    return f"{branch}{mark} {_excerpt(turn.prompt)}", turn.model, tokens, names


def _excerpt(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= _EXCERPT_CHARS else f"{text[: _EXCERPT_CHARS - 1]}…"


def _bounded(rows: list[Row]) -> list[Row]:
    """Leave out the middle of a long list; the last turns are what one looks for."""
    if len(rows) <= _MAX_ROWS:
        return rows
    left_out = len(rows) - _MAX_ROWS
    gap: Row = (f"… {left_out:,} turns …", "", "", "")
    return [*rows[:_SHOWN_AT_TOP], gap, *rows[_SHOWN_AT_TOP + left_out :]]
