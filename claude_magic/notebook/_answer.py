"""One answer, from the request to what is left of it in the cell: start, draw, close.

The awaited and the blocking door differ in how they wait and in nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..client import ClaudeError
from ..runtime import Reply
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
    is_interrupted = False
    with Bystanders() as bystanders:
        reply = _start(request, runtime, shell)
        screen = _choose_screen(shell, runtime, owns_area=True)
        try:
            await follow(reply, screen)
        except asyncio.CancelledError:
            # How a kernel interrupts an awaited cell. For the user it is a KeyboardInterrupt, as in any other cell.
            is_interrupted = True
            _forget_cancellation()
        screen.finish(reply.snapshot())
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
        raise shorten(KeyboardInterrupt("the answer was stopped."), shell) from None
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


def _forget_cancellation() -> None:
    """Tell asyncio that the cancellation has arrived, so that what the cell's task does next is not cancelled too."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
