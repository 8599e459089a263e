"""Recordings: a request and its reply or error as plain data, and the conversion back to events and errors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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

_OPAQUE: Final = frozenset({"signature", "data", "encrypted_content", "encrypted_index", "encrypted_stdout"})
"""Fields with opaque text, which must be sent back to the server unchanged."""
_USER_NAMED_FIELDS: Final = frozenset({"messages", "system", "tools"})
"""Request fields with nested names chosen by the user. Names in them, such as `token`, do not indicate secrets."""
_SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
SENT_AS_IT_IS: Final = "What looks like a secret is [REDACTED] here, but sent as it is."
_NON_WORD: Final = re.compile(r"\W")
_LONG_DATA: Final = 1_000
_NOT_RECORDED: Final = frozenset({"messages", "cache_control", "metadata", "service_tier"})
_MAX_NUMBER: Final = 1e12
"""Limit for seconds, milliseconds and characters; a larger number is invalid."""

Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded request and its answer.

    Attributes:
        key: The key of the request, in hexadecimal digits.
        occurrence: Ordinal among the identical requests of one kernel, from 1.
        recorded_at: Time of the request, in RFC 3339 format (UTC).
        seconds: Duration of the request.
        request: The request in a readable form: binary data as hashes, earlier messages as their number and hash.
        answer: The events of the reply in the API's format, with the deltas of each block joined; may be incomplete.
        pace: For each original delta, the milliseconds since the previous one and its length in characters, alternating.
        request_id: The server's id of the request, or None.
        is_simulated: A simulator answered.
        error: The error as data, or None.
        is_interrupted: The reply was stopped.
        is_redacted: Apparent secrets were removed from the request, and the key is that of the redacted request.
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
        """The unique name in the cassette: key and occurrence."""
        return self.key, self.occurrence

    @property
    def prompt(self) -> str:
        """The text of the last message, including tool results."""
        return text_of(self.request.get("message"))

    def to_line(self) -> bytes:
        """Return the JSON line: fields in a fixed order, default values left out, text unescaped."""
        kept = {
            _name_of(field): value
            for field, (_, default) in _FIELDS.items()
            if (value := getattr(self, field)) != default
        }
        # Lone surrogates become `\u` escapes, which JSON allows.
        return json.dumps(kept, ensure_ascii=False).encode("utf-8", "backslashreplace")

    @classmethod
    def of(cls, fields: Any) -> Recording:
        """Return the recording for the JSON object of a line.

        Raises:
            ValueError: The object is not a valid recording.
        """
        if not isinstance(fields, dict):
            raise ValueError("it is not a JSON object")
        values = {field: _checked(fields, _name_of(field), *kind) for field, kind in _FIELDS.items()}
        recording = cls(**{**values, "seconds": float(values["seconds"]), "pace": tuple(values["pace"])})
        if not all(
            isinstance(event, dict) and isinstance(event.get("type"), str) for event in recording.answer
        ):
            raise ValueError("its answer is not a list of events")
        if not all(type(number) is int and abs(number) < _MAX_NUMBER for number in recording.pace):
            raise ValueError("its pace is not a list of numbers")
        if not (recording.answer or recording.error or recording.is_interrupted):
            raise ValueError("its answer is empty")
        return recording


_REQUIRED: Final = object()
_FIELDS: Final[Mapping[str, tuple[Any, Any]]] = {
    "key": (str, _REQUIRED),
    "occurrence": (int, 1),
    "recorded_at": (str, _REQUIRED),
    "seconds": (int | float, 0.0),
    "request_id": (str | None, None),
    "is_simulated": (bool, False),
    "is_interrupted": (bool, False),
    "is_redacted": (bool, False),
    "error": (dict | None, None),
    "request": (dict, _REQUIRED),
    "answer": (list, _REQUIRED),
    "pace": (list, ()),
}
"""The fields of a line in their order, with types and default values."""


def _name_of(field: str) -> str:
    return field.removeprefix("is_")


def _checked(fields: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    if name not in fields:
        if default is _REQUIRED:
            raise ValueError(f"it has no {name}")
        return default
    value = fields[name]
    if not isinstance(value, kind) or (isinstance(value, int | float) and not abs(value) < _MAX_NUMBER):
        raise ValueError(f"its {name} is not valid")
    return value


def text_of(message: Any) -> str:
    """Return the text of a message as described in a cassette; other blocks as their type."""
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
    """Return a text with apparent secrets redacted. Long texts, which a conversation repeats, are searched only once."""
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
    """Return a JSON value with apparent secrets redacted in its texts; the same object if there are none.

    Args:
        value: The value.
        redact_text: Returns a text without secrets.
        is_setting: Whether the API defines the field names. If so, also redact fields whose name indicates a secret,
            such as the `authorization_token` of an MCP server.
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
        if label.lower() in _SECRET_HEADERS or is_secret_setting(_NON_WORD.sub("_", label), value):
            return REDACTED
    if not is_setting and name in _OPAQUE:
        return value
    return cleaned(value, redact_text, is_setting=is_setting)


