"""A request's conversation: its questions and attachments, its items and tokens, and context editing."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._checks import Shape, check_string, either, integer, list_of, nullable, one_of, tagged
from ._sent import Attachment, read_attachment, split_prompt
from ._wire import JSON, Request, count_tokens, encode_json, invalid

PATCH_PIXELS = 28
MAX_IMAGE_TOKENS = 4784
UNKNOWN_IMAGE_TOKENS = 1568
TOKENS_PER_PAGE = 1500
_PAGE = re.compile(rb"/Type\s*/Page[^s]")


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """The description and token count of an image or document."""

    description: str
    tokens: int


def read_image(block: JSON) -> MediaInfo:
    """Describe an image block by its kind, dimensions and size."""
    source: JSON = block.get("source", {})
    data = _decode(source)
    if data is None:
        where = source.get("url") or source.get("file_id") or "elsewhere"
        return MediaInfo(description=f"an image at {where}", tokens=UNKNOWN_IMAGE_TOKENS)
    kind = str(source.get("media_type", "image")).removeprefix("image/").upper()
    size = image_size(data)
    if size is None:
        return MediaInfo(description=f"a {kind} image of {_bytes(len(data))}", tokens=UNKNOWN_IMAGE_TOKENS)
    width, height = size
    tokens = min(MAX_IMAGE_TOKENS, math.ceil(width / PATCH_PIXELS) * math.ceil(height / PATCH_PIXELS))
    return MediaInfo(
        description=f"a {kind} image, {width} by {height} pixels, {_bytes(len(data))}", tokens=max(1, tokens)
    )


def read_document(block: JSON) -> MediaInfo:
    """Describe a document block whose source is not plain text."""
    source: JSON = block.get("source", {})
    title = f"“{block['title']}”, " if block.get("title") else ""
    data = _decode(source)
    if data is None:
        where = source.get("url") or source.get("file_id") or "elsewhere"
        return MediaInfo(description=f"{title}a document at {where}", tokens=TOKENS_PER_PAGE)
    pages = len(_PAGE.findall(data))  # no matches in compressed PDFs
    known = f" of {pages} page{'' if pages == 1 else 's'}" if pages else ""
    return MediaInfo(
        description=f"{title}a PDF{known}, {_bytes(len(data))}", tokens=max(1, pages) * TOKENS_PER_PAGE
    )


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return an image's width and height in pixels; None if Pillow cannot read it."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _decode(source: JSON) -> bytes | None:
    if source.get("type") != "base64":
        return None
    try:
        return base64.b64decode(source.get("data", ""))
    except (binascii.Error, ValueError):
        return b""


def _bytes(count: int) -> str:
    return f"{count} bytes" if count < 1000 else f"{count / 1000:.1f} kB"


_DIRECTIVE = re.compile(r"\A[ \t]*!simulate[ \t]+(?P<name>[\w-]+)[ \t]*(?:\r?\n|\Z)")
_REMINDER = re.compile(r"<(system-reminder)>.*?</\1>\s*", re.DOTALL)
_ASKS_FOR_REST = re.compile(
    r"\bwas cut off\b.*\bGo on exactly where it stopped\b|\AYou were interrupted before the first word of your answer\b",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The parts of a request that select its answer."""

    fields: JSON
    prompt: str
    """The text of the last question, including literal values such as lists."""
    typed: str
    """The typed sentence of the last question."""
    sent: tuple[Attachment, ...]
    """The attachments of the last question."""
    system: str
    tool_results: tuple[JSON, ...]
    """The tool results in the last turn."""
    tool_calls: tuple[JSON, ...]
    """All tool calls of the conversation."""
    asks: bool
    """Whether the last turn contains a question, not only tool results."""
    is_resumed: bool
    """Whether the last turn is a paused assistant turn."""

    @property
    def asks_for_rest(self) -> bool:
        """Whether the question asks for the rest of an answer that was cut off."""
        return bool(_ASKS_FOR_REST.search(self.prompt))

    @property
    def earlier(self) -> list[str]:
        """The typed sentences of the earlier questions, oldest first."""
        questions = map(_read_question, self.fields["messages"])
        return [question.typed for question in questions if question is not None][:-1]

    @property
    def before(self) -> Conversation | None:
        """The conversation up to the previous question; None if this is the first."""
        messages = self.fields["messages"]
        asked = [at for at, message in enumerate(messages) if _read_question(message) is not None]
        return None if len(asked) < 2 else self._at(messages[: asked[-2] + 1])

    def asking(self, question: str) -> Conversation:
        """Return a conversation that consists of this question."""
        return self._at([{"role": "user", "content": question}])

    def _at(self, messages: list[JSON]) -> Conversation:
        return read_conversation({**self.fields, "messages": messages})


