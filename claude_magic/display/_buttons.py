"""Buttons in the running cell that ask whether a call of a tool may run, and what buttons under an answer do with it.

ipywidgets is imported when the first button is shown: short answers need none.
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
    """Asks about the calls of one answer with buttons in the running cell.

    The buttons stand in the widget in which the answer grows, where a page has that, and below the answer elsewhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self._find_view: Callable[[], Awaitable[LiveView | None]] | None = None

    def ask_in(self, find_view: Callable[[], Awaitable[LiveView | None]]) -> None:
        """Ask in the widget that this gives from now on, once ipywidgets is imported; below the answer where it gives none."""
        self._find_view = find_view

    async def ask(self, call: ToolCall) -> str:
        """Show buttons, and wait for one to be pressed; return why the call may not run, or "" if it may."""
        if self.is_all_allowed:
            return ""
        asking = keeps_displays.set(False)
        try:
            pressed = await self._pressed_button(call)
        finally:
            keeps_displays.reset(asking)
        from .widgets import ALLOW_ALL, DENY  # late: most notebooks never need it

        return self.conclude(is_allowed=pressed != DENY, for_all=pressed == ALLOW_ALL)

    async def _pressed_button(self, call: ToolCall) -> str:
        # In a thread, as it takes a while: Stop is heard meanwhile, and nothing is shown any more.
        await asyncio.to_thread(import_widgets)
        view = None if self._find_view is None else await self._find_view()
        return await (_pressed_below(call) if view is None else view.ask(call))


def import_widgets() -> None:
    """Import ipywidgets and what is made of it, where that has not been done."""
    importlib.import_module(f"{__package__}.widgets")


async def _pressed_below(call: ToolCall) -> str:
    """Show the buttons below what they decide on until one of them is pressed, then a line with the outcome."""
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
        # First the display: a front end that has lost the widget would put an error in its place.
        line = f"{outcome}: {call}"
        shown.update({"text/html": render_approval(line), "text/plain": line}, raw=True)
        close_all((bar,))


class NewCell(NamedTuple):
    """What is put into a new cell, and what the user is told about it; "" for nothing."""

    source: str
    kind: Literal["code", "markdown"]
    remark: str


def new_cell(text: str) -> NewCell:
    """Return a cell of the code of an answer, or, where it has none, of its text."""
    code = join_code(find_code(text))
    if not code:
        # What a front end makes of a Markdown cell may load images and hold buttons that run commands.
        return NewCell(neutralise_markdown(text), "markdown", "")
    shown = escape_hidden(code)
    return NewCell(shown, "code", "" if shown == code else HIDDEN_IN_CELL)


def is_variable_name(name: str) -> bool:
    """Whether an answer can be given this name."""
    return name.isidentifier() and not keyword.iskeyword(name)
