"""`LimitsGauge`: what holds requests up, as it changes."""

from __future__ import annotations

from typing import Final

from ipywidgets import HTML, VBox

from ..client import ConfigurationError
from ..live import Ticker
from ..live.widgets import close_all
from ..runtime import get_runtime
from ._gauge_picture import draw_gauge, draw_problem
from ._gauge_reading import read_gauge

_INTERVAL: Final = 0.5
"""Seconds between two pictures while something is in flight."""
_REFILLING_INTERVAL: Final = 1.0
"""The same while limits only refill."""


class LimitsGauge(VBox):
    """Shows the limiter that all requests share, the server's limits, who waits and why, and recent 429s.

    It is drawn twice a second while something is in flight, waits or refills, also while a cell computes. Nothing runs
    in between, nor after `close`.

    Example:
        ```python
        from claude_magic import LimitsGauge

        LimitsGauge()
        ```
    """

    def __init__(self) -> None:
        self._picture = HTML(_dom_classes=["claude-magic-gauge-picture"])
        super().__init__([self._picture], _dom_classes=["claude-magic-gauge"])
        self._ticker = Ticker(self._draw, name="claude-magic-gauge")
        self._forget = get_runtime().watch(self._ticker.wake)
        if self._draw() is not None:
            self._ticker.wake()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, by us or by `Widget.close_all`."""
        return self.comm is None

    @property
    def is_drawn(self) -> bool:
        """Whether it follows something at present."""
        return self._ticker.is_running

    def close(self) -> None:
        """Take it off the page, for good."""
        self._forget()
        self._ticker.stop()
        if self.comm is None:  # closed before
            return
        super().close()
        close_all((self._picture, self.layout))

    def _draw(self) -> float | None:
        """Draw, and return the seconds until the next picture; None if nothing will change."""
        try:
            reading = read_gauge(get_runtime())
        except ConfigurationError as error:
            self._picture.value = draw_problem(error.message)
            return None
        self._picture.value = draw_gauge(reading)
        if reading.is_settled:
            return None
        return _INTERVAL if reading.in_flight else _REFILLING_INTERVAL


_shown: list[LimitsGauge] = []


def shown_gauge() -> LimitsGauge:
    """Return the gauge that `%claude limits --live` shows: one, however often it is shown, so that none is left behind."""
    if not _shown or _shown[0].is_closed:
        _shown[:] = [LimitsGauge()]
    return _shown[0]
