"""The browser side of a panel, its text widgets, and its transcript as normal outputs for use without a kernel."""

from __future__ import annotations

import contextvars
import logging
import math
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import anywidget
from IPython import get_ipython
from IPython.display import DisplayHandle
from ipywidgets import HTML, HTMLMath
from traitlets import Bool, Unicode

from ..client import BucketState, ClaudeError
from ..context import last_reply_in
from ..conversation import Turn
from ..display import FrontEnd, route_to_subshell
from ..display.widgets import page_source
from ..render import Bundle, Exchange, render_complaint, render_earlier, render_line, render_transcript
from ..runtime import Reply

_HERE = Path(__file__).parent


class BrowserSide(anywidget.AnyWidget):
    """The invisible widget that runs a panel's code in the browser.

    Attributes:
        panel_id: The model id of the panel, by which its cell is found in the notebook.
        is_busy: Whether an answer is in flight. Screen readers wait until it is complete.
        announcement: Text that screen readers read out immediately.
    """

    _esm = page_source("js", _HERE / "_browser_side.js")
    _css = page_source("css", _HERE / "_browser_side.css")

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
        """Register handlers for the messages from the browser.

        Args:
            on_outcome: Called with a sentence when a text was copied or inserted, or could not be.
            on_page: Called when a page that shows the panel has opened.
            on_missing: Called with the keys of the outputs that the panel's cell lacks.
        """

        def on_message(_widget: object, content: Mapping[str, Any], _buffers: object) -> None:
            if "outcome" in content:
                on_outcome(str(content["outcome"]))
            elif "missing" in content:
                on_missing([str(key) for key in content["missing"]])
            elif "page" in content:
                on_page()

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


logger = logging.getLogger("claude_magic.panels")


class FaultReporter:
    """Shows errors that would otherwise be lost, or be printed into the currently running cell.

    Args:
        show_error: Shows an error message to the user.
    """

    def __init__(self, show_error: Callable[[str], None]) -> None:
        self._show_error = show_error

    def guard(self, act: Callable[..., None]) -> Callable[..., None]:
        """Return a function that calls `act` and reports its errors instead of raising them."""

        def guarded(*args: Any) -> None:
            try:
                act(*args)
            except Exception as error:
                self.report(error)

        return guarded

    def report(self, error: Exception) -> None:
        """Show an error: the message of a `ClaudeError`, and any other error as a bug."""
        if isinstance(error, ClaudeError):
            self._show_error(error.message)
            return
        logger.error("A panel failed.", exc_info=error)
        self._show_error(
            f"That did not work, because of a bug in claude_magic ({type(error).__name__}: {error}). Please report it."
        )


class Note(HTML):
    """A sentence below the buttons, which screen readers read out."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-note"])

    def show(self, sentence: str) -> None:
        """Show a sentence until the next one; "" removes it."""
        self.value = render_line(sentence) if sentence else ""

    def show_error(self, sentence: str) -> None:
        """Show an error message until the next sentence."""
        self.value = render_complaint(sentence)


class Heading(HTML):
    """The line above a panel: its thread and its model."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-heading"])

    def show(self, thread: str, model: str) -> None:
        """Show the thread and model of the next question."""
        self.value = render_line(f"{thread} · {model}")


class EarlierTurns(HTMLMath):
    """The earlier turns of the thread, before those of the panel, folded.

    Args:
        remote_images: Whether to load images from other hosts.
    """

    def __init__(self, *, remote_images: bool) -> None:
        self._remote_images = remote_images
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-earlier", "jp-RenderedHTMLCommon"])

    def show(self, thread: str, turns: Sequence[Turn]) -> None:
        """Show turns, oldest first; nothing if there are none."""
        self.value = render_earlier(thread, turns, remote_images=self._remote_images)


class LimiterLine(HTML):
    """A line about the state of the limiter."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-limiter"])

    def show(self, state: BucketState) -> None:
        """Show the current state."""
        self.value = render_line(describe_limiter(state))


def describe_limiter(state: BucketState) -> str:
    """Return the rate, as in "10 requests a second", and why requests currently wait, if they do."""
    rate = f"{state.refill_rate:g} {'request' if state.refill_rate == 1 else 'requests'} a second"
    if state.paused_for > 0:
        return f"{rate} · paused for {math.ceil(state.paused_for)} s, as the server asked"
    if state.waiters:
        return f"{rate} · {state.waiters} waiting for the limiter"
    return rate


KEY: Final = "claude_magic_transcript"
"""The name in an output's metadata under which its unique key is stored."""

_NOTHING = {"text/html": "", "text/markdown": ""}


@dataclass(frozen=True, slots=True)
class _Output:
    key: str
    handle: DisplayHandle


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
        self._outputs: dict[Reply, list[_Output]] = {}
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
            keys = [output.key for outputs in self._outputs.values() for output in outputs]
            self._browser.send_keys(keys, self._gone)

    def send_missing(self, keys: Sequence[str], exchanges: Mapping[Reply, Exchange]) -> None:
        """Send the outputs that a page lacks."""
        with self._lock:
            missing = [
                _as_saved(bundle, output.key)
                for reply, outputs in self._outputs.items()
                if reply in exchanges and any(output.key in keys for output in outputs)
                for output, bundle in zip(outputs, self._render(exchanges[reply]), strict=True)
                if output.key in keys
            ]
            self._browser.add_outputs(missing)

    def _update_outputs(self, context: contextvars.Context, exchanges: Mapping[Reply, Exchange]) -> None:
        for reply in [reply for reply in self._outputs if reply not in exchanges]:
            for output in self._outputs.pop(reply):
                output.handle.update(_NOTHING, raw=True)
                self._gone.append(output.key)
        for reply, exchange in exchanges.items():
            if reply not in self._outputs:
                self._outputs[reply] = [_display(context, bundle) for bundle in self._render(exchange)]

    def _render(self, exchange: Exchange, *, is_joined: bool = False) -> list[Bundle]:
        kept_in = last_reply_in(get_ipython())
        return render_transcript(
            exchange, remote_images=self._remote_images, kept_in=kept_in, is_joined=is_joined
        )


def _display(context: contextvars.Context, bundle: Bundle) -> _Output:
    output = _Output(uuid.uuid4().hex, DisplayHandle())
    context.run(output.handle.display, bundle.data, raw=True, metadata={**bundle.metadata, KEY: output.key})
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
