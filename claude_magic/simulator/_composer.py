"""Composition of an answer's content for a validated request, within the request's limits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import Any

from ._answers import FALLBACK, answer_briefly, answer_text
from ._conversation import Conversation, Item, read_conversation
from ._models import Model
from ._stream import new_message
from ._values import make_instance
from ._wire import JSON, count_tokens, cut_to_tokens, invalid, new_id, opaque, read_words

_WORD = re.compile(r"[a-z]{4,}")
_COMMON = read_words("common") | read_words("of_tools")
MAX_TABLE_ROWS = 20


def choose_tools(prompt: str, tools: Sequence[JSON], choice: JSON) -> list[JSON]:
    """Return the tools that the answer calls.

    A forced choice is followed. Otherwise a tool is called if the prompt contains its name, or shares one word with its
    name or at least two words with its description.
    """
    custom = [tool for tool in tools if "input_schema" in tool]
    kind = choice.get("type", "auto")
    if kind == "none" or not custom:
        return []
    if kind == "tool":
        return [tool for tool in custom if tool["name"] == choice["name"]]
    ranked = sorted(custom, key=lambda tool: -_fitness(prompt, tool))
    fitting = [tool for tool in ranked if _fitness(prompt, tool) >= 2]
    if kind == "any" and not fitting:
        fitting = ranked[:1]
    named = [tool for tool in fitting if tool["name"].lower() in prompt.lower()]
    is_single = choice.get("disable_parallel_tool_use") or not named
    return fitting[:1] if is_single else named


def _fitness(prompt: str, tool: JSON) -> int:
    lowered = prompt.lower()
    if re.search(rf"\b{re.escape(tool['name'].lower())}\b", lowered):
        return 100
    asked = _stems(lowered)
    of_name = _stems(tool["name"].lower().replace("_", " ").replace("-", " "))
    of_description = _stems(str(tool.get("description", "")).lower())
    return 2 * len(asked & of_name) + len(asked & (of_description - of_name))


def _stems(text: str) -> set[str]:
    return {word.removesuffix("s") for word in _WORD.findall(text)}.difference(_COMMON)


def call_block(tool: JSON, prompt: str) -> JSON:
    """Return a `tool_use` block with arguments that satisfy the tool's schema."""
    schema = {"type": "object", **tool["input_schema"]}
    properties = {
        name: part
        for name, part in schema.get("properties", {}).items()
        if name in schema.get("required", ()) or _is_mentioned(name, part, prompt)
    }
    arguments = make_instance({**schema, "properties": properties}, prompt)
    return {"type": "tool_use", "id": new_id("toolu"), "name": tool["name"], "input": arguments}


def _is_mentioned(name: str, schema: JSON | bool, prompt: str) -> bool:
    """Whether a prompt mentions an optional argument by its name or by one of its `enum` values."""
    words = [name, *map(str, schema.get("enum", ()) if isinstance(schema, dict) else ())]
    is_said = any(re.search(rf"\b{re.escape(word)}\b", prompt, re.IGNORECASE) for word in words)
    return is_said or bool(_stems(name.lower().replace("_", " ")) & _stems(prompt.lower()))


_NOT_RUN = re.compile(
    r"The user refused|Nobody could|This call was not|There is no tool|The arguments do not fit|.*\b(?:denied|declined|rejected) by",
    re.IGNORECASE,
)


def _describe_results(conversation: Conversation) -> str:
    """Return an answer from the tools' results. If all calls failed, report that and answer without them."""
    results = conversation.tool_results
    lines = [_describe(result, _name_of(result, conversation)) for result in results]
    if all(result.get("is_error") for result in results):
        answer = answer_text(conversation)
        lines.append("Without its result the simulator has no answer." if answer == FALLBACK else answer)
    return "\n\n".join(lines)


def _name_of(result: JSON, conversation: Conversation) -> str:
    """Return the name of the tool that has the result."""
    calls = conversation.tool_calls
    return next((call["name"] for call in calls if call["id"] == result["tool_use_id"]), "tool")


