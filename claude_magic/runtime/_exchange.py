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
    lending: AbstractAsyncContextManager[ClaudeClient],
    request: MessageRequest,
    progress: Progress,
    redact: Callable[[str], str],
) -> None:
    """Stream one reply into its progress. Ends it with a message, an error or as cancelled; raises nothing.

    Args:
        lending: Lends the client.
        request: What to send.
        progress: What the reply shows.
        redact: Removes the key from text.
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
    except Exception as failure:  # a bug, but whoever waits for the reply must learn of it
        logger.error("A reply failed unexpectedly:\n%s", redact(traceback.format_exc()))
        text = redact(f"{type(failure).__name__}: {failure}")
        fault = ClaudeError(
            f"The reply failed because of a fault in claude_magic ({text}). Please report it."
        )
        progress.fail(fault, _arrived(stream))


def _arrived(stream: MessageStream | None) -> Message | None:
    """Return what came of a reply, or None if nothing did."""
    if stream is None:
        return None
    message = stream.message
    return message if message.id or message.content else None
