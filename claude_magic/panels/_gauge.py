"""The `LimitsGauge` widget: a live view of the limits on requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import anywidget
from ipywidgets import HTML, VBox

from ..client import ConfigurationError
from ..display import Timer
from ..display.widgets import close_all, in_words, page_source
from ..render import GAUGE_LABEL, render_gauge, render_no_gauge
from ..runtime import get_runtime

_INTERVAL: Final = 0.5
"""Seconds between frames while a reply is in flight."""
_REFILLING_INTERVAL: Final = 1.0
"""Seconds between frames while limits only refill."""


_HERE = Path(__file__).parent


class _BrowserSide(anywidget.AnyWidget):
    """The invisible widget that replaces the numbers with a line when the kernel is gone."""

    _esm = page_source("js", _HERE / "_gauge.js")
    _css = page_source("css", _HERE / "_gauge.css")


class LimitsGauge(VBox):
    """A live view of the shared limiter, the server's limits, waiting replies with their reasons, and recent 429s.

    It is drawn twice a second while replies are in flight and once a second while limits refill, even while a cell runs.
    Otherwise, and after `close`, nothing runs.

    Example:
        ```python
        from claude_magic import LimitsGauge

        LimitsGauge()
        ```
    """

    def __init__(self) -> None:
        self._html = HTML(_dom_classes=["claude-magic-gauge-picture"])
        self._browser = _BrowserSide(_dom_classes=["claude-magic-gauge-side"])
        super().__init__([self._html, self._browser], _dom_classes=["claude-magic-gauge"])
        self._timer = Timer(self._draw, name="claude-magic-gauge")
        self._unwatch = get_runtime().watch(self._timer.wake)
        if self._draw() is not None:
            self._timer.wake()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return in_words(self, f"{GAUGE_LABEL}: run this cell to show them.")

    @property
    def is_closed(self) -> bool:
        """Whether the widget was closed, by `close` or by `Widget.close_all`."""
        return self.comm is None

    @property
    def is_drawn(self) -> bool:
        """Whether the gauge is currently being updated."""
        return self._timer.is_running

    def close(self) -> None:
        """Close the widget and stop updating it."""
        self._unwatch()
        self._timer.stop()
        if self.comm is None:  # closed before
            return
        super().close()
        close_all((self._html, self._browser, self.layout))

    def _draw(self) -> float | None:
        """Draw a frame. Return the seconds until the next one; None if nothing will change."""
        try:
            reading = get_runtime().read_gauge()
        except ConfigurationError as error:
            self._html.value = render_no_gauge(error.message)
            return None
        self._html.value = render_gauge(reading)
        if reading.is_idle:
            return None
        return _INTERVAL if reading.in_flight else _REFILLING_INTERVAL


_shown: list[LimitsGauge] = []


def shown_gauge() -> LimitsGauge:
    """Return the gauge for `%claude limits --live`. All calls share one gauge, so that none is left running."""
    if not _shown or _shown[0].is_closed:
        _shown[:] = [LimitsGauge()]
    return _shown[0]
