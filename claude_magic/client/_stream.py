"""Streamed replies, from bytes to typed events: `SSEDecoder`, `EventReader` for one response, `MessageStream` for one reply.

The SSE decoder follows the WHATWG rules for interpreting an event stream (HTML standard, section 9.2.6), on bytes: lines end at
CR LF, LF or CR only. Decoding to text first would corrupt data, because text also counts U+2028 and others as line ends. It takes
linear time, however the stream is cut into chunks: an incomplete event is kept as a list of chunks, which are joined when its end
arrives.

The stream also makes the attempts. It holds events back until the first content, so that an earlier failure can be
retried invisibly. After that nothing is replayed into the same output, and a failure raises an error with the partial
message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from ._attempts import Attempts
from ._config import ClientConfig
from ._errors import ClaudeError, StreamInterruptedError
from ._events import (
    ContentBlockDelta,
    ErrorEvent,
    MessageAccumulator,
    MessageStop,
    Ping,
    PlainDeltas,
    ServerSentEvent,
    SplitCharacters,
    StreamEvent,
    decode_event,
    event_of,
)
from ._messages import Message, events_of
from ._redaction import KeyInDeltas, text_of, with_text
from ._responses import error_from_event, parse_reply, read_error, read_object, request_id_of
from ._retry import Deadline
from ._transport import HTTPTransport, WireResponse

DEFAULT_MAX_EVENT_BYTES = 16 * 1024 * 1024

_EVENTS_IN_MOST = 16
"""Largest stream, decompressed, in units of `max_event_bytes` or its default if that is larger; 256 MB by default, which is ten
times the stream of the longest possible answer. A few compressed bytes can become gigabytes."""

_BOM = b"\xef\xbb\xbf"
_LF = ord("\n")
_BLANK_LINE = b"\n\n"
_EVENT = b"event: "
_FIELDS = (b"event:", b"data:", b"id:", b"retry:", b":")
_MOST_PEEKED = 1024
"""Maximum number of bytes, nearly all of them white space, after which a body without a known field is no stream."""


class SSEDecoder:
    """A decoder that splits a stream of bytes into events.

    Ids and reconnection times are ignored: a reply cannot be resumed.

    Args:
        max_event_bytes: Largest event in bytes, including field names and comments.
    """

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._is_at_start = True
        self._is_after_cr = False
        self._pieces: list[bytes] = []
        self._pending_bytes = 0
        self._failure: StreamInterruptedError | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Consume the next bytes and return the events they complete, in order.

        A blank line completes an event; an event without one is never returned.

        Raises:
            StreamInterruptedError: An event is larger than `max_event_bytes`. Events that precede it in the same bytes
                are returned first, and the next call raises. The decoder cannot be used afterwards.
        """
        return [event for block in self.split(data) if (event := read_block(block)) is not None]

    def split(self, data: bytes) -> list[bytes]:
        """Consume the next bytes like `feed`, but return each event's raw lines, separated by LF, for `read_block`.

        Raises:
            StreamInterruptedError: See `feed`.
        """
        if self._failure is not None:
            raise self._failure
        if b"\r" in data or self._is_after_cr:
            data = self._with_line_feeds(data)
        if not data:
            return []
        pieces = self._pieces
        if pieces:
            is_end = _BLANK_LINE in data or (data[0] == _LF and pieces[-1][-1] == _LF)
            pieces.append(data)
            self._pending_bytes += len(data)
            if not is_end and self._pending_bytes <= self._max_event_bytes:
                return []
            data = b"".join(pieces)
        blocks = data.split(_BLANK_LINE)
        rest = blocks.pop()
        if blocks and self._is_at_start:
            blocks[0] = blocks[0].removeprefix(_BOM)
            self._is_at_start = False
        self._pieces = [rest] if rest else []
        self._pending_bytes = len(rest)
        return blocks if len(data) <= self._max_event_bytes else self._before_oversized([*blocks, rest])

    def close(self) -> None:
        """Mark the end of the stream. An event without a terminating blank line is dropped, as the standard requires."""
        self._pieces = []
        self._pending_bytes = 0

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Turn CR LF and CR into LF. A CR ends its line at once; an LF at the start of the next chunk belongs to it."""
        if not data:
            return data
        if self._is_after_cr:
            data = data.removeprefix(b"\n")
        self._is_after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _before_oversized(self, blocks: list[bytes]) -> list[bytes]:
        """Return the events before the first one that is too large, or raise if there are none. The last block is incomplete."""
        sizes = map(len, blocks)
        large = next((number for number, size in enumerate(sizes) if size > self._max_event_bytes), None)
        if large is None:
            return blocks[:-1]
        self.close()
        self._failure = StreamInterruptedError(
            f"The server sent an event of more than {self._max_event_bytes:,} bytes, the most that is read into "
            "memory. If such an event is expected, raise max_event_bytes.",
            is_transient=False,
        )
        if not any(map(read_block, blocks[:large])):
            raise self._failure
        return blocks[:large]


def read_block(block: bytes) -> ServerSentEvent | None:
    """Parse the lines of one event as the standard requires; None if it has no data.

    Args:
        block: The lines, separated by LF.
    """
    line, separator, data = block.partition(b"\ndata: ")
    if separator and line.startswith(_EVENT) and _LF not in line and _LF not in data:  # the usual form
        return ServerSentEvent(line.removeprefix(_EVENT).decode("utf-8", "replace"), data)
    name = b""
    values: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            values.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return ServerSentEvent(name.decode("utf-8", "replace"), b"\n".join(values)) if values else None


_PLAIN_FIELDS = 2
"""Number of fields of a delta that has only its type and its text."""

_DRAIN_TIMEOUT = 0.5
"""Seconds to read the rest of the body after `message_stop`, so that the connection can be reused."""


class EventReader:
    """A reader of the events in one response.

    Attributes:
        accumulator: The reply so far. It may be ahead of the last event that was returned.
        is_complete: The reply is complete.
        response: The response.
    """

    def __init__(self, response: WireResponse, config: ClientConfig, deadline: Deadline) -> None:
        self.accumulator = MessageAccumulator()
        self.is_complete = False
        self.response = response
        self._plain = PlainDeltas()
        self._characters = SplitCharacters()
        self._key = KeyInDeltas(response.spans_of_key)
        self._decoder = SSEDecoder(max_event_bytes=config.max_event_bytes)
        self._is_lenient = config.lenient_stream_end
        self._deadline = deadline
        self._most = self._left = _EVENTS_IN_MOST * max(config.max_event_bytes, DEFAULT_MAX_EVENT_BYTES)
        self._whole: list[StreamEvent] = []
        self._failure: ClaudeError | None = None

    async def open(self) -> None:
        """Check that the response is a stream of events.

        A whole reply as JSON, from a server that ignores `stream: true`, is accepted too.

        Raises:
            ClaudeError: The response is an error, or not a reply of the Messages API.
        """
        response = self.response
        if response.status != 200:
            raise await read_error(response)
        if await self._deadline.bound(_is_stream(response)):
            return
        fields = await self._deadline.bound(read_object(response))
        message = parse_reply(response, fields, Message.model_validate)
        self._whole = [event_of(raw) for raw in events_of({**fields, **message.to_param()})]

    async def read(self) -> list[StreamEvent]:
        """Return the next events, at least one; an empty list when the reply is complete.

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
            # The bytes are not kept in a variable: servers quote keys, and an error's traceback refers to its frames.
            events = self._decode(await self._next_chunk())
            if events:
                return events
        await self.finish()
        return []

    async def finish(self) -> None:
        """Read the rest of the body after `message_stop`, so that the connection can be reused."""
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                while await self.response.read_chunk():
                    pass
        except (ClaudeError, TimeoutError):
            pass
        await self.response.aclose()

    async def aclose(self) -> None:
        """Close the response. Its connection is reused only if the body was read to its end."""
        self._decoder.close()  # its pending bytes may quote the key, and an error's traceback refers to it
        for event in self._key.redact(list(self._characters.flush())):
            self.accumulator.add(event)
        await self.response.aclose()

    async def _next_chunk(self) -> bytes:
        try:
            chunk = await self._deadline.bound(self.response.read_chunk())
        except StreamInterruptedError:
            if not self._may_end_here():
                raise
            return b""
        self._left -= len(chunk)
        if self._left < 0:
            raise StreamInterruptedError(
                f"The server sent a reply of more than {self._most:,} bytes ({_EVENTS_IN_MOST} times max_event_bytes), the most "
                "that is read into memory. If such a reply is expected, raise max_event_bytes.",
                is_transient=False,
            )
        return chunk

    def _decode(self, chunk: bytes) -> list[StreamEvent]:
        """Decode and accumulate the events in a chunk. Events before an error in the same chunk are still returned."""
        events: list[StreamEvent] = []
        decode, held = self._plain.decode, self._characters.held
        are_alike = bool(chunk)
        if not chunk:
            self._end()
            events.extend(self._characters.flush())
        try:
            for block in self._decoder.split(chunk):
                delta = decode(block)
                if delta is not None and not held:  # nearly all events
                    events.append(delta)
                    continue
                are_alike = False
                events.extend(self._decode_any(block))
                if self.is_complete or self._failure is not None:
                    break
        except ClaudeError as error:
            self._failure = error.with_traceback(None)  # the frames of its traceback hold the server's bytes
        if are_alike and events:
            # All are deltas. A cast would be called for each read.
            texts = [event.text for event in events]  # type: ignore[union-attr]
            if not self._key.is_in(events[0][:2], texts):  # type: ignore[index]
                self.accumulator.add_deltas(events, texts)  # type: ignore[arg-type]
                return events
        events = self._key.redact(events)
        for event in events:
            self.accumulator.add(event)
        return events

    def _decode_any(self, block: bytes) -> Sequence[StreamEvent]:
        """Decode an event of any form, and return the events to pass on. Record an error or the end of the reply."""
        sse = read_block(block)
        if sse is None:
            return ()
        event = self._event_of(sse)
        if isinstance(event, ErrorEvent):
            self._failure = error_from_event(event.error, request_id_of(self.response.headers))
            return ()
        self._plain.expect(event)
        self.is_complete = isinstance(event, MessageStop)
        return self._characters.join(event)

    def _event_of(self, sse: ServerSentEvent) -> StreamEvent:
        """Decode an event, with the key redacted in everything but the text of a block, which `KeyInDeltas` redacts.

        Raises:
            StreamInterruptedError: The event's data is not JSON.
        """
        event: StreamEvent | None
        try:
            event = decode_event(sse, keeps_halves=True)
        except StreamInterruptedError:
            event = None
        if type(event) is ContentBlockDelta and event.text and len(event.raw) <= _PLAIN_FIELDS:
            return event
        response = self.response
        clean = ServerSentEvent(response.redact_text(sse.event), response.redact(sse.data))
        if event is not None and clean == sse:
            return event
        redacted = decode_event(clean, keeps_halves=True)
        text = "" if event is None else text_of(event)
        return (with_text(redacted, text) or redacted) if text else redacted

    def _may_end_here(self) -> bool:
        return self._is_lenient and self.accumulator.has_stop_reason

    def _end(self) -> None:
        """Handle the end of the body. Without `message_stop` the reply is incomplete, even if the body ended cleanly."""
        if not self._may_end_here():
            size = len(self.accumulator.text)
            raise StreamInterruptedError(
                f"The stream ended before the reply was complete (no message_stop after {size} characters).",
                request_id=request_id_of(self.response.headers),
            )
        self.is_complete = True


