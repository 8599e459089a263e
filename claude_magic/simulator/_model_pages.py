"""The endpoints that tell about models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._errors import APIError
from ._exchange import JSON
from ._models import ALIASES, ALL_MODELS, MODEL_OF_ID, Model


def describe_model(name: str) -> JSON:
    """What `/v1/models/{id}` says; retired models are still described.

    Raises:
        APIError: 404, there is no such model.
    """
    model = MODEL_OF_ID.get(ALIASES.get(name, name))
    if model is None:
        raise APIError(404, f"model: {name}")
    return model.describe()


def list_models(query: Mapping[str, Sequence[str]]) -> JSON:
    """One page of `/v1/models`.

    Raises:
        APIError: 400, a parameter of the query makes no sense.
    """
    lifecycles = _lifecycles(query)
    models = [model for model in ALL_MODELS if model.lifecycle in lifecycles]
    limit = _limit(query)
    after, before = query.get("after_id", [None])[-1], query.get("before_id", [None])[-1]
    if after is not None and before is not None:
        raise APIError(400, "Only one of `after_id` and `before_id` can be specified.")
    if after is not None:
        models = models[_position(models, after, "after_id") + 1 :]
    if before is not None:
        earlier = models[: _position(models, before, "before_id")]
        return _page(earlier[-limit:], has_more=len(earlier) > limit)
    return _page(models[:limit], has_more=len(models) > limit)


def _page(models: Sequence[Model], *, has_more: bool) -> JSON:
    return {
        "data": [model.describe() for model in models],
        "has_more": has_more,
        "first_id": models[0].id if models else None,
        "last_id": models[-1].id if models else None,
    }


def _lifecycles(query: Mapping[str, Sequence[str]]) -> Sequence[str]:
    wanted = query.get("lifecycle[]") or query.get("lifecycle") or ("active", "deprecated")
    for value in wanted:
        if value not in ("active", "deprecated", "retired"):
            raise APIError(400, "lifecycle: Input should be 'active', 'deprecated' or 'retired'")
    return wanted


def _limit(query: Mapping[str, Sequence[str]]) -> int:
    text = query.get("limit", ["20"])[-1]
    try:
        limit = int(text)
    except ValueError:
        raise APIError(400, "limit: Input should be a valid integer") from None
    if not 1 <= limit <= 1000:
        bound = "greater than or equal to 1" if limit < 1 else "less than or equal to 1000"
        raise APIError(400, f"limit: Input should be {bound}")
    return limit


def _position(models: Sequence[Model], name: str, parameter: str) -> int:
    for position, model in enumerate(models):
        if model.id == ALIASES.get(name, name):
            return position
    raise APIError(400, f"{parameter}: {name} is not a model of this list")