def read_conversation(fields: JSON) -> Conversation:
    """Read the conversation of a validated request."""
    turns = _merged_turns(fields["messages"])
    last_role, last_blocks = turns[-1]
    questions = (_read_question(message) for message in reversed(fields["messages"]))
    question = next((each for each in questions if each is not None), _Question(prompt="", typed="", sent=()))
    return Conversation(
        fields=fields,
        prompt=question.prompt,
        typed=question.typed,
        sent=question.sent,
        system="\n".join([text_of(fields.get("system") or ""), *_system_texts(fields["messages"])]),
        tool_results=tuple(block for block in last_blocks if block["type"] == "tool_result"),
        tool_calls=tuple(block for _, blocks in turns for block in blocks if block["type"] == "tool_use"),
        asks=any(_without_reminders(block)["type"] in _ASKING for block in last_blocks),
        is_resumed=last_role == "assistant"
        and any(block["type"] == "server_tool_use" for block in last_blocks),
    )


_ASKING = ("text", "image", "document")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    prompt: str
    typed: str
    sent: tuple[Attachment, ...]


def _read_question(message: JSON) -> _Question | None:
    """Return a message's question; None for other roles and for messages with only tool results."""
    blocks = [_without_reminders(block) for block in blocks_of(message["content"])]
    blocks = [block for block in blocks if block["type"] in _ASKING]
    if message["role"] != "user" or not blocks:
        return None
    words: list[str] = []
    sent: list[Attachment] = []
    for number, block in enumerate(blocks):
        if block["type"] != "text":
            label = sent.pop().label if sent and sent[-1] == Attachment(label=sent[-1].label) else ""
            sent.append(_read_media(block, label))
        elif number < len(blocks) - 1 and (attached := read_attachment(block["text"])) is not None:
            sent += attached
        else:
            words.append(block["text"])
    prompt = "\n".join(words).strip()
    typed, things = split_prompt(prompt)
    return _Question(prompt=prompt, typed=typed, sent=(*sent, *things))


def _without_reminders(block: JSON) -> JSON:
    """Return a block without system reminders and the `!simulate` line."""
    if block["type"] != "text":
        return block
    text = _REMINDER.sub("", strip_directive(block["text"]))
    return {**block, "text": text} if text.strip() else {**block, "type": "reminder"}


def _read_media(block: JSON, label: str) -> Attachment:
    source = block["source"]
    if source.get("type") == "text":
        language = "csv" if str(block.get("title", "")).endswith(".csv") else "block"
        return Attachment(label=block.get("title") or "a text", language=language, body=source["data"])
    picture = read_image(block) if block["type"] == "image" else read_document(block)
    return Attachment(label=label, language="media", body=picture.description)


def _merged_turns(messages: list[JSON]) -> list[tuple[str, list[JSON]]]:
    """Return role and blocks of each turn. Adjacent messages of one role are one turn; `system` messages are skipped."""
    turns: list[tuple[str, list[JSON]]] = []
    for message in messages:
        role, blocks = message["role"], blocks_of(message["content"])
        if role == "system":
            continue
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return turns


def _system_texts(messages: list[JSON]) -> list[str]:
    return [text_of(message["content"]) for message in messages if message["role"] == "system"]


