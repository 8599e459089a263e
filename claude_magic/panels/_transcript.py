"""The conversation as normal outputs beside the panel, for when there is no kernel: on the web, or the day after."""

from __future__ import annotations

import contextvars
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from IPython import get_ipython
from IPython.display import DisplayHandle

from ..display import FrontEnd
from ..render import Bundle, Exchange, render_transcript
from ..runtime import Reply
from ._browser_side import BrowserSide

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
                self._only.update(_joined(bundles), raw=True)
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
        return render_transcript(exchange, remote_images=self._remote_images)


def _display(context: contextvars.Context, bundle: Bundle) -> _Output:
    output = _Output(uuid.uuid4().hex, DisplayHandle())
    context.run(output.handle.display, bundle.data, raw=True, metadata={KEY: output.key})
    return output


def _as_saved(bundle: Bundle, key: str) -> dict[str, Any]:
    return {"output_type": "display_data", "data": bundle.data, "metadata": {KEY: key}}


def _joined(bundles: list[Bundle]) -> dict[str, str]:
    return {
        "text/html": "".join(bundle.data["text/html"] for bundle in bundles),
        "text/markdown": "\n\n---\n\n".join(bundle.data["text/markdown"] for bundle in bundles),
    }
