"""Where a question is written: the prompt, what goes with it, and the buttons."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from IPython import get_ipython
from ipywidgets import (
    BoundedIntText,
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

from ..client import ConfigurationError
from ..context import Collected, attach, content_of, interpolate, join, names_of, notes_on, refusal
from ..display import route_to_subshell
from ..runtime import EFFORTS, SHORT_NAMES, Question, Settings
from ._browser_side import LimiterLine, Note


class Attachments(HBox):
    """The folded row in which files are chosen and variables are named."""

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
        """Return the question of a prompt, with the user's values in place of `{{ names }}`, and all that was attached.

        Raises:
            ConfigurationError: Something that it names does not exist, or cannot be sent.
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
            origin="panel",
        )

    def clear(self) -> None:
        """Empty the row, once it has been sent."""
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


_MOST_TOKENS = 1_000_000
_THREAD = re.compile(r"\w[\w.-]*")
"""As for `--thread`, so that cells can go on with the thread."""


class SettingsRow(VBox):
    """What is asked with; fields that are left alone follow the settings of the kernel.

    Args:
        settings: The settings in force, which empty fields stand for.
        thread: The conversation to begin with.
        threads: Those that there are.
        model: The model to begin with; likewise the others.
        effort: Or None.
        max_tokens: Or None.
        system: Or None.
        on_change: Called when another thread or model is chosen.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        thread: str,
        threads: Sequence[str],
        model: str | None = None,
        effort: str | None = None,
        max_tokens: int | None = None,
        system: str | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._usual_max_tokens = settings.max_tokens
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
        self._max_tokens = BoundedIntText(
            value=max_tokens or settings.max_tokens,
            min=1,
            max=_MOST_TOKENS,
            description="Max tokens",
            tooltip="Most tokens of an answer, thinking included",
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
        """The conversation that was chosen.

        Raises:
            ConfigurationError: It is not the name of one.
        """
        return _checked_thread(self.typed_thread)

    @property
    def typed_thread(self) -> str:
        """The same as it was typed, whether it is the name of one or not."""
        return self._thread.value.strip() or str(self._thread.placeholder)

    @property
    def model(self) -> str:
        """The model that was chosen, or the settings'."""
        return self._model.value.strip() or str(self._model.placeholder)

    def offer_threads(self, threads: Sequence[str]) -> None:
        """Offer these conversations to choose from."""
        self._thread.options = tuple(threads)

    def options(self) -> dict[str, Any]:
        """Return what was chosen, by the name of the option; what was not chosen is missing."""
        most = self._max_tokens.value
        chosen = {
            "model": self._model.value.strip(),
            "effort": self._effort.value,
            "thinking": self._thinking.value,
            "max_tokens": None if most == self._usual_max_tokens else most,
            "system": self._system.value.strip(),
        }
        return {name: value for name, value in chosen.items() if value}


def _effort_field(effort: str | None, *, usual: str | None) -> Dropdown:
    """Return the choice of an effort; `usual` is what the settings have.

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
    """Return the choice of a thread, with the one to begin with.

    Raises:
        ConfigurationError: It cannot be the name of one.
    """
    return Combobox(
        value=_checked_thread(thread),
        options=tuple(threads),
        description="Thread",
        tooltip="The conversation that questions belong to; panels and cells of one thread share it",
        placeholder=thread,
        continuous_update=False,
    )


def _checked_thread(name: str) -> str:
    if not _THREAD.fullmatch(name):
        raise ConfigurationError(
            f"{name[:60]!r} cannot be the name of a thread: it is one word of letters, digits, _ . and -. Nothing was sent."
        )
    return name


STOP_HINT = "Stop the answer; what has arrived stays"


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
