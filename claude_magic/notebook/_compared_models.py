"""Whether the models of `--compare` exist, and are several: before anything is sent, because the others would be billed."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..client import ClaudeError, ConfigurationError
from ..runtime import SHORT_NAMES, facts_of, nearest_model, table_id, undated

if TYPE_CHECKING:
    from ..runtime import Runtime

_LISTING_TIMEOUT = 2.0
"""Seconds for the server to list its models. One that does not is asked about all of them."""
_MOST_LISTED = 8


def check_models(names: Sequence[str], runtime: Runtime) -> None:
    """Check models as they were named.

    Those that we know are taken as they are; for others the server is asked which ones it has.

    Raises:
        ConfigurationError: Two names are one model, or the server has no such model. Nothing was sent.
    """
    _check_different(names)
    unknown = [name for name in names if name not in SHORT_NAMES and facts_of(name) is None]
    offered = _offered(runtime) if unknown else []
    for name in unknown:
        if offered and not {name, undated(name)} & {
            known for model in offered for known in (model, undated(model))
        }:
            raise ConfigurationError(
                f"There is no model {name} at this server.{_hint(name, offered)} Nothing was sent."
            )


def _check_different(names: Sequence[str]) -> None:
    named: dict[str, str] = {}
    for name in names:
        model = table_id(name) or name
        if model in named:
            raise ConfigurationError(
                f"--compare {','.join(names)}: {named[model]} and {name} are the same model, {model}. Nothing was sent."
            )
        named[model] = name


def _offered(runtime: Runtime) -> list[str]:
    """Return the models that the server lists; none if it does not say."""
    try:
        models = runtime.list_models().result(timeout=_LISTING_TIMEOUT)
    except (ClaudeError, TimeoutError, concurrent.futures.CancelledError):
        return []
    return [model.id for model in models]


def _hint(name: str, offered: Sequence[str]) -> str:
    guess = nearest_model(name, offered)
    if guess is not None:
        return f" Did you mean {guess}?"
    listed = ", ".join(offered[:_MOST_LISTED])
    return f" It has {listed}{' and others' if len(offered) > _MOST_LISTED else ''}."
