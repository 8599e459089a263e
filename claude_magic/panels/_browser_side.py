"""The browser side of a panel, and its transcript as normal outputs for use without a kernel."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import anywidget
from IPython import get_ipython
from IPython.display import DisplayHandle
from traitlets import Bool, Unicode

from ..context import last_reply_in
from ..display import FrontEnd, route_to_subshell
from ..display.widgets import page_source
from ..render import Bundle, Exchange, render_transcript
from ..runtime import Reply

_HERE = Path(__file__).parent


class BrowserSide(anywidget.AnyWidget):
    """The invisible widget that runs a panel's code in the browser.

    Attributes:
        panel_id: The model id of the panel, by which its cell is found in the notebook.
        named_thread: The thread that the panel's cell opens again; "" if it starts a new one.
        is_busy: Whether an answer is in flight. Screen readers wait until it is complete.
        announcement: Text that screen readers read out immediately.
    """

    _esm = page_source("js", _HERE / "_browser_side.js")
    _css = page_source("css", _HERE / "_browser_side.css")

    panel_id = Unicode().tag(sync=True)
    named_thread = Unicode().tag(sync=True)
    is_busy = Bool(False).tag(sync=True)
    announcement = Unicode().tag(sync=True)

    def listen(
        self,
        *,
        on_outcome: Callable[[str], None],
        on_page: Callable[[], None],
        on_missing: Callable[[Sequence[str]], None],
        on_edit: Callable[[], None],
    ) -> None:
        """Register handlers for the messages from the browser.

        Args:
            on_outcome: Called with a sentence when a text was copied or inserted, or could not be.
            on_page: Called when a page that shows the panel has opened.
            on_missing: Called with the keys of the outputs that the panel's cell lacks.
            on_edit: Called when a field of the panel is edited while the panel shows a note.
        """

        def on_message(_widget: object, content: Mapping[str, Any], _buffers: object) -> None:
            if "outcome" in content:
                on_outcome(str(content["outcome"]))
            elif "missing" in content:
                on_missing([str(key) for key in content["missing"]])
            elif "page" in content:
                on_page()
            elif "edited" in content:
                on_edit()

        self.on_msg(on_message)
        route_to_subshell(self)

    def copy(self, text: str) -> None:
        """Copy text to the clipboard."""
        self.send({"do": "copy", "text": text})

    def insert_cell(self, source: str, kind: Literal["code", "markdown"]) -> None:
        """Insert a cell below the panel's cell. If the front end does not allow it, copy the text to the clipboard."""
        self.send({"do": "insert", "text": source, "kind": kind})

    def send_keys(self, keys: Sequence[str], gone: Sequence[str]) -> None:
        """Send the keys of all outputs of the panel's cell and of deleted ones. Pages request the outputs that they lack."""
        self.send({"do": "compare", "keys": list(keys), "gone": list(gone)})

    def add_outputs(self, outputs: Sequence[Mapping[str, Any]]) -> None:
        """Add outputs in nbformat to the panel's cell."""
        self.send({"do": "add", "outputs": list(outputs)})

    def announce(self, sentence: str) -> None:
        """Make screen readers read a sentence."""
        self.announcement = sentence


KEY: Final = "claude_magic_transcript"
"""The name in an output's metadata under which its unique key, the id of its display, is stored."""

_NOTHING = {"text/html": "", "text/markdown": ""}


