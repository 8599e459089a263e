"""A recording: what is written down of a request, its reply or its error, as data; and how that becomes events and errors again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from ..client import (
    PIECE_FIELDS,
    REDACTED,
    ClaudeError,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    MessageDelta,
    MessageRequest,
    MessageStart,
    MessageStop,
    ServerSentEvent,
    StreamEvent,
    UnknownEvent,
    decode_event,
    encode_json,
)
from ..context import is_secret_setting, redact

_SEALED: Final = frozenset({"signature", "data", "encrypted_content", "encrypted_index", "encrypted_stdout"})
"""Fields whose text is nobody's words, and goes back to the server as it came."""
_PROSE: Final = frozenset({"messages", "system", "tools"})
"""Fields of a request in which names are those of the user's things, and may stand for anything."""
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
SENT_AS_IT_IS: Final = "What looks like a secret is [REDACTED] here, but sent as it is."
_NO_WORD: Final = re.compile(r"\W")
_LONG_DATA: Final = 1_000
_NOT_RECORDED: Final = frozenset({"messages", "cache_control", "metadata", "service_tier"})
_MAX_NUMBER: Final = 1e12
"""Of seconds, milliseconds and characters; beyond it a number is a slip."""

Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One answered request.

    Attributes:
        key: The key of the request, in hexadecimal digits.
        occurrence: Which of the times it was asked in one kernel, from 1.
        recorded_at: When it was asked, as RFC 3339 text in UTC.
        seconds: How long it took.
        request: What was asked, for people: binary data by their hash, earlier messages by number and hash.
        answer: The events of the reply as the API names them, the deltas of a block joined; as far as it came.
        pace: Of each delta as it came, the milliseconds since the one before and its characters, in turns.
        request_id: The server's id of the request, or None.
        is_simulated: A simulator answered.
        error: How it failed, as data; None if it did not.
        is_interrupted: It was stopped.
        is_redacted: What looked like a secret was taken out of the request, and its key is of what is left.
    """

    key: str
    occurrence: int = 1
    recorded_at: str
    seconds: float
    request: Mapping[str, Any]
    answer: Sequence[Mapping[str, Any]]
    pace: Sequence[int] = ()
    request_id: str | None = None
    is_simulated: bool = False
    error: Mapping[str, Any] | None = None
    is_interrupted: bool = False
    is_redacted: bool = False

    @property
    def name(self) -> tuple[str, int]:
        """What tells it from others."""
        return self.key, self.occurrence

    @property
    def prompt(self) -> str:
        """The text of what was asked; results of tools, where these were sent."""
        return text_of(self.request.get("message"))

    def to_line(self) -> bytes:
        """Return its line: fields in a fixed order, those at their usual value left out, text as it reads."""
        kept = {
            _name_of(field): value
            for field, (_, usual) in _FIELDS.items()
            if (value := getattr(self, field)) != usual
        }
        # Half a character of UTF-16 becomes its escape, which JSON knows, too.
        return json.dumps(kept, ensure_ascii=False).encode("utf-8", "backslashreplace")

    @classmethod
    def of(cls, fields: Any) -> Recording:
        """Read the JSON object of a line.

        Raises:
            ValueError: It is none of ours.
        """
        if not isinstance(fields, dict):
            raise ValueError("it is no JSON object")
        values = {field: _checked(fields, _name_of(field), *kind) for field, kind in _FIELDS.items()}
        recording = cls(**{**values, "seconds": float(values["seconds"]), "pace": tuple(values["pace"])})
        if not all(
            isinstance(event, dict) and isinstance(event.get("type"), str) for event in recording.answer
        ):
            raise ValueError("its answer is no list of events")
        if not all(type(number) is int and abs(number) < _MAX_NUMBER for number in recording.pace):
            raise ValueError("its pace is no list of numbers")
        if not (recording.answer or recording.error or recording.is_interrupted):
            raise ValueError("its answer is empty")
        return recording


_MUST: Final = object()
_FIELDS: Final[Mapping[str, tuple[Any, Any]]] = {
    "key": (str, _MUST),
    "occurrence": (int, 1),
    "recorded_at": (str, _MUST),
    "seconds": (int | float, 0.0),
    "request_id": (str | None, None),
    "is_simulated": (bool, False),
    "is_interrupted": (bool, False),
    "is_redacted": (bool, False),
    "error": (dict | None, None),
    "request": (dict, _MUST),
    "answer": (list, _MUST),
    "pace": (list, ()),
}
"""Of a line, in its order: their types and usual values."""


def _name_of(field: str) -> str:
    return field.removeprefix("is_")


def _checked(fields: Mapping[str, Any], name: str, kind: Any, usual: Any) -> Any:
    if name not in fields:
        if usual is _MUST:
            raise ValueError(f"it has no {name}")
        return usual
    value = fields[name]
    if not isinstance(value, kind) or (isinstance(value, int | float) and not abs(value) < _MAX_NUMBER):
        raise ValueError(f"its {name} is not valid")
    return value


def text_of(message: Any) -> str:
    """Return the text of a message as a cassette describes it; other blocks by their type."""
    content = message.get("content", "") if isinstance(message, Mapping) else message
    if isinstance(content, str):
        return content
    if not isinstance(content, Iterable):
        return ""
    return "\n".join(_text_of_block(block) for block in content if isinstance(block, Mapping))


def _text_of_block(block: Mapping[str, Any]) -> str:
    if isinstance(block.get("text"), str):
        return str(block["text"])
    if block.get("type") == "tool_result":
        return f"[tool_result] {text_of(block)}"
    source = block.get("source")
    digest = source.get("data", "") if isinstance(source, Mapping) else ""
    return f"[{block.get('type', 'block')}] {digest}".strip()


def without_secrets(text: str) -> str:
    """Return a text without what looks like a secret. What a conversation sends again with each turn is looked at once."""
    if len(text) < _SHORT_TEXT:
        return redact(text)[0]
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if digest in _KNOWN_CLEAN:
        return text
    clean, _ = redact(text)
    if clean == text:
        if len(_KNOWN_CLEAN) >= _MAX_KNOWN:
            _KNOWN_CLEAN.clear()
        _KNOWN_CLEAN.add(digest)
    return clean


_SHORT_TEXT: Final = 200
_MAX_KNOWN: Final = 10_000
_KNOWN_CLEAN: set[bytes] = set()


def cleaned(value: Any, redact_text: Redact, *, is_setting: bool = False) -> Any:
    """Return a JSON value without what looks like a secret in its texts; the same object where there is none.

    Args:
        value: The value.
        redact_text: Returns a text without secrets.
        is_setting: Its fields are not names of the user's: also take out what is a secret by the name of its field, such as the
            `authorization_token` of an MCP server.
    """
    if isinstance(value, str):
        clean = redact_text(value)
        return value if clean == value else clean
    if isinstance(value, Mapping):
        fields = {
            name: _cleaned_field(name, each, redact_text, is_setting=is_setting)
            for name, each in value.items()
        }
        return value if all(fields[name] is value[name] for name in fields) else fields
    if isinstance(value, list | tuple):
        items = [cleaned(each, redact_text, is_setting=is_setting) for each in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def _cleaned_field(name: Any, value: Any, redact_text: Redact, *, is_setting: bool) -> Any:
    if is_setting and isinstance(value, str):
        label = str(name)
        if label.lower() in _SECRET_HEADERS or is_secret_setting(_NO_WORD.sub("_", label), value):
            return REDACTED
    if not is_setting and name in _SEALED:
        return value
    return cleaned(value, redact_text, is_setting=is_setting)


def cleaned_body(body: Mapping[str, Any], redact_text: Redact) -> Mapping[str, Any]:
    """Return the JSON object of a request without what looks like a secret; the same object where there is none."""
    fields = {
        name: cleaned(value, redact_text)
        if name in _PROSE
        else _cleaned_field(name, value, redact_text, is_setting=True)
        for name, value in body.items()
    }
    return body if all(fields[name] is body[name] for name in fields) else fields


def has_secret_of_user(request: MessageRequest, clean: MessageRequest) -> bool:
    """Whether something was taken out that did not come out of an answer: system prompt, tools, or a message of the user."""
    pairs = zip(request.messages, clean.messages, strict=True)
    others = [getattr(clean, name) is not value for name, value in request if name != "messages"]
    return any(others) or any(new is not old and new.get("role") == "user" for old, new in pairs)


def clean_request(request: MessageRequest, redact_text: Redact) -> MessageRequest:
    """Return a request without what looks like a secret."""
    fields = dict(request)
    changes = {
        name: value for name, value in cleaned_body(fields, redact_text).items() if value is not fields[name]
    }
    return request.model_copy(update=changes) if changes else request


def describe_request(request: MessageRequest) -> dict[str, Any]:
    """Return a request as a cassette has it: the last message in full, those before it by number and hash."""
    fields = {
        name: value for name, value in request.to_body(stream=False).items() if name not in _NOT_RECORDED
    }
    if request.betas:
        fields["betas"] = list(request.betas)
    if request.draw:
        fields["draw"] = request.draw
    *earlier, last = request.messages or [{}]
    if earlier:
        digest = hashlib.sha256(encode_json(earlier)).hexdigest()[:16]
        fields["earlier"] = {"messages": len(earlier), "sha256": digest}
    described: dict[str, Any] = _without_data({**fields, "message": last})
    return described


def _without_data(value: Any) -> Any:
    """Return a JSON value with long binary data by their hash."""
    if isinstance(value, Mapping):
        return {
            name: f"sha256:{hashlib.sha256(each.encode()).hexdigest()}"
            if name == "data" and isinstance(each, str) and len(each) > _LONG_DATA
            else _without_data(each)
            for name, each in value.items()
        }
    return [_without_data(each) for each in value] if isinstance(value, list | tuple) else value


def raw_of(event: StreamEvent) -> dict[str, Any] | None:
    """Return an event as the API's JSON object; None where nothing is lost without it."""
    match event:
        case ContentBlockDelta():
            return {"type": "content_block_delta", "index": event.index, "delta": dict(event.raw)}
        case MessageStart():
            return {"type": "message_start", "message": dict(event.raw)}
        case ContentBlockStart():
            return {"type": "content_block_start", "index": event.index, "content_block": dict(event.raw)}
        case ContentBlockStop():
            return {"type": "content_block_stop", "index": event.index}
        case MessageDelta():
            return {"type": "message_delta", **event.raw}
        case MessageStop():
            return {"type": "message_stop", **event.raw}
        case UnknownEvent() if isinstance(event.raw, dict):
            return {**event.raw, "type": event.type}
    return None


