"""Short names for models: `opus` is the newest Opus that the server has, or, where it does not say, that we know."""

from __future__ import annotations

import asyncio
import difflib
import re
import time
import weakref
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, get_args

from ..client import ClaudeClient, ClaudeError, InvalidRequestError, ModelInfo, NotFoundError
from ._budget import BudgetExceededError
from ._models import MODELS, MODELS_AS_OF, Line

SHORT_NAMES: Final[tuple[str, ...]] = tuple(line for line in get_args(Line) if line != "mythos")
"""What may be typed for a model. Mythos is left out: few accounts may ask it, and they know its name."""

_LIKENESS: Final = 0.7
"""Of two names, as difflib measures it, from which on one may be a slip for the other."""

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


def nearest_model(name: str, more: Iterable[str] = ()) -> str | None:
    """Return the model that somebody may have meant by a name that no server knows; None if none is near.

    Args:
        name: What was typed.
        more: Names of models besides short ones and those of our own table.
    """
    known: dict[str, str] = {}
    for candidate in (*SHORT_NAMES, *MODELS, *more):
        known.setdefault(_plain(candidate), candidate)
    matches = difflib.get_close_matches(_plain(name), known, n=1, cutoff=_LIKENESS)
    return known[matches[0]] if matches and known[matches[0]] != name else None


def _plain(name: str) -> str:
    """Return a model's name without what people leave out, add or write otherwise: `Opus 5.5`, `anthropic/claude-opus-5-5`."""
    name = name.casefold().rpartition("/")[2].rpartition("anthropic.")[2]
    return re.sub(r"[\s._-]+", "-", name.strip()).removeprefix("claude-")


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

    def explain(self, error: ClaudeError, model: str) -> None:
        """Add to an error about a model that is not known what may have been meant. Names of any other server stay valid.

        Args:
            error: How a request failed.
            model: The model that it asked for.
        """
        is_about_model = (
            isinstance(error, InvalidRequestError | BudgetExceededError) and model in error.message
        )
        if not (is_about_model or isinstance(error, NotFoundError)):
            return
        listed = [each.id for models in self._lists.values() for each in models]
        near = None if model in listed else nearest_model(model, listed)
        if near is not None:
            error.say(f"{error.message} Did you mean {near}? `%claude models` lists what there is.")

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
