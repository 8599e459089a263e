"""One answer, from the request to what is left of it in the cell: start, draw, close.

The awaited and the blocking door differ in how they wait and in nothing else.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..render import render_notice
from ..runtime import Phase, Reply
from ._asking import Asking
from ._bystanders import Bystanders
from ._interrupted import let_interrupts_arrive, was_interrupted
from ._live import follow, follow_blocking
from ._screens import AreaScreen, FinalScreen, HandleScreen, QuietScreen, Screen, is_captured
from ._stop_control import remark_on_stopping, stop_control
from ._terminal import TerminalScreen

if TYPE_CHECKING:
    from ._draft import Draft
    from ._magics import ClaudeMagics


async def answer(draft: Draft, magics: ClaudeMagics) -> Reply:
    """Ask and draw on the running loop, in a cell that holds nothing else.

    Raises:
        KeyboardInterrupt: The cell was interrupted; the partial answer stays.
        ClaudeError: The request failed; likewise.
    """
    with Bystanders(magics.shell.display_pub) as bystanders:
        asking = Asking(draft, magics, is_awaited=True, cell=_cell(magics))
        reply = asking.start()
        screen = _choose_screen(draft, magics, owns_area=True)
        async with _control_of(reply, screen, magics):
            is_interrupted = await was_interrupted(follow(reply, screen))
            screen.finish(reply.snapshot())
        # One that came while the last picture was drawn counts too: it shall keep the next cell from running.
        is_interrupted |= await was_interrupted(let_interrupts_arrive())
    if screen.has_cleared:
        bystanders.repeat()
    check_whole(reply, is_interrupted=is_interrupted)
    asking.finish(reply)
    return reply


def answer_blocking(draft: Draft, magics: ClaudeMagics) -> Reply:
    """Ask and draw on this thread, in a cell that may hold other outputs too. Raises as `answer` does."""
    asking = Asking(draft, magics, is_awaited=False, cell=_cell(magics))
    reply = asking.start()
    screen = _choose_screen(draft, magics, owns_area=False)
    is_interrupted = False
    try:
        follow_blocking(reply, screen)
    except KeyboardInterrupt:
        is_interrupted = True
    screen.finish(reply.snapshot())
    check_whole(reply, is_interrupted=is_interrupted)
    asking.finish(reply)
    return reply


def check_whole(reply: Reply, *, is_interrupted: bool) -> None:
    """Raise why a reply is not whole, if it is not."""
    if (
        reply.phase is Phase.CANCELLED
    ):  # also by its Stop button, or by another thread: the next cell counts on the whole
        raise KeyboardInterrupt("the answer was stopped.")
    if is_interrupted:
        raise KeyboardInterrupt("the answer had just come to its end.")
    if reply.error is not None:
        raise reply.error


def _choose_screen(draft: Draft, magics: ClaudeMagics, *, owns_area: bool) -> Screen:
    shell, runtime = magics.shell, magics.runtime()
    values = runtime.settings().values
    publisher = shell.display_pub
    if draft.options.quiet:
        return QuietScreen()
    if draft.prompt.rstrip().endswith(";"):
        return QuietScreen(lambda line: _say(magics, line))
    if not hasattr(shell, "kernel") and not is_captured(publisher):
        return TerminalScreen(sys.stdout)
    if not values.live or is_captured(publisher):
        return FinalScreen(publisher, remote_images=values.remote_images)
    screen: Callable[..., Screen] = AreaScreen if owns_area else HandleScreen
    remark = remark_on_stopping(shell, is_awaited=owns_area)
    return screen(publisher, remote_images=values.remote_images, remark=remark)


def _control_of(
    reply: Reply, screen: Screen, magics: ClaudeMagics
) -> contextlib.AbstractAsyncContextManager[None]:
    """Return the Stop button of an answer, where it is seen while it grows."""
    return (
        stop_control(magics.shell, reply.cancel)
        if isinstance(screen, AreaScreen)
        else contextlib.nullcontext()
    )


def _cell(magics: ClaudeMagics) -> str | None:
    return magics.cell_keys.next_key(magics.shell)


def _say(magics: ClaudeMagics, line: str) -> None:
    bundle = render_notice(line)
    magics.show(bundle.data, bundle.metadata)
