"""From a checked request to the content of its answer, cut where the request says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ._answers import answer_text
from ._conversation import Conversation, read_conversation
from ._exchange import JSON
from ._instances import make_instance
from ._models import Model
from ._phrasing import greet, say_exactly
from ._prefix import Item
from ._thinking import is_adaptive, sign, thinking_of
from ._tokens import count_tokens, cut_to_tokens
from ._tools import call_block, choose_tools, describe_results
from ._web_search import search_blocks, wants_search


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What an answer consists of, and why it ends."""

    content: list[JSON]
    stop_reason: str
    stop_sequence: str | None
    output_tokens: int
    thinking_tokens: int


def compose(fields: JSON, model: Model, items: Sequence[Item]) -> Composition:
    """Answer a request that was found in order."""
    conversation = read_conversation(fields)
    blocks, stop_reason = _speak(fields, conversation)
    thought = _thought(conversation, model, fields)
    blocks, stopped_by = _stop_at_sequence(blocks, fields.get("stop_sequences") or [])
    if stopped_by is not None:
        stop_reason = "stop_sequence"
    limit = int(fields["max_tokens"])
    thinking_tokens = min(count_tokens(thought), limit) if thought is not None else 0
    if thought is not None and is_adaptive(fields) and thinking_tokens + sum(map(_size, blocks)) > limit:
        thought, thinking_tokens = None, 0  # it would take from the answer what it is allowed to say
    kept, spoken_tokens, is_cut = _cut(blocks, limit - thinking_tokens)
    if thought is not None and limit > 0:
        kept.insert(0, _thinking_block(cut_to_tokens(thought, limit), fields, model, items))
    return Composition(
        content=kept,
        stop_reason="max_tokens" if is_cut else stop_reason,
        stop_sequence=None if is_cut else stopped_by,
        output_tokens=thinking_tokens + spoken_tokens,
        thinking_tokens=thinking_tokens,
    )


def _speak(fields: JSON, conversation: Conversation) -> tuple[list[JSON], str]:
    """The blocks without limits or thinking, and the reason to stop."""
    tools: Sequence[JSON] = fields.get("tools") or []
    schema = ((fields.get("output_config") or {}).get("format") or {}).get("schema")
    if conversation.is_resumed:
        return [
            _text("The search that was paused is complete; the simulator found nothing more.")
        ], "end_turn"
    if conversation.tool_results:
        return [_text(describe_results(conversation.tool_results, conversation.tool_calls))], "end_turn"
    if wants_search(conversation.prompt, tools):
        return search_blocks(conversation.prompt), "end_turn"
    choice: JSON | None = fields.get("tool_choice")
    chosen = choose_tools(conversation.prompt, tools, choice)
    if chosen:
        calls = [call_block(tool, conversation.prompt) for tool in chosen]
        is_forced = (choice or {}).get("type") in ("any", "tool")
        return calls if is_forced else [_text(_announcement(chosen)), *calls], "tool_use"
    if schema is not None:
        instance = make_instance(schema, conversation.prompt)
        return [_text(json.dumps(instance, ensure_ascii=False))], "end_turn"
    return [_text(answer_text(conversation))], "end_turn"


def _text(text: str) -> JSON:
    return {"type": "text", "text": text}


def _announcement(tools: Sequence[JSON]) -> str:
    names = " and ".join(f"`{tool['name']}`" for tool in tools)
    return f"I'll use {names} for this."


def _thought(conversation: Conversation, model: Model, fields: JSON) -> str | None:
    """The text of the thinking, also where it is not shown; None where there is none."""
    is_forced = (fields.get("tool_choice") or {}).get("type") in ("any", "tool")
    if not thinking_of(fields, model).is_on or is_forced:
        return None
    if is_adaptive(fields) and not conversation.tool_results and not _gives_to_think(conversation):
        return None
    asked = " ".join(conversation.prompt.split())
    subject = f"“{asked[:80]}{'…' if len(asked) > 80 else ''}”" if asked else "what was sent"
    steps = [f"The request is {subject}."]
    if conversation.tool_results:
        steps.append("The tool's result is here, so I can answer from it.")
    elif fields.get("tools"):
        steps.append("There are tools; I check whether one of them fits.")
    effort = (fields.get("output_config") or {}).get("effort") or model.default_effort
    if effort != "low":
        steps.append("I look for what is known about it, and choose the form that suits it best.")
    return " ".join(steps)


def _gives_to_think(conversation: Conversation) -> bool:
    """Whether there is more to do than to greet, to thank, or to say a sentence again."""
    prompt = conversation.prompt
    return not (greet(prompt) or say_exactly(prompt)) or bool(conversation.attachments)


def _thinking_block(thought: str, fields: JSON, model: Model, items: Sequence[Item]) -> JSON:
    shown = "" if thinking_of(fields, model).display == "omitted" else thought
    prefix = items[-1].digest if items else b""
    return {"type": "thinking", "thinking": shown, "signature": sign(model, prefix, shown)}


def _stop_at_sequence(blocks: Sequence[JSON], sequences: Sequence[str]) -> tuple[list[JSON], str | None]:
    """The blocks up to the first stop sequence in their text, and that sequence."""
    kept: list[JSON] = []
    for block in blocks:
        found = [(block["text"].find(text), text) for text in sequences if text in block.get("text", "")]
        if found:
            position, sequence = min(found)
            shortened = {**block, "text": block["text"][:position]}
            return ([*kept, shortened] if position else kept), sequence
        kept.append(block)
    return kept, None


def _cut(blocks: Sequence[JSON], limit: int) -> tuple[list[JSON], int, bool]:
    """As many blocks as fit, the last text cut; their tokens; whether anything was cut."""
    kept: list[JSON] = []
    spent = 0
    for block in blocks:
        size = _size(block)
        if spent + size <= limit:
            kept.append(block)
            spent += size
            continue
        if block["type"] == "text" and spent < limit:
            kept.append({**block, "text": cut_to_tokens(block["text"], limit - spent)})
        return kept, limit, True
    return kept, spent, limit == 0


def _size(block: JSON) -> int:
    if block["type"] == "text":
        return count_tokens(block["text"])
    if block["type"] in ("tool_use", "server_tool_use"):
        return 8 + count_tokens(json.dumps(block["input"], ensure_ascii=False))
    return 0  # what a server tool found is input
