"""Where a question is written: the prompt, what goes with it, and the buttons."""

from __future__ import annotations

from collections.abc import Callable

from ipywidgets import Button, HBox, Textarea, ToggleButton, VBox

from ..live import hear_at_once
from ._attachments import Attachments
from ._settings_row import SettingsRow
from ._status_line import LimiterLine, Note

STOP_HINT = "Stop the answer; what has come of it stays"


class Composer(VBox):
    """The lower part of a panel.

    Args:
        attachments: A row that folds.
        settings: Another one.
        limiter: Stands among the buttons.
        note: Stands below them.
        on_send: Called when the user wants the prompt to be sent.
        on_stop: Called when the user wants the answer to end.
        on_clear: Called when the user wants an empty panel.
    """

    def __init__(
        self,
        attachments: Attachments,
        settings: SettingsRow,
        limiter: LimiterLine,
        note: Note,
        *,
        on_send: Callable[[], None],
        on_stop: Callable[[], None],
        on_clear: Callable[[], None],
    ) -> None:
        self._prompt = Textarea(
            placeholder="Ask Claude …   (Ctrl+Enter sends)",
            tooltip="Prompt for Claude. Ctrl+Enter or Cmd+Enter sends it.",
            rows=3,
            continuous_update=False,
            _dom_classes=["claude-magic-prompt"],
        )
        self._send = Button(
            description="Send",
            tooltip="Send the prompt (Ctrl+Enter)",
            _dom_classes=["claude-magic-send", "mod-primary"],
        )
        self._stop = Button(
            description="Stop", tooltip=STOP_HINT, disabled=True, _dom_classes=["claude-magic-stop"]
        )
        self._clear = Button(description="Clear", tooltip="Empty the panel and start a new conversation")
        self._attach = ToggleButton(
            description="Attach",
            tooltip="Send files or variables along",
            _dom_classes=["claude-magic-unfold-attachments"],
        )
        unfold = ToggleButton(
            description="Settings",
            tooltip="Model, effort, length, thread, system prompt",
            _dom_classes=["claude-magic-unfold-settings"],
        )
        self._send.on_click(lambda _button: on_send())
        self._stop.on_click(lambda _button: on_stop())
        self._clear.on_click(lambda _button: on_clear())
        hear_at_once(self._prompt, self._send, self._stop, self._clear, self._attach, unfold)
        tools = HBox(
            [self._send, self._stop, self._attach, limiter, unfold, self._clear],
            _dom_classes=["claude-magic-tools"],
        )
        super().__init__(
            [self._prompt, tools, note, attachments, settings], _dom_classes=["claude-magic-composer"]
        )

    @property
    def text(self) -> str:
        """What has been written."""
        return str(self._prompt.value)

    def start_over(self) -> None:
        """Empty the prompt and fold the attachments away, once they have been sent."""
        self._prompt.value = ""
        self._attach.value = False

    def set_busy(self, is_busy: bool) -> None:
        """Offer Stop instead of Send, or the other way round."""
        self._send.disabled = is_busy
        self._stop.disabled = not is_busy
