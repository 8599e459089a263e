"""The tree of turns as a table: the way to the head of a thread down the left, former branches beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..runtime import Forest, Turn
from ._reply import Bundle
from ._rows import Row, render_rows

_EXCERPT_CHARS: Final = 70
_MAX_ROWS: Final = 80
_SHOWN_AT_TOP: Final = 10

_COLUMNS: Final = ("turn", "model", "context", "thread")
_LEGEND: Final = "● is sent with the next question of its thread, ○ is on a former branch."
_BRANCH: Final = "├\N{NO-BREAK SPACE}"
_BESIDE: Final = "│\N{NO-BREAK SPACE}"
_MAX_DEPTH: Final = 8
_BETWEEN: Final[Row] = ("\N{NO-BREAK SPACE}", "", "", "")


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
    rows: list[Row] = []
    for step in _walk(shown, on_path):
        if rows and step.is_root:
            rows.append(_BETWEEN)
        rows.append(_row(step, heads, step.turn.id in on_path))
    return render_rows([("", _bounded(rows))], columns=_COLUMNS, numbers=(2,), notes=(_LEGEND,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A turn and where it is drawn.

    Attributes:
        turn: The turn.
        depth: Of how many branches it is part.
        begins: It is the first of its branch.
        is_root: It is the first of a conversation.
    """

    turn: Turn
    depth: int = 0
    begins: bool = False
    is_root: bool = False


def _walk(turns: Sequence[Turn], on_path: set[str]) -> Iterator[_Step]:
    """Yield the turns in the order in which they are drawn: branches first, then what goes on from the same turn.

    Only a branch is deeper than where it begins, so that long threads stay flat.
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
    words = f"{_excerpt(turn.prompt)}{' (broke off)' if turn.is_partial else ''}"
    tokens = f"{turn.context_tokens:,}" if turn.context_tokens else ""
    names = ", ".join(name for name, head in heads.items() if head == turn.id)
    return f"{lines}{mark} {words}", turn.model, tokens, names


def _excerpt(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= _EXCERPT_CHARS else f"{text[: _EXCERPT_CHARS - 1]}…"


def _bounded(rows: list[Row]) -> list[Row]:
    """Leave out the middle of a long list; the last turns are what one looks for."""
    if len(rows) <= _MAX_ROWS:
        return rows
    end = len(rows) - _MAX_ROWS + _SHOWN_AT_TOP
    left_out = sum(row is not _BETWEEN for row in rows[_SHOWN_AT_TOP:end])
    gap: Row = (f"… {left_out:,} turns …", "", "", "")
    return [*rows[:_SHOWN_AT_TOP], gap, *rows[end:]]