class Batches:
    """The events of a reply as they come, a read at a time; deltas of one block are joined at once."""

    def __init__(self) -> None:
        self._items: list[tuple[float, int, str, str] | tuple[float, StreamEvent]] = []

    def __bool__(self) -> bool:
        return bool(self._items)

    def clear(self) -> None:
        """Forget all."""
        self._items.clear()

    def add(self, at: float, events: Sequence[StreamEvent]) -> None:
        """Take the events of one read.

        Args:
            at: When it was, in seconds.
            events: The events, at least one.
        """
        try:
            kinds, indices = set(map(_kind_of, events)), set(map(_index_of, events))  # type: ignore[arg-type]
        except TypeError:  # one of them is no tuple, and so no delta
            kinds, indices = set(), set()
        if len(kinds) == len(indices) == 1 and (kind := kinds.pop()) in PIECE_FIELDS:
            self._items.append((at, indices.pop(), kind, "".join(map(_text_of, events))))  # type: ignore[arg-type]
            return
        for event in events:
            if type(event) is ContentBlockDelta and event.kind in PIECE_FIELDS:
                self._items.append((at, event.index, event.kind, event.text))
            else:
                self._items.append((at, event))

    def fold(self, began: float) -> tuple[list[Any], list[int]]:
        """Return the events with the deltas of a block joined, and the pace of these deltas.

        Args:
            began: When the request was sent, by the same clock.
        """
        events: list[dict[str, Any]] = []
        pace: list[int] = []
        pieces: list[str] = []
        open_delta: tuple[int, str] | None = None
        last = began
        for item in self._items:
            if len(item) == 2:
                if (raw := raw_of(item[1])) is not None:
                    _close(events, pieces)
                    open_delta = None
                    events.append(raw)
                continue
            at, index, kind, text = item
            wait = round((at - last) * 1000)
            if open_delta != (index, kind):
                _close(events, pieces)
                open_delta = index, kind
                delta = {"type": kind, PIECE_FIELDS[kind]: ""}
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
                pace += (wait, len(text))
            elif wait:
                pace += (wait, len(text))
            else:
                pace[-1] += len(text)
            pieces.append(text)
            last += wait / 1000
        _close(events, pieces)
        return events, pace


