"""The little that only the browser can do, and the conversation as normal outputs for when there is no kernel."""

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
from ..display import FrontEnd, route_to_subshell
from ..display.widgets import page_source
from ..render import Bundle, Exchange, render_complaint, render_earlier, render_line, render_transcript
from ..runtime import Reply

_HERE = Path(__file__).parent


class BrowserSide(anywidget.AnyWidget):
    """Belongs to one panel, and shows nothing itself.

    Attributes:
        panel_id: The panel's model, by which its cell is found in the notebook.
        is_busy: An answer is in flight. Screen readers wait until it is there.
        announcement: What screen readers are told at once.
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
            f"That did not work, because of a bug in claude_magic ({type(error).__name__}: {error}). Please report it."
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


class Heading(HTML):
    """The line above a panel: its conversation and its model."""

    def __init__(self) -> None:
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-heading"])

    def show(self, thread: str, model: str) -> None:
        """Show what the next question is asked with."""
        self.value = render_line(f"{thread} · {model}")


class EarlierTurns(HTMLMath):
    """The turns that the panel's own go on from, folded.

    Args:
        remote_images: Load images from other hosts.
    """

    def __init__(self, *, remote_images: bool) -> None:
        self._remote_images = remote_images
        super().__init__(_dom_classes=["claude-magic-block", "claude-magic-earlier", "jp-RenderedHTMLCommon"])

    def show(self, thread: str, turns: Sequence[tuple[str, str]]) -> None:
        """Show questions and answers, oldest first; nothing where there are none."""
        self.value = render_earlier(thread, turns, remote_images=self._remote_images)


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


KEY: Final = "claude_magic_transcript"
"""In the metadata of an output: what tells it from the others."""

_NOTHING = {"text/html": "", "text/markdown": ""}


@dataclass(frozen=True, slots=True)
class _Output:
    key: str
    handle: DisplayHandle


class Transcript:
    """Outputs of a cell, which the browser hides while the panel lives: one for each answer, several for a long one.

    Each is sent once, when its answer has ended. Displaying from another thread reaches the cell that showed the panel
    where the kernel keeps what the present cell is in a context variable, because that comes along. Elsewhere it would reach
    whichever cell runs; there, one output is opened beforehand and holds everything.

    A page that was reloaded takes no outputs for cells that it did not run. So each page is told which outputs there are to
    be, and is given those that it lacks.

    Args:
        browser: Knows what is in the cell, and can put something there.
        remote_images: Load images from other hosts.
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
        """Return a context in which what is printed and shown goes to the panel's cell, where the kernel allows that."""
        return contextvars.copy_context() if self._context is None else self._context.copy()

    def show(self, exchanges: Mapping[Reply, Exchange]) -> None:
        """Show it in the cell that runs now; from here on, that is where it is kept up to date."""
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
        """Bring it up to date. Any thread may call this.

        Args:
            exchanges: All that have ended, oldest first.
        """
        with self._lock:
            if self._only is not None:
                bundles = [bundle for exchange in exchanges.values() for bundle in self._render(exchange)]
                self._only.update(_joined(bundles), metadata=_facts_in(bundles), raw=True)
            if self._context is not None:
                self._update_outputs(self._context, exchanges)
                self.tell_page()

    def tell_page(self) -> None:
        """Tell the pages that show the panel which outputs there are to be."""
        with self._lock:
            keys = [output.key for outputs in self._outputs.values() for output in outputs]
            self._browser.tell_outputs(keys, self._gone)

    def hand_over(self, keys: Sequence[str], exchanges: Mapping[Reply, Exchange]) -> None:
        """Give a page the outputs that it lacks."""
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

    def _render(self, exchange: Exchange) -> list[Bundle]:
        kept_in = last_reply_in(get_ipython())
        return render_transcript(exchange, remote_images=self._remote_images, kept_in=kept_in)


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
    """Return what is saved about several answers, in one output."""
    return {
        name: {"exchanges": [bundle.metadata[name] for bundle in bundles if bundle.metadata]}
        for name in {name: None for bundle in bundles for name in bundle.metadata}
    }
