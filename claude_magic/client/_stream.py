"""`MessageStream`: a reply as it arrives, which callers iterate.

It makes the attempts. Events are held back until the first content, so that a failure before it can be
retried unseen; afterwards nothing is ever replayed into the same output, and a failure is an error that
carries the partial message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from pydantic_core import to_json

from ._error_reading import error_from_event, error_from_response, unexpected_body_error
from ._errors import APIError, ClaudeError, NetworkError, StreamInterruptedError
from ._events import (
    ContentBlockDelta,
    ErrorEvent,
    MessageAccumulator,
    MessageStop,
    Ping,
    PlainDeltas,
    SplitCharacters,
    StreamEvent,
    decode_event,
    event_of,
)
from ._json import decode_json
from ._messages import BLOCK_KINDS, DELTA_KINDS, Message, kind_of
from ._retry import Deadline
from ._sse import ServerSentEvent, SSEDecoder, read_block

if TYPE_CHECKING:
    from ._attempts import Attempts
    from ._config import ClientConfig
    from ._transport import HTTPTransport, WireResponse


def events_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that tell a whole message, as JSON objects. Folding them gives the message back.

    Args:
        message: The message as it came, its content made a list of objects.
    """
    content = message.get("content")
    ending = {
        name: message.get(name)
        for name in ("stop_reason", "stop_sequence", "stop_details")
        if name in message
    }
    yield {"type": "message_start", "message": {**message, "content": [], **dict.fromkeys(ending)}}
    for index, block in enumerate(content if isinstance(content, list) else ()):
        yield from _block_events(index, block)
    yield {"type": "message_delta", "delta": ending, "usage": message.get("usage") or {}}
    yield {"type": "message_stop"}


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    start, deltas = block, []
    if (name := kind_of(block).pieces) is not None:
        kind = DELTA_KINDS[name]
        value, blank = block.get(kind.into), BLOCK_KINDS[kind.block].blank[kind.into]
        if isinstance(value, type(blank)):
            start = {**block, kind.into: blank}
            deltas.append(
                {"type": name, kind.field: value if kind.into != "input" else to_json(value).decode()}
            )
    yield {"type": "content_block_start", "index": index, "content_block": start}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


_Result = TypeVar("_Result")

_MAX_ERROR_BYTES = 256 * 1024
_ERROR_BODY_TIMEOUT = 10.0
"""Seconds spent on the body of an error: its status says the most, and a dripping body must not hide it."""


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of a request; gateways call it `x-request-id`."""
    return headers.get("request-id") or headers.get("x-request-id")


async def read_error(response: WireResponse) -> APIError:
    """Read an error response and close it. A body that breaks off or drips is taken as far as it came."""
    parts: list[bytes] = []
    received_bytes = 0
    try:
        async with asyncio.timeout(_ERROR_BODY_TIMEOUT):
            while received_bytes < _MAX_ERROR_BYTES and (chunk := await response.read_chunk()):
                parts.append(chunk)
                received_bytes += len(chunk)
    except (NetworkError, TimeoutError):
        pass
    finally:
        await response.aclose()
    return error_from_response(response.status, response.headers, response.redact(b"".join(parts)))


async def read_object(response: WireResponse) -> dict[str, Any]:
    """Read the JSON object that a successful response consists of, and close the response.

    Raises:
        APIError: It is an error envelope in spite of its status, or no JSON at all (a web page).
        StreamInterruptedError: It is JSON that was cut.
    """
    # What is raised leads to this frame, and servers quote keys.
    body = response.redact(await response.read_body())
    value = object_in(body)
    if value is not None and not _is_error(value):
        return value
    raise _explain_refusal(response, body)


def object_in(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that bytes are; None if they are none."""
    try:
        value = decode_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_error(value: Mapping[str, Any]) -> bool:
    return value.get("type") == "error" or (isinstance(value.get("error"), dict) and "content" not in value)


def _explain_refusal(response: WireResponse, body: bytes) -> ClaudeError:
    """Say what a body is that is not the object it should be."""
    request_id = request_id_of(response.headers)
    value = object_in(body)
    if value is not None:
        return error_from_event(value, request_id)
    content_type = response.headers.get("content-type", "")
    if "json" in content_type and body.lstrip().startswith(b"{"):
        return StreamInterruptedError(
            f"The reply is not complete: its JSON ends after {len(body)} bytes. Send it again.",
            request_id=request_id,
        )
    return unexpected_body_error(response.status, response.url, content_type, body[:65_536])


