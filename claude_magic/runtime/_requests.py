"""Builds a request from a question, settings and the history of its conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..client import ConfigurationError, MessageRequest
from ..context import holds_key
from ..schema import OutputSchema
from ..tools import ToolExecutor
from ._models import ModelFacts, facts_of, web_search_of
from ._settings import OPTION_SOURCE, ResolvedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The position of a question in the conversations.

    Attributes:
        thread: The thread; None for the main one.
        cell: The id of the asking cell, so that running it again replaces its answer; None if unknown.
        is_new: Start a new conversation.
        is_side_branch: Keep the answer on a separate branch, from which the conversation does not continue, because the cell
            asks another question at the same position.
    """

    thread: str | None = None
    cell: str | None = None
    is_new: bool = False
    is_side_branch: bool = False


FROM_PYTHON: Final = "Python"
"""The origin of questions of plain Python."""
FROM_PANEL: Final = "panel"
"""The origin of questions of panels, whose messages name buttons and fields in place of options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question to be asked.

    Attributes:
        prompt: The user's prompt, for display and history.
        content: The content of the user's turn: text or content blocks; None sends the prompt.
        where: Position in the conversations; None for a standalone question, without history and not kept.
        settings: Settings that this question overrides, by name; None means not given.
        tools: Runs the client tools that may be called, or None.
        max_searches: Maximum number of web searches by the server; 0 does not offer the tool.
        output_schema: Schema of the answer, or None.
        stop_sequences: Strings at which the answer ends.
        extra: Additional fields of the request, as the API names them; objects are merged with existing fields.
        format: Display format of the answer.
        beginning: The truncated answer whose rest is requested; the reply contains the whole.
        outlives_cell: The question belongs to no cell, so interrupting a running cell does not stop it.
        origin: Source of the question in a word or two, for the list of jobs: "In[4]". `FROM_PYTHON` means that no cell or panel
            displays the answer.
        notes: Sentences for the reader about the content sent.
        redacted: Labels of the parts that became `[REDACTED]`, never their values.
        attached: Names of the attachments, for display.
        is_raw: Send it even if it contains what looks like a key.
    """

    prompt: str
    content: str | Sequence[Mapping[str, Any]] | None = None
    where: Where | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tools: ToolExecutor | None = None
    max_searches: int = 0
    output_schema: OutputSchema | None = None
    stop_sequences: Sequence[str] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    format: str = "md"
    beginning: str = ""
    outlives_cell: bool = False
    origin: str = FROM_PYTHON
    notes: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
    is_raw: bool = False

    def user_turn(self) -> dict[str, Any]:
        """Return the user message."""
        if self.content is None or isinstance(self.content, str):
            return {"role": "user", "content": self.prompt if self.content is None else self.content}
        return {"role": "user", "content": [dict(block) for block in self.content]}

    @property
    def text_length(self) -> int:
        """Number of characters of text sent, without images and documents."""
        content = self.user_turn()["content"]
        if isinstance(content, str):
            return len(content)
        return sum(len(block["text"]) for block in content if block.get("type") == "text")

    def tool_definitions(self, model: str) -> list[dict[str, Any]]:
        """Return the definitions of client and server tools for a model."""
        tools = [] if self.tools is None else list(self.tools.toolbox.definitions)
        if self.max_searches:
            tools.append({"type": web_search_of(model), "name": "web_search", "max_uses": self.max_searches})
        return tools

    def to_continue(self, settings: ResolvedSettings, model: str) -> Question:
        """Return the question with which the rest of a truncated answer is requested, as yet without prompt and position.

        Its settings are the model, and the others that were set. Two differ: `max_tokens` is left out, because it may be the reason for
        the truncation, and `replay` unless it was an option, because the current setting applies.

        Args:
            settings: The settings in force when the question was asked.
            model: The full name of the model that was asked.
        """
        values = {name: getattr(settings.values, name) for name in ("system", "effort", "thinking")}
        kept = {name: value for name, value in values.items() if not settings.is_default(name)}
        kept["model"] = model
        if settings.sources["replay"] == OPTION_SOURCE:
            kept["replay"] = settings.values.replay
        return replace(self, prompt="", content=None, where=None, settings=kept, beginning="")


_MIN_THINKING_BUDGET = 1024
"""Smallest `budget_tokens` that the API accepts."""
_DEFAULT_THINKING_BUDGET = 8000