def text_of(content: Any) -> str:
    """Return the text of a message's content, its blocks joined by line breaks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    blocks = (block for block in content if isinstance(block, dict) and block.get("type") == "text")
    return "\n".join(str(block.get("text", "")) for block in blocks)


def strip_directive(text: str) -> str:
    """Return the text without a leading `!simulate` line; a text of only that line is unchanged."""
    return _DIRECTIVE.sub("", text, count=1) or text


def take_directive(request: Request) -> tuple[str | None, Request]:
    """Find `!simulate NAME` in the first line of the last user message's text.

    Returns:
        The scenario's name or None, and the request without that line.
    """
    messages = request.fields.get("messages")
    if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
        return None, request
    last: JSON = messages[-1]
    match = _DIRECTIVE.match(text_of(last.get("content")))
    if match is None or last.get("role") != "user":
        return None, request
    body = {**request.fields, "messages": [*messages[:-1], _without_first_line(last)]}
    return match["name"], dataclasses.replace(request, raw_body=encode_json(body))


def _without_first_line(message: JSON) -> JSON:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": strip_directive(content)}
    blocks = list(content)
    for index, block in enumerate(blocks):
        if isinstance(block, dict) and block.get("type") == "text":
            blocks[index] = {**block, "text": strip_directive(block["text"])}
            break
    return {**message, "content": blocks}


# A request as one list of items: tools, system, messages.
#
# Prompt caching, the check of returned thinking and the count of input tokens all use this list.
TOKENS_PER_MESSAGE = 3
TOKENS_PER_TOOL = 12
TOKENS_FOR_TOOLS = 60
"""Tokens of the instructions that the API adds to a request with tools."""
UNSEEN = ("cache_control",)
"""Fields that are not part of the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One tool, one block of the system prompt or one block of a message."""

    path: str
    """Its path in the request, such as `messages.0.content.1`."""
    block: JSON
    tokens: int
    digest: bytes
    """Hash of this item and all items before it."""
    cache_control: JSON | None


def items_of(fields: JSON) -> list[Item]:
    """Return the request's items, in the order of the prompt."""
    items: list[Item] = []
    digest = b""
    for path, role, part in parts_of(fields):
        block = _without_directive(part, role)
        visible = {key: value for key, value in block.items() if key not in UNSEEN}
        digest = hashlib.sha256(digest + role.encode() + _canonical(visible)).digest()
        items.append(
            Item(
                path=path,
                block=block,
                tokens=_overhead(path, role) + _tokens(visible, role),
                digest=digest,
                cache_control=block.get("cache_control"),
            )
        )
    return items


def _overhead(path: str, role: str) -> int:
    """Return the tokens that come with a part, those of all tools with the first."""
    if role == "tool":
        return TOKENS_PER_TOOL + (TOKENS_FOR_TOOLS if path == "tools.0" else 0)
    return TOKENS_PER_MESSAGE if path.endswith(".content.0") else 0


def parts_of(fields: JSON) -> Iterator[tuple[str, str, JSON]]:
    """Yield path, role and content of each tool ("tool"), system block and block of a message, in the order of the prompt."""
    for index, tool in enumerate(fields.get("tools") or []):
        yield f"tools.{index}", "tool", tool
    for index, block in enumerate(blocks_of(fields.get("system") or "")):
        yield f"system.{index}", "system", block
    yield from blocks_in(fields["messages"])


def blocks_in(messages: list[JSON]) -> Iterator[tuple[str, str, JSON]]:
    """Yield the path, the role and the block for each block of the messages."""
    for index, message in enumerate(messages):
        for position, block in enumerate(blocks_of(message["content"])):
            yield f"messages.{index}.content.{position}", message["role"], block


