"""The running cell, and the session state that a shell keeps between cells."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ._history import Errors
from ._names import Scope

if TYPE_CHECKING:
    from ..display import ApprovalButtons, FrontEnd
    from ..runtime import Reply, ReplySnapshot, Runtime


class View(Protocol):
    """Controls of a cell, which remain after the cell has ended."""

    def close(self) -> None:
        """Stop reacting to the controls."""


class Actions(Protocol):
    """The buttons under the answers of cells."""

    def offer(self, cell_id: str, reply: Reply, retry: Callable[[], None] | None) -> None:
        """Show the buttons under a finished answer."""

    def close(self) -> None:
        """Remove all buttons."""


class Session:
    """The state of a shell between cells: errors, cell keys, inserted code, controls.

    Args:
        shell: The shell.
        configured: Returns the settings of `%config`, by name.

    Attributes:
        shell: The shell.
        errors: The errors that the shell has shown.
        keys: Assigns each question of a cell its key.
        inserted: The code inserted below each cell, by the cell's key.
        views: The controls of each cell, by the cell's key.
        asked_in: Names of the threads in which a cell has asked.
        actions: The buttons under the answers of cells; None before the first.
    """

    def __init__(self, shell: Any, configured: Callable[[], Mapping[str, object]]) -> None:
        self.shell = shell
        self.errors = Errors(shell)
        self.keys = CellKeys(shell)
        self.inserted: dict[str, str] = {}
        self.views: dict[str, View] = {}
        self.asked_in: set[str] = set()
        self.actions: Actions | None = None
        self._configured = configured

    def runtime(self) -> Runtime:
        """Return the kernel's runtime, with `%config` as one of its sources of settings.

        The first call imports the HTTP library, pydantic and the rest of the package; loading the extension does not.
        """
        from ..runtime import get_runtime

        runtime = get_runtime()
        runtime.use_config(self._configured)
        runtime.set_presenter(lambda snapshot: _present(snapshot, runtime, self.shell))
        return runtime

    def close(self) -> None:
        """Close all controls and remove all buttons."""
        for view in self.views.values():
            view.close()
        self.views.clear()
        if self.actions is not None:
            self.actions.close()
            self.actions = None


class Cell:
    """The running cell.

    Args:
        session: The state of the shell.
        scope: The place in the user's code where the magic was called.
        is_awaited: Whether the cell contains only the question and is awaited on the event loop; otherwise it blocks, and may have
            other outputs.

    Attributes:
        shell: The shell.
        errors: The errors that the shell has shown.
        scope: The place in the user's code where the magic was called.
        session: The state of the shell.
    """

    def __init__(self, session: Session, scope: Scope, *, is_awaited: bool = False) -> None:
        self.shell = session.shell
        self.errors = session.errors
        self.scope = scope
        self.is_awaited = is_awaited
        self.session = session

    @property
    def runtime(self) -> Runtime:
        """The kernel's runtime, with the settings of `%config`."""
        return self.session.runtime()

    @functools.cached_property
    def front_end(self) -> FrontEnd:
        """The capabilities of the front end, determined once per cell."""
        from ..display import FrontEnd

        return FrontEnd(self.shell)

    @functools.cached_property
    def approval(self) -> ApprovalButtons:
        """The buttons that ask whether tools may run for the answer of this cell."""
        from ..display import ApprovalButtons

        return ApprovalButtons()

    @functools.cached_property
    def key(self) -> str | None:
        """The key of this cell's question, assigned at first access; None if the front end does not send cell ids."""
        return self.session.keys.take()

    @property
    def next_key(self) -> str | None:
        """The key of the next question, without assigning it."""
        return self.session.keys.peek()

    @property
    def name(self) -> str:
        """The cell's name as the user sees it: "In[3]". The shell's own counter is already that of the next cell."""
        return f"In[{len(self.shell.history_manager.input_hist_parsed) - 1}]"

    def names(self) -> Mapping[str, object]:
        """Return the user's variables, as visible where the magic was called."""
        return self.scope.names()

    def is_first_in(self, thread: str) -> bool:
        """Return whether no cell has asked in a thread before, and record that one has."""
        is_first = thread not in self.session.asked_in
        self.session.asked_in.add(thread)
        return is_first

    def keep_value(self, value: Any) -> None:
        """Set `_`, `Out` and the execution result to a value, as IPython's display hook does, without displaying it."""
        hook = self.shell.displayhook
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def insert_below(self, code: str) -> None:
        """Insert code into a new cell below, or, in a terminal, into the next prompt. It is not run.

        A cell that is run again does not insert the same code again.
        """
        if self.key is not None and self.session.inserted.get(self.key) == code:
            return
        self.shell.set_next_input(code, replace=False)
        if self.key is not None:
            self.session.inserted[self.key] = code

    def keep_view(self, view: View) -> None:
        """Keep the controls until the cell is run again."""
        self.session.views[self.key or ""] = view

    def close_previous_view(self) -> None:
        """Close the controls of the cell's previous run."""
        previous = self.session.views.pop(self.next_key or "", None)
        if previous is not None:
            previous.close()


class CellKeys:
    """Assigns keys to the questions of each execution: the cell's id for the first, `id#1` for the second, and so on.

    The keys let a cell that is run again replace its answers in the conversation.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._execution: object = None
        self._count = 0

    def take(self) -> str | None:
        """Assign and return the key of a question; None if the front end does not send cell ids."""
        key = self.peek()
        self._count, self._execution = self._next_count(), self._running_execution()
        return key

    def peek(self) -> str | None:
        """Return the key of the next question, without assigning it."""
        from ..display import FrontEnd

        cell, count = FrontEnd(self._shell).cell_id, self._next_count()
        return f"{cell}#{count}" if cell and count else cell or None

    def _next_count(self) -> int:
        return self._count + 1 if self._running_execution() == self._execution else 0

    def _running_execution(self) -> object:
        parent = getattr(self._shell, "parent_header", None) or {}
        return (parent.get("header") or {}).get("msg_id")


def _present(
    snapshot: ReplySnapshot, runtime: Runtime, shell: Any
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from ..client import ConfigurationError
    from ..context import last_reply_in
    from ..render import render_reply

    try:
        remote_images = runtime.settings().values.remote_images
    except ConfigurationError:  # a settings file has become invalid: the next question reports it
        remote_images = False
    bundle = render_reply(snapshot, remote_images=remote_images, kept_in=last_reply_in(shell))
    return bundle.data, bundle.metadata
