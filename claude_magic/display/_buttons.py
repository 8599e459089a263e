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

from ..render import A_WHILE, render_approval, render_notice
from ..tools import REFUSED, CallReading, ToolCall
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

        from .widgets import close_all

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
        display(box)

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


_YES, _NO, _ALL = "allow", "deny", "all"
_OUTCOMES = {_YES: "Allowed", _NO: "Refused", _ALL: "Allowed, as all of this answer"}


class ApprovalButtons:
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

    from .widgets import close_all

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
