"""One answer, from the request to what is left of it in the cell: start, draw, close.

The awaited and the blocking door differ in how they wait and in nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ..client import ClaudeError
from ..runtime import Phase, Reply
from ._bystanders import Bystanders
from ._failure import shorten
from ._live import follow, follow_blocking
from ._options import Request
from ._screens import AreaScreen, FinalScreen, HandleScreen, Screen
from ._terminal import TerminalScreen

if TYPE_CHECKING:
    from ..runtime import Runtime


async def answer(request: Request, runtime: Runtime, shell: Any) -> Reply:
    """Ask and draw on the running loop, in a cell that holds nothing else.

    Raises:
        KeyboardInterrupt: The cell was interrupted; the partial answer stays.
        ClaudeError: The request failed; likewise.
    """
    with Bystanders() as bystanders:
        reply = _start(request, runtime, shell)
        screen = _choose_screen(shell, runtime, owns_area=True)
        is_interrupted = await _is_interrupted(follow(reply, screen))
        screen.finish(reply.snapshot())
        # One that came while the last picture was drawn counts too: it shall keep the next cell from running.
        is_interrupted |= await _is_interrupted(_let_interrupts_arrive())
    if screen.has_cleared:
        bystanders.repeat()
    return _whole(reply, shell, is_interrupted=is_interrupted)


def answer_blocking(request: Request, runtime: Runtime, shell: Any) -> Reply:
    """Ask and draw on this thread, in a cell that may hold other outputs too. Raises as `answer` does."""
    reply = _start(request, runtime, shell)
    screen = _choose_screen(shell, runtime, owns_area=False)
    is_interrupted = False
    try:
        follow_blocking(reply, screen)
    except KeyboardInterrupt:
        is_interrupted = True
    screen.finish(reply.snapshot())
    return _whole(reply, shell, is_interrupted=is_interrupted)


def _start(request: Request, runtime: Runtime, shell: Any) -> Reply:
    options = request.options
    try:
        reply = runtime.start(
            request.prompt,
            model=options.model,
            system=options.system,
            max_tokens=options.max_tokens,
            effort=options.effort,
            thinking=options.thinking,
        )
    except ClaudeError as error:
        raise shorten(error, shell) from None
    if options.out is not None:
        # Now, not at the end: the user's own tasks may read it while it grows, and no failure can lose it.
        shell.push({options.out: reply})
    return reply


def _whole(reply: Reply, shell: Any, *, is_interrupted: bool) -> Reply:
    """Return the reply, or raise why it is not whole."""
    if is_interrupted:
        message = (
            "the answer was stopped."
            if reply.phase is Phase.CANCELLED
            else "the answer had just come to its end."
        )
        raise shorten(KeyboardInterrupt(message), shell) from None
    if reply.error is not None:
        raise shorten(reply.error, shell) from None
    return reply


def _choose_screen(shell: Any, runtime: Runtime, *, owns_area: bool) -> Screen:
    values = runtime.settings().values
    publisher = shell.display_pub
    if not hasattr(shell, "kernel") and not _is_captured(publisher):
        return TerminalScreen(sys.stdout)
    choice: Callable[..., Screen] = AreaScreen if owns_area else HandleScreen
    if not values.live or _is_captured(publisher):
        choice = FinalScreen
    return choice(publisher, remote_images=values.remote_images)


def _is_captured(publisher: Any) -> bool:
    """Whether outputs are being collected (`%%capture`) instead of shown."""
    from IPython.core.displaypub import CapturingDisplayPublisher

    return isinstance(publisher, CapturingDisplayPublisher)


async def _is_interrupted(step: Awaitable[None]) -> bool:
    """Take a step, and tell whether an interrupt cut it short.

    A kernel interrupts an awaited cell by cancelling its task. For the user that is a KeyboardInterrupt, as in any other
    cell; asyncio is told that the cancellation has arrived, so that it does not spoil what the task does next.
    """
    try:
        await step
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return True
    return False


async def _let_interrupts_arrive() -> None:
    """Give the loop the few rounds that a kernel needs from SIGINT's handler to the cancelling."""
    for _ in range(5):
        await asyncio.sleep(0)
