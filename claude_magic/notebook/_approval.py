"""Who runs the tools of a cell, and who is asked before they run.

In an awaited cell of a front end that draws widgets, on a kernel that hears clicks while a cell runs, a person presses a button.
Elsewhere they type an answer. Where nobody can be asked, a call is refused.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import Any

from ..render import render_approval, render_notice
from ..tools import REFUSED, CallReading, LoopExecutor, Toolbox, ToolCall, TypedApproval, WaitingExecutor
from ._bystanders import keeps_displays
from ._clicks import hears_clicks
from ._options import Options

_YES, _NO, _ALL = "allow", "deny", "all"
_OUTCOMES = {_YES: "Allowed", _NO: "Refused", _ALL: "Allowed, as all of this answer"}


def execute_on_loop(options: Options, names: Mapping[str, object], shell: Any) -> LoopExecutor:
    """Return what runs the tools of an awaited cell, called in that cell.

    Args:
        options: What the cell asks for.
        names: Where the tools are found.
        shell: The shell.

    Raises:
        ConfigurationError: A tool does not exist, or cannot be one.
    """
    cell = asyncio.current_task()
    context = contextvars.copy_context()
    context.run(keeps_displays.set, True)
    ask = _PressedApproval().ask if hears_clicks(shell) else TypedApproval().ask_on_loop
    return LoopExecutor(
        Toolbox.named(options.tools, names),
        asyncio.get_running_loop(),
        context,
        approve=None if options.approve == "never" else ask,
        interrupt=_nothing if cell is None else cell.cancel,
    )


def execute_while_waiting(options: Options, names: Mapping[str, object], shell: Any) -> WaitingExecutor:
    """Return what runs the tools of a call that blocks. Takes and raises what `execute_on_loop` does."""
    return WaitingExecutor(
        Toolbox.named(options.tools, names),
        approve=None if options.approve == "never" else TypedApproval().ask,
        idle_loop=_loop_between_cells,
    )


def _loop_between_cells() -> asyncio.AbstractEventLoop:
    """Return the loop on which a terminal runs cells that await, and on which what they have made lives."""
    from IPython.core.async_helpers import get_asyncio_loop

    loop: asyncio.AbstractEventLoop = get_asyncio_loop()
    return loop


class _PressedApproval:
    """Asks about the calls of one answer with buttons. "Allow all" holds to its end."""

    def __init__(self) -> None:
        self._is_all_allowed = False

    async def ask(self, call: ToolCall) -> str:
        """Show buttons, and wait for one to be pressed; return why the call may not run, or "" if it may."""
        if self._is_all_allowed:
            return ""
        asking = keeps_displays.set(False)
        try:
            pressed = await _pressed_button(call)
        finally:
            keeps_displays.reset(asking)
        self._is_all_allowed = pressed == _ALL
        return REFUSED if pressed == _NO else ""


async def _pressed_button(call: ToolCall) -> str:
    """Show three buttons below what they decide on, until one of them is pressed."""
    import ipywidgets  # late: most notebooks never need it
    from IPython.display import display

    from ..live.widgets import close_all

    loop = asyncio.get_running_loop()
    verdict: asyncio.Future[str] = loop.create_future()
    buttons = [
        ipywidgets.Button(description="Allow", tooltip=f"Let {call.name} run", button_style="primary"),
        ipywidgets.Button(description="Deny", tooltip=f"Do not let {call.name} run"),
        ipywidgets.Button(description="Allow all", tooltip="Let all calls of this answer run"),
    ]
    for button, meaning in zip(buttons, (_YES, _NO, _ALL), strict=True):
        button.on_click(_resolver(loop, verdict, meaning))
    reading = CallReading(call)
    question = ipywidgets.HTML(_asked(reading))
    if not reading.is_complete:  # what was not seen cannot be allowed
        more = ipywidgets.Button(description="Show more", tooltip="Show the rest of the arguments")
        allowing = (buttons[0], buttons[2])

        def show_more(_button: object) -> None:
            reading.show_more()
            question.value = _asked(reading)
            more.disabled = reading.is_complete
            for each in allowing:
                each.disabled = not reading.is_complete

        for each in allowing:
            each.disabled = True
        more.on_click(show_more)
        buttons.append(more)
    box = ipywidgets.VBox([question, ipywidgets.HBox(buttons)])
    shown = display(box, display_id=True)
    outcome = "Not decided"
    try:
        pressed = await verdict
        outcome = _OUTCOMES[pressed]
        return pressed
    finally:
        # First the display: a front end that has lost the widget would put an error in its place.
        shown.update(render_notice(f"{outcome}: {call}").data, raw=True)
        close_all((box,))


def _asked(reading: CallReading) -> str:
    return render_approval(f"Claude wants to run {reading.text}")


def _resolver(
    loop: asyncio.AbstractEventLoop, verdict: asyncio.Future[str], meaning: str
) -> Callable[[object], None]:
    """Return what a click calls; clicks may come on any thread."""

    def resolve() -> None:
        if not verdict.done():
            verdict.set_result(meaning)

    def on_click(_button: object) -> None:
        loop.call_soon_threadsafe(resolve)

    return on_click


def _nothing() -> None:
    return None
