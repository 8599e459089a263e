"""A bound for a whole exchange: a server that drips bytes never trips the timeout of a single read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from ._errors import RequestTimeoutError
from ._retry_after import describe_seconds

_Result = TypeVar("_Result")


class Deadline:
    """A moment by which an exchange must be over, `timeout` seconds from now on the running loop.

    Like `asyncio.timeout`, but one timer serves all reads of a stream, which need not happen in one task or
    one block:
    `asyncio.timeout` around each read costs 4 µs, and around all of them it would interrupt the reader's own
    code. Close it when the exchange is over, best by using it as a context manager.

    Args:
        timeout: Seconds.
        setting: Name of the setting to raise, for the error message.
        is_transient: Whether running out of time here is worth another attempt.
    """

    __slots__ = ("_has_cancelled", "_is_expired", "_is_transient", "_setting", "_task", "_timeout", "_timer")

    def __init__(self, timeout: float, *, setting: str, is_transient: bool) -> None:
        self._timeout = timeout
        self._setting = setting
        self._is_transient = is_transient
        self._is_expired = False
        self._has_cancelled = False
        self._task: asyncio.Task[Any] | None = None
        self._timer = asyncio.get_running_loop().call_later(timeout, self._expire)

    async def bound(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Await `work`, but not beyond the deadline.

        Raises:
            RequestTimeoutError: The deadline came first.
        """
        if self._is_expired:
            work.close()
            raise self._error()
        task = self._task = cast(
            "asyncio.Task[Any]", asyncio.current_task()
        )  # whoever awaits, does so in one
        foreign_cancels = task.cancelling()
        try:
            return await work
        except asyncio.CancelledError:
            if not self._has_cancelled or task.cancelling() > foreign_cancels + 1:
                raise  # somebody else cancelled, too
        finally:
            self._task = None
            if self._has_cancelled:
                self._has_cancelled = False
                task.uncancel()
        raise self._error()  # here, where no context leads into the HTTP library

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _expire(self) -> None:
        self._is_expired = True
        if self._task is not None:
            self._has_cancelled = True
            self._task.cancel()

    def _error(self) -> RequestTimeoutError:
        return RequestTimeoutError(
            f"The reply was not complete within {describe_seconds(self._timeout)}. "
            f"Raise {self._setting} if replies may take that long.",
            is_transient=self._is_transient,
        )
