"""What one process learns of the server's limits, told to the others that share its limiter, and what they have learnt.

Each response tells what all of them have taken together, so the latest one holds, whichever process it was sent to. With it goes what
the process has in flight, which the server has not counted yet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from ._errors import ClaudeError
from ._pace import ServerPace
from ._redis import RedisLink, RedisScript, SharingLostError

_SCRIPT: Final = RedisScript("pace.lua", "pace")
_INTERVAL: Final = 0.1
"""Seconds between two messages of a process: what it learns meanwhile goes together."""


class SharedPace:
    """Carries lessons from a `ServerPace` to a server, and back. Belongs to one event loop.

    Args:
        link: The server.
        pace: What is known in this process.
        recheck: Called when something has been learnt from others, as gates may have opened or closed.
    """

    def __init__(self, link: RedisLink, pace: ServerPace, recheck: Callable[[], None]) -> None:
        self._link = link
        self._pace = pace
        self._recheck = recheck
        self._fresh: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        pace.on_learnt = self._note
        self._unsubscribe = link.subscribe(self._hear, self._change)

    def close(self) -> None:
        """Tell no more, and hear no more."""
        self._unsubscribe()
        self._pace.on_learnt = lambda _name: None
        if self._task is not None:
            self._task.cancel()

    async def ask(self) -> None:
        """Learn what others have learnt before; nothing if the server is away."""
        with contextlib.suppress(SharingLostError, ClaudeError):
            found = await self._link.call(_SCRIPT, {"lessons": {}, "asks": True})
            for name, told in dict(found or {}).items():
                if told["by"] != self._link.member:
                    self._pace.learn_from_other(name, told["by"], told["lesson"], age=told["age"])

    def _note(self, name: str) -> None:
        self._fresh.add(name)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while self._fresh and self._link.is_up:
                names, self._fresh = self._fresh, set()
                await self._link.call(
                    _SCRIPT, {"lessons": {name: self._pace.lesson(name) for name in names}, "asks": False}
                )
                await asyncio.sleep(_INTERVAL)
        except (SharingLostError, ClaudeError):
            self._fresh.clear()
        finally:
            self._task = None

    def _hear(self, told: Mapping[str, Any]) -> None:
        if told.get("about") == "pace":
            for name, lesson in dict(told["lessons"]).items():
                self._pace.learn_from_other(name, told["by"], lesson)
            self._recheck()

    def _change(self) -> None:
        """The server has gone, or come back. What others had in flight is not known any more."""
        if not self._link.is_up:
            self._pace.forget_others()