def cleaned_body(body: Mapping[str, Any], redact_text: Redact) -> Mapping[str, Any]:
    """Return the JSON object of a request with apparent secrets redacted; the same object if there are none."""
    fields = {
        name: cleaned(value, redact_text)
        if name in _USER_NAMED_FIELDS
        else _cleaned_field(name, value, redact_text, is_setting=True)
        for name, value in body.items()
    }
    return body if all(fields[name] is body[name] for name in fields) else fields


def has_user_secret(request: MessageRequest, clean: MessageRequest) -> bool:
    """Return whether something was redacted outside of earlier answers: in the system prompt, the tools or a user message."""
    pairs = zip(request.messages, clean.messages, strict=True)
    others = [getattr(clean, name) is not value for name, value in request if name != "messages"]
    return any(others) or any(new is not old and new.get("role") == "user" for old, new in pairs)


def clean_request(request: MessageRequest, redact_text: Redact) -> MessageRequest:
    """Return a request with apparent secrets redacted."""
    fields = dict(request)
    changes = {
        name: value for name, value in cleaned_body(fields, redact_text).items() if value is not fields[name]
    }
    return request.model_copy(update=changes) if changes else request


def describe_request(request: MessageRequest) -> dict[str, Any]:
    """Return a request as recorded in a cassette: the last message in full, earlier ones as their number and hash."""
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
    """Return a JSON value with long binary data replaced by hashes."""
    if isinstance(value, Mapping):
        return {
            name: f"sha256:{hashlib.sha256(each.encode()).hexdigest()}"
            if name == "data" and isinstance(each, str) and len(each) > _LONG_DATA
            else _without_data(each)
            for name, each in value.items()
        }
    return [_without_data(each) for each in value] if isinstance(value, list | tuple) else value


def raw_of(event: StreamEvent) -> dict[str, Any] | None:
    """Return an event as the API's JSON object; None if it carries no information."""
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


class EventCollector:
    """Collects the events of a reply, one read at a time; the deltas of one block are joined right away."""

    def __init__(self) -> None:
        self._items: list[tuple[float, int, str, str] | tuple[float, StreamEvent]] = []

    def __bool__(self) -> bool:
        return bool(self._items)

    def clear(self) -> None:
        """Remove all events."""
        self._items.clear()

    def add(self, at: float, events: Sequence[StreamEvent]) -> None:
        """Add the events of one read.

        Args:
            at: Time of the read in seconds.
            events: The events, at least one.
        """
        count = len(events)
        try:
            indices, kinds, texts, _ = zip(*events, strict=True)
        except TypeError:  # an event is not a tuple, so it is not a delta
            kinds = indices = texts = ("",)
        if kinds[0] in PIECE_FIELDS and kinds.count(kinds[0]) == indices.count(indices[0]) == count:
            self._items.append((at, indices[0], kinds[0], "".join(texts)))
            return
        for event in events:
            if type(event) is ContentBlockDelta and event.kind in PIECE_FIELDS:
                self._items.append((at, event.index, event.kind, event.text))
            else:
                self._items.append((at, event))

    def fold(self, began: float) -> tuple[list[Any], list[int]]:
        """Return the events with the deltas of each block joined, and the pace of these deltas.

        Args:
            began: Time when the request was sent, by the same clock.
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


def _close(events: list[dict[str, Any]], pieces: list[str]) -> None:
    """Join the pieces into the last event, which is their delta."""
    if pieces:
        delta = events[-1]["delta"]
        delta[PIECE_FIELDS[delta["type"]]] = "".join(pieces)
        pieces.clear()


def unfold(answer: Iterable[Mapping[str, Any]], pace: Sequence[int]) -> Iterator[tuple[float, StreamEvent]]:
    """Yield the events of a recording with the original deltas, each with the seconds since the previous event."""
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


def error_fields(error: ClaudeError) -> dict[str, Any]:
    """Return an error as data."""
    fields = {name: getattr(error, name, None) for name in _ERROR_FIELDS}
    return {"class": type(error).__name__} | {
        name: value for name, value in fields.items() if value is not None
    }


def error_of(fields: Mapping[str, Any]) -> ClaudeError:
    """Return the recorded error, as a `ClaudeError` if its class is unknown."""
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
