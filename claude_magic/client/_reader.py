"""Reads one streamed response: bytes in, typed events out, and an honest word on how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ._accumulator import MessageAccumulator
from ._deadline import Deadline
from ._error_reading import error_from_event
from ._errors import ClaudeError, StreamInterruptedError
from ._events import (
    ContentBlockDelta,
    ErrorEvent,
    MessageStop,
    SplitCharacters,
    StreamEvent,
    decode_event,
)
from ._messages import Message
from ._replay import encode_as_stream
from ._responses import parse_reply, read_error, read_object, request_id_of
from ._sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from ._config import ClientConfig
    from ._transport import WireResponse

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
        self._characters = SplitCharacters()
        self._decoder = SSEDecoder(max_event_bytes=config.max_event_bytes)
        self._is_lenient = config.lenient_stream_end
        self._deadline = deadline
        self._replay = b""
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
        self._replay = encode_as_stream({**fields, **message.to_param()})

    async def read(self) -> list[StreamEvent]:
        """Return the next events, at least one; none when the reply is complete.

        Raises:
            ClaudeError: The reply broke off, or the server reported an error inside it.
        """
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
        if self._replay:
            replay, self._replay = self._replay, b""
            return replay
        try:
            return await self._deadline.bound(self._response.read_chunk())
        except StreamInterruptedError:
            if not self._may_end_here():
                raise
        return b""

    def _decode(self, chunk: bytes) -> list[StreamEvent]:
        """Decode and accumulate. What precedes an error in the same bytes is still handed out first."""
        events: list[StreamEvent] = []
        if not chunk:
            self._end()
            events.extend(self._characters.flush())
        add = self.accumulator.add
        for event in events:
            add(event)
        try:
            for sse in self._decoder.feed(chunk):
                event = self._event_of(sse)
                if isinstance(event, ErrorEvent):
                    self._failure = self._error_of(event)
                    break
                for whole in self._characters.join(event):
                    add(whole)
                    events.append(whole)
                if isinstance(event, MessageStop):
                    self.is_complete = True
                    break
        except ClaudeError as error:
            self._failure = error.with_traceback(None)  # whose frames hold what was sent
        return events

    def _event_of(self, sse: ServerSentEvent) -> StreamEvent:
        """Decode an event. All but the content itself is redacted first: it may end up in a text of ours.

        Raises:
            StreamInterruptedError: Its data is not JSON.
        """
        event: StreamEvent | None = None
        with contextlib.suppress(StreamInterruptedError):
            event = decode_event(sse, keeps_halves=True)
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