class Transcript:
    """The answers as outputs of the panel's cell, one or more per answer. The browser hides them while the panel is shown.

    Each output is sent once, when its answer has ended. If the kernel stores the current cell in a context variable, displays
    from another thread reach the panel's cell, because the context is passed to the thread. Otherwise they would reach the
    currently running cell; in this case, a single output is created beforehand and contains everything.

    A reloaded page does not receive outputs of cells that it did not run. Therefore each page gets the keys of all outputs,
    and receives those that it lacks.

    Args:
        browser: The browser side, which knows the outputs of the cell and can add some.
        remote_images: Whether to load images from other hosts.
    """

    def __init__(self, browser: BrowserSide, *, remote_images: bool) -> None:
        self._browser = browser
        self._remote_images = remote_images
        self._lock = threading.RLock()
        self._context: contextvars.Context | None = None
        self._only: DisplayHandle | None = None
        self._outputs: dict[Reply, list[DisplayHandle]] = {}
        self._gone: list[str] = []

    def context(self) -> contextvars.Context:
        """Return a context in which prints and displays go to the panel's cell, if the kernel supports that."""
        return contextvars.copy_context() if self._context is None else self._context.copy()

    def show(self, exchanges: Mapping[Reply, Exchange]) -> None:
        """Show the transcript in the running cell, where it is updated from now on."""
        with self._lock:
            self._outputs = {}
            self._gone = []
            self._context = self._only = None
            if FrontEnd(get_ipython()).follows_context:
                self._context = contextvars.copy_context()
            else:
                self._only = DisplayHandle()
                self._only.display(_NOTHING, raw=True)
            self.update(exchanges)

    def update(self, exchanges: Mapping[Reply, Exchange]) -> None:
        """Update the transcript. Thread-safe.

        Args:
            exchanges: All exchanges that have ended, oldest first.
        """
        with self._lock:
            if self._only is not None:
                bundles = [
                    bundle
                    for exchange in exchanges.values()
                    for bundle in self._render(exchange, is_joined=True)
                ]
                self._only.update(_joined(bundles), metadata=_facts_in(bundles), raw=True)
            if self._context is not None:
                self._update_outputs(self._context, exchanges)
                self.send_keys()

    def send_keys(self) -> None:
        """Send the keys of all outputs to the pages that show the panel."""
        with self._lock:
            keys = [output.display_id for outputs in self._outputs.values() for output in outputs]
            self._browser.send_keys(keys, self._gone)

    def send_missing(self, keys: Sequence[str], exchanges: Mapping[Reply, Exchange]) -> None:
        """Send the outputs that a page lacks."""
        with self._lock:
            missing = [
                _as_saved(bundle, output.display_id)
                for reply, outputs in self._outputs.items()
                if reply in exchanges and any(output.display_id in keys for output in outputs)
                for output, bundle in zip(outputs, self._render(exchanges[reply]), strict=True)
                if output.display_id in keys
            ]
            self._browser.add_outputs(missing)

    def _update_outputs(self, context: contextvars.Context, exchanges: Mapping[Reply, Exchange]) -> None:
        for reply in [reply for reply in self._outputs if reply not in exchanges]:
            for output in self._outputs.pop(reply):
                output.update(_NOTHING, raw=True)
                self._gone.append(output.display_id)
        for reply, exchange in exchanges.items():
            if reply not in self._outputs:
                self._outputs[reply] = [_display(context, bundle) for bundle in self._render(exchange)]

    def _render(self, exchange: Exchange, *, is_joined: bool = False) -> list[Bundle]:
        kept_in = last_reply_in(get_ipython())
        return render_transcript(
            exchange, remote_images=self._remote_images, kept_in=kept_in, is_joined=is_joined
        )


def _display(context: contextvars.Context, bundle: Bundle) -> DisplayHandle:
    output = DisplayHandle()
    context.run(output.display, bundle.data, raw=True, metadata={**bundle.metadata, KEY: output.display_id})
    return output


def _as_saved(bundle: Bundle, key: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": bundle.data, "metadata": {**bundle.metadata, KEY: key}}


def _joined(bundles: list[Bundle]) -> dict[str, str]:
    return {
        "text/html": "".join(bundle.data["text/html"] for bundle in bundles),
        "text/markdown": "\n\n---\n\n".join(bundle.data["text/markdown"] for bundle in bundles),
    }


def _facts_in(bundles: list[Bundle]) -> dict[str, Any]:
    """Return the metadata of several answers for a single output."""
    return {
        name: {"exchanges": [bundle.metadata[name] for bundle in bundles if bundle.metadata]}
        for name in {name: None for bundle in bundles for name in bundle.metadata}
    }
