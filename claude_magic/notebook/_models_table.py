"""The table of `%claude models`: what the server offers, or, where it does not say, what we know with a date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..client import ModelInfo
from ..render import Bundle, render_rows
from ..runtime import (
    MODELS,
    MODELS_AS_OF,
    PRICES_AS_OF,
    SHORT_NAMES,
    newest_of,
    price_of,
    table_id,
    undated,
)

Row = tuple[str, ...]

_COLUMNS = ("model", "short name", "context", "max out", "USD per million in / out", "thinking")
_NUMBERS = (2, 3)
_THINKING_TYPES = ("adaptive", "between_tools", "enabled", "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """One row, before it is put into words."""

    id: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    thinking: tuple[str, ...] = ()
    end: str = ""


def render_models(offered: Sequence[ModelInfo] | None, *, default: str, problem: str = "") -> Bundle:
    """Describe the models that can be asked.

    Args:
        offered: What the server lists, or None where it could not be asked.
        default: The model that the settings name, maybe by a short name.
        problem: Why the server could not be asked, as a sentence.
    """
    models = [_of_server(model) for model in offered] if offered else list(_of_table())
    short_names = {(newest_of(name, offered or ()) or table_id(name) or ""): name for name in SHORT_NAMES}
    rows = [_row(model, short_names.get(model.id, ""), default) for model in models]
    notes = (
        []
        if offered
        else [f"{problem or 'The server lists no models.'} These are the ones known on {MODELS_AS_OF}."]
    )
    notes.append(f"Prices by the list of {PRICES_AS_OF}. Other names are sent as they are: -m NAME.")
    if not any(_is_default(model.id, default, short_names.get(model.id, "")) for model in models):
        notes.append(f"The default, {default}, is not among them.")
    return render_rows([("", rows)], columns=_COLUMNS, numbers=_NUMBERS, notes=notes)


def _of_server(model: ModelInfo) -> ListedModel:
    return ListedModel(
        id=model.id,
        context_window=model.max_input_tokens,
        max_output_tokens=model.max_tokens,
        thinking=_thinking_types(model.capabilities),
        end=_end_of(model),
    )


def _of_table() -> Iterable[ListedModel]:
    for name, facts in MODELS.items():
        yield ListedModel(
            id=name,
            context_window=facts.context_window,
            max_output_tokens=facts.max_output_tokens,
            thinking=tuple(kind for kind in _THINKING_TYPES if kind in facts.thinking),
            end=f"retires {facts.retires}" if facts.retires else "",
        )


def _thinking_types(capabilities: Mapping[str, Any] | None) -> tuple[str, ...]:
    types = _inner(_inner(capabilities, "thinking"), "types")
    return tuple(kind for kind in _THINKING_TYPES if _inner(types, kind).get("supported") is True)


def _inner(value: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = (value or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _end_of(model: ModelInfo) -> str:
    if model.retires_at:
        return f"retires {model.retires_at[:10]}"
    return model.lifecycle if model.lifecycle not in (None, "active") else ""


def _row(model: ListedModel, short_name: str, default: str) -> Row:
    is_default = _is_default(model.id, default, short_name)
    return (
        model.id,
        " · ".join(mark for mark in (short_name, "default" if is_default else "", model.end) if mark),
        _size(model.context_window),
        _size(model.max_output_tokens),
        _price(model.id),
        ", ".join(model.thinking),
    )


def _is_default(model: str, default: str, short_name: str) -> bool:
    return default == short_name or undated(default) == undated(model)


def _size(tokens: int | None) -> str:
    """Write a number of tokens as people say it: 200k, 1M."""
    if tokens is None:
        return ""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens / 1000:.3g}k" if tokens >= 1000 else str(tokens)


def _price(model: str) -> str:
    price = price_of(model)
    if price is None:
        return ""
    long = price_of(model, 10**9)
    text = f"{price.input:g} / {price.output:g}"
    return (
        text if long is None or long == price else f"{text} (long prompts: {long.input:g} / {long.output:g})"
    )
