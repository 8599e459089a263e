"""From a parsed cell to its answer: the awaited door and the blocking one. Imported when the first cell asks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..runtime import Reply
from ._answer import answer, answer_blocking
from ._asking import Asking, settings_of
from ._background import answer_in_background, can_answer_in_background, in_foreground
from ._draft import Draft, accompany, make_draft, with_system_text
from ._dry_run import show_dry_run
from ._failure import shortened

if TYPE_CHECKING:
    from ._comparison import Comparison
    from ._magics import ClaudeMagics
    from ._options import Request


async def ask(magics: ClaudeMagics, request: Request) -> Reply | Comparison | None:
    """Ask and show on the running event loop; None where nothing was to be sent."""
    magics.leave_former_view()
    with shortened(magics.shell), _leaving(request):
        if request.options.interact and not request.options.dry_run:
            from ._interact import interact

            return await interact(magics, request)
        draft = _draft(request, magics)
        if draft.options.dry_run:
            _show(draft, magics)
            return None
        if draft.options.compare:
            from ._compare import compare  # late: most cells ask one model

            return await compare(draft, magics)
        if can_answer_in_background(draft, magics):
            return answer_in_background(draft, magics, owns_area=True)
        return await answer(in_foreground(draft), magics)


def ask_blocking(magics: ClaudeMagics, request: Request) -> Reply | Comparison | None:
    """Ask and show on this thread; None where nothing was to be sent."""
    magics.leave_former_view()
    with shortened(magics.shell), _leaving(request):
        if request.options.interact and not request.options.dry_run:
            from ._interact import interact_blocking

            return interact_blocking(magics, request)
        draft = _draft(request, magics)
        if draft.options.dry_run:
            _show(draft, magics)
            return None
        if draft.options.compare:
            from ._compare import compare_blocking

            return compare_blocking(draft, magics)
        if can_answer_in_background(draft, magics):
            return answer_in_background(draft, magics, owns_area=False)
        return answer_blocking(in_foreground(draft), magics)


@contextlib.contextmanager
def _leaving(request: Request) -> Iterator[None]:
    """Let go of the user's frames at the end: what the controls of `--interact` keep would keep them, too."""
    try:
        yield
    finally:
        if request.scope is not None:
            request.scope.leave()


def _draft(request: Request, magics: ClaudeMagics) -> Draft:
    call = request.call
    if call is None:
        return make_draft(request, magics)
    request = dataclasses.replace(request, options=with_system_text(request.options))
    draft = call.command.load()(magics, request)
    return accompany(dataclasses.replace(draft, scope=request.scope), magics)


def _show(draft: Draft, magics: ClaudeMagics) -> None:
    """Show what a draft would send."""
    from ._compare import drafts_for_each

    cell = magics.cell_keys.peek(magics.shell)
    for each in drafts_for_each(draft, magics):
        asking = Asking(each, magics, is_awaited=False, cell=cell)
        show_dry_run(magics, each, magics.runtime().plan(asking.question, settings_of(each.options)))