def _describe(result: JSON, name: str) -> str:
    text = _text_of_result(result).strip()
    if result.get("is_error"):
        return f"`{name}` {_outcome(text)}: {text or 'it gave no reason'}"
    if not text:
        return f"`{name}` has finished and returned nothing."
    try:
        value = json.loads(text)
    except ValueError:
        return f"According to `{name}`: {text}" if "\n" not in text else f"`{name}` returned:\n\n{text}"
    return _describe_value(name, value)


def _outcome(reason: str) -> str:
    if "interrupted" in reason:
        return "did not run to its end"
    return "did not run" if _NOT_RUN.match(reason) else "failed"


def _describe_value(name: str, value: Any) -> str:
    if isinstance(value, dict) and value:
        return f"According to `{name}`:\n\n" + "\n".join(
            f"- **{key}**: {_table_text(value[key])}" for key in value
        )
    if not isinstance(value, list) or not value:
        return f"According to `{name}`, the result is **{_table_text(value)}**."
    if not all(isinstance(row, dict) for row in value):
        return f"`{name}` returned:\n\n" + "\n".join(
            f"{n}. {_table_text(part)}" for n, part in enumerate(value, 1)
        )
    columns = list(dict.fromkeys(key for row in value for key in row))
    rows = [
        columns,
        ["---"] * len(columns),
        *([row.get(column, "") for column in columns] for row in value[:MAX_TABLE_ROWS]),
    ]
    table = "\n".join(f"| {' | '.join(map(_table_text, row))} |" for row in rows)
    more = f"\n\n… and {len(value) - MAX_TABLE_ROWS} more." if len(value) > MAX_TABLE_ROWS else ""
    return f"`{name}` returned {len(value)} rows:\n\n{table}{more}"


def _table_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("|", "\\|").replace("\n", " ")


def _text_of_result(result: JSON) -> str:
    content = result.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part["type"] == "text" else f"[{part['type']}]" for part in content)


_REQUEST = re.compile(
    r"\b(search|look up|latest|news|today|current|recent|who won|web|internet|online)\b", re.IGNORECASE
)


def wants_search(prompt: str, tools: Sequence[JSON]) -> bool:
    """Whether the request offers a web search and the prompt asks for current information."""
    return bool(_REQUEST.search(prompt)) and any(
        str(tool.get("type")).startswith("web_search_") for tool in tools
    )


def search_blocks(prompt: str) -> list[JSON]:
    """Return a web search, its results and a text that cites them."""
    query = _query(prompt)
    call_id = new_id("srvtoolu")
    found = search_result(call_id, query)
    first = found["content"][0]
    cited = f"This page was invented for the search “{query}”."
    citation = {
        "type": "web_search_result_location",
        "url": first["url"],
        "title": first["title"],
        "cited_text": cited,
        "encrypted_index": _encrypted(cited),
    }
    return [
        {"type": "server_tool_use", "id": call_id, "name": "web_search", "input": {"query": query}},
        found,
        {"type": "text", "text": f"I searched for “{query}”. "},
        {"type": "text", "text": "The first page says that it was invented.", "citations": [citation]},
        {
            "type": "text",
            "text": " The simulator reaches no network: these results only show what a search looks like,"
            " with its query, its sources and its citations.",
        },
    ]


def search_result(call_id: str, query: str) -> JSON:
    """Return the result block for the search call with this id."""
    results = [_result(query, number) for number in range(3)]
    return {"type": "web_search_tool_result", "tool_use_id": call_id, "content": results}


def _query(prompt: str) -> str:
    words = re.sub(r"(?i)\b(please|search|look up|the web|for|on the internet|online)\b", " ", prompt)
    return " ".join(words.split())[:80].strip(" .?!,") or "anything"


def _result(query: str, number: int) -> JSON:
    slug = "-".join(re.findall(r"[a-z0-9]+", query.lower())[:6]) or "page"
    return {
        "type": "web_search_result",
        "url": f"https://example.org/{slug}/{number + 1}",
        "title": f"{query.capitalize()}: page {number + 1}",
        "encrypted_content": _encrypted(query + str(number)),
        "page_age": None,
    }


