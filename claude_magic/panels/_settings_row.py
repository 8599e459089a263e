"""The folded row of settings: model, effort, thinking, length, thread, system prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ipywidgets import BoundedIntText, Combobox, Dropdown, HBox, Textarea, VBox

from ..client import ConfigurationError
from ..live import hear_at_once
from ..runtime import EFFORTS, SHORT_NAMES, Settings

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
    ) -> None:
        self._usual_max_tokens = settings.max_tokens
        self._model = Combobox(
            value=model or "",
            options=tuple(SHORT_NAMES),
            placeholder=settings.model,
            description="Model",
            tooltip="A model's name, or a short one such as opus; empty for the usual one",
        )
        self._effort = Dropdown(
            options=[(settings.effort or "the model's own", ""), *((each, each) for each in EFFORTS)],
            value=_checked_effort(effort),
            description="Effort",
            tooltip="How hard the model tries",
        )
        self._thinking = Dropdown(
            options=[("as in the settings", ""), ("shown", "show"), ("hidden", "hide"), ("off", "off")],
            description="Thinking",
            tooltip="Whether the model thinks first, and shows a summary of it",
        )
        self._max_tokens = BoundedIntText(
            value=max_tokens or settings.max_tokens,
            min=1,
            max=_MOST_TOKENS,
            description="Max tokens",
            tooltip="Bound of an answer in tokens, thinking included",
        )
        self._system = Textarea(
            value=system or "",
            rows=2,
            placeholder=settings.system or "Who Claude shall be, and what it shall heed",
            description="System",
            tooltip="System prompt",
            continuous_update=False,
            _dom_classes=["claude-magic-system"],
        )
        self._thread = Combobox(
            value=_checked_thread(thread),
            options=tuple(threads),
            description="Thread",
            tooltip="The conversation that questions belong to; panels and cells of one thread share it",
            placeholder=thread,
            continuous_update=False,
        )
        fields = (self._model, self._effort, self._thinking, self._max_tokens, self._thread)
        hear_at_once(*fields, self._system)
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
        return _checked_thread(self._thread.value.strip() or str(self._thread.placeholder))

    def offer_threads(self, threads: Sequence[str]) -> None:
        """Offer these conversations to choose from."""
        self._thread.options = tuple(threads)

    def options(self) -> dict[str, Any]:
        """Return what was chosen, by the name of the option; what was not chosen is missing."""
        chosen = {
            "model": self._model.value.strip() or None,
            "effort": self._effort.value or None,
            "thinking": self._thinking.value or None,
            "max_tokens": None
            if self._max_tokens.value == self._usual_max_tokens
            else self._max_tokens.value,
            "system": self._system.value.strip() or None,
        }
        return {name: value for name, value in chosen.items() if value is not None}


def _checked_thread(name: str) -> str:
    if not _THREAD.fullmatch(name):
        raise ConfigurationError(
            f"A thread cannot be called {name[:60]!r}: its name is one word, of letters, digits, _ . and -. Nothing was sent."
        )
    return name


def _checked_effort(effort: str | None) -> str:
    if effort is not None and effort not in EFFORTS:
        raise ConfigurationError(f"There is no effort {effort!r}. It is one of {', '.join(EFFORTS)}.")
    return effort or ""
