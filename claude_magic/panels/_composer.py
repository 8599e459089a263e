"""The input part of a panel: prompt, attachments, settings and buttons."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from IPython import get_ipython
from ipywidgets import (
    HTML,
    Button,
    Combobox,
    Dropdown,
    FileUpload,
    HBox,
    Text,
    Textarea,
    ToggleButton,
    VBox,
)

from ..client import ClaudeError, ConfigurationError
from ..context import Collected, attach, content_of, interpolate, join, names_of, notes_on, refusal
from ..conversation import check_thread_name
from ..display import route_to_subshell
from ..render import render_error, render_line
from ..runtime import EFFORTS, FROM_PANEL, SHORT_NAMES, Question, Settings


class Attachments(HBox):
    """The folded row for files and variables to attach."""

    def __init__(self) -> None:
        self._upload = FileUpload(
            multiple=True,
            description="Files",
            tooltip="Choose files to send with the prompt: text, pictures, PDF, notebooks",
        )
        self._variables = Text(
            placeholder="variables to send: df, figure",
            tooltip="Names of variables to send with the prompt, separated by commas",
        )
        self._accepted: tuple[str, ...] = ()
        route_to_subshell(self._upload, self._variables)
        super().__init__([self._upload, self._variables], _dom_classes=["claude-magic-attachments"])

    def question(self, prompt: str) -> Question:
        """Return the question for a prompt, with its attachments and with values in place of `{{ names }}`.

        Raises:
            ConfigurationError: A name does not exist, or its value cannot be sent.
        """
        names = names_of(get_ipython())
        attached = dict(self._collect(names))
        words = interpolate(prompt, names) if "{{" in prompt else Collected(parts=(prompt,))
        collected = [*attached.values(), words]
        exposed = join(collected).exposed
        if exposed and exposed != self._accepted:
            self._accepted = exposed
            raise ConfigurationError(refusal(exposed, "To send it as it is, send again."))
        return Question(
            prompt=prompt,
            content=content_of([each.parts for each in collected]),
            attached=tuple(attached),
            notes=notes_on(collected),
            outlives_cell=True,
            origin=FROM_PANEL,
        )

    def clear(self) -> None:
        """Remove all attachments, after they have been sent."""
        self._accepted = ()
        self._upload.value = ()
        self._variables.value = ""

    def _collect(self, names: Mapping[str, object]) -> Iterator[tuple[str, Collected]]:
        for file in self._upload.value:
            name = Path(file["name"]).name
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, name).write_bytes(file["content"])
                yield name, attach(name, {}, directory=Path(folder))
        for name in filter(None, re.split(r"[\s,]+", self._variables.value)):
            yield name, attach(name, names)


class SettingsRow(VBox):
    """The folded row of options. Empty fields follow the settings of the kernel.

    Args:
        settings: The current settings, used for empty fields.
        thread: The initial thread.
        threads: The existing threads.
        model: The initial model; None for the settings'. The same holds for the following.
        effort: The initial effort.
        max_tokens: The initial maximum of tokens, as in `Settings`.
        system: The initial system prompt.
        on_change: Called when another thread or model is chosen.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        thread: str,
        threads: Sequence[str],
        model: str | None,
        effort: str | None,
        max_tokens: int | None,
        system: str | None,
        on_change: Callable[[], None],
    ) -> None:
        self._model = Combobox(
            value=model or "",
            options=tuple(SHORT_NAMES),
            placeholder=settings.model,
            description="Model",
            tooltip="A model's name, or a short one such as opus; empty for the default",
        )
        self._effort = _effort_field(effort, usual=settings.effort)
        self._thinking = Dropdown(
            options=[("default", ""), ("shown", "show"), ("hidden", "hide"), ("off", "off")],
            description="Thinking",
            tooltip="Whether the model thinks first, and a summary of that is shown",
        )
        # Not a field for numbers: those cannot be empty, and change a number that they do not allow.
        self._max_tokens = Text(
            value="" if max_tokens is None else str(max_tokens),
            placeholder=str(settings.max_tokens),
            description="Max tokens",
            tooltip="Maximum tokens of an answer, including thinking; empty for the default",
        )
        self._system = Textarea(
            value=system or "",
            rows=2,
            placeholder=settings.system or "none",
            description="System prompt",
            tooltip="System prompt",
            continuous_update=False,
            _dom_classes=["claude-magic-system"],
        )
        self._thread = _thread_field(thread, threads)
        for field in (self._model, self._thread):
            field.observe(lambda _change: on_change(), "value")
        fields = (self._model, self._effort, self._thinking, self._max_tokens, self._thread)
        route_to_subshell(*fields, self._system)
        super().__init__(
            [HBox(fields, _dom_classes=["claude-magic-fields"]), self._system],
            _dom_classes=["claude-magic-settings"],
        )

    @property
    def thread(self) -> str:
        """The chosen thread.

        Raises:
            ConfigurationError: The text is not a valid name of a thread.
        """
        return check_thread_name(self.typed_thread)

    @property
    def typed_thread(self) -> str:
        """The text in the thread field, valid or not."""
        return self._thread.value.strip() or str(self._thread.placeholder)

    @property
    def model(self) -> str:
        """The chosen model, else the one of the settings."""
        return self._model.value.strip() or str(self._model.placeholder)

    def offer_threads(self, threads: Sequence[str]) -> None:
        """Set the threads to choose from."""
        self._thread.options = tuple(threads)

    def set_busy(self, is_busy: bool) -> None:
        """Prevent a change of the thread while an answer of it is in flight, and shown."""
        self._thread.disabled = is_busy

    def options(self) -> dict[str, Any]:
        """Return the chosen options by name, without those left at their default."""
        chosen = {
            "model": self._model.value.strip(),
            "effort": self._effort.value,
            "thinking": self._thinking.value,
            "max_tokens": self._max_tokens.value.strip(),
            "system": self._system.value.strip(),
        }
        return {name: value for name, value in chosen.items() if value}


