"""Asking in a panel whether a call may run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from ipywidgets import HTML, Button, HBox, VBox, Widget

from ..live import hear_at_once
from ..live.widgets import close_all
from ..render import render_approval
from ..tools import REFUSED, CallReading, ToolCall

_YES, _NO, _ALL, _MORE = "Allow", "Deny", "Allow all", "Show more"
_TOOLTIPS: Final = {
    _YES: "Let {name} run",
    _NO: "Do not let {name} run",
    _ALL: "Let all calls of this answer run",
}


class ApprovalBar(VBox):
    """Three buttons below the call that they decide on, as long as it is undecided. "Allow all" holds for one answer.

    Args:
        announce: Tells screen readers that somebody is asked.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        super().__init__(_dom_classes=["claude-magic-approval"])
        self._announce = announce
        self._is_all_allowed = False

    async def ask(self, call: ToolCall, *, on_press: Callable[[], None]) -> str:
        """Wait for a button to be pressed; return why the call may not run, or "" if it may.

        Args:
            call: What is to run.
            on_press: Called when one is pressed, on any thread.
        """
        if self._is_all_allowed:
            return ""
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[str] = loop.create_future()

        def press(button: Button) -> None:
            label = button.description
            self._hide()  # at once: the loop may have to wait for a cell
            on_press()
            with contextlib.suppress(RuntimeError):  # the kernel shuts down
                loop.call_soon_threadsafe(_resolve, verdict, label)

        self._show(call, press)
        try:
            pressed = await verdict
        finally:
            self._hide()
        self._is_all_allowed = pressed == _ALL
        return REFUSED if pressed == _NO else ""

    def _show(self, call: ToolCall, press: Callable[[Button], None]) -> None:
        buttons = [
            Button(description=label, tooltip=tooltip.format(name=call.name))
            for label, tooltip in _TOOLTIPS.items()
        ]
        buttons[0].add_class("mod-primary")
        for button in buttons:
            button.on_click(press)
        reading = CallReading(call)
        words = HTML(_asked(reading), _dom_classes=["claude-magic-block"])
        if not reading.is_complete:
            buttons.append(self._more_button(reading, words, [buttons[0], buttons[2]]))
        hear_at_once(*buttons)
        self._fill(words, HBox(buttons, _dom_classes=["claude-magic-verdicts"]))
        self._announce(f"Claude wants to run {call}. Allow, deny, or allow all?")

    def _more_button(self, reading: CallReading, words: HTML, allowing: list[Button]) -> Button:
        """Return the button that shows the next page; until the last is seen nothing can be allowed."""
        more = Button(description=_MORE, tooltip="Show the rest of the arguments")

        def show(_button: Button) -> None:
            reading.show_more()
            words.value = _asked(reading)
            more.disabled = reading.is_complete
            for button in allowing:
                button.disabled = not reading.is_complete

        for button in allowing:
            button.disabled = True
        more.on_click(show)
        return more

    def _hide(self) -> None:
        shown: tuple[Widget, ...] = self.children
        self._fill()
        close_all(shown)

    def _fill(self, *widgets: Widget) -> None:
        self.children = widgets


def _asked(reading: CallReading) -> str:
    return render_approval(f"Claude wants to run {reading.text}")


def _resolve(verdict: asyncio.Future[str], label: str) -> None:
    if not verdict.done():
        verdict.set_result(label)
