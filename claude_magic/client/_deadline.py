"""A bound for a whole exchange: a server that drips bytes never trips the timeout of a single read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ._errors import RequestTimeoutError
from ._retry_after import describe_seconds

_Result = TypeVar("_Result")


class Deadline:
    """A moment by which an exchange must be over, `timeout` seconds from now on the running loop.

    Args:
        timeout: Seconds.
        setting: Name of the setting to raise, for the error message.
        is_transient: Whether running out of time here is worth another attempt.
    """

    __slots__ = ("_at", "_is_transient", "_setting", "_timeout")

    def __init__(self, timeout: float, *, setting: str, is_transient: bool) -> None:
        self._timeout = timeout
        self._setting = setting
        self._is_transient = is_transient
        self._at = asyncio.get_running_loop().time() + timeout

    async def bound(self, work: Awaitable[_Result]) -> _Result:
        """Await `work`, but not beyond the deadline.

        Raises:
            RequestTimeoutError: The deadline came first.
        """
        try:
            async with asyncio.timeout_at(self._at):
                return await work
        except TimeoutError:
            pass  # raised anew below, without the context that leads into the HTTP library
        raise RequestTimeoutError(
            f"The reply was not complete within {describe_seconds(self._timeout)}. "
            f"Raise {self._setting} if replies may take that long.",
            is_transient=self._is_transient,
        )
