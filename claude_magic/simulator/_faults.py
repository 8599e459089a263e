"""Behaviours that spoil an answer: the request is checked and answered as usual, then something goes wrong.

Each takes `text`, which replaces the answer (and the check of the request) where a test wants to know exactly
what should have come.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from ._behaviours import SETTLING_TIME, build_message
from ._delivery import Answer, Behaviour, Exchange, deliver, deliver_events, stream_head
from ._errors import APIError
from ._exchange import JSON, Chunk, Gate, HangUp, Hold, Pause, Steps
from ._stream import encode_event, message_events

STATUS_OF_ERROR = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
DRIP_BYTES = 16


def answer_for(exchange: Exchange, text: str | None) -> Answer:
    """The request's usual answer, or one with this text."""
    if text is None:
        return exchange.answer()
    return Answer(message=build_message(exchange, [{"type": "text", "text": text}]))


# Changing what is said.


def change_message(change: Callable[[JSON], JSON]) -> Behaviour:
    """Answer with a changed message, streamed or not."""

    def behave(exchange: Exchange) -> Steps:
        answer = exchange.answer()
        return deliver(exchange, dataclasses.replace(answer, message=change(answer.message)))

    return behave


def change_events(
    change: Callable[[Iterable[JSON]], Iterable[JSON]], *, text: str | None = None
) -> Behaviour:
    """Stream changed events; a request that wants no stream is answered as usual."""

    def behave(exchange: Exchange) -> Steps:
        answer = answer_for(exchange, text)
        if not exchange.request.wants_stream:
            return deliver(exchange, answer)
        return deliver_events(exchange, answer, change(message_events(answer.message)))

    return behave


def change_bytes(change: Callable[[bytes], Iterable[bytes]], *, text: str | None = None) -> Behaviour:
    """Stream the events' bytes cut and changed as told; without a stream, answer as usual."""

    def behave(exchange: Exchange) -> Steps:
        answer = answer_for(exchange, text)
        if not exchange.request.wants_stream:
            yield from deliver(exchange, answer)
            return
        yield stream_head(exchange, answer)
        raw = b"".join(map(encode_event, message_events(answer.message)))
        for piece in change(raw):
            yield Chunk(piece)

    return behave


def change_steps(change: Callable[[Steps], Steps], *, text: str | None = None) -> Behaviour:
    """Change the sending itself, of a stream or of a JSON body."""

    def behave(exchange: Exchange) -> Steps:
        return change(deliver(exchange, answer_for(exchange, text)))

    return behave


# Ending it too early.


def reset_mid_stream(*, after_events: int = 4, text: str | None = None) -> Behaviour:
    """Reset the connection after some events; without a stream, in the middle of the body."""
    return _cut(after_events, how="reset", text=text)


def reset_mid_event(*, after_events: int = 4, text: str | None = None) -> Behaviour:
    """Reset the connection in the middle of the event that follows."""
    return _cut(after_events, how="reset", text=text, cuts_event=True)


def close_mid_stream(*, after_events: int = 4, text: str | None = None) -> Behaviour:
    """Close the connection after some events, without the last chunk."""
    return _cut(after_events, how="close", text=text)


def _cut(after_events: int, *, how: str, text: str | None, cuts_event: bool = False) -> Behaviour:
    def cut(steps: Steps) -> Steps:
        sent = 0
        for step in steps:
            if not isinstance(step, Chunk):
                yield step
                continue
            is_whole = sent < after_events and not _is_json(step)
            if is_whole:
                yield step
                sent += 1
                continue
            if cuts_event or _is_json(step):
                yield Chunk(step.data[: len(step.data) // 2])
            yield Pause(SETTLING_TIME)
            yield HangUp("reset" if how == "reset" else "close")
            return

    return change_steps(cut, text=text)


def _is_json(chunk: Chunk) -> bool:
    return chunk.data.startswith(b"{")


def end_without_stop(
    *, after_deltas: int | None = 3, has_stop_reason: bool = False, text: str | None = None
) -> Behaviour:
    """End the stream properly, as far as HTTP goes, but before `message_stop`.

    Args:
        after_deltas: How many deltas come before the end; None means all of them.
        has_stop_reason: All is said up to the stop reason, only `message_stop` is missing.
        text: The text of the answer.
    """

    def shorten(events: Iterable[JSON]) -> Iterator[JSON]:
        if has_stop_reason:
            yield from (event for event in events if event["type"] != "message_stop")
        else:
            yield from _up_to(events, after_deltas)

    return change_events(shorten, text=text)


def error_event(
    error_type: str = "overloaded_error",
    message: str | None = None,
    *,
    after_deltas: int = 0,
    text: str | None = None,
) -> Behaviour:
    """Put an `error` event into the stream, after which nothing follows.

    Args:
        error_type: The error's type.
        message: The error's text.
        after_deltas: How many deltas come before it; 0 makes it the first event.
        text: The text of the answer.
    """
    error: JSON = {"type": error_type, "message": message or error_type.removesuffix("_error").capitalize()}

    def fail(events: Iterable[JSON]) -> Iterator[JSON]:
        if after_deltas > 0:
            yield from _up_to(events, after_deltas)
        yield {"type": "error", "error": error}

    def behave(exchange: Exchange) -> Steps:
        if exchange.request.wants_stream:
            return change_events(fail, text=text)(exchange)
        raise APIError(STATUS_OF_ERROR.get(error_type, 500), error["message"], error_type=error_type)

    return behave


def _up_to(events: Iterable[JSON], deltas: int | None) -> Iterator[JSON]:
    """The events up to so many deltas, at most up to the last block's end."""
    seen = 0
    for event in events:
        if event["type"] == "message_delta":
            return
        yield event
        seen += event["type"] == "content_block_delta"
        if deltas is not None and seen >= deltas:
            return


# Taking too long.


def slow_headers(seconds: float, *, text: str | None = None) -> Behaviour:
    """Answer as usual, but only after some seconds."""

    def behave(exchange: Exchange) -> Steps:
        yield Pause(seconds)
        yield from deliver(exchange, answer_for(exchange, text))

    return behave


def slow_body(seconds: float, *, after_deltas: int = 1, text: str | None = None) -> Behaviour:
    """Fall silent for some seconds in the middle of the body."""
    return _interrupt(Pause(seconds), after_deltas, text)


def hold(gate: Gate, *, after_deltas: int = 1, text: str | None = None) -> Behaviour:
    """Stop after some deltas until the gate is opened; without a stream, before the body."""
    return _interrupt(Hold(gate), after_deltas, text)


def _interrupt(interruption: Pause | Hold, after_deltas: int, text: str | None) -> Behaviour:
    def interrupt(steps: Steps) -> Steps:
        deltas = 0
        is_pending = True
        for step in steps:
            is_due = is_pending and deltas >= after_deltas
            if isinstance(step, Chunk) and is_pending and (is_due or _is_json(step)):
                yield interruption
                is_pending = False
            yield step
            deltas += isinstance(step, Chunk) and step.data.startswith(b"event: content_block_delta")

    return change_steps(interrupt, text=text)


def drip(delay: float = 0.01, *, chunk_bytes: int = DRIP_BYTES, text: str | None = None) -> Behaviour:
    """Send the body a few bytes at a time, with a pause after each."""

    def trickle(steps: Steps) -> Steps:
        for step in steps:
            if not isinstance(step, Chunk):
                yield step
                continue
            for start in range(0, len(step.data), chunk_bytes):
                yield Chunk(step.data[start : start + chunk_bytes])
                yield Pause(delay)

    return change_steps(trickle, text=text)