_index_of, _kind_of, _text_of = itemgetter(0), itemgetter(1), itemgetter(2)


def _close(events: list[dict[str, Any]], pieces: list[str]) -> None:
    """Put the pieces of a delta together; it is the last event."""
    if pieces:
        delta = events[-1]["delta"]
        delta[PIECE_FIELDS[delta["type"]]] = "".join(pieces)
        pieces.clear()


def unfold(answer: Iterable[Mapping[str, Any]], pace: Sequence[int]) -> Iterator[tuple[float, StreamEvent]]:
    """Yield the events of a recording, deltas cut as they came, each with the seconds that it came after the one before."""
    steps = iter(zip(pace[::2], pace[1::2], strict=False))
    for raw in answer:
        event = decode_event(ServerSentEvent(str(raw.get("type", "")), json.dumps(raw).encode()))
        if not isinstance(event, ContentBlockDelta) or event.kind not in PIECE_FIELDS:
            yield 0.0, event
            continue
        field, rest = PIECE_FIELDS[event.kind], event.text
        while rest or event.text == rest:
            wait, length = next(steps, (0, len(rest)))
            piece, rest = rest[: max(0, length)], rest[max(0, length) :]
            yield wait / 1000, ContentBlockDelta(event.index, event.kind, piece, {**event.raw, field: piece})
            if not rest:
                break


_ERROR_FIELDS: Final = (
    "status",
    "error_type",
    "error_code",
    "should_retry",
    "retry_after",
    "was_sent",
    "give_up_reason",
    "message",
    "is_transient",
    "request_id",
)


def describe_error(error: ClaudeError) -> dict[str, Any]:
    """Return an error as data."""
    fields = {name: getattr(error, name, None) for name in _ERROR_FIELDS}
    return {"class": type(error).__name__} | {
        name: value for name, value in fields.items() if value is not None
    }


def error_of(fields: Mapping[str, Any]) -> ClaudeError:
    """Return the error that was recorded; of a class that is not known here, its parent's."""
    kinds = {kind.__name__: kind for kind in _subclasses(ClaudeError)}
    kind = kinds.get(str(fields.get("class")), ClaudeError)
    error = kind(str(fields.get("message", "")))
    for name in _ERROR_FIELDS:
        if name in fields and name != "message" and hasattr(error, name):
            setattr(error, name, fields[name])
    return error


def _subclasses(kind: type[ClaudeError]) -> Iterator[type[ClaudeError]]:
    if kind.__module__ == ClaudeError.__module__:
        yield kind
        for each in kind.__subclasses__():
            yield from _subclasses(each)
