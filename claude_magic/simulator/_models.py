"""The models: ids, limits and features, as published on 22 November 2026.

Models change often: a program should query `/v1/models`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, cast

from ._wire import JSON, APIError

Line = Literal["haiku", "sonnet", "opus", "fable", "mythos"]
Lifecycle = Literal["active", "deprecated", "retired"]

MILLION = 1_000_000
UP_TO_HIGH = ("low", "medium", "high")
UP_TO_MAX = (*UP_TO_HIGH, "max")
ALL_EFFORTS = (*UP_TO_HIGH, "xhigh", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model's properties and accepted parameters."""

    id: str
    display_name: str
    line: Line
    created: str
    """Release date."""
    lifecycle: Lifecycle = "active"
    retires: str | None = None
    deprecated: str | None = None
    context_tokens: int = MILLION
    output_tokens: int = 128_000
    generation: tuple[int, int]
    """Major and minor version, which determine most of the accepted parameters."""
    thinking: tuple[str, ...] = ("adaptive", "disabled")
    """Accepted values of `thinking.type`."""
    thinks_by_default: bool = False
    disabled_up_to_high: bool = False
    """Whether `thinking.type` `disabled` is rejected at effort xhigh or max."""
    efforts: tuple[str, ...] = ALL_EFFORTS
    default_effort: str = "high"
    has_forced_tools: bool = True
    has_system_turns: bool = False
    checks_thinking: bool = False
    """Whether returned thinking is bound to its conversation."""
    cache_minimum_tokens: int = 512

    @property
    def has_sampling(self) -> bool:
        """Whether `temperature`, `top_p` and `top_k` may differ from their defaults (in the old API version)."""
        return self.generation <= (4, 6)

    @property
    def has_prefill(self) -> bool:
        """Whether the last message may have the assistant role."""
        return self.generation < (4, 6)

    @property
    def omits_thinking(self) -> bool:
        """Whether the text of the thinking is omitted by default."""
        return self.generation >= (4, 7)

    @property
    def has_newest_server_tools(self) -> bool:
        """Whether the model supports the server tools of 2026-03-18 and later."""
        return self.generation >= (5, 0)

    @property
    def bucket(self) -> str:
        """The name of the rate limit that related models share."""
        if self.generation[0] == 4:
            return f"{self.line}-4"
        return "fable-5" if self.line in ("fable", "mythos") else self.id

    def describe(self) -> JSON:
        """Return the model's entry in `/v1/models`."""
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.display_name,
            "created_at": _midnight(self.created),
            "lifecycle": self.lifecycle,
            "deprecated_at": None if self.deprecated is None else _midnight(self.deprecated),
            "retires_at": None if self.retires is None else _midnight(self.retires),
            "line": self.line,
            "max_input_tokens": self.context_tokens,
            "max_tokens": self.output_tokens,
            "capabilities": self._capabilities(),
        }

    def _capabilities(self) -> JSON:
        always = ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs")
        edits = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
        known_edits = edits if self.generation >= (4, 6) else edits[:2]
        kinds = ("adaptive", "between_tools", "disabled", "enabled")
        servers = ("code_execution", "web_search")
        return {
            **_leaves(always, always),
            "context_management": {"supported": True, **_leaves(edits, known_edits)},
            "effort": {"supported": bool(self.efforts), **_leaves(ALL_EFFORTS, self.efforts)},
            "server_tools": {"supported": True, **_leaves(servers, servers)},
            "thinking": {"supported": True, "types": _leaves(kinds, self.thinking)},
        }


def _leaves(names: Sequence[str], supported: Sequence[str]) -> JSON:
    return {name: {"supported": name in supported} for name in names}


def _midnight(date: str) -> str:
    return f"{date}T00:00:00Z"


def _model(id: str, created: str, **differences: Any) -> Model:
    """Return a model with defaults from its id.

    Ids have the form `claude-LINE-MAJOR-MINOR` with an optional date; before version 4, the line comes last.
    """
    words = [word for word in id.split("-")[1:] if len(word) < 8]
    numbers = tuple(int(word) for word in words if word.isdigit())
    line = next(word for word in words if not word.isdigit())
    generation = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
    shared: JSON = {}
    if generation < (4, 6):
        shared = {
            "context_tokens": 200_000,
            "output_tokens": 64_000,
            "thinking": ("disabled", "enabled"),
            "efforts": (),
        }
    elif generation == (4, 6):
        shared = {"thinking": ("adaptive", "disabled", "enabled"), "efforts": UP_TO_MAX}
    elif line in ("fable", "mythos"):
        shared = {
            "thinking": ("adaptive",),
            "has_forced_tools": generation[1] == 0,
            "checks_thinking": generation[1] > 0,
        }
    elif generation == (5, 5):
        shared = {"checks_thinking": True}
    return Model(
        id=id,
        display_name=f"Claude {line.capitalize()} {'.'.join(map(str, numbers))}",
        line=cast(Line, line),
        created=created,
        generation=generation,
        thinks_by_default=generation >= (5, 0),
        has_system_turns=generation >= (4, 8) and id != "claude-sonnet-5",
        **{**shared, **differences},
    )


def _retired(id: str, created: str, retired: str) -> Model:
    limits = {"output_tokens": 32_000, "thinking": ("disabled",)}
    return _model(id, created, lifecycle="retired", deprecated=retired, retires=retired, **limits)


_ONLY_ADAPTIVE: JSON = {"thinking": ("adaptive",), "has_forced_tools": False, "default_effort": "medium"}

