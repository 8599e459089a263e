"""From an answer to the steps that send it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ._errors import APIError, error_envelope
from ._exchange import JSON, Chunk, Head, Request, Steps, json_steps
from ._stream import STREAM_HEADERS, encode_event, message_events, paced


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A message that answers a request, and the headers that come with it."""

    message: JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One POST to `/v1/messages`, as a behaviour sees it."""

    request: Request
    request_id: str
    chunk_delay: float
    headers: Mapping[str, str]
    """What the API puts on every response, such as the request id."""
    answer: Callable[[], Answer]
    """Checks the request and answers it as usual; raises `APIError` where it must be refused."""


Behaviour: TypeAlias = Callable[[Exchange], Steps]
"""Decides how one request is answered."""


def deliver(exchange: Exchange, answer: Answer) -> Steps:
    """Send the answer in the form that the request asks for."""
    if exchange.request.wants_stream:
        return deliver_events(exchange, answer, message_events(answer.message))
    return json_steps(200, answer.message, {**exchange.headers, **answer.headers})


def deliver_events(exchange: Exchange, answer: Answer, events: Iterable[JSON]) -> Steps:
    """Send these events at the simulator's pace."""
    yield stream_head(exchange, answer)
    yield from paced(events, exchange.chunk_delay)


def deliver_bytes(exchange: Exchange, answer: Answer, change: Callable[[bytes], bytes]) -> Steps:
    """Send the events after a change to their bytes, still one write for each event."""
    yield stream_head(exchange, answer)
    for event in message_events(answer.message):
        yield Chunk(change(encode_event(event)))


def stream_head(
    exchange: Exchange, answer: Answer | None = None, extra: Mapping[str, str] | None = None
) -> Head:
    """The head of a stream."""
    of_answer = answer.headers if answer is not None else {}
    headers = {**STREAM_HEADERS, **exchange.headers, **of_answer, **(extra or {})}
    return Head(200, tuple(headers.items()))


def refuse(fault: APIError, request_id: str, headers: Mapping[str, str]) -> Steps:
    """Send an error response."""
    return json_steps(fault.status, error_envelope(fault, request_id), {**headers, **fault.headers})
