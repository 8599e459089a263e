"""Short names for models: `opus` is the newest Opus that the server has, or, where it does not say, that we know."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, get_args

from ..client import ClaudeClient, ClaudeError, ModelInfo
from ._models import MODELS, MODELS_AS_OF, Line

SHORT_NAMES: Final[tuple[str, ...]] = tuple(line for line in get_args(Line) if line != "mythos")
"""What may be typed for a model. Mythos is left out: few accounts may ask it, and they know its name."""

SHORT_NAMES_AS_OF: Final = MODELS_AS_OF

_LISTING_TIMEOUT: Final = 2.0
"""Seconds for the server to list its models, before the first word of an answer can come."""
_TRY_AGAIN_AFTER: Final = 300.0
"""Seconds for which a server that did not list its models is not asked again."""


def table_id(name: str) -> str | None:
    """Return the model that a short name means by our own table; None for anything that is no short name."""
    if name not in SHORT_NAMES:
        return None
    return next(model for model, facts in MODELS.items() if facts.line == name)


def newest_of(line: str, models: Iterable[ModelInfo]) -> str | None:
    """Return the newest active model of a line; None if the list has none, or does not tell lines and dates."""
    dated = [
        (created, model.id)
        for model in models
        if model.line == line
        and model.lifecycle in (None, "active")
        and (created := _released_at(model)) is not None
    ]
    # Of two names for one model, the shorter has no date in it.
    return max(dated, key=lambda entry: (entry[0], -len(entry[1])))[1] if dated else None


def _released_at(model: ModelInfo) -> datetime | None:
    """Return when a model was released, if the server says so in the API's way."""
    if not isinstance(model.created_at, str):
        return None
    try:
        moment = datetime.fromisoformat(model.created_at)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class ModelNames:
    """Knows which model a short name means at a server. Belongs to the bridge.

    A server is asked once, through its client, which is exchanged when another server is configured.

    Args:
        clock: Monotonic clock in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lists: weakref.WeakKeyDictionary[ClaudeClient, list[ModelInfo]] = weakref.WeakKeyDictionary()
        self._not_before: weakref.WeakKeyDictionary[ClaudeClient, float] = weakref.WeakKeyDictionary()

    async def resolve(self, client: ClaudeClient, name: str) -> str:
        """Return the model that a name means; full names, and names of other servers' models, are their own meaning.

        Never fails: a server that does not list its models within two seconds leaves it to our own table.
        """
        known = table_id(name)
        if known is None:
            return name
        return newest_of(name, await self._models_of(client)) or known

    async def _models_of(self, client: ClaudeClient) -> list[ModelInfo]:
        if client in self._lists:
            return self._lists[client]
        if self._clock() < self._not_before.get(client, 0.0):
            return []
        try:
            async with asyncio.timeout(_LISTING_TIMEOUT):
                models = await client.list_models()
        except (ClaudeError, TimeoutError):
            self._not_before[client] = self._clock() + _TRY_AGAIN_AFTER
            return []
        self._lists[client] = models
        return models
