"""Buttons in the running cell: Stop under an answer, and whether a call of a tool may run.

ipywidgets is imported when the first button is shown: short answers need none.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..render import A_WHILE, render_notice
from ..tools import REFUSED, ToolCall
from ._frontend import FrontEnd, route_to_subshell
from ._recorder import keeps_displays

_MARK = "claude-magic-cell-stop"
# An output area shows its outputs in the order of their coming, and more of the answer comes below the button.
_STYLE = f"""<style>
.jp-OutputArea:has(> .jp-OutputArea-child .{_MARK}) {{ display: flex; flex-direction: column; }}
.jp-OutputArea-child:has(.{_MARK}) {{ order: 1; }}
.{_MARK} {{ overflow: visible; margin: 0; }}
.{_MARK} .jupyter-button {{ font-size: var(--jp-ui-font-size1, 13px); line-height: 24px; border-radius: 3px; }}
.{_MARK} .jupyter-button i {{ color: var(--jp-error-color1, #d32f2f); font-size: 10px; vertical-align: 1px; }}
.{_MARK} .widget-html {{ display: none; }}
</style>"""


@contextlib.asynccontextmanager
async def stop_button(front_end: FrontEnd, stop: Callable[[], None]) -> AsyncIterator[None]:
    """Show a Stop button in the running cell as long as the context lasts, once that has taken a while.

    Args:
        front_end: Where the cell is shown; there is no button where a click would not be handled while it runs.
        stop: What a click does; it may come on any thread.
    """
    if not front_end.runs_clicks:
        yield
        return
    button = StopButton(stop)
    appearing = asyncio.create_task(_appear(button))
    try:
        yield
    finally:
        appearing.cancel()
        button.close()


class StopButton:
    """The button.

    Args:
        stop: What a click does; it may come on any thread.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._close_widgets: Callable[[], None] | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it has been shown and not taken away."""
        return self._close_widgets is not None

    def show(self) -> None:
        """Show it in the cell that this context belongs to."""
        import ipywidgets  # late: short answers need none
        from IPython.display import display

        from .widgets import close_all, in_words

        button = ipywidgets.Button(
            description="Stop",
            icon="stop",
            tooltip="Stop this answer. What has come of it stays.",
            layout=ipywidgets.Layout(width="auto", height="26px", margin="4px 0 2px 0"),
        )
        button.on_click(self._on_click)
        style = ipywidgets.HTML(_STYLE)
        box = ipywidgets.HBox([button, style], _dom_classes=[_MARK])
        route_to_subshell(button)  # below a background cell also while another one computes
        self._close_widgets = functools.partial(close_all, (box,))
        display(in_words(box, "The answer was on its way."), raw=True)

    def close(self) -> None:
        """Take it away. First its display must have gone: without its model a front end shows an error in its place."""
        if self._close_widgets is not None:
            self._close_widgets()
        self._close_widgets = None

    def _on_click(self, button: Any) -> None:
        button.disabled = True
        self._stop()


async def _appear(button: StopButton) -> None:
    await asyncio.sleep(A_WHILE)
    # In a thread, so that the loop, and the stream, go on meanwhile.
    await asyncio.to_thread(importlib.import_module, f"{__package__}.widgets")
    button.show()


class ApprovalButtons:
    """Asks about the calls of one answer with buttons in the running cell. "Allow all" holds to its end."""

    def __init__(self) -> None:
        self._is_all_allowed = False

    async def ask(self, call: ToolCall) -> str:
        """Show buttons, and wait for one to be pressed; return why the call may not run, or "" if it may."""
        if self._is_all_allowed:
            return ""
        from .widgets import ALLOW_ALL, DENY  # late: most notebooks never need it

        asking = keeps_displays.set(False)
        try:
            pressed = await _pressed_button(call)
        finally:
            keeps_displays.reset(asking)
        self._is_all_allowed = pressed == ALLOW_ALL
        return REFUSED if pressed == DENY else ""


async def _pressed_button(call: ToolCall) -> str:
    """Show the buttons below what they decide on until one of them is pressed, then a line with the outcome."""
    from IPython.display import display

    from .widgets import ALLOW, ALLOW_ALL, DENY, ApprovalBar, close_all, in_words

    outcomes = {ALLOW: "Allowed", DENY: "Refused", ALLOW_ALL: "Allowed, as all of this answer"}
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
        shown.update(render_notice(f"{outcome}: {call}").data, raw=True)
        close_all((bar,))
