"""Keeps to the limits that a server tells of, for each class of models by itself.

The bucket (`_rate_limit`) bounds all requests together, at the configured rate; what is learnt here can only make them slower.
Limits are told in the headers of responses, and a server that tells none changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from ._class_pace import ClassPace, OnWait, Passage
from ._expectation import Need
from ._pace_state import ClassRecord, PaceState


class ServerPace:
    """What one server allows. All methods belong to the loop's thread, but for `state` and `dump`.

    Args:
        clock: Monotonic clock in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._classes: dict[str, ClassPace] = {}

    def passage(self, need: Need, on_wait: OnWait) -> Passage:
        """Return the way of one attempt past the server's limits. The bucket asks it when to let the attempt through.

        Args:
            need: What the attempt needs.
            on_wait: Told why it is not let through, and again when that changes.
        """
        pace = self._classes.get(need.model_class)
        if pace is None:
            pace = self._classes[need.model_class] = ClassPace(need.model_class, self._clock)
        return Passage(pace, need, on_wait)

    @property
    def state(self) -> tuple[PaceState, ...]:
        """What holds for each class of models that was asked. Any thread may ask."""
        return tuple(each.state() for each in tuple(self._classes.values()))

    def dump(self) -> dict[str, ClassRecord]:
        """Return what was learnt as plain numbers for `restore`, in this process, with the same clock."""
        return {name: each.dump() for name, each in tuple(self._classes.items())}

    def restore(self, dumped: Mapping[str, ClassRecord]) -> None:
        """Go on with what a former pace for this server had learnt."""
        for name, record in dumped.items():
            self._classes[name] = ClassPace(name, self._clock)
            self._classes[name].restore(record)
