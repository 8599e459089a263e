"""The little that only the browser can do: keys, clipboard, new cells, missing outputs, and what screen readers are told."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import anywidget
from ipywidgets import HTML
from traitlets import Bool, Unicode

from ..client import BucketState, ClaudeError
from ..display import route_to_subshell
from ..render import render_complaint, render_line

_HERE = Path(__file__).parent


class BrowserSide(anywidget.AnyWidget):
    """Belongs to one panel, and shows nothing itself.

    Attributes:
        panel_id: The panel's model, by which its cell is found in the notebook.
        is_busy: An answer is on its way. Screen readers wait until it is there.
        announcement: What screen readers are told at once.
    """

    _esm = (_HERE / "_browser_side.js").read_text(encoding="utf-8")
    _css = (_HERE / "_browser_side.css").read_text(encoding="utf-8")

    panel_id = Unicode().tag(sync=True)
    is_busy = Bool(False).tag(sync=True)
    announcement = Unicode().tag(sync=True)

    def listen(
        self,
        *,
        on_outcome: Callable[[str], None],
        on_page: Callable[[], None],
        on_missing: Callable[[Sequence[str]], None],
    ) -> None:
        """Say what is to be done when the browser has something to tell.

        Args:
            on_outcome: A text has been copied or inserted, or could not be, as a sentence.
            on_page: A page has opened that shows the panel.
            on_missing: The panel's cell lacks the outputs of these keys.
        """

        def hear(_widget: object, content: Mapping[str, Any], _buffers: object) -> None:
            if "outcome" in content:
                on_outcome(str(content["outcome"]))
            elif "missing" in content:
                on_missing([str(key) for key in content["missing"]])
            elif "page" in content:
                on_page()

        self.on_msg(hear)
        route_to_subshell(self)

    def copy(self, text: str) -> None:
        """Put text on the clipboard."""
        self.send({"do": "copy", "text": text})

    def insert_cell(self, source: str, kind: Literal["code", "markdown"]) -> None:
        """Put a new cell below the panel's. Where the front end does not let us, the text goes on the clipboard."""
        self.send({"do": "insert", "text": source, "kind": kind})

    def tell_outputs(self, keys: Sequence[str], gone: Sequence[str]) -> None:
        """Say which outputs the panel's cell is to hold, and which no longer; a page that lacks some asks for them."""
        self.send({"do": "compare", "keys": list(keys), "gone": list(gone)})

    def add_outputs(self, outputs: Sequence[Mapping[str, Any]]) -> None:
        """Put outputs into the panel's cell, as nbformat writes them."""
        self.send({"do": "add", "outputs": list(outputs)})

    def announce(self, sentence: str) -> None:
        """Tell screen readers."""
        self.announcement = sentence


logger = logging.getLogger("claude_magic.panels")


class FaultsTold:
    """Tells the user of errors that would otherwise vanish, or be printed into whichever cell runs.

    Args:
        complain: Shows the user what went wrong, as a sentence.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain

    def told(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return `act` as something that never raises."""

        def act_and_tell(*args: Any) -> None:
            try:
                act(*args)
            except Exception as error:
                self.tell(error)

        return act_and_tell

    def tell(self, error: Exception) -> None:
        """Show an error: one of ours in its own words, any other as the fault that it is."""
        if isinstance(error, ClaudeError):
            self._complain(error.message)
            return
        logger.error("A panel failed.", exc_info=error)
        self._complain(
            f"That did not work, because of a fault in claude_magic ({type(error).__name__}: {error}). Please report it."
        )


class Note(HTML):
    """A sentence below the buttons; screen readers are told of it."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-note"])

    def tell(self, sentence: str) -> None:
        """Show a sentence until the next one; "" takes it away."""
        self.value = render_line(sentence) if sentence else ""

    def complain(self, sentence: str) -> None:
        """Show what went wrong until the next sentence."""
        self.value = render_complaint(sentence)


class LimiterLine(HTML):
    """The limiter, in a few words."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-limiter"])

    def show(self, state: BucketState) -> None:
        """Show it as it is now."""
        self.value = render_line(describe_limiter(state))


def describe_limiter(state: BucketState) -> str:
    """Return "10 requests a second", and why nothing is sent at present, where that is so."""
    rate = f"{state.refill_rate:g} {'request' if state.refill_rate == 1 else 'requests'} a second"
    if state.paused_for > 0:
        return f"{rate} · paused for {math.ceil(state.paused_for)} s, as the server asked"
    if state.waiters:
        return f"{rate} · {state.waiters} waiting for the limiter"
    return rate