def parse_reply(
    response: WireResponse, value: dict[str, Any], parse: Callable[[dict[str, Any]], _Result]
) -> _Result:
    """Turn a JSON object into what was asked for.

    Raises:
        UnknownStatusError: It is another kind of object, so the server is probably another one.
    """
    try:
        return parse(value)
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        body = to_json(value)[:65_536]
    raise unexpected_body_error(response.status, response.url, response.headers.get("content-type", ""), body)


_DRAIN_TIMEOUT = 0.5
"""Seconds given to the end of the body after `message_stop`, so that the connection can be used again."""


class EventReader:
    """One response, event by event.

    Attributes:
        accumulator: The reply so far. It may be ahead of the last event that was handed out.
        is_complete: The reply is complete.
    """

    def __init__(self, response: WireResponse, config: ClientConfig, deadline: Deadline) -> None:
        self.accumulator = MessageAccumulator()
        self.is_complete = False
        self._response = response
        self._plain = PlainDeltas()
        self._characters = SplitCharacters()
        self._decoder = SSEDecoder(max_event_bytes=config.max_event_bytes)
        self._is_lenient = config.lenient_stream_end
        self._deadline = deadline
        self._whole: list[StreamEvent] = []
        self._failure: ClaudeError | None = None

    async def open(self) -> None:
        """Check that the response is a stream of events.

        A server that ignored `stream: true` and sent the whole reply as JSON is understood too.

        Raises:
            ClaudeError: It is an error response, or something that is no reply of the Messages API.
        """
        response = self._response
        if response.status != 200:
            raise await read_error(response)
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return
        if _looks_like_events(await self._deadline.bound(response.peek())):
            return
        fields = await self._deadline.bound(read_object(response))
        message = parse_reply(response, fields, Message.model_validate)
        self._whole = [event_of(raw) for raw in events_of({**fields, **message.to_param()})]

    async def read(self) -> list[StreamEvent]:
        """Return the next events, at least one; none when the reply is complete.

        Raises:
            ClaudeError: The reply broke off, or the server reported an error inside it.
        """
        if self._whole:
            events, self._whole, self.is_complete = self._whole, [], True
            for event in events:
                self.accumulator.add(event)
            return events
        while not self.is_complete:
            if self._failure is not None:
                raise self._failure
            # The bytes go from call to call: no frame above an error holds them, since servers quote keys.
            events = self._decode(await self._next_chunk())
            if events:
                return events
        await self.finish()
        return []

    async def finish(self) -> None:
        """Read what follows `message_stop`, so that the connection can serve again."""
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                while await self._response.read_chunk():
                    pass
        except (ClaudeError, TimeoutError):
            pass
        await self._response.aclose()

    async def aclose(self) -> None:
        """Close the response; its connection is used again only if the body was read to its end."""
        self._decoder.close()  # what it holds may quote the key, and an error leads to it
        for event in self._characters.flush():
            self.accumulator.add(event)
        await self._response.aclose()

    def close_soon(self) -> None:
        """Start closing, from a place that cannot wait."""
        self._response.close_soon()

    @property
    def is_closed(self) -> bool:
        """Whether the connection was given back or closed."""
        return self._response.is_closed

    async def _next_chunk(self) -> bytes:
        try:
            return await self._deadline.bound(self._response.read_chunk())
        except StreamInterruptedError:
            if not self._may_end_here():
                raise
        return b""

    def _decode(self, chunk: bytes) -> list[StreamEvent]:
        """Decode and accumulate. What precedes an error in the same bytes is still handed out first."""
        events: list[StreamEvent] = []
        add, add_delta = self.accumulator.add, self.accumulator.add_delta
        decode, held = self._plain.decode, self._characters.held
        if not chunk:
            self._end()
            events.extend(self._characters.flush())
        for event in events:
            add(event)
        try:
            for block in self._decoder.split(chunk):
                delta = decode(block)
                if delta is not None and not held:  # nearly all events
                    add_delta(delta)
                    events.append(delta)
                    continue
                for event in self._decode_any(block):
                    add(event)
                    events.append(event)
                if self.is_complete or self._failure is not None:
                    break
        except ClaudeError as error:
            self._failure = error.with_traceback(None)  # whose frames hold what was sent
        return events

    def _decode_any(self, block: bytes) -> Sequence[StreamEvent]:
        """Decode an event of any form, and take note of an end; return what to hand out for it."""
        sse = read_block(block)
        if sse is None:
            return ()
        event = self._event_of(sse)
        if isinstance(event, ErrorEvent):
            self._failure = self._error_of(event)
            return ()
        self._plain.expect(event)
        self.is_complete = isinstance(event, MessageStop)
        return self._characters.join(event)

    def _event_of(self, sse: ServerSentEvent) -> StreamEvent:
        """Decode an event. All but the content itself is redacted first: it may end up in a text of ours.

        Raises:
            StreamInterruptedError: Its data is not JSON.
        """
        event: StreamEvent | None
        try:
            event = decode_event(sse, keeps_halves=True)
        except StreamInterruptedError:
            event = None
        else:
            if type(event) is ContentBlockDelta and event.text:
                return event
        response = self._response
        clean = ServerSentEvent(response.redact_text(sse.event), response.redact(sse.data))
        return decode_event(clean, keeps_halves=True) if event is None or clean != sse else event

    def _error_of(self, event: ErrorEvent) -> ClaudeError:
        return error_from_event(event.error, request_id_of(self._response.headers))

    def _may_end_here(self) -> bool:
        return self._is_lenient and self.accumulator.has_stop_reason

    def _end(self) -> None:
        """Judge the end of the body: without `message_stop` the reply was cut, however cleanly it ended."""
        if not self._may_end_here():
            size = len(self.accumulator.text)
            raise StreamInterruptedError(
                f"The stream ended before the reply was complete (no message_stop after {size} characters).",
                request_id=request_id_of(self._response.headers),
            )
        self.is_complete = True