ALL_MODELS: tuple[Model, ...] = (
    _model("claude-fable-5-2", "2026-11-09"),
    _model("claude-mythos-5-2", "2026-11-09"),
    _model("claude-haiku-5-5", "2026-10-07", disabled_up_to_high=True, default_effort="medium"),
    _model("claude-sonnet-5-5", "2026-09-28", thinking=("adaptive", "between_tools"), has_forced_tools=False),
    _model("claude-opus-5-5", "2026-09-22", **_ONLY_ADAPTIVE),
    _model("claude-fable-5-1", "2026-09-01"),
    _model("claude-mythos-5-1", "2026-09-01"),
    _model("claude-opus-5", "2026-07-24", disabled_up_to_high=True),
    _model("claude-sonnet-5", "2026-06-30", cache_minimum_tokens=1024),
    _model("claude-fable-5", "2026-06-09"),
    _model("claude-mythos-5", "2026-06-09"),
    _model("claude-opus-4-8", "2026-05-01", cache_minimum_tokens=1024),
    _model("claude-opus-4-7", "2026-04-01", cache_minimum_tokens=2048),
    _model("claude-opus-4-6", "2026-02-05", cache_minimum_tokens=4096),
    _model("claude-sonnet-4-6", "2026-02-17", cache_minimum_tokens=1024),
    _model(
        "claude-opus-4-5-20251101",
        "2025-11-01",
        lifecycle="deprecated",
        deprecated="2026-11-27",
        retires="2027-01-22",
        efforts=UP_TO_HIGH,
        cache_minimum_tokens=4096,
    ),
    _model("claude-haiku-4-5-20251001", "2025-10-01", cache_minimum_tokens=4096),
    _model(
        "claude-sonnet-4-5-20250929",
        "2025-09-29",
        lifecycle="deprecated",
        deprecated="2026-08-31",
        retires="2026-11-30",
        cache_minimum_tokens=1024,
    ),
    _retired("claude-opus-4-1-20250805", "2025-08-05", "2026-08-05"),
    _retired("claude-opus-4-20250514", "2025-05-14", "2026-06-15"),
    _retired("claude-sonnet-4-20250514", "2025-05-14", "2026-06-15"),
    _retired("claude-3-haiku-20240307", "2024-03-07", "2026-04-20"),
    _retired("claude-3-7-sonnet-20250219", "2025-02-19", "2026-02-19"),
    _retired("claude-3-5-haiku-20241022", "2024-10-22", "2026-02-19"),
    _retired("claude-3-opus-20240229", "2024-02-29", "2026-01-05"),
    _retired("claude-3-5-sonnet-20241022", "2024-10-22", "2025-10-28"),
    _retired("claude-3-5-sonnet-20240620", "2024-06-20", "2025-10-28"),
)
"""Newest first."""

ALIASES: Mapping[str, str] = {
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}
"""All ids that are aliases of another id."""

MODEL_OF_ID = {model.id: model for model in ALL_MODELS}


def find_model(name: str) -> Model:
    """Return the model with this id or alias.

    Raises:
        APIError: 404, the model is unknown or retired.
    """
    model = _known_model(name)
    if model.lifecycle == "retired":
        raise APIError(404, f"model: {name}")
    return model


def _known_model(name: str) -> Model:
    model = MODEL_OF_ID.get(ALIASES.get(name, name))
    if model is None:
        raise APIError(404, f"model: {name}")
    return model


def describe_model(name: str) -> JSON:
    """Return the response to `/v1/models/{id}`, retired models included.

    Raises:
        APIError: 404, the model is unknown.
    """
    return _known_model(name).describe()


def list_models(query: Mapping[str, Sequence[str]]) -> JSON:
    """Return one page of `/v1/models`.

    Raises:
        APIError: 400, a query parameter is invalid.
    """
    lifecycles = _lifecycles(query)
    models = [model for model in ALL_MODELS if model.lifecycle in lifecycles]
    query = {name: [ALIASES.get(value, value) for value in values] for name, values in query.items()}
    return page_of(models, query, describe=Model.describe, what="model")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


_Entry = TypeVar("_Entry", bound=_Named)


def page_of(
    entries: Sequence[_Entry],
    query: Mapping[str, Sequence[str]],
    *,
    describe: Callable[[_Entry], JSON],
    what: str,
) -> JSON:
    """Return one page of a list, by the parameters `limit`, `after_id` and `before_id`.

    Args:
        entries: The whole list.
        query: The query parameters.
        describe: Returns the JSON of an entry.
        what: What an entry is called in error messages.

    Raises:
        APIError: 400, a query parameter is invalid.
    """
    limit = _limit(query)
    after, before = query.get("after_id", [None])[-1], query.get("before_id", [None])[-1]
    if after is not None and before is not None:
        raise APIError(400, "Only one of `after_id` and `before_id` can be specified.")
    if after is not None:
        entries = entries[_position(entries, after, "after_id", what) + 1 :]
    if before is not None:
        entries = entries[: _position(entries, before, "before_id", what)]
    shown = entries[:limit] if before is None else entries[-limit:]
    return {
        "data": [describe(entry) for entry in shown],
        "has_more": len(entries) > limit,
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
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


def _position(entries: Sequence[_Named], name: str, parameter: str, what: str) -> int:
    for position, entry in enumerate(entries):
        if entry.id == name:
            return position
    raise APIError(400, f"{parameter}: {name} is not a {what} of this list")
