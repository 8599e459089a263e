"""Context editing: which old results and thoughts the model does not see any more, and what that saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _checks as check
from ._conversation import items_of, total_tokens
from ._wire import JSON, invalid

CLEAR_TOOL_USES = "clear_tool_uses_20250919"
CLEAR_THINKING = "clear_thinking_20251015"
COMPACT = "compact_20260112"
BETA_OF_EDIT: Mapping[str, str] = {
    CLEAR_TOOL_USES: "context-management-2025-06-27",
    CLEAR_THINKING: "context-management-2025-06-27",
    COMPACT: "compact-2026-01-12",
}
_FIELDS_OF_EDIT: Mapping[str, tuple[str, ...]] = {
    CLEAR_TOOL_USES: ("type", "trigger", "keep", "clear_at_least", "exclude_tools", "clear_tool_inputs"),
    CLEAR_THINKING: ("type", "keep"),
    COMPACT: ("type", "trigger", "pause_after_compaction", "instructions"),
}
DEFAULT_TRIGGER_TOKENS = 100_000
DEFAULT_KEPT_TOOL_USES = 3
DEFAULT_KEPT_THINKING_TURNS = 1
DEFAULT_COMPACTION_TOKENS = 150_000
MIN_COMPACTION_TOKENS = 50_000
CLEARED = "[This result was cleared to save context.]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedContext:
    """A request as the model sees it after its edits.

    Attributes:
        fields: The request, with the edited messages.
        applied: What each edit that found something cleared, as `applied_edits` tells it.
        original_tokens: Its input tokens before.
    """

    fields: JSON
    applied: list[JSON]
    original_tokens: int


def check_context_management(value: Any, betas: frozenset[str]) -> None:
    """Every rule for `context_management`."""
    if value is None:
        return
    path = "context_management"
    management = check.dictionary(value, path)
    check.no_extras(management, path, ("edits",))
    kinds = [
        _check_edit(edit, f"{path}.edits.{index}", betas)
        for index, edit in enumerate(check.array(management.get("edits", []), f"{path}.edits"))
    ]
    if CLEAR_THINKING in kinds[1:]:
        raise invalid(f"{path}.edits: `{CLEAR_THINKING}` must be the first edit")
    if len(kinds) != len(set(kinds)):
        raise invalid(f"{path}.edits: each type of edit may be given once")


def _check_edit(value: Any, path: str, betas: frozenset[str]) -> str:
    edit = check.dictionary(value, path)
    kind = check.one_of(check.required(edit, "type", path), f"{path}.type", BETA_OF_EDIT)
    if BETA_OF_EDIT[kind] not in betas:
        raise invalid(f"{path}.type: `{kind}` requires the beta `{BETA_OF_EDIT[kind]}`")
    inner = f"{path}.{kind}"
    check.no_extras(edit, inner, _FIELDS_OF_EDIT[kind])
    if kind == CLEAR_THINKING:
        if edit.get("keep") not in (None, "all", {"type": "all"}):
            _check_amount(edit["keep"], f"{inner}.keep", ("thinking_turns",), least=1)
        return kind
    triggers = ("input_tokens",) if kind == COMPACT else ("input_tokens", "tool_uses")
    least = MIN_COMPACTION_TOKENS if kind == COMPACT else 1
    amounts = {
        "trigger": (triggers, least),
        "keep": (("tool_uses",), 0),
        "clear_at_least": (("input_tokens",), 0),
    }
    for name, (units, smallest) in amounts.items():
        if edit.get(name) is not None:
            _check_amount(edit[name], f"{inner}.{name}", units, least=smallest)
    for index, tool in enumerate(check.array(edit.get("exclude_tools") or [], f"{inner}.exclude_tools")):
        check.string(tool, f"{inner}.exclude_tools.{index}")
    return kind


def _check_amount(value: Any, path: str, units: tuple[str, ...], *, least: int) -> None:
    amount = check.dictionary(value, path)
    check.one_of(check.required(amount, "type", path), f"{path}.type", units)
    check.no_extras(amount, path, ("type", "value"))
    check.integer(check.required(amount, "value", path), f"{path}.value", least=least)


def edit_context(fields: JSON) -> EditedContext | None:
    """Apply the edits that a request asks for, in their order; None if it asks for none.

    Raises:
        APIError: 400, one of them asks for a summary, which the simulator cannot write.
    """
    management = fields.get("context_management")
    if management is None:
        return None
    original = total_tokens(items_of(fields))
    edited, tokens = fields, original
    applied: list[JSON] = []
    for edit in management.get("edits", []):
        if edit["type"] == COMPACT:
            _refuse_to_compact(edit, tokens)
            continue
        name, clear = _EDITS[edit["type"]]
        messages, cleared = clear(edited["messages"], edit, tokens)
        changed = {**edited, "messages": messages}
        saved = tokens - total_tokens(items_of(changed))
        if cleared and saved >= _value(edit.get("clear_at_least"), 0):
            edited, tokens = changed, tokens - saved
            applied.append({"type": edit["type"], name: cleared, "cleared_input_tokens": saved})
    return EditedContext(fields=edited, applied=applied, original_tokens=original)


def _refuse_to_compact(edit: JSON, tokens: int) -> None:
    if tokens >= _value(edit.get("trigger"), DEFAULT_COMPACTION_TOKENS):
        raise invalid(f"context_management: the simulator cannot write the summary that `{COMPACT}` asks for")


def _clear_tool_uses(messages: list[JSON], edit: JSON, tokens: int) -> tuple[list[JSON], int]:
    """The messages without the results of old calls, and how many were cleared."""
    blocks = [block for message in messages for block in _blocks(message)]
    excluded = set(edit.get("exclude_tools") or ())
    calls = [block for block in blocks if block["type"] == "tool_use"]
    trigger: JSON = edit.get("trigger") or {"type": "input_tokens", "value": DEFAULT_TRIGGER_TOKENS}
    if (len(calls) if trigger["type"] == "tool_uses" else tokens) <= trigger["value"]:
        return messages, 0
    answered = {
        block["tool_use_id"]
        for block in blocks
        if block["type"] == "tool_result" and block.get("content") != CLEARED
    }
    kept = _value(edit.get("keep"), DEFAULT_KEPT_TOOL_USES)
    old = [block for block in calls[: max(0, len(calls) - kept)] if block["name"] not in excluded]
    cleared = {block["id"] for block in old} & answered
    inputs = edit.get("clear_tool_inputs") or ()
    emptied = {block["id"] for block in old if inputs is True or (inputs and block["name"] in inputs)}

    def shorten(block: JSON) -> JSON:
        if block["type"] == "tool_result" and block["tool_use_id"] in cleared:
            return {**block, "content": CLEARED}
        return {**block, "input": {}} if block["type"] == "tool_use" and block["id"] in emptied else block

    return [
        _with_blocks(message, [shorten(block) for block in _blocks(message)]) for message in messages
    ], len(cleared)


def _clear_thinking(messages: list[JSON], edit: JSON, _tokens: int) -> tuple[list[JSON], int]:
    """The messages without the thinking of old turns, and how many turns lost theirs."""
    keep = edit.get("keep") or {"type": "thinking_turns", "value": DEFAULT_KEPT_THINKING_TURNS}
    if keep == "all" or keep["type"] == "all":
        return messages, 0
    turn_of: list[int] = []  # of each message; a turn goes on after the results of its tools
    for message in messages:
        begins = message["role"] == "user" and any(
            block["type"] != "tool_result" for block in _blocks(message)
        )
        turn_of.append((turn_of[-1] if turn_of else 0) + begins)
    thinking = sorted(
        {
            turn
            for turn, message in zip(turn_of, messages, strict=True)
            if any(map(_is_thinking, _blocks(message)))
        }
    )
    cleared = set(thinking[: max(0, len(thinking) - int(keep["value"]))])
    return [
        _with_blocks(message, [block for block in _blocks(message) if not _is_thinking(block)])
        if turn in cleared and message["role"] == "assistant"
        else message
        for turn, message in zip(turn_of, messages, strict=True)
    ], len(cleared)


_EDITS: Mapping[str, tuple[str, Callable[[list[JSON], JSON, int], tuple[list[JSON], int]]]] = {
    CLEAR_TOOL_USES: ("cleared_tool_uses", _clear_tool_uses),
    CLEAR_THINKING: ("cleared_thinking_turns", _clear_thinking),
}


def _is_thinking(block: JSON) -> bool:
    return block["type"] in ("thinking", "redacted_thinking")


def _blocks(message: JSON) -> list[JSON]:
    content = message["content"]
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


def _with_blocks(message: JSON, blocks: list[JSON]) -> JSON:
    return {**message, "content": blocks} if isinstance(message["content"], list) else message


def _value(amount: JSON | None, default: int) -> int:
    return default if amount is None else int(amount["value"])