def _looks_like_events(chunk: bytes) -> bool:
    """Tell whether a body without the right content type is a stream of events all the same."""
    return chunk.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"event:", b"data:", b":"))


_MAX_HELD_EVENTS = 1000
"""Events held back at most. Whole blocks without a delta (search results) come in dozens."""

_CONTENT_HAD_BEGUN = "Not retried, because part of the reply had arrived already."


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseInfo:
    """The response a stream comes from. Header names are lower-case."""

    status: int
    request_id: str | None
    headers: Mapping[str, str]


class ReplyStream(Protocol):
    """The events of one reply as callers iterate them, wherever they come from; see `MessageStream`."""

    @property
    def accumulator(self) -> MessageAccumulator:
        """The reply so far; it may be some events ahead of the iteration."""

    @property
    def message(self) -> Message:
        """A snapshot of the reply so far."""
        return self.accumulator.message()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent: ...

    async def __aenter__(self) -> ReplyStream:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop; events not handed out yet are dropped."""


class StreamRecorder(Protocol):
    """Is given the events of a reply beside its caller, and how it ended."""

    def begin(self) -> None:
        """An attempt is made; what came of the one before does not count."""

    def take(self, events: Sequence[StreamEvent]) -> None:
        """Take the events of one read, before the caller has them. Must not change the list, and must return at once."""

    async def finish(self, error: ClaudeError | None, stream: ReplyStream) -> None:
        """The reply is complete, or has failed; the caller learns of it when this returns."""

    def abandon(self, stream: ReplyStream) -> None:
        """The caller does not want the rest."""


class MessageStream(ReplyStream):
    """The events of one reply, in order.

    Nothing is sent before the first event is asked for. Iterate it plainly, or inside `async with`, which
    closes the connection at once on leaving, whatever was read. One task at a time.

    Example:
        ```python
        async with client.stream_message(request) as stream:
            async for event in stream:
                ...
        message = stream.message
        ```

    Iteration raises a `ClaudeError` where the reply failed; what had arrived is its `partial`.
    """

    def __init__(
        self,
        transport: HTTPTransport,
        config: ClientConfig,
        attempts: Attempts,
        body: bytes,
        betas: Sequence[str],
        recorder: StreamRecorder | None,
    ) -> None:
        self._recorder = recorder
        self._transport = transport
        self._config = config
        self._attempts = attempts
        self._body = body
        self._betas = betas
        self._ready: deque[StreamEvent] = deque()
        self._reader: EventReader | None = None
        self._deadline: Deadline | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False
        self._attempted = MessageAccumulator()
        self.response: ResponseInfo | None = None
        """The response of the last attempt, or None before one has arrived."""

    @property
    def accumulator(self) -> MessageAccumulator:
        """The reply so far; it may be some events ahead of the iteration."""
        return self._attempted

    async def __anext__(self) -> StreamEvent:
        ready = self._ready
        if not ready:
            await self._fill()
            if not ready:
                raise StopAsyncIteration
        return ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Stop. An unfinished response loses its connection; events not handed out yet are dropped."""
        reader = self._reader
        self._ready.clear()
        was_over = self._is_over
        self._end()
        if reader is None or was_over:
            return
        if reader.is_complete:
            await reader.finish()
            self._attempts.succeed(reader.accumulator.usage)
            if self._recorder is not None:
                await self._recorder.finish(None, self)
        else:
            self._attempts.cancel()
            if self._recorder is not None:
                self._recorder.abandon(self)
            await reader.aclose()

    def __del__(self) -> None:
        # A plain `async for` left with `break` never calls aclose; its connection must not stay taken.
        # The collector may run in any thread.
        reader, loop, deadline = self._reader, self._loop, self._deadline
        if reader is None or loop is None or deadline is None or reader.is_closed:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the connection with it
            loop.call_soon_threadsafe(deadline.close)
            loop.call_soon_threadsafe(reader.close_soon)

    async def _fill(self) -> None:
        """Put the next events into `_ready`; none when the stream is over."""
        if self._is_over:
            return
        try:
            if self._reader is None:
                await self._attempts.run(self._begin)
                return
            events = await self._reader.read()
        except ClaudeError as error:
            failure = error
        except BaseException:
            await self.aclose()
            raise
        else:
            self._ready.extend(events)
            if self._recorder is not None and events:
                self._recorder.take(events)
            if not events:
                await self._complete()
            return
        if not self._is_over:  # else another task has closed the stream under this one
            await self._fail(failure)

    async def _begin(self) -> None:
        """Make one attempt, as far as its first content."""
        self._attempted = MessageAccumulator()
        if self._recorder is not None:
            self._recorder.begin()
        reader = await self._open()
        self._attempted = (
            reader.accumulator
        )  # an attempt that is cancelled before its first content may be billed, too
        held: list[StreamEvent] = []
        try:
            await reader.open()
            while events := await reader.read():
                held.extend(event for event in events if type(event) is not Ping)
                if reader.accumulator.has_content_delta or len(held) >= _MAX_HELD_EVENTS:
                    break
        except BaseException:
            await reader.aclose()
            raise
        self._reader = reader
        self._ready.extend(held)
        if self._recorder is not None:
            self._recorder.take(held)

    async def _open(self) -> EventReader:
        self._loop = asyncio.get_running_loop()
        if self._deadline is None:
            # One for all attempts: a stream that used up its whole time is not begun again.
            self._deadline = Deadline(
                self._config.stream_timeout, setting="stream_timeout", is_transient=False
            )
        response = await self._deadline.bound(
            self._transport.open("POST", self._config.messages_path, self._body, self._betas)
        )
        request_id = request_id_of(response.headers)
        self.response = ResponseInfo(status=response.status, request_id=request_id, headers=response.headers)
        self._attempts.response_started(response.status, request_id, response.headers)
        return EventReader(response, self._config, self._deadline)

    async def _complete(self) -> None:
        self._end()
        self._attempts.succeed(self.accumulator.usage)
        if self._recorder is not None:
            await self._recorder.finish(None, self)

    def _end(self) -> None:
        self._is_over = True
        if self._deadline is not None:
            self._deadline.close()

    async def _fail(self, error: ClaudeError) -> None:
        self._end()
        reader = self._reader
        if reader is not None:
            await reader.aclose()
            error.partial = reader.accumulator.message()
            if error.request_id is None and self.response is not None:
                error.request_id = self.response.request_id
        try:
            if reader is None:
                raise error  # the attempts have told of it already
            self._attempts.fail(error, _CONTENT_HAD_BEGUN)
        finally:
            if self._recorder is not None:
                await self._recorder.finish(error, self)
