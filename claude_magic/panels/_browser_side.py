"""The little that only the browser can do: keys, clipboard, new cells, and what screen readers are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import anywidget
from traitlets import Bool, Unicode

_HERE = Path(__file__).parent


class BrowserSide(anywidget.AnyWidget):
    """Belongs to one panel, and shows nothing itself.

    Attributes:
        panel_id: The panel's model, by which its cell is found in the notebook.
        is_busy: An answer is on its way. Screen readers wait until it is there.
    """

    _esm = (_HERE / "_browser_side.js").read_text(encoding="utf-8")
    _css = (_HERE / "_browser_side.css").read_text(encoding="utf-8")

    panel_id = Unicode().tag(sync=True)
    is_busy = Bool(False).tag(sync=True)

    def on_outcome(self, callback: Callable[[str], None]) -> None:
        """Call back, with a sentence, when a text has been copied or inserted, or could not be."""
        self.on_msg(lambda _widget, content, _buffers: callback(str(content.get("outcome", ""))))

    def copy(self, text: str) -> None:
        """Put text on the clipboard."""
        self.send({"do": "copy", "text": text})

    def insert_cell(self, source: str, kind: Literal["code", "markdown"]) -> None:
        """Put a new cell below the panel's. Where the front end does not let us, the text goes on the clipboard."""
        self.send({"do": "insert", "text": source, "kind": kind})
