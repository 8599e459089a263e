"""The little that only the browser can do: keys, clipboard, new cells, missing outputs, and what screen readers are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import anywidget
from traitlets import Bool, Unicode

from ..live import hear_at_once

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
        hear_at_once(self)

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
