"""From a question, settings and what was said before to a request."""

from __future__ import annotations

import asyncio
import re
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, get_args

from ..client import (
    ClaudeClient,
    ClaudeError,
    ConfigurationError,
    InvalidRequestError,
    MessageRequest,
    ModelInfo,
    NotFoundError,
    mended,
)
from ..context import closest_name, holds_key
from ..schema import OutputSchema
from ..tools import ToolExecutor
from ._budget import BudgetExceededError
from ._models import MODELS, Line, ModelFacts, facts_of, web_search_of
from ._settings import ResolvedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where in the conversations a question is asked.

    Attributes:
        thread: The thread; None is the main one.
        cell: What tells the cell that asks from others, so that running it again replaces its answer; None where
            that is unknown.
        is_new: The conversation begins again.
        is_beside: The answer is kept on a branch of its own, and the conversation does not go on from it: the cell asks
            another question in the same place.
    """

    thread: str | None = None
    cell: str | None = None
    is_new: bool = False
    is_beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        prompt: The user's words, for the screen and the history.
        content: What is sent as the user's turn: text or content blocks; None sends the prompt.
        where: Where it is asked; None stands alone: nothing of any conversation is sent, and nothing kept.
        tools: Runs the tools of this side that may be called, or None.
        max_searches: Web searches that the server may make for it; 0 offers none.
        output_schema: What the answer must fit, or None.
        stop_sequences: Strings at which the answer ends.
        extra: Further fields of the request, as the API names them; objects are merged with what is there.
        format: How the answer is to be shown.
        beginning: The answer so far, where the rest of one that was cut is asked for: the reply is the whole.
        outlives_cell: It belongs to no cell, though one may be running when it is asked: an interrupt of that one leaves
            it alone.
        origin: Who asks, in a word or two for lists of what is in flight: "In[4]".
        notes: What the reader should know about what is sent, as sentences.
        redacted: What of it became `[REDACTED]`, by label, never by value.
        attached: The names of what goes along with the words, for the screen.
        is_raw: It is sent as it is, even with what looks like a key in it.
    """

    prompt: str
    content: str | Sequence[Mapping[str, Any]] | None = None
    where: Where | None = None
    tools: ToolExecutor | None = None
    max_searches: int = 0
    output_schema: OutputSchema | None = None
    stop_sequences: Sequence[str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    format: str = "md"
    beginning: str = ""
    outlives_cell: bool = False
    origin: str = "Python"
    notes: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
    is_raw: bool = False

    def __post_init__(self) -> None:
        # Half characters, as broken files hold them, are sent as U+FFFD; what is shown and saved says so, too.
        object.__setattr__(self, "prompt", mended(self.prompt))
        object.__setattr__(self, "content", mended(self.content))

    def user_turn(self) -> dict[str, Any]:
        """The message that asks."""
        if self.content is None or isinstance(self.content, str):
            return {"role": "user", "content": self.prompt if self.content is None else self.content}
        return {"role": "user", "content": [dict(block) for block in self.content]}

    @property
    def text_length(self) -> int:
        """Characters of text that are sent; pictures and documents do not count."""
        content = self.user_turn()["content"]
        if isinstance(content, str):
            return len(content)
        return sum(len(block["text"]) for block in content if block.get("type") == "text")

    def tool_definitions(self, model: str) -> list[dict[str, Any]]:
        """The tools that may be called, here and at the server, as this model knows them."""
        tools = [] if self.tools is None else list(self.tools.toolbox.definitions)
        if self.max_searches:
            tools.append({"type": web_search_of(model), "name": "web_search", "max_uses": self.max_searches})
        return tools


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedWith:
    """What a question was asked with, apart from its words: the rest of an answer that was cut is asked for with the same.

    The bound of the answer's length is not among it, because that may be what has cut it.

    Attributes:
        settings: The model; system prompt, effort and thinking where they were set; `replay` where it was an option of the
            question, because as a setting it is whatever it is when the rest is asked for.
        question: The question without its words, attachments and place.
    """

    settings: Mapping[str, Any]
    question: Question

    @classmethod
    def of(cls, question: Question, settings: ResolvedSettings, model: str) -> AskedWith:
        """Return it for a question that is asked with these settings, of this model."""
        values = {name: getattr(settings.values, name) for name in ("system", "effort", "thinking")}
        kept = {name: value for name, value in values.items() if not settings.is_default(name)}
        if settings.is_option("replay"):
            kept["replay"] = settings.values.replay
        bare = replace(
            question, prompt="", content=None, where=None, beginning="", notes=(), redacted=(), attached=()
        )
        return cls(settings={"model": model, **kept}, question=bare)


_MIN_THINKING_BUDGET = 1024
"""Smallest `budget_tokens` that the API takes."""
_USUAL_THINKING_BUDGET = 8000

_BINDING_BETA = "thinking-binding-controls-2026-08-01"
"""Lets a thread go on after a change of its system prompt or tools: thinking that is bound to the previous ones is left
out by the server, instead of refusing the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was said before.

    Attributes:
        messages: The turns so far, oldest first, as they were sent and received.
        is_rebound: Some thinking in it was made under another system prompt or other tools.
    """

    messages: Sequence[dict[str, Any]] = ()
    is_rebound: bool = False


def check_prompt(question: Question) -> None:
    """Check that there is something to send.

    Raises:
        TypeError: The prompt is no string.
        ConfigurationError: There is nothing in it.
    """
    if not isinstance(question.prompt, str):
        told = f"The prompt must be a string, not {type(question.prompt).__name__}."
        if isinstance(question.prompt, Iterable):
            told += (
                " claude.map(prompt, rows) asks about each row or item. To ask about the whole, write it into the text: "
                'claude.ask(f"What stands out?\\n{data}").'
            )
        raise TypeError(f"{told} Nothing was sent.")
    content = question.user_turn()["content"]
    is_empty = not content.strip() if isinstance(content, str) else not content
    if is_empty:
        raise ConfigurationError("The prompt is empty, so nothing was sent. Write what Claude should do.")


def check_no_key(question: Question, system: str | None) -> None:
    """Check that no key has been typed with a question: it would be sent, and stay in the conversation.

    Raises:
        ConfigurationError: There is what looks like one.
    """
    if question.is_raw:
        return
    typed = {
        "The prompt": question.prompt,
        "The system prompt": system or "",
        "A stop sequence": repr(question.stop_sequences),
        "A field of the request": repr(question.extra),
    }
    for what, text in typed.items():
        if holds_key(text):
            raise ConfigurationError(
                f"{what} contains what looks like an Anthropic API key, so nothing was sent. Remove it, from the cell too: cells are "
                "saved with their notebook, and %claude login asks for a key. --raw (raw=True in Python) sends it anyway."
            )


def check_stop_sequences(stop_sequences: object) -> list[str] | None:
    """Return the stop sequences as a list; one string counts as one of them.

    Raises:
        ConfigurationError: They are no strings, or blank.
    """
    if stop_sequences is None:
        return None
    sequences = [stop_sequences] if isinstance(stop_sequences, str) else stop_sequences
    if not isinstance(sequences, list | tuple) or not all(isinstance(each, str) for each in sequences):
        raise ConfigurationError(f"stop_sequences must be a list of strings, not {stop_sequences!r}.")
    if not all(each.strip() for each in sequences):
        raise ConfigurationError("stop_sequences contains a blank string, which the API refuses.")
    return list(sequences) or None


def make_request(
    question: Question,
    settings: ResolvedSettings,
    history: History | None = None,
    *,
    model: str | None = None,
) -> tuple[MessageRequest, tuple[str, ...]]:
    """Build the request for a question.

    Args:
        question: What is asked.
        settings: The settings in force.
        history: What was said before; None if nothing was.
        model: The model, by its full name; None for the one of the settings.

    Returns:
        The request, and what is different in it from what was asked, as sentences.
    """
    history = history or History()
    settings = settings if model is None else settings.with_model(model)
    values = settings.values
    facts = facts_of(values.model)
    notes: list[str] = []
    tools = question.tool_definitions(values.model)
    max_tokens = _bounded_max_tokens(settings, facts, notes)
    fields: dict[str, Any] = {
        "model": values.model,
        "max_tokens": max_tokens,
        "messages": [*history.messages, question.user_turn()],
        "system": values.system or None,
        "stop_sequences": check_stop_sequences(question.stop_sequences),
        "tools": tools or None,
        "output_config": _output_config(question, settings) or None,
        "thinking": _thinking(settings, facts, max_tokens, notes),
    }
    if facts is not None and (history.messages or tools):
        fields["cache_control"] = {"type": "ephemeral"}  # what is said now is sent again with what follows
    if history.is_rebound and facts is not None and facts.binds_thinking:
        _allow_rebinding(fields)
    fields = _merged(fields, _checked_extra(question.extra))
    request = MessageRequest(**{name: value for name, value in fields.items() if value is not None})
    return request, tuple(notes)


def _output_config(question: Question, settings: ResolvedSettings) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if settings.values.effort is not None:
        config["effort"] = settings.values.effort
    # The rest of half an object is no object: the whole is read when it is there.
    if question.output_schema is not None and not question.beginning:
        config["format"] = {"type": "json_schema", "schema": question.output_schema.json_schema}
    return config


def _allow_rebinding(fields: dict[str, Any]) -> None:
    thinking = fields["thinking"]
    if thinking is not None and thinking["type"] != "disabled":
        binding = {"prefix_mismatch_behavior": "drop_block"}
        fields["thinking"] = {**thinking, "block_binding": binding}
        fields["betas"] = (_BINDING_BETA,)


def _checked_extra(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _NEVER_EXTRA.intersection(extra):
        raise ConfigurationError(
            f"{name} cannot be set as an additional field of the request, because claude_magic writes it. Nothing was sent."
        )
    return extra


_NEVER_EXTRA = frozenset({"messages", "stream", "model"})


def _merged(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(fields)
    for name, value in extra.items():
        previous = merged.get(name)
        if isinstance(previous, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(previous, value)
        else:
            merged[name] = value
    return merged


def _bounded_max_tokens(settings: ResolvedSettings, facts: ModelFacts | None, notes: list[str]) -> int:
    asked = settings.values.max_tokens
    if facts is None or asked <= facts.max_output_tokens:
        return asked
    notes.append(
        f"max_tokens was lowered from {asked:,} to {facts.max_output_tokens:,}, the most that "
        f"{settings.values.model} can return."
    )
    return facts.max_output_tokens


def _thinking(
    settings: ResolvedSettings, facts: ModelFacts | None, max_tokens: int, notes: list[str]
) -> dict[str, Any] | None:
    """Choose the `thinking` field, or None to send none."""
    is_asked = not settings.is_default("thinking")
    mode = settings.values.thinking
    if facts is None:
        return _UNKNOWN_MODEL_THINKING[mode] if is_asked else None
    if mode == "off":
        return _no_thinking(settings, facts, notes)
    if "adaptive" in facts.thinking:
        return _ADAPTIVE[mode]
    # Generation 4.5 thinks only when given a budget, which is paid for: so not by default.
    return _budgeted_thinking(max_tokens, notes) if is_asked and mode == "show" else None


_ADAPTIVE = {
    "show": {"type": "adaptive", "display": "summarized"},
    "hide": {"type": "adaptive", "display": "omitted"},
}
_UNKNOWN_MODEL_THINKING = {**_ADAPTIVE, "off": {"type": "disabled"}}


def _no_thinking(settings: ResolvedSettings, facts: ModelFacts, notes: list[str]) -> dict[str, Any] | None:
    model, effort = settings.values.model, settings.values.effort
    if "between_tools" in facts.thinking:
        return {"type": "between_tools"}
    if "adaptive" not in facts.thinking:
        return None  # it does not think unless told to
    if "disabled" not in facts.thinking:
        notes.append(f"{model} always thinks, so its thinking is hidden instead of switched off.")
        return _ADAPTIVE["hide"]
    if facts.quiet_up_to_high and effort in ("xhigh", "max"):
        notes.append(
            f"{model} always thinks at effort {effort}, so its thinking is hidden instead of switched off."
        )
        return _ADAPTIVE["hide"]
    return {"type": "disabled"}


def _budgeted_thinking(max_tokens: int, notes: list[str]) -> dict[str, Any] | None:
    budget = min(_USUAL_THINKING_BUDGET, max_tokens // 2)
    if budget < _MIN_THINKING_BUDGET:
        notes.append(f"max_tokens {max_tokens:,} is too small for thinking, so thinking is off.")
        return None
    return {"type": "enabled", "budget_tokens": budget}


SHORT_NAMES: Final[tuple[str, ...]] = tuple(line for line in get_args(Line) if line != "mythos")
"""What may be typed for a model. Mythos is left out: few accounts may ask it, and they know its name."""

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
        more: Names of models other than short ones and those of our own table.
    """
    known: dict[str, str] = {}
    for candidate in (*SHORT_NAMES, *MODELS, *more):
        known.setdefault(_plain(candidate), candidate)
    nearest = known.get(closest_name(_plain(name), known) or "")
    return None if nearest == name else nearest


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
