"""Tab on a `%claude` line: how a shell is made to ask us, and to ask us no longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._surroundings import ShellSurroundings

_HOOK = "complete_command"
_COMMANDS = ("%claude", "%%claude")


class Completer:
    """Completes options, their values and subcommands in one shell.

    What it knows is imported when Tab is pressed for the first time.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._surroundings = ShellSurroundings(shell)
        self._forget: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Answer from now on."""
        matchers = getattr(self._shell.Completer, "custom_matchers", None)
        if matchers is not None:
            self._forget = _add_matcher(matchers, self._match)
        else:
            self._forget = _add_hook(self._shell, self._complete_command)

    def stop(self) -> None:
        """Answer no longer."""
        self._forget()

    def _match(self, context: Any) -> dict[str, Any]:
        """Answer IPython's matcher API; what is offered here is all that makes sense here, so others are suppressed."""
        from IPython.core.completer import SimpleCompletion

        from ._completion import complete_cell

        found = complete_cell(
            context.full_text, context.cursor_line, context.cursor_position, self._surroundings
        )
        return {
            "completions": [SimpleCompletion(text, type=found.kind) for text in found.texts],
            "matched_fragment": found.fragment,
            "ordered": True,
            "suppress": True,
        }

    def _complete_command(self, _shell: Any, event: Any) -> list[str]:
        """Answer the older hook, which knows one line, and words as IPython splits them."""
        from ._completion import complete_cell

        found = complete_cell(event.text_until_cursor, 0, len(event.text_until_cursor), self._surroundings)
        kept = len(found.fragment) - len(event.symbol)
        return [text[kept:] for text in found.texts] if kept >= 0 else []


def _add_matcher(matchers: list[Any], match: Callable[[Any], dict[str, Any]]) -> Callable[[], None]:
    from IPython.core.completer import context_matcher

    # Above IPython's own, so that theirs (Jedi takes long) need not be asked where ours suffices.
    matcher = context_matcher(identifier="claude_magic", priority=100)(lambda context: match(context))
    matchers.append(matcher)
    return lambda: matchers.remove(matcher) if matcher in matchers else None


def _add_hook(shell: Any, complete: Callable[[Any, Any], list[str]]) -> Callable[[], None]:
    for command in _COMMANDS:
        shell.set_hook(_HOOK, complete, str_key=command)
    chains = [shell.strdispatchers[_HOOK].strs[command].chain for command in _COMMANDS]

    def forget() -> None:
        for chain in chains:
            # IPython keeps a hook as a method of the shell.
            chain[:] = [entry for entry in chain if entry[1].__func__ != complete]

    return forget