async def read_message(config: ClientConfig, response: WireResponse, deadline: Deadline) -> Message:
    """Read the whole reply in a response, and close it. A server that always streams sends events, others JSON.

    Raises:
        ClaudeError: The response is not a reply of the Messages API, or not complete.
    """
    reader = EventReader(response, config, deadline)
    try:
        if not await deadline.bound(_is_stream(response)):
            return parse_reply(response, await deadline.bound(read_object(response)), Message.model_validate)
        while await reader.read():
            pass
    finally:
        await reader.aclose()
    return reader.accumulator.message()


async def _is_stream(response: WireResponse) -> bool:
    """Return whether a body looks like a stream of events, without consuming it.

    The content type decides only if the body begins with neither a field of an event nor JSON. Reads until this is
    certain: the first piece may be a single byte.
    """
    is_labelled = response.headers.get("content-type", "").lower().startswith("text/event-stream")
    start = text = b""
    while chunk := await response.read_chunk():
        start += chunk
        text = start.removeprefix(_BOM).lstrip()
        is_certain = text.startswith(_FIELDS) or not (
            _BOM.startswith(start) or any(field.startswith(text) for field in _FIELDS)
        )
        if is_certain or len(start) > _MOST_PEEKED:
            break
    response.unread(start)
    return text.startswith(_FIELDS) or (is_labelled and not text.startswith(b"{"))


