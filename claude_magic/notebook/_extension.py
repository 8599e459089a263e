"""Loading and unloading of the extension: everything that is added to a shell, and its removal."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any, NamedTuple

from IPython.core.getipython import get_ipython

from ._cell import Scope
from ._magics import ClaudeMagics
from ._shell import ShellWatch
from ._transform import CellTransformer

MAGIC = "claude"


# Stored on the shell, not in this module: `%reload_ext` reloads the module and must still find what to remove.
_KEY = "_claude_magic_extension"
_RUNTIME = "claude_magic.runtime"
_WIDGETS = "claude_magic.display.widgets"


class _Loaded(NamedTuple):
    """The magics of one shell, and `undo`, which removes everything that was added to the shell when it is closed."""

    magics: ClaudeMagics
    undo: contextlib.ExitStack


def load(shell: Any, facade: Any) -> None:
    """Register the magics, without importing, opening or starting anything that this does not need.

    Args:
        shell: The shell.
        facade: Object to bind to `claude`, unless that name is taken.
    """
    if getattr(shell, _KEY, None) is not None:
        unload(shell)
    previous = _find_other_owner(shell)
    magics = ClaudeMagics(shell=shell)
    undo = contextlib.ExitStack()
    undo.callback(_close_runtime)
    if MAGIC not in shell.user_ns:
        # A hidden name: `%who` and prompts do not treat it as a variable of the user's.
        shell.push({MAGIC: facade}, interactive=False)
    undo.callback(_unbind, shell, facade)
    shell.register_magics(magics)
    undo.callback(_remove_magics, shell, magics, previous)
    transformer = CellTransformer(shell)
    shell.input_transformers_cleanup.insert(0, transformer)
    undo.callback(_remove, shell.input_transformers_cleanup, transformer)
    matcher = _make_matcher(shell)
    shell.Completer.custom_matchers.append(matcher)
    undo.callback(_remove, shell.Completer.custom_matchers, matcher)
    watch = ShellWatch(shell, magics.session.errors, magics.session.on_screen)
    watch.start()
    undo.callback(watch.stop)
    undo.callback(magics.session.close)
    setattr(shell, _KEY, _Loaded(magics, undo))
    if _RUNTIME in sys.modules:
        magics.session.runtime()
    for line in _questions_taken_for_help(shell):
        print(
            f"IPython takes the ? of {line!r} for its own help, because claude_magic was loaded only now. Run that line again, in "
            "a cell of its own."
        )
    # If ipywidgets is in use, open pages may request widgets at any moment, perhaps just when our first ones are made.
    if "ipywidgets" in sys.modules:
        importlib.import_module(_WIDGETS)
    if previous:
        magic = next(iter(previous.values()))
        owner = getattr(magic, "__module__", None) or type(magic).__module__
        print(
            f"%claude belonged to {owner}; claude_magic handles it now. %unload_ext claude_magic gives it back."
        )


def _questions_taken_for_help(shell: Any) -> list[str]:
    """Return the `%claude` lines of the running cell that IPython has read as requests for help, before the extension was loaded."""
    history = getattr(shell, "history_manager", None)
    if history is None or "run_line_magic('pinfo" not in history.input_hist_parsed[-1]:
        return []
    lines = [line.strip() for line in history.input_hist_raw[-1].splitlines()]
    return [line for line in lines if line.startswith(f"%{MAGIC} ") and line.endswith("?")]


def _make_matcher(shell: Any) -> Any:
    """Return a matcher of IPython that completes options, their values and subcommands. The first Tab imports what it needs."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    scope = Scope(shell)

    # A higher priority than IPython's own matchers, of which Jedi is slow, so that they need not run.
    @context_matcher(identifier="claude_magic", priority=100)
    def match(context: Any) -> dict[str, Any]:
        from ._completion import complete_cell

        found = complete_cell(context.full_text, context.cursor_line, context.cursor_position, scope)
        return {
            "completions": [
                SimpleCompletion(text, type=kind) for text, kind in zip(found.texts, found.kinds, strict=True)
            ],
            "matched_fragment": found.fragment,
            "ordered": True,
            # The completions of other matchers make no sense on a `%claude` line.
            "suppress": True,
        }

    return match


def unload(shell: Any) -> None:
    """Remove everything that `load` added, and close the client and its thread."""
    loaded: _Loaded | None = getattr(shell, _KEY, None)
    if loaded is not None:
        delattr(shell, _KEY)
        loaded.undo.close()


def connect() -> None:
    """Apply `%config ClaudeMagics` to a runtime that Python code created before any magic ran."""
    loaded: _Loaded | None = getattr(get_ipython(), _KEY, None)
    if loaded is not None:
        loaded.magics.session.runtime()


def _find_other_owner(shell: Any) -> dict[str, Any]:
    tables = shell.magics_manager.magics
    return {kind: tables[kind][MAGIC] for kind in ("line", "cell") if MAGIC in tables[kind]}


def _unbind(shell: Any, facade: Any) -> None:
    """Remove `claude`, unless the user has bound that name."""
    shell.drop_by_id({MAGIC: facade})
    if shell.user_ns_hidden.get(MAGIC) is facade:
        # The user has rebound the name.
        del shell.user_ns_hidden[MAGIC]


def _remove_magics(shell: Any, magics: ClaudeMagics, previous: dict[str, Any]) -> None:
    """Remove the magics, and give the names back to their previous owner."""
    manager = shell.magics_manager
    for kind in ("line", "cell"):
        table = manager.magics[kind]
        if getattr(table.get(MAGIC), "__self__", None) is not magics:
            continue  # another extension has replaced it since
        del table[MAGIC]
        if kind in previous:
            table[MAGIC] = previous[kind]
    name = type(magics).__name__
    if manager.registry.get(name) is magics:
        del manager.registry[name]
    _remove(shell.configurables, magics)


def _remove(items: list[Any], item: Any) -> None:
    if item in items:
        items.remove(item)


def _close_runtime() -> None:
    runtime_module = sys.modules.get(_RUNTIME)
    if runtime_module is not None:
        runtime_module.get_runtime().use_config(None)
        runtime_module.close_runtime()
