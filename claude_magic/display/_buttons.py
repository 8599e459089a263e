"""Approval buttons for tool calls in the running cell, and new cells made from an answer.

ipywidgets is imported when the first button is shown: most answers need no button.
"""

from __future__ import annotations

import asyncio
import importlib
import keyword
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..render import HIDDEN_IN_CELL, neutralise_markdown, render_approval
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
        await asyncio.to_thread(import_widgets)
        view = None if self._find_view is None else await self._find_view()
        return await (_pressed_below(call) if view is None else view.ask(call))


def import_widgets() -> None:
    """Import ipywidgets and the package's own widgets, unless they are imported already."""
    importlib.import_module(f"{__package__}.widgets")


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


def is_variable_name(name: str) -> bool:
    """Whether a name is valid for a variable."""
    return name.isidentifier() and not keyword.iskeyword(name)