_MAX_HELD_EVENTS = 1000
"""Maximum number of events held back. Whole blocks without deltas (search results) arrive by the dozen."""

_CONTENT_STARTED = "Not retried, because part of the reply had arrived already."


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseInfo:
    """The response of a stream. Header names are lower-case."""

    status: int
    request_id: str | None
    headers: Mapping[str, str]


class ReplyStream(Protocol):
    """An async iterator over the events of one reply, from any source; see `MessageStream`."""

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
        """Stop. Events that were not yet returned are dropped."""


class StreamRecorder(Protocol):
    """A recorder that receives the same events as the caller of a stream, and the outcome."""

    def begin(self) -> None:
        """Called when an attempt starts; discard the events of the previous one."""

    def take(self, events: Sequence[StreamEvent]) -> None:
        """Called with the events of one read, before the caller gets them. Must not change the list, and must not block."""

    async def finish(self, error: ClaudeError | None, stream: ReplyStream) -> None:
        """Called when the reply is complete or has failed, before the caller is notified."""

    def abandon(self, stream: ReplyStream) -> None:
        """Called when the caller closes the stream before its end."""


class MessageStream(ReplyStream):
    """An async iterator over the events of one reply, in order.

    Nothing is sent until the first event is requested. Iterate it directly, or inside `async with`, which closes the
    connection on exit even if the reply was not read to its end. Only one task at a time may use it.

    Example:
        ```python
        async with client.stream_message(request) as stream:
            async for event in stream:
                ...
        message = stream.message
        ```

    Iteration raises a `ClaudeError` if the reply fails; its `partial` is the message so far.
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
        """The response of the last attempt; None until one has arrived."""

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
        """Stop. The connection of an incomplete response is closed; events that were not yet returned are dropped."""
        reader = self._reader
        self._ready.clear()
        was_over = self._is_over
        self._end()
        if reader is None or was_over:
            return
        if reader.is_complete:
            await reader.finish()
            await self._complete()
        else:
            self._attempts.cancel()
            if self._recorder is not None:
                self._recorder.abandon(self)
            await reader.aclose()

    def __del__(self) -> None:
        # A plain `async for` that ends with `break` does not call aclose, but the connection must be released.
        # The garbage collector may run in any thread.
        reader, loop, deadline = self._reader, self._loop, self._deadline
        if reader is None or loop is None or deadline is None or reader.response.is_closed:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and so is the connection
            loop.call_soon_threadsafe(deadline.close)
            loop.call_soon_threadsafe(reader.response.close_soon)

    async def _fill(self) -> None:
        """Append the next events to `_ready`; none when the stream is over."""
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
            if not events:
                await self._complete()
            elif self._recorder is not None:
                self._recorder.take(events)
            return
        if not self._is_over:  # otherwise another task has closed the stream
            await self._fail(failure)

    async def _begin(self) -> None:
        """Make one attempt, up to its first content."""
        self._attempted = MessageAccumulator()
        if self._recorder is not None:
            self._recorder.begin()
        reader = await self._open()
        # Set before the first content, because a cancelled attempt may be billed, too.
        self._attempted = reader.accumulator
        held: list[StreamEvent] = []
        try:
            await reader.open()
            while events := await reader.read():
                held.extend(event for event in events if type(event) is not Ping)
                if reader.accumulator.has_content or len(held) >= _MAX_HELD_EVENTS:
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
            # One deadline for all attempts: a stream that has used up its time is not restarted.
            self._deadline = Deadline(
                self._config.stream_timeout, setting="stream_timeout", is_transient=False
            )
        response = await self._deadline.bound(
            self._transport.open("POST", self._config.messages_path, self._body, self._betas), is_sending=True
        )
        headers = response.headers
        self.response = ResponseInfo(
            status=response.status, request_id=request_id_of(headers), headers=headers
        )
        self._attempts.response_started(response)
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
                raise error  # already reported by the attempts
            self._attempts.fail(error, _CONTENT_STARTED)
        finally:
            if self._recorder is not None:
                await self._recorder.finish(error, self)
