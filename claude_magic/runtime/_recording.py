"""What is written down of a request, a reply and an error, as data, and how that becomes events and errors again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..client import (
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

_SEALED: Final = frozenset({"signature", "data", "encrypted_content", "encrypted_index", "encrypted_stdout"})
"""Fields whose text is nobody's words, and goes back to the server as it came."""
_LONG_DATA: Final = 1_000
_NOT_RECORDED: Final = frozenset({"messages", "cache_control", "metadata", "service_tier"})

Redact = Callable[[str], str]


def cleaned(value: Any, redact: Redact) -> Any:
    """Return a JSON value without what looks like a secret in its texts; the same object where there is none."""
    if isinstance(value, str):
        clean = redact(value)
        return value if clean == value else clean
    if isinstance(value, Mapping):
        fields = {name: each if name in _SEALED else cleaned(each, redact) for name, each in value.items()}
        return value if all(fields[name] is value[name] for name in fields) else fields
    if isinstance(value, list | tuple):
        items = [cleaned(each, redact) for each in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def clean_request(request: MessageRequest, redact: Redact) -> MessageRequest:
    """Return a request without what looks like a secret."""
    fields = {"messages": request.messages, "system": request.system, "tools": request.tools}
    changes = {name: cleaned(value, redact) for name, value in fields.items()}
    changes = {name: value for name, value in changes.items() if value is not fields[name]}
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


_TEXT_FIELDS: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""The deltas that are joined in a cassette, and the field of their text."""


def fold(batches: Iterable[tuple[float, Sequence[StreamEvent]]], began: float) -> tuple[list[Any], list[int]]:
    """Return the events of a reply with the deltas of a block joined, and the pace of these deltas.

    Args:
        batches: The events of each read, and when it was.
        began: When the request was sent, by the same clock.
    """
    events: list[dict[str, Any]] = []
    pace: list[int] = []
    pieces: list[str] = []
    open_delta: tuple[int, str] | None = None
    last = began
    for at, batch in batches:
        wait = round((at - last) * 1000)
        for event in batch:
            if isinstance(event, ContentBlockDelta) and event.kind in _TEXT_FIELDS:
                if open_delta != (event.index, event.kind):
                    _close(events, pieces)
                    open_delta = event.index, event.kind
                    events.append(raw_of(event) or {})
                    pace += (wait, len(event.text))
                elif wait or not pace:
                    pace += (wait, len(event.text))
                else:
                    pace[-1] += len(event.text)
                pieces.append(event.text)
                last, wait = at, 0
            elif (raw := raw_of(event)) is not None:
                _close(events, pieces)
                open_delta = None
                events.append(raw)
    _close(events, pieces)
    return events, pace


def _close(events: list[dict[str, Any]], pieces: list[str]) -> None:
    """Put the pieces of a delta together; it is the last event."""
    if pieces:
        delta = events[-1]["delta"]
        delta[_TEXT_FIELDS[delta["type"]]] = "".join(pieces)
        pieces.clear()


def unfold(answer: Iterable[Mapping[str, Any]], pace: Sequence[int]) -> Iterator[tuple[float, StreamEvent]]:
    """Yield the events of a recording, deltas cut as they came, each with the seconds that it came after the one before."""
    steps = iter(zip(pace[::2], pace[1::2], strict=False))
    for raw in answer:
        event = decode_event(ServerSentEvent(str(raw.get("type", "")), json.dumps(raw).encode()))
        if not isinstance(event, ContentBlockDelta) or event.kind not in _TEXT_FIELDS:
            yield 0.0, event
            continue
        field, rest = _TEXT_FIELDS[event.kind], event.text
        while rest or event.text == rest:
            wait, length = next(steps, (0, len(rest)))
            piece, rest = rest[: max(0, length)], rest[max(0, length) :]
            yield wait / 1000, ContentBlockDelta(event.index, event.kind, piece, {**event.raw, field: piece})
            if not rest:
                break


def describe_error(error: ClaudeError) -> dict[str, Any]:
    """Return an error as data."""
    names = (
        "status",
        "error_type",
        "error_code",
        "should_retry",
        "retry_after",
        "was_sent",
        "give_up_reason",
    )
    fields = {name: getattr(error, name, None) for name in names}
    fields |= {"message": error.message, "is_transient": error.is_transient, "request_id": error.request_id}
    return {"class": type(error).__name__} | {
        name: value for name, value in fields.items() if value is not None
    }


def error_of(fields: Mapping[str, Any]) -> ClaudeError:
    """Return the error that was recorded; of a class that is not known here, its parent's."""
    kinds = {kind.__name__: kind for kind in _subclasses(ClaudeError)}
    kind = kinds.get(str(fields.get("class")), ClaudeError)
    error = kind(str(fields.get("message", "")))
    for name, value in fields.items():
        if name not in ("class", "message") and hasattr(error, name) and name in _ERROR_FIELDS:
            setattr(error, name, value)
    return error


_ERROR_FIELDS: Final = frozenset(
    {"status", "error_type", "error_code", "should_retry", "retry_after", "was_sent", "give_up_reason"}
    | {"is_transient", "request_id"}
)


def _subclasses(kind: type[ClaudeError]) -> Iterator[type[ClaudeError]]:
    if kind.__module__ == ClaudeError.__module__:
        yield kind
        for each in kind.__subclasses__():
            yield from _subclasses(each)
