"""Buttons in the running cell that ask whether a call of a tool may run. ipywidgets is imported when the first one is shown."""

from __future__ import annotations

from ..render import render_notice
from ..tools import REFUSED, ToolCall
from ._recorder import keeps_displays


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
