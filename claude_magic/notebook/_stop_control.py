"""A Stop button under an answer that streams into a cell; and what stands there instead where no click would be heard."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..live import hear_at_once
from ..render import A_WHILE
from ._clicks import hears_clicks, shows_widgets

INTERRUPT = "to stop, interrupt the kernel (■)"

_MARK = "claude-magic-cell-stop"
# An output area shows its outputs in the order of their coming, and more of the answer comes below the button.
_STYLE = f"""<style>
.jp-OutputArea:has(> .jp-OutputArea-child .{_MARK}) {{ display: flex; flex-direction: column; }}
.jp-OutputArea-child:has(.{_MARK}) {{ order: 1; }}
.{_MARK} {{ overflow: visible; margin: 0; }}
.{_MARK} .jupyter-button {{ font-size: var(--jp-ui-font-size1, 13px); line-height: 24px; border-radius: 3px; }}
.{_MARK} .jupyter-button i {{ color: var(--jp-error-color1, #d32f2f); font-size: 10px; vertical-align: 1px; }}
.{_MARK} .widget-html {{ display: none; }}
</style>"""


def remark_on_stopping(shell: Any, *, is_awaited: bool) -> str:
    """Return how to stop an answer where there is a person to tell, and no button for it; "" elsewhere."""
    if not shows_widgets(shell) or (is_awaited and hears_clicks(shell)):
        return ""
    return INTERRUPT


@contextlib.asynccontextmanager
async def stop_control(shell: Any, stop: Callable[[], None]) -> AsyncIterator[None]:
    """Show a Stop button in the running cell as long as the context lasts, once that has taken a while.

    Args:
        shell: The shell whose cell it is; nothing is shown where a click would not be heard.
        stop: What a click does; it may come on any thread.
    """
    if not hears_clicks(shell):
        yield
        return
    control = StopControl(stop)
    appearing = asyncio.create_task(_appear(control))
    try:
        yield
    finally:
        appearing.cancel()
        control.close()


class StopControl:
    """The button.

    Args:
        stop: What a click does; it may come on any thread.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._close_widgets: Callable[[], None] | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it has been shown and not taken away."""
        return self._close_widgets is not None

    def show(self) -> None:
        """Show it in the cell that this context belongs to."""
        import ipywidgets  # late: short answers need none
        from IPython.display import display

        from ..live.widgets import close_all

        button = ipywidgets.Button(
            description="Stop",
            icon="stop",
            tooltip="Stop this answer. What has come of it stays.",
            layout=ipywidgets.Layout(width="auto", height="26px", margin="4px 0 2px 0"),
        )
        button.on_click(self._on_click)
        style = ipywidgets.HTML(_STYLE)
        box = ipywidgets.HBox([button, style], _dom_classes=[_MARK])
        hear_at_once(button)  # below a background cell also while another one computes
        self._close_widgets = functools.partial(close_all, (box,))
        display(box)

    def close(self) -> None:
        """Take it away. First its display must have gone: without its model a front end shows an error in its place."""
        if self._close_widgets is not None:
            self._close_widgets()
        self._close_widgets = None

    def _on_click(self, button: Any) -> None:
        button.disabled = True
        self._stop()


async def _appear(control: StopControl) -> None:
    await asyncio.sleep(A_WHILE)
    await asyncio.to_thread(
        importlib.import_module, "ipywidgets"
    )  # the loop, and the stream, go on meanwhile
    control.show()
