"""Loading and unloading: what the extension puts into a shell, and how it takes all of it away again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from IPython.core.getipython import get_ipython

from ._history import ShellWatch
from ._magics import ClaudeMagics
from ._names import Scope
from ._transform import CellTransformer

MAGIC = "claude"
_COMPLETION_HOOK = "complete_command"
_COMMANDS = ("%claude", "%%claude")


class Completer:
    """Completes options, their values and subcommands in one shell; imports what it knows when Tab is pressed for the first time."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._surroundings = Scope(shell)
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
            "completions": [
                SimpleCompletion(text, type=kind) for text, kind in zip(found.texts, found.kinds, strict=True)
            ],
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
        shell.set_hook(_COMPLETION_HOOK, complete, str_key=command)
    chains = [shell.strdispatchers[_COMPLETION_HOOK].strs[command].chain for command in _COMMANDS]

    def forget() -> None:
        for chain in chains:
            # IPython keeps a hook as a method of the shell.
            chain[:] = [entry for entry in chain if entry[1].__func__ != complete]

    return forget


class _Loaded(NamedTuple):
    """What one shell got."""

    magics: ClaudeMagics
    transformer: CellTransformer
    watch: ShellWatch
    completer: Completer
    previous_magics: dict[str, Any]
    facade: Any


# Kept on the shell, not here: `%reload_ext` reloads our modules and must still find what is to be taken away.
_KEY = "_claude_magic_extension"
_RUNTIME = "claude_magic.runtime"
_WIDGETS = "claude_magic.display.widgets"


def load(shell: Any, facade: Any) -> None:
    """Register the magics. Quiet, and quick: nothing is imported, opened or started that is not needed for this.

    Args:
        shell: The shell.
        facade: What `claude` is in the user's code, where that name is free.
    """
    if getattr(shell, _KEY, None) is not None:
        unload(shell)
    previous = _find_other_owner(shell)
    magics = ClaudeMagics(shell=shell)
    shell.register_magics(magics)
    transformer = CellTransformer(shell)
    shell.input_transformers_cleanup.insert(0, transformer)
    watch = ShellWatch(shell, magics.session.errors)
    watch.start()
    completer = Completer(shell)
    completer.start()
    if MAGIC not in shell.user_ns:
        # Among the hidden names: no name of the user's, for `%who` and in prompts.
        shell.push({MAGIC: facade}, interactive=False)
    loaded = _Loaded(
        magics=magics,
        transformer=transformer,
        watch=watch,
        completer=completer,
        previous_magics=previous,
        facade=facade,
    )
    setattr(shell, _KEY, loaded)
    if _RUNTIME in sys.modules:
        magics.session.runtime()
    # A notebook that has widgets has pages that ask for them, perhaps just when the first of ours are made.
    if "ipywidgets" in sys.modules:
        importlib.import_module(_WIDGETS)
    if previous:
        magic = next(iter(previous.values()))
        owner = getattr(magic, "__module__", None) or type(magic).__module__
        print(
            f"%claude belonged to {owner}; claude_magic handles it now. %unload_ext claude_magic gives it back."
        )


def unload(shell: Any) -> None:
    """Take everything away again, and end the client and its thread."""
    loaded: _Loaded | None = getattr(shell, _KEY, None)
    if loaded is None:
        return
    delattr(shell, _KEY)
    loaded.magics.session.close()
    loaded.watch.stop()
    loaded.completer.stop()
    _remove(shell.input_transformers_cleanup, loaded.transformer)
    _remove(shell.configurables, loaded.magics)
    _take_magics_away(shell.magics_manager, loaded)
    shell.drop_by_id({MAGIC: loaded.facade})
    if shell.user_ns_hidden.get(MAGIC) is loaded.facade:
        # The user has given the name to something else.
        del shell.user_ns_hidden[MAGIC]
    _close_runtime()


def connect() -> None:
    """Make `%config ClaudeMagics` count for a runtime that was just made by plain Python, before any magic ran."""
    loaded: _Loaded | None = getattr(get_ipython(), _KEY, None)
    if loaded is not None:
        loaded.magics.session.runtime()


def _find_other_owner(shell: Any) -> dict[str, Any]:
    tables = shell.magics_manager.magics
    return {kind: tables[kind][MAGIC] for kind in ("line", "cell") if MAGIC in tables[kind]}


def _take_magics_away(manager: Any, loaded: _Loaded) -> None:
    for kind in ("line", "cell"):
        table = manager.magics[kind]
        if getattr(table.get(MAGIC), "__self__", None) is not loaded.magics:
            continue  # somebody has taken it over meanwhile
        del table[MAGIC]
        if kind in loaded.previous_magics:
            table[MAGIC] = loaded.previous_magics[kind]
    name = type(loaded.magics).__name__
    if manager.registry.get(name) is loaded.magics:
        del manager.registry[name]


def _remove(items: list[Any], item: Any) -> None:
    if item in items:
        items.remove(item)


def _close_runtime() -> None:
    runtime_module = sys.modules.get(_RUNTIME)
    if runtime_module is not None:
        runtime_module.get_runtime().use_config(None)
        runtime_module.close_runtime()
