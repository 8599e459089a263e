"""The conversation as normal outputs beside the panel, for when there is no kernel: on the web, or the day after."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Mapping

from IPython import get_ipython
from IPython.display import DisplayHandle

from ..live import displays_follow_context
from ..render import Bundle, Exchange, render_transcript
from ..runtime import Reply

_NOTHING = {"text/html": "", "text/markdown": ""}


class Transcript:
    """Outputs of a cell, which the browser hides while the panel lives: one for each answer, several for a long one.

    Each is sent once, when its answer has ended. Displaying from another thread reaches the cell that showed the panel
    where the kernel keeps what the present cell is in a context variable, because that comes along. Elsewhere it would reach
    whichever cell runs; there, one output is opened beforehand and holds everything.

    Args:
        remote_images: Load images from other hosts.
    """

    def __init__(self, *, remote_images: bool) -> None:
        self._lock = threading.RLock()
        self._remote_images = remote_images
        self._context: contextvars.Context | None = None
        self._only: DisplayHandle | None = None
        self._outputs: dict[Reply, list[DisplayHandle]] = {}

    def show(self, exchanges: Mapping[Reply, Exchange]) -> None:
        """Show it in the cell that runs now; from here on, that is where it is kept up to date."""
        with self._lock:
            self._outputs = {}
            self._context = self._only = None
            if displays_follow_context(get_ipython()):
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

    def _update_outputs(self, context: contextvars.Context, exchanges: Mapping[Reply, Exchange]) -> None:
        for reply in [reply for reply in self._outputs if reply not in exchanges]:
            for handle in self._outputs.pop(reply):
                handle.update(_NOTHING, raw=True)
        for reply, exchange in exchanges.items():
            if reply not in self._outputs:
                self._outputs[reply] = [_display(context, bundle) for bundle in self._render(exchange)]

    def _render(self, exchange: Exchange) -> list[Bundle]:
        return render_transcript(exchange, remote_images=self._remote_images)


def _display(context: contextvars.Context, bundle: Bundle) -> DisplayHandle:
    handle = DisplayHandle()
    context.run(handle.display, bundle.data, raw=True)
    return handle


def _joined(bundles: list[Bundle]) -> dict[str, str]:
    return {
        "text/html": "".join(bundle.data["text/html"] for bundle in bundles),
        "text/markdown": "\n\n---\n\n".join(bundle.data["text/markdown"] for bundle in bundles),
    }