def _encrypted(text: str) -> str:
    return base64.b64encode(opaque(text, 30).encode()).decode()


PLACEHOLDER_SIGNATURE = "c2ltdWxhdGVk"
"""The signature of scripted thinking, valid in every conversation."""
BINDING_BETA = "thinking-binding-controls-2026-08-01"

_SECRET = b"claude-magic-simulator"
"""Key of the signatures; constant, so that a conversation stays valid after a restart of the simulator."""
_SEAL_BYTES = 32


def thinks(fields: JSON, model: Model) -> bool:
    """Whether thinking is enabled, by the request or by the model's default."""
    kind = (fields.get("thinking") or {}).get("type") or (
        "adaptive" if model.thinks_by_default else "disabled"
    )
    return kind in ("adaptive", "enabled")


def hides_thinking(fields: JSON, model: Model) -> bool:
    """Whether the text of the thinking is omitted."""
    display = (fields.get("thinking") or {}).get("display") or ("omitted" if model.omits_thinking else "")
    return display == "omitted"


def is_adaptive(fields: JSON) -> bool:
    """Whether the model decides if it thinks."""
    return (fields.get("thinking") or {}).get("type") in (None, "adaptive")


def sign(model: Model, prefix: bytes, text: str) -> str:
    """Return a signature that binds thinking to its model, its text and the conversation before it."""
    payload = model.id.encode() + b"\0" + prefix + hashlib.sha256(text.encode()).digest()
    return base64.b64encode(_seal(payload) + payload).decode()


def _seal(payload: bytes) -> bytes:
    return hmac.digest(_SECRET, payload, "sha256")