_BINDING_BETA = "thinking-binding-controls-2026-08-01"
"""Beta that lets a thread continue after a change of its system prompt or tools: the server drops thinking bound to the
previous ones instead of rejecting the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The history of a conversation.

    Attributes:
        messages: The messages so far, oldest first, as they were sent and received.
        is_rebound: Some of its thinking was created under another system prompt or other tools.
    """

    messages: Sequence[dict[str, Any]] = ()
    is_rebound: bool = False


def check_prompt(question: Question) -> None:
    """Check that a question has content.

    Raises:
        TypeError: The prompt is not a string.
        ConfigurationError: The content is empty.
    """
    if not isinstance(question.prompt, str):
        message = f"The prompt must be a string, not {type(question.prompt).__name__}."
        if isinstance(question.prompt, Iterable):
            message += (
                " claude.map(prompt, rows) asks about each row or item. To ask about the whole, write it into the text: "
                'claude.ask(f"What stands out?\\n{data}").'
            )
        raise TypeError(f"{message} Nothing was sent.")
    content = question.user_turn()["content"]
    is_empty = not content.strip() if isinstance(content, str) else not content
    if is_empty:
        raise ConfigurationError("The prompt is empty, so nothing was sent. Write what Claude should do.")


def check_no_key(question: Question, system: str | None) -> None:
    """Check that a question contains no API key, which would be sent and stay in the conversation.

    Raises:
        ConfigurationError: The question contains what looks like a key.
    """
    if question.is_raw:
        return
    typed = {
        "The prompt": question.prompt,
        "The system prompt": system or "",
        "A stop sequence": repr(question.stop_sequences),
        "A field of the request": repr(question.extra),
    }
    remedy = (
        "Remove it: panels are saved with their notebook, and %claude login asks for a key."
        if question.origin == FROM_PANEL
        else "Remove it, from the cell too: cells are saved with their notebook, and %claude login asks for a key. "
        "--raw (raw=True in Python) sends it anyway."
    )
    for what, text in typed.items():
        if holds_key(text):
            raise ConfigurationError(
                f"{what} contains what looks like an Anthropic API key, so nothing was sent. {remedy}"
            )


def check_stop_sequences(stop_sequences: object) -> list[str] | None:
    """Return the stop sequences as a list; a single string becomes a list of one.

    Raises:
        ConfigurationError: A stop sequence is blank or not a string.
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
    question: Question, settings: ResolvedSettings, history: History, *, model: str
) -> tuple[MessageRequest, tuple[str, ...]]:
    """Build the request for a question.

    Args:
        question: The question.
        settings: The settings in force.
        history: The history of the conversation.
        model: The full name of the model.

    Returns:
        The request, and its differences from the requested options as sentences.
    """
    settings = settings.with_model(model)
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
        fields["cache_control"] = {"type": "ephemeral"}  # later requests send the same messages again
    if history.is_rebound and facts is not None and facts.binds_thinking:
        _allow_rebinding(fields)
    fields = _merged(fields, _checked_extra(question.extra))
    request = MessageRequest(**{name: value for name, value in fields.items() if value is not None})
    return request, tuple(notes)


def _output_config(question: Question, settings: ResolvedSettings) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if settings.values.effort is not None:
        config["effort"] = settings.values.effort
    # The rest of a truncated JSON object does not fit the schema; only the whole answer is parsed.
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
            f"{name} cannot be set as an additional field of the request, because claude_magic sets it. Nothing was sent."
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
    """Return the `thinking` field, or None to send none."""
    is_asked = not settings.is_default("thinking")
    mode = settings.values.thinking
    if facts is None:
        return _UNKNOWN_MODEL_THINKING[mode] if is_asked else None
    if mode == "off":
        return _no_thinking(settings, facts, notes)
    if "adaptive" in facts.thinking:
        return _ADAPTIVE[mode]
    # Generation 4.5 thinks only with a token budget, which costs money, so it is off by default.
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
        return None  # these models do not think by default
    if "disabled" not in facts.thinking:
        notes.append(f"{model} always thinks, so its thinking is hidden instead of switched off.")
        return _ADAPTIVE["hide"]
    if facts.disabled_up_to_high and effort in ("xhigh", "max"):
        notes.append(
            f"{model} always thinks at effort {effort}, so its thinking is hidden instead of switched off."
        )
        return _ADAPTIVE["hide"]
    return {"type": "disabled"}


def _budgeted_thinking(max_tokens: int, notes: list[str]) -> dict[str, Any] | None:
    budget = min(_DEFAULT_THINKING_BUDGET, max_tokens // 2)
    if budget < _MIN_THINKING_BUDGET:
        notes.append(f"max_tokens {max_tokens:,} is too small for thinking, so thinking is off.")
        return None
    return {"type": "enabled", "budget_tokens": budget}
