"""One reply's life on the bridge: send the request, feed what arrives to the reply, end it whatever happens."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from ..client import ClaudeClient, ClaudeError, Message, MessageRequest, MessageStream
from ._progress import Progress

logger = logging.getLogger("claude_magic.runtime")


async def exchange(
    lending: AbstractAsyncContextManager[ClaudeClient], request: MessageRequest, progress: Progress
) -> None:
    """Stream one reply into its progress, and end that with a message, an error or as cancelled.

    Args:
        lending: Lends the client.
        request: What to send.
        progress: What the reply shows.
    """
    stream: MessageStream | None = None
    try:
        async with lending as client:
            stream = client.stream_message(request, observer=progress.note)
            async with stream:
                async for event in stream:
                    progress.feed(event)
            progress.complete(stream.message)
    except asyncio.CancelledError:
        progress.cancel(_arrived(stream))
    except ClaudeError as error:
        # Frames hold the request and its prompt, and whoever keeps the error would keep them.
        progress.fail(error.with_traceback(None), error.partial or _arrived(stream))


def end_in_any_case(progress: Progress, task: asyncio.Task[None], redact: Callable[[str], str]) -> None:
    """End a reply whose exchange could not: it was cancelled before its first step, or a fault of ours broke it off.

    Args:
        progress: What the reply shows; if it is final already, nothing happens.
        task: The exchange, which has ended.
        redact: Removes the key from text.
    """
    failure = None if task.cancelled() else task.exception()
    if failure is None:
        progress.cancel(None)
        return
    logger.error("A reply failed unexpectedly:\n%s", redact("".join(traceback.format_exception(failure))))
    text = redact(f"{type(failure).__name__}: {failure}")
    fault = ClaudeError(f"The reply failed because of a fault in claude_magic ({text}). Please report it.")
    progress.fail(fault, None)


def _arrived(stream: MessageStream | None) -> Message | None:
    """Return what came of a reply, or None if nothing did."""
    if stream is None:
        return None
    message = stream.message
    return message if message.id or message.content else None
