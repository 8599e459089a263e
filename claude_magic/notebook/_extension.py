"""Loading and unloading of the extension: everything that is added to a shell, and its removal."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

from IPython.core.getipython import get_ipython

from ._cell import Scope
from ._history import ShellWatch
from ._magics import ClaudeMagics
from ._transform import CellTransformer

MAGIC = "claude"


class Completer:
    """Completes options, their values and subcommands in one shell. The first Tab imports the completion code."""

    def __init__(self, shell: Any) -> None:
        from IPython.core.completer import context_matcher

        self._scope = Scope(shell)
        self._matchers = shell.Completer.custom_matchers
        # A higher priority than IPython's own matchers, of which Jedi is slow, so that they need not run. IPython sets attributes
        # of a matcher, which a method cannot have.
        self._matcher = context_matcher(identifier="claude_magic", priority=100)(
            lambda context: self._match(context)
        )

    def start(self) -> None:
        """Register the completer with the shell."""
        self._matchers.append(self._matcher)

    def stop(self) -> None:
        """Remove the completer from the shell."""
        _remove(self._matchers, self._matcher)

    def _match(self, context: Any) -> dict[str, Any]:
        """Implement IPython's matcher API. Suppress all other matchers, whose completions make no sense on a `%claude` line."""
        from IPython.core.completer import SimpleCompletion

        from ._completion import complete_cell

        found = complete_cell(context.full_text, context.cursor_line, context.cursor_position, self._scope)
        return {
            "completions": [
                SimpleCompletion(text, type=kind) for text, kind in zip(found.texts, found.kinds, strict=True)
            ],
            "matched_fragment": found.fragment,
            "ordered": True,
            "suppress": True,
        }


class _Loaded(NamedTuple):
    """Everything that was added to one shell."""

    magics: ClaudeMagics
    transformer: CellTransformer
    watch: ShellWatch
    completer: Completer
    previous_magics: dict[str, Any]
    facade: Any


# Stored on the shell, not in this module: `%reload_ext` reloads the module and must still find what to remove.
_KEY = "_claude_magic_extension"
_RUNTIME = "claude_magic.runtime"
_WIDGETS = "claude_magic.display.widgets"


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
    shell.register_magics(magics)
    transformer = CellTransformer(shell)
    shell.input_transformers_cleanup.insert(0, transformer)
    watch = ShellWatch(shell, magics.session.errors)
    watch.start()
    completer = Completer(shell)
    completer.start()
    if MAGIC not in shell.user_ns:
        # A hidden name: `%who` and prompts do not treat it as a variable of the user's.
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


def unload(shell: Any) -> None:
    """Remove everything that `load` added, and close the client and its thread."""
    loaded: _Loaded | None = getattr(shell, _KEY, None)
    if loaded is None:
        return
    delattr(shell, _KEY)
    loaded.magics.session.close()
    loaded.watch.stop()
    loaded.completer.stop()
    _remove(shell.input_transformers_cleanup, loaded.transformer)
    _remove(shell.configurables, loaded.magics)
    _remove_magics(shell.magics_manager, loaded)
    shell.drop_by_id({MAGIC: loaded.facade})
    if shell.user_ns_hidden.get(MAGIC) is loaded.facade:
        # The user has rebound the name.
        del shell.user_ns_hidden[MAGIC]
    _close_runtime()


def connect() -> None:
    """Apply `%config ClaudeMagics` to a runtime that Python code created before any magic ran."""
    loaded: _Loaded | None = getattr(get_ipython(), _KEY, None)
    if loaded is not None:
        loaded.magics.session.runtime()


def _find_other_owner(shell: Any) -> dict[str, Any]:
    tables = shell.magics_manager.magics
    return {kind: tables[kind][MAGIC] for kind in ("line", "cell") if MAGIC in tables[kind]}


def _remove_magics(manager: Any, loaded: _Loaded) -> None:
    for kind in ("line", "cell"):
        table = manager.magics[kind]
        if getattr(table.get(MAGIC), "__self__", None) is not loaded.magics:
            continue  # another extension has replaced it since
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
