"""`MessageStream`: a reply as it arrives, which callers iterate.

It makes the attempts. Events are held back until the first content, so that a failure before it can be
retried unseen; afterwards nothing is ever replayed into the same output, and a failure is an error that
carries the partial message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ._accumulator import MessageAccumulator
from ._deadline import Deadline
from ._errors import ClaudeError
from ._events import Ping, StreamEvent
from ._reader import EventReader
from ._responses import request_id_of

if TYPE_CHECKING:
    from ._attempts import Attempts
    from ._config import ClientConfig
    from ._messages import Message
    from ._transport import HTTPTransport

_MAX_HELD_EVENTS = 1000
"""Events held back at most. Whole blocks without a delta (search results) come in dozens."""

_CONTENT_HAD_BEGUN = "Not retried, because part of the reply had arrived already."


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseInfo:
    """The response a stream comes from. Header names are lower-case."""

    status: int
    request_id: str | None
    headers: Mapping[str, str]


class MessageStream:
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
        betas: Sequence[str] = (),
    ) -> None:
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

    @property
    def message(self) -> Message:
        """A snapshot of the reply so far."""
        return self.accumulator.message()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        ready = self._ready
        if not ready:
            await self._fill()
            if not ready:
                raise StopAsyncIteration
        return ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

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
        else:
            self._attempts.cancel()
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
            if not events:
                self._complete()
            return
        if not self._is_over:  # else another task has closed the stream under this one
            await self._fail(failure)

    async def _begin(self) -> None:
        """Make one attempt, as far as its first content."""
        self._attempted = MessageAccumulator()
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

    def _complete(self) -> None:
        self._end()
        self._attempts.succeed(self.accumulator.usage)

    def _end(self) -> None:
        self._is_over = True
        if self._deadline is not None:
            self._deadline.close()

    async def _fail(self, error: ClaudeError) -> None:
        self._end()
        reader = self._reader
        if reader is None:
            raise error  # the attempts have told of it already
        await reader.aclose()
        error.partial = reader.accumulator.message()
        if error.request_id is None and self.response is not None:
            error.request_id = self.response.request_id
        self._attempts.fail(error, _CONTENT_HAD_BEGUN)