def _read(signature: str) -> tuple[str, bytes, bytes] | None:
    """Return a signature's model, digest of the prefix and digest of the text; None if the seal is invalid."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None
    seal, payload = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, _seal(payload)):
        return None
    model, _, rest = payload.partition(b"\0")
    return model.decode(), rest[:-32], rest[-32:]


def check_returned_thinking(
    items: list[Item], model: Model, fields: JSON, betas: frozenset[str]
) -> list[JSON]:
    """Check the thinking blocks that a request sends back.

    Returns:
        The blocks that were dropped instead of rejected, in the form of `input_transformations`.

    Raises:
        APIError: 400, a block was modified or belongs to another conversation.
    """
    binding: JSON = (fields.get("thinking") or {}).get("block_binding") or {}
    may_drop = BINDING_BETA in betas and binding.get("prefix_mismatch_behavior") == "drop_block"
    dropped: list[JSON] = []
    before = b""
    for item in items:
        complaint = _signature_error(item, model, before)
        if complaint is not None:
            if not may_drop:
                raise invalid(f"{item.path}: Invalid `signature` in `thinking` block{complaint}")
            dropped.append({"type": "thinking_dropped", "path": item.path, "reason": "prefix_mismatch"})
        before = item.digest
    return dropped


def _signature_error(item: Item, model: Model, before: bytes) -> str | None:
    block = item.block
    if block.get("type") != "thinking" or block["signature"] == PLACEHOLDER_SIGNATURE:
        return None
    signed = _read(block["signature"])
    if signed is None:
        return ""
    signed_by, prefix, text = signed
    if text != hashlib.sha256(block["thinking"].encode()).digest():
        return ": the block was changed after it was produced"
    if not model.checks_thinking or signed_by != model.id:
        return None  # blocks of another model are ignored
    return None if prefix == before else ": it is bound to another conversation"


def compose(fields: JSON, model: Model, items: Sequence[Item]) -> JSON:
    """Return the answer to a validated request, a message with only the output fields of `usage`."""
    conversation = read_conversation(fields)
    blocks, stop_reason = _compose_content(fields, conversation)
    thought = _thought(conversation, model, fields)
    blocks, stopped_by = _stop_at_sequence(blocks, fields.get("stop_sequences") or [])
    if stopped_by is not None:
        stop_reason = "stop_sequence"
    limit = int(fields["max_tokens"])
    thinking_tokens = min(count_tokens(thought), limit) if thought is not None else 0
    if thought is not None and is_adaptive(fields) and thinking_tokens + sum(map(_size, blocks)) > limit:
        thought, thinking_tokens = None, 0  # otherwise thinking would shorten the answer
    kept, content_tokens, is_cut = _cut(blocks, limit - thinking_tokens)
    if thought is not None and limit > 0:
        kept.insert(0, _thinking_block(cut_to_tokens(thought, limit), fields, model, items))
    if is_cut:
        stop_reason, stopped_by = "max_tokens", None
    usage = _output_usage(kept, thinking_tokens + content_tokens, thinking_tokens)
    return new_message(model.id, kept, stop_reason, stopped_by, usage)


def _output_usage(content: Sequence[JSON], tokens: int, thinking_tokens: int) -> JSON:
    usage: JSON = {"output_tokens": tokens}
    if thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": thinking_tokens}
    searches = sum(block["type"] == "server_tool_use" for block in content)
    if searches:
        usage["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return usage


def _compose_content(fields: JSON, conversation: Conversation) -> tuple[list[JSON], str]:
    """Return the content without limits or thinking, and the stop reason."""
    tools: Sequence[JSON] = fields.get("tools") or []
    schema = ((fields.get("output_config") or {}).get("format") or {}).get("schema")
    typed = conversation.typed
    if conversation.is_resumed:
        text = "The search that was paused is complete; the simulator found nothing more."
        return [_text(text)], "end_turn"
    if conversation.tool_results and not conversation.asks:
        return [_text(_describe_results(conversation))], "end_turn"
    if wants_search(typed, tools):
        return search_blocks(typed), "end_turn"
    chosen = [] if conversation.asks_for_rest else choose_tools(typed, tools, fields.get("tool_choice", {}))
    if chosen:
        calls = [call_block(tool, typed) for tool in chosen]
        return calls if _is_forced(fields) else [_text(_announcement(chosen)), *calls], "tool_use"
    if schema is not None:
        return [_text(json.dumps(make_instance(schema, typed), ensure_ascii=False))], "end_turn"
    failed = [
        _describe_failed(each, conversation) for each in conversation.tool_results if each.get("is_error")
    ]
    return [_text("\n\n".join([*failed, answer_text(conversation)]))], "end_turn"


def _describe_failed(result: JSON, conversation: Conversation) -> str:
    """Describe a failed call that belongs to the previous question."""
    name = _name_of(result, conversation)
    return f"(`{name}`, which the question before asked for, {_outcome(_text_of_result(result))}.)"


def _text(text: str) -> JSON:
    return {"type": "text", "text": text}


def _announcement(tools: Sequence[JSON]) -> str:
    names = " and ".join(f"`{tool['name']}`" for tool in tools)
    return f"I'll use {names} for this."


def _is_forced(fields: JSON) -> bool:
    """Whether the request forces a tool call."""
    return fields.get("tool_choice", {}).get("type") in ("any", "tool")


def _thought(conversation: Conversation, model: Model, fields: JSON) -> str | None:
    """Return the text of the thinking, shown or not; None without thinking."""
    if not thinks(fields, model) or _is_forced(fields):
        return None
    if is_adaptive(fields) and not conversation.tool_results and answer_briefly(conversation) is not None:
        return None
    asked = " ".join(conversation.typed.split())
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


def _thinking_block(thought: str, fields: JSON, model: Model, items: Sequence[Item]) -> JSON:
    shown = "" if hides_thinking(fields, model) else thought
    prefix = items[-1].digest if items else b""
    return {"type": "thinking", "thinking": shown, "signature": sign(model, prefix, shown)}


def _stop_at_sequence(blocks: Sequence[JSON], sequences: Sequence[str]) -> tuple[list[JSON], str | None]:
    """Return the blocks up to the first stop sequence in their text, and that sequence."""
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
    """Return the blocks that fit, with the last text cut, their number of tokens, and whether anything was cut."""
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
    return 0  # the results of server tools count as input
