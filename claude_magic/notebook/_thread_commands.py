"""`%claude history threads fork undo clear save load`: looking at conversations, and moving about in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from ..render import render_history, render_notice, render_rows
from ..runtime import ThreadSummary, load_forest, save_forest
from ._surroundings import DEFAULT_THREAD

if TYPE_CHECKING:
    from ._magics import ClaudeMagics

_EXCERPT_CHARS = 60


def history(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Show the tree of turns."""
    bundle = render_history(magics.runtime().conversations.forest(), arguments.get("thread"))
    magics.show(bundle.data, bundle.metadata)


def threads(magics: ClaudeMagics, _arguments: Mapping[str, str]) -> None:
    """Show the threads."""
    rows = [_row(summary) for summary in magics.runtime().conversations.threads()]
    columns = ("thread", "turns", "context", "last question")
    bundle = render_rows([("", rows)], columns=columns, numbers=(1, 2))
    magics.show(bundle.data, bundle.metadata)


def fork(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Let a new thread begin where the main one is.

    Raises:
        ConfigurationError: There are turns in a thread of that name, which another cell made.
    """
    cell = magics.cell_keys.peek(magics.shell)
    summary = magics.runtime().conversations.fork(arguments["name"], cell=cell)
    _say(
        magics,
        f"{summary.name} begins after {_turns(summary.turns)}. Go on there with --thread {summary.name}.",
    )


def undo(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Take the last turns of the main thread back.

    Raises:
        UsageError: There are fewer.
    """
    count, conversations = int(arguments.get("n") or 1), magics.runtime().conversations
    there = next((each.turns for each in conversations.threads() if each.name == DEFAULT_THREAD), 0)
    if 1 < count > there:
        verb = "is" if there == 1 else "are"
        raise UsageError(f"There {verb} only {_turns(there)} to take back, not {count}. Nothing has changed.")
    taken = conversations.undo(count)
    if not taken:
        _say(magics, "There is no turn to take back.")
        return
    what = f"“{_excerpt(taken[0].prompt)}”" if len(taken) == 1 else f"The last {len(taken)} turns"
    _say(
        magics,
        f"{what} {'is' if len(taken) == 1 else 'are'} taken back, and {'stays' if len(taken) == 1 else 'stay'} in %claude history.",
    )


def clear(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Forget a thread for good."""
    cleared = magics.runtime().conversations.clear(arguments.get("thread"))
    if not (cleared.forgotten or cleared.kept):
        _say(magics, "There were no turns to forget.")
        return
    sentences = [f"Forgotten: {_turns(cleared.forgotten)}."]
    if cleared.kept:
        sentences.append(f"Kept, because other threads go on from there: {_turns(cleared.kept)}.")
    _say(magics, " ".join(sentences))


def save(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Write all threads to a file.

    Raises:
        ConfigurationError: It cannot be written, or holds something else.
    """
    path = Path(arguments["file"])
    forest = magics.runtime().conversations.forest()
    size = save_forest(forest, path)
    _say(
        magics,
        f"Saved: {_turns(len(forest.turns))} in {len(forest.threads)} threads, {size / 1000:,.1f} kB, to {path}.",
    )


def load(magics: ClaudeMagics, arguments: Mapping[str, str]) -> None:
    """Read threads from a file, and go on where they are.

    Raises:
        ConfigurationError: It cannot be read, or holds something else. Nothing has changed.
    """
    path = Path(arguments["file"])
    forest = load_forest(path)
    magics.runtime().conversations.adopt(forest)
    names = ", ".join(name for name, thread in forest.threads.items() if thread.head is not None)
    _say(
        magics,
        f"Loaded: {_turns(len(forest.turns))}. These threads go on where they were saved: {names or 'none'}.",
    )


def _row(summary: ThreadSummary) -> tuple[str, ...]:
    head = summary.head
    if head is None:
        return summary.name, "0", "", ""
    return summary.name, str(summary.turns), f"{head.context_tokens:,}", _excerpt(head.prompt)


def _excerpt(prompt: str) -> str:
    text = " ".join(prompt.split())
    return text if len(text) <= _EXCERPT_CHARS else f"{text[: _EXCERPT_CHARS - 1]}…"


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count:,} turns"


def _say(magics: ClaudeMagics, text: str) -> None:
    bundle = render_notice(text)
    magics.show(bundle.data, bundle.metadata)
