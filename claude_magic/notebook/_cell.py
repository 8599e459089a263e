"""The running cell, as everything that answers it sees it, and what a shell keeps between cells."""

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
    """Controls of a cell, which live on after it."""

    def close(self) -> None:
        """Stop reacting to the controls."""


class Actions(Protocol):
    """The buttons under the answers of cells."""

    def offer(self, cell_id: str, reply: Reply, retry: Callable[[], None] | None) -> None:
        """Show the buttons under an answer that has ended."""

    def close(self) -> None:
        """Take them away."""


class Session:
    """What a shell keeps between cells: errors, keys of cells, inserted code, controls.

    Args:
        shell: The shell.
        configured: Returns the settings of `%config`, by name.

    Attributes:
        shell: The shell.
        errors: The errors that the shell has shown.
        keys: Tell cells apart.
        inserted: The code that was put below a cell, by its key.
        views: The controls of a cell, by its key.
        asked_in: The threads in which a cell has asked.
        actions: The buttons under the answers of cells, once there are any.
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
        """Return the kernel's runtime, with the settings of `%config` as one of its sources.

        This is where HTTP, pydantic and the rest are imported: at first use, not when the extension is loaded.
        """
        from ..runtime import get_runtime

        runtime = get_runtime()
        runtime.use_config(self._configured)
        runtime.set_presenter(lambda snapshot: _present(snapshot, runtime, self.shell))
        return runtime

    def close(self) -> None:
        """Close all controls."""
        for view in self.views.values():
            view.close()
        self.views.clear()
        if self.actions is not None:
            self.actions.close()
            self.actions = None


class Cell:
    """The running cell.

    Args:
        session: What the shell keeps.
        scope: Where in the user's code the magic stands.
        is_awaited: It holds nothing but the answer, and is awaited on the event loop; otherwise it blocks, and may hold other outputs.

    Attributes:
        shell: The shell.
        errors: The errors that the shell has shown.
        scope: Where in the user's code the magic stands.
        session: What the shell keeps.
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
        """What the front end can do, as it is while the cell runs."""
        from ..display import FrontEnd

        return FrontEnd(self.shell)

    @functools.cached_property
    def approval(self) -> ApprovalButtons:
        """Asks whether tools may run for the answer of this cell."""
        from ..display import ApprovalButtons

        return ApprovalButtons()

    @functools.cached_property
    def key(self) -> str | None:
        """Tells the question of this cell from others, taken when this is read; None where the front end does not say which cell runs."""
        return self.session.keys.take()

    @property
    def next_key(self) -> str | None:
        """The key that the next question will get."""
        return self.session.keys.peek()

    @property
    def name(self) -> str:
        """The name as the user sees it: "In[3]". The counter of the shell is the one of the next cell already."""
        return f"In[{len(self.shell.history_manager.input_hist_parsed) - 1}]"

    def names(self) -> Mapping[str, object]:
        """Return the user's own names, as they are seen where the magic stands."""
        return self.scope.names()

    def is_first_in(self, thread: str) -> bool:
        """Whether no cell has asked in a thread before; from now on one has."""
        is_first = thread not in self.session.asked_in
        self.session.asked_in.add(thread)
        return is_first

    def keep_value(self, value: Any) -> None:
        """Do what IPython's display hook does with the value of a cell, but for showing it: `_`, `Out`, the result."""
        hook = self.shell.displayhook
        hook.check_for_underscore()
        hook.update_user_ns(value)
        hook.fill_exec_result(value)

    def insert_below(self, code: str) -> None:
        """Put code into a new cell below, or, in a terminal, into the next prompt. It is not run.

        A cell that is run again and comes to the same code does not insert it again.
        """
        if self.key is not None and self.session.inserted.get(self.key) == code:
            return
        self.shell.set_next_input(code, replace=False)
        if self.key is not None:
            self.session.inserted[self.key] = code

    def keep_view(self, view: View) -> None:
        """Keep controls as long as the cell is not run again."""
        self.session.views[self.key or ""] = view

    def close_previous_view(self) -> None:
        """Close the controls that the cell had before."""
        previous = self.session.views.pop(self.next_key or "", None)
        if previous is not None:
            previous.close()


class CellKeys:
    """Names the questions of each execution: the cell's id for the first, `id#1` for the second, and so on.

    Running a cell again replaces its answers in the conversation.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._execution: object = None
        self._count = 0

    def take(self) -> str | None:
        """Return the key of the question that is being asked; None where the front end does not say which cell runs."""
        key = self.peek()
        self._count, self._execution = self._next_count(), self._running_execution()
        return key

    def peek(self) -> str | None:
        """Return the key that the next question will get."""
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
    except ConfigurationError:  # a settings file that has broken since: the next question says so
        remote_images = False
    bundle = render_reply(snapshot, remote_images=remote_images, kept_in=last_reply_in(shell))
    return bundle.data, bundle.metadata