def blocks_of(content: Any) -> list[JSON]:
    """Return content as blocks; a string becomes one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _without_directive(block: JSON, role: str) -> JSON:
    """Return the block without its `!simulate` line, which must not change the digest: the answer was made without it."""
    if role != "user" or block.get("type") != "text":
        return block
    return {**block, "text": strip_directive(block["text"])}


def _canonical(block: JSON) -> bytes:
    return json.dumps(block, sort_keys=True, separators=(",", ":")).encode()


def _tokens(block: JSON, role: str) -> int:
    if role == "tool":
        return count_tokens(json.dumps(block, ensure_ascii=False))
    kind = block["type"]
    if kind == "text":
        return count_tokens(block["text"])
    if kind == "thinking":
        return count_tokens(block["thinking"])
    if kind == "image":
        return read_image(block).tokens
    if kind == "document" and block.get("source", {}).get("type") not in ("text", "content"):
        return read_document(block).tokens
    if kind == "tool_result" and not isinstance(block.get("content", ""), str):
        return 4 + sum(_tokens(part, role) for part in block["content"])
    return count_tokens(json.dumps(block, ensure_ascii=False))


def total_tokens(items: list[Item]) -> int:
    """Return the input tokens of all items."""
    return sum(item.tokens for item in items)


CLEAR_TOOL_USES = "clear_tool_uses_20250919"
CLEAR_THINKING = "clear_thinking_20251015"
COMPACT = "compact_20260112"
BETA_OF_EDIT: Mapping[str, str] = {
    CLEAR_TOOL_USES: "context-management-2025-06-27",
    CLEAR_THINKING: "context-management-2025-06-27",
    COMPACT: "compact-2026-01-12",
}
DEFAULT_TRIGGER_TOKENS = 100_000
DEFAULT_KEPT_TOOL_USES = 3
DEFAULT_KEPT_THINKING_TURNS = 1
DEFAULT_COMPACTION_TOKENS = 150_000
MIN_COMPACTION_TOKENS = 50_000
CLEARED = "[This result was cleared to save context.]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedContext:
    """A request after context editing.

    Attributes:
        fields: The request, with the edited messages.
        applied: The result of each edit that cleared something, in the form of `applied_edits`.
        original_tokens: Input tokens before the edits.
    """

    fields: JSON
    applied: list[JSON]
    original_tokens: int


def _amount(*units: str, least: int) -> Shape:
    return Shape({"type": one_of(*units), "value": integer(least=least)})


_KEPT_TURNS = _amount("thinking_turns", least=1)


def _check_kept_turns(value: Any, path: str) -> None:
    if value not in (None, "all", {"type": "all"}):
        _KEPT_TURNS(value, path)


_EDIT = tagged(
    {
        CLEAR_TOOL_USES: Shape(
            optional={
                "trigger": nullable(_amount("input_tokens", "tool_uses", least=1)),
                "keep": nullable(_amount("tool_uses", least=0)),
                "clear_at_least": nullable(_amount("input_tokens", least=0)),
                "exclude_tools": nullable(list_of(check_string)),
                "clear_tool_inputs": nullable(either(bool, list_of(check_string))),
            },
            free=("type",),
        ),
        CLEAR_THINKING: Shape(optional={"keep": _check_kept_turns}, free=("type",)),
        COMPACT: Shape(
            optional={"trigger": nullable(_amount("input_tokens", least=MIN_COMPACTION_TOKENS))},
            free=("type", "pause_after_compaction", "instructions"),
        ),
    }
)
_MANAGEMENT = nullable(Shape(optional={"edits": list_of(_EDIT)}))


def check_context_management(value: Any, betas: frozenset[str]) -> None:
    """Check `context_management`."""
    path = "context_management"
    _MANAGEMENT(value, path)
    kinds = [edit["type"] for edit in (value or {}).get("edits", [])]
    for index, kind in enumerate(kinds):
        if BETA_OF_EDIT[kind] not in betas:
            raise invalid(f"{path}.edits.{index}.type: `{kind}` requires the beta `{BETA_OF_EDIT[kind]}`")
    if CLEAR_THINKING in kinds[1:]:
        raise invalid(f"{path}.edits: `{CLEAR_THINKING}` must be the first edit")
    if len(kinds) != len(set(kinds)):
        raise invalid(f"{path}.edits: each type of edit may be given once")


def edit_context(fields: JSON) -> EditedContext | None:
    """Apply a request's context edits in order. Return None if it has no `context_management`.

    Raises:
        APIError: 400, compaction is due; the simulator cannot write a summary.
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
    """Return the messages without the results of old calls, and the number of cleared results."""
    blocks = [block for _, _, block in blocks_in(messages)]
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
        _with_blocks(message, [shorten(block) for block in blocks_of(message["content"])])
        for message in messages
    ], len(cleared)


def _clear_thinking(messages: list[JSON], edit: JSON, _tokens: int) -> tuple[list[JSON], int]:
    """Return the messages without the thinking of old turns, and the number of these turns."""
    keep = edit.get("keep") or {"type": "thinking_turns", "value": DEFAULT_KEPT_THINKING_TURNS}
    if keep == "all" or keep["type"] == "all":
        return messages, 0
    turn_of: list[int] = []  # one per message; tool results do not start a turn
    for message in messages:
        begins = message["role"] == "user" and any(
            block["type"] != "tool_result" for block in blocks_of(message["content"])
        )
        turn_of.append((turn_of[-1] if turn_of else 0) + begins)
    thinking = sorted(
        {
            turn
            for turn, message in zip(turn_of, messages, strict=True)
            if any(map(_is_thinking, blocks_of(message["content"])))
        }
    )
    cleared = set(thinking[: max(0, len(thinking) - int(keep["value"]))])
    return [
        _with_blocks(message, [block for block in blocks_of(message["content"]) if not _is_thinking(block)])
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


def _with_blocks(message: JSON, blocks: list[JSON]) -> JSON:
    return {**message, "content": blocks} if isinstance(message["content"], list) else message


def _value(amount: JSON | None, default: int) -> int:
    return default if amount is None else int(amount["value"])
