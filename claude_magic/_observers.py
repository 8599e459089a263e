"""Callbacks for the changes and the end of an answer, a map or a queue. An error in one of them affects nothing else.

`threading.excepthook` prints the first error of the callbacks of one object; all are logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TypeAlias

Callback: TypeAlias = Callable[[], None]

logger = logging.getLogger("claude_magic")


class Observers:
    """The callbacks of one object. All methods are thread-safe and take no lock, so that they work in a forked child, too.

    Args:
        of: What is observed, for the log.
        has_ended: Whether it has ended already.
    """

    def __init__(self, of: str, *, has_ended: bool = False) -> None:
        self._of = of
        self._has_ended = has_ended
        self._has_failed = False
        # Each operation on one of these is atomic.
        self._of_changes: dict[object, Callback] = {}
        self._of_end: dict[object, Callback] = {}

    def add(self, callback: Callback) -> Callable[[], None]:
        """Call `callback` after each change, and at the end. Return a function that removes it."""
        return partial(self._remove, self._add(self._of_changes, callback))

    def add_for_end(self, callback: Callback) -> Callable[[], None]:
        """Call `callback` once at the end, or now if that has passed. Return a function that removes it."""
        mark = self._add(self._of_end, callback)
        if self._has_ended:
            self._call(self._taken([mark]))
        return partial(self._remove, mark)

    def notify(self) -> None:
        """Report a change."""
        self._call(list(self._of_changes.values()))

    def end(self) -> None:
        """Report the last change and the end."""
        self._has_ended = True
        self._call(chain(list(self._of_changes.values()), self._taken(list(self._of_end))))

    def clear(self) -> None:
        """Remove the callbacks that wait for a change. Those for the end stay."""
        self._of_changes.clear()

    def _taken(self, marks: Iterable[object]) -> Iterator[Callback]:
        for mark in marks:
            if (callback := self._of_end.pop(mark, None)) is not None:
                yield callback

    def _call(self, callbacks: Iterable[Callback]) -> None:
        interrupt: KeyboardInterrupt | None = None
        for callback in callbacks:
            try:
                callback()
            # Including SystemExit and CancelledError: they end the callback, not the thread or task that calls it.
            except BaseException as error:
                if (
                    isinstance(error, KeyboardInterrupt)
                    and threading.current_thread() is threading.main_thread()
                ):
                    interrupt = error  # the user's; the other callbacks come first
                else:
                    self._report(error)
        if interrupt is not None:
            raise interrupt

    def _report(self, error: BaseException) -> None:
        logger.error("an observer of %s failed", self._of, exc_info=error)
        if not self._has_failed:
            self._has_failed = True
            thread = threading.current_thread()
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))

    @staticmethod
    def _add(callbacks: dict[object, Callback], callback: Callback) -> object:
        callbacks[mark := object()] = callback
        return mark

    def _remove(self, mark: object) -> None:
        self._of_changes.pop(mark, None)
        self._of_end.pop(mark, None)