def _effort_field(effort: str | None, *, usual: str | None) -> Dropdown:
    """Return the field for the effort; `usual` is the effort in the settings.

    Raises:
        ConfigurationError: There is no such effort.
    """
    if effort is not None and effort not in EFFORTS:
        raise ConfigurationError(f"There is no effort {effort!r}. It is one of {', '.join(EFFORTS)}.")
    return Dropdown(
        options=[(usual or "default", ""), *((each, each) for each in EFFORTS)],
        value=effort or "",
        description="Effort",
        tooltip="How hard the model tries",
    )


def _thread_field(thread: str, threads: Sequence[str]) -> Combobox:
    """Return the field for the thread, with its initial value.

    Raises:
        ConfigurationError: `thread` is not a valid name of a thread.
    """
    return Combobox(
        value=check_thread_name(thread),
        options=tuple(threads),
        description="Thread",
        tooltip="The conversation that questions belong to; panels and cells of one thread share it",
        placeholder=thread,
        continuous_update=False,
    )


logger = logging.getLogger("claude_magic.panels")


class Note(HTML):
    """A sentence below the buttons, which screen readers read out.

    It also shows errors that would otherwise be lost, or be printed into the currently running cell.
    """

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-note"])
        self._error = ""

    def show(self, sentence: str) -> None:
        """Show a sentence until the next one; "" removes it."""
        self.value = render_line(sentence) if sentence else ""

    def drop_error(self) -> None:
        """Remove an error, because the user corrects what it is about. Another sentence stays."""
        if self.value == self._error:
            self.value = ""

    def guard(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return a function that calls `act` and reports its errors instead of raising them."""

        def guarded(*args: Any) -> None:
            try:
                act(*args)
            except Exception as error:
                self.report(error)

        return guarded

    def report(self, error: Exception) -> None:
        """Show an error until the next sentence or edit: the message of a `ClaudeError`, and any other error as a bug."""
        if isinstance(error, ClaudeError):
            message = error.message
        else:
            logger.error("A panel failed.", exc_info=error)
            message = f"That did not work, because of a bug in claude_magic ({type(error).__name__}: {error}). Please report it."
        self.value = self._error = render_error(message)


STOP_HINT = "Stop the answer; what has arrived stays"


class Composer(VBox):
    """The lower part of a panel: prompt, buttons and folded rows.

    Args:
        attachments: The row of attachments.
        settings: The row of options.
        limiter: The limiter's line, shown among the buttons.
        note: The sentence below the buttons.
        on_send: Called by the Send button.
        on_stop: Called by the Stop button.
        on_clear: Called by the Clear button.
    """

    def __init__(
        self,
        attachments: Attachments,
        settings: SettingsRow,
        limiter: HTML,
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
        self._clear = Button(description="Clear", tooltip="Clear the panel and start a new conversation")
        self._attach = ToggleButton(
            description="Attach",
            tooltip="Attach files or variables",
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
        route_to_subshell(self._prompt, self._send, self._stop, self._clear, self._attach, unfold)
        tools = HBox(
            [self._send, self._stop, self._attach, limiter, unfold, self._clear],
            _dom_classes=["claude-magic-tools"],
        )
        super().__init__(
            [self._prompt, tools, note, attachments, settings], _dom_classes=["claude-magic-composer"]
        )

    @property
    def text(self) -> str:
        """The text of the prompt."""
        return str(self._prompt.value)

    def start_over(self) -> None:
        """Clear the prompt and fold the attachments, after they have been sent."""
        self._prompt.value = ""
        self._attach.value = False

    def set_busy(self, is_busy: bool) -> None:
        """Enable Stop instead of Send, or Send instead of Stop."""
        self._send.disabled = is_busy
        self._stop.disabled = not is_busy
