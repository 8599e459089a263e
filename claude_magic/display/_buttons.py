"""Buttons in cells: approval of tool calls in the running cell, and actions under finished answers.

ipywidgets is imported when the first button is shown: most answers need no button.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ..client import ClaudeError, ConfigurationError
from ..context import why_not_bindable, with_article
from ..render import HIDDEN_IN_CELL, neutralise_markdown, render_approval
from ..runtime import Reply
from ..schema import escape_hidden, find_code, join_code
from ..tools import Approval, ToolCall
from ._recorder import keeps_displays

if TYPE_CHECKING:
    from .widgets import LiveView


class ApprovalButtons(Approval):
    """Asks for approval of an answer's tool calls, with buttons in the running cell.

    The buttons appear in the widget that shows the growing answer if a page has it, else below the answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self._find_view: Callable[[], Awaitable[LiveView | None]] | None = None

    def ask_in(self, find_view: Callable[[], Awaitable[LiveView | None]]) -> None:
        """Ask in the widget that `find_view` returns, once ipywidgets is imported; below the answer if it returns None."""
        self._find_view = find_view

    async def ask(self, call: ToolCall) -> str:
        """Show buttons, and wait for a click. Return why the call may not run, or "" if it may."""
        if self.is_all_allowed:
            return ""
        asking = keeps_displays.set(False)
        try:
            pressed = await self._pressed_button(call)
        finally:
            keeps_displays.reset(asking)
        from .widgets import ALLOW_ALL, DENY  # not at the top: most notebooks never need it

        return self.conclude(is_allowed=pressed != DENY, for_all=pressed == ALLOW_ALL)

    async def _pressed_button(self, call: ToolCall) -> str:
        # In a thread, because the import takes a while and Stop must work meanwhile.
        await asyncio.to_thread(start_widgets_import().join)
        view = None if self._find_view is None else await self._find_view()
        return await (_pressed_below(call) if view is None else view.ask(call))


@functools.cache
def start_widgets_import() -> threading.Thread:
    """Start to import the widgets in a thread, so that the loop and the stream continue. Return the thread."""
    thread = threading.Thread(
        target=importlib.import_module,
        args=(f"{__package__}.widgets",),
        name="claude-magic-import",
        daemon=True,
    )
    thread.start()
    return thread


async def _pressed_below(call: ToolCall) -> str:
    """Show the buttons below the answer until one is pressed, then a line with the outcome."""
    from IPython.display import display

    from .widgets import ALLOW, ALLOW_ALL, DENY, ApprovalBar, close_all, in_words

    outcomes = {ALLOW: "Allowed", DENY: "Refused", ALLOW_ALL: "Allowed, like all calls of this answer"}
    bar = ApprovalBar()
    verdict = bar.ask(call)
    asked = in_words(bar, f"A person is asked whether {call.name} may run.")
    shown = display(asked, display_id=True, raw=True)
    outcome = "Not decided"
    try:
        pressed = await verdict
        outcome = outcomes[pressed]
        return pressed
    finally:
        # The display is updated first: a front end would show an error in place of a closed widget.
        line = f"{outcome}: {call}"
        shown.update({"text/html": render_approval(line), "text/plain": line}, raw=True)
        close_all((bar,))


MOST_ACTIONS: Final = 50
"""Maximum number of answers that have buttons under them, so that a session does not keep every reply."""


class AnswerActions:
    """The buttons under the answers of cells, and their actions. Each shell has one instance.

    Args:
        shell: The shell in whose namespace an answer can be kept.
    """

    def __init__(self, shell: Any) -> None:
        from .widgets import CellActions

        self._shell = shell
        self._offers: dict[str, tuple[Reply, Callable[[], None] | None]] = {}
        self._page = CellActions(self._act, self._forget)

    def offer(self, cell_id: str, reply: Reply, retry: Callable[[], None] | None) -> None:
        """Show the buttons under a finished answer. Any thread may call this.

        Args:
            cell_id: Id of the cell.
            reply: The answer.
            retry: Asks again and draws in the cell; None if that is not possible.
        """
        self._offers.pop(cell_id, None)
        self._offers[cell_id] = (reply, retry)
        for oldest in [*self._offers][:-MOST_ACTIONS]:
            self._forget(oldest)
            self._page.withdraw(oldest)
        self._page.offer(cell_id, has_text=bool(reply.text), can_retry=retry is not None)

    def close(self) -> None:
        """Remove all buttons."""
        from .widgets import close_all

        self._offers.clear()
        close_all((self._page,))

    def _forget(self, cell_id: str) -> None:
        self._offers.pop(cell_id, None)

    def _act(self, cell_id: str, action: str, name: str) -> None:
        reply, retry = self._offers.get(cell_id, (None, None))
        if reply is None:
            return
        try:
            if action == "copy":
                self._page.copy(cell_id, reply.text)
            elif action == "insert":
                self._page.insert(cell_id, *new_cell(reply.text))
            elif action == "keep":
                self._page.tell(cell_id, keep_answer(self._shell, name, reply), is_kept=True)
            elif action == "retry" and retry is not None:
                retry()
        except ClaudeError as error:
            self._page.tell(cell_id, error.message)


class NewCell(NamedTuple):
    """The source and kind of a new cell, and a remark for the user, or ""."""

    source: str
    kind: Literal["code", "markdown"]
    remark: str


def new_cell(text: str) -> NewCell:
    """Return a cell with the code of an answer, or with its text if it has no code."""
    code = join_code(find_code(text))
    if not code:
        # A rendered Markdown cell could load images and contain buttons that run commands.
        return NewCell(neutralise_markdown(text), "markdown", "")
    shown = escape_hidden(code)
    return NewCell(shown, "code", "" if shown == code else HIDDEN_IN_CELL)


def keep_answer(shell: Any, name: str, reply: Reply) -> str:
    """Bind a variable of a shell to an answer. Return a sentence that says so.

    Raises:
        ConfigurationError: The name cannot become a variable of the user's, or holds a value that is no answer. Nothing has
            changed.
    """
    if why := why_not_bindable(name):
        raise ConfigurationError(f"{name!r} cannot be the name of a variable of yours: {why}.")
    if name in shell.user_ns and not isinstance(held := shell.user_ns[name], Reply):
        kind = with_article(type(held).__name__)
        raise ConfigurationError(f"{name} holds {kind}: choose another name, or delete it first.")
    shell.push({name: reply})
    return f"{name} is this answer now."
