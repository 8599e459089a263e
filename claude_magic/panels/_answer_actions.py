"""What can be done with an answer: copy it, put it into a new cell, give it a name, ask again."""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ipywidgets import Button, HBox, Text

from ..answers import escape_hidden, find_code, join_code
from ..live import hear_at_once
from ..live.widgets import close_all
from ..render import HIDDEN_IN_CELL, neutralise_markdown
from ..runtime import Reply
from ._browser_side import BrowserSide
from ._faults import FaultsTold


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the actions act on.

    Attributes:
        browser: Copies and inserts.
        assign: Gives an object a name among the user's.
        retry: Asks the question of a reply again, and puts the new answer in the place of this one.
        tell: Shows the user a sentence.
        faults: Shows the user what goes wrong.
    """

    browser: BrowserSide
    assign: Callable[[str, Any], None]
    retry: Callable[[Reply], None]
    tell: Callable[[str], None]
    faults: FaultsTold


class AnswerActions(HBox):
    """A row of quiet buttons under an answer."""

    def __init__(self, reply: Reply, surroundings: Surroundings) -> None:
        self._reply = reply
        self._surroundings = surroundings
        told = surroundings.faults.told
        self._copy = _button("Copy", "Copy the answer as Markdown", told(self._on_copy))
        self._insert = _button(
            "New cell", "Put the answer's code, or its text, into a new cell", told(self._on_insert)
        )
        self._keep = _button("Variable", "Give the answer a name in the notebook", told(self._on_keep))
        self._retry = _button("Retry", "Ask the same question again", told(self._on_retry))
        self._name = Text(
            placeholder="name, then Enter",
            tooltip="Name of the variable",
            continuous_update=False,
            _dom_classes=["claude-magic-name"],
        )
        self._name.layout.display = "none"
        self._name.observe(told(self._on_name), "value")
        hear_at_once(self._copy, self._insert, self._keep, self._retry, self._name)
        super().__init__(_dom_classes=["claude-magic-actions"])

    def offer(self, *, has_text: bool) -> None:
        """Show what can be done; without a text that is only to ask again."""
        with_text = (self._copy, self._insert, self._name, self._keep) if has_text else ()
        self.children = (*with_text, self._retry)

    def close(self) -> None:
        """Take it away for good, with what it has not offered."""
        super().close()  # first: no page may be told of a row whose buttons are gone
        close_all([self._copy, self._insert, self._keep, self._retry, self._name])

    def _on_copy(self, _button: Button) -> None:
        self._surroundings.browser.copy(self._reply.text)

    def _on_insert(self, _button: Button) -> None:
        text = self._reply.text
        code = join_code(find_code(text))
        if code:
            shown = escape_hidden(code)
            self._surroundings.browser.insert_cell(shown, "code")
            if shown != code:
                self._surroundings.tell(HIDDEN_IN_CELL)
        else:  # what a front end makes of a Markdown cell may load images and hold buttons that run commands
            self._surroundings.browser.insert_cell(neutralise_markdown(text), "markdown")

    def _on_keep(self, _button: Button) -> None:
        is_hidden = self._name.layout.display == "none"
        self._name.layout.display = None if is_hidden else "none"

    def _on_name(self, _change: object) -> None:
        name = self._name.value.strip()
        if not name:
            return
        if not name.isidentifier() or keyword.iskeyword(name):
            self._surroundings.tell(f"{name!r} cannot be the name of a variable.")
            return
        self._surroundings.assign(name, self._reply)
        self._name.layout.display = "none"
        self._name.value = ""
        self._surroundings.tell(f"{name} is this answer now.")

    def _on_retry(self, _button: Button) -> None:
        self._surroundings.retry(self._reply)


def _button(label: str, tooltip: str, on_click: Callable[[Button], None]) -> Button:
    button = Button(description=label, tooltip=tooltip, _dom_classes=["claude-magic-quiet-button"])
    button.on_click(on_click)
    return button
