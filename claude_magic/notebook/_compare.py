"""`--compare`: one question to several models, all at once, and what is left of it in the cell.

The answers share the conversation that they are asked in: each is sent what was said before. The conversation goes on from the
answer of the model that is named first; the others are kept beside it, on branches of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..client import ClaudeError, ConfigurationError
from ..render import render_comparison, render_notice
from ..runtime import Phase, Question, Reply
from ._asking import Asking, settings_of
from ._bystanders import Bystanders
from ._clicks import shows_widgets
from ._compared_models import check_models
from ._comparison import Comparison, ComparisonError, ComparisonSnapshot
from ._comparison_screens import (
    ColumnsScreen,
    ComparisonScreen,
    FinalColumnsScreen,
    OneAfterAnotherScreen,
    SilentScreen,
)
from ._interrupted import let_interrupts_arrive, was_interrupted
from ._live import follow, follow_blocking
from ._names import Scope
from ._screens import is_captured
from ._stop_control import remark_on_stopping, stop_control

if TYPE_CHECKING:
    from ._draft import Draft
    from ._magics import ClaudeMagics


async def compare(draft: Draft, magics: ClaudeMagics) -> Comparison:
    """Ask all models and draw their answers on the running loop, in a cell that holds nothing else.

    Raises:
        KeyboardInterrupt: The cell was interrupted; the partial answers stay.
        ComparisonError: Some of the requests failed; likewise.
        ConfigurationError: It cannot be asked. Nothing was sent.
    """
    with Bystanders(magics.shell.display_pub) as bystanders:
        comparing = Comparing(draft, magics, cell=magics.cell_keys.next_key(magics.shell))
        comparison = comparing.start()
        screen = _choose_screen(draft, magics, owns_area=True)
        async with _control_of(comparison, screen, magics):
            is_interrupted = await was_interrupted(follow(comparison, screen))
            screen.finish(comparison.snapshot())
        is_interrupted |= await was_interrupted(let_interrupts_arrive())
    if screen.has_cleared:
        bystanders.repeat()
    comparing.finish(comparison, is_interrupted=is_interrupted)
    return comparison


def compare_blocking(draft: Draft, magics: ClaudeMagics) -> Comparison:
    """Ask all models and draw their answers on this thread. Raises as `compare` does."""
    comparing = Comparing(draft, magics, cell=magics.cell_keys.next_key(magics.shell))
    comparison = comparing.start()
    screen = _choose_screen(draft, magics, owns_area=False)
    is_interrupted = False
    try:
        follow_blocking(comparison, screen)
    except KeyboardInterrupt:
        is_interrupted = True
    screen.finish(comparison.snapshot())
    comparing.finish(comparison, is_interrupted=is_interrupted)
    return comparison


def drafts_for_each(draft: Draft, magics: ClaudeMagics) -> Iterator[Draft]:
    """Yield what each of the models is asked; the draft itself where none are compared.

    Raises:
        ConfigurationError: They cannot be compared.
    """
    if not draft.options.compare:
        yield draft
        return
    _check(draft, magics)
    for name in draft.options.compare:
        yield dataclasses.replace(draft, options=dataclasses.replace(draft.options, model=name))


class Comparing:
    """One question to several models, on its way to their answers.

    Args:
        draft: What is asked.
        magics: The magics of the shell that asks.
        cell: What tells the cell from others.

    Raises:
        ConfigurationError: It cannot be asked so. Nothing was sent.
    """

    def __init__(self, draft: Draft, magics: ClaudeMagics, *, cell: str | None) -> None:
        self._drafts = {str(each.options.model): each for each in drafts_for_each(draft, magics)}
        self._draft = draft
        self._magics = magics
        self._cell = cell
        self._question = Asking(draft, magics, is_awaited=False, cell=cell).question

    def start(self) -> Comparison:
        """Send the question to all models, and bind the comparison to the variable that is named for it.

        Raises:
            ConfigurationError: One of them cannot be asked. Nothing was sent.
        """
        runtime, out = self._magics.runtime(), self._draft.options.out
        settings = {name: settings_of(draft.options) for name, draft in self._drafts.items()}
        for each in settings.values():
            runtime.plan(self._question, each)
        runtime.jobs.stop_of_cell(self._cell)  # what it draws on has gone with the cell's former outputs
        first, *others = settings
        # The first one last: until then the conversation stands still, so that all are asked in the same place.
        replies = {name: runtime.start(self._beside(), **settings[name]) for name in others}
        replies = {first: runtime.start(self._question, **settings[first]), **replies}
        comparison = Comparison(self._draft.prompt, replies, variable=out or "_", present=self._present)
        if out is not None:
            (self._draft.scope or Scope(self._magics.shell)).bind(out, comparison)
        return comparison

    def finish(self, comparison: Comparison, *, is_interrupted: bool) -> None:
        """Raise why the answers are not all whole, if they are not. Then too they are kept, in `_`.

        Raises:
            KeyboardInterrupt: They were stopped.
            ComparisonError: Some failed, or do not fit the schema.
        """
        error = _why_not_whole(comparison, is_interrupted=is_interrupted)
        if error is not None:
            self._magics.keep_value(comparison)
            raise error

    def _beside(self) -> Question:
        where = self._question.where
        beside = None if where is None else dataclasses.replace(where, is_beside=True)
        return dataclasses.replace(self._question, where=beside)

    def _present(self, snapshot: ComparisonSnapshot) -> tuple[dict[str, str], dict[str, Any]]:
        remote_images = self._magics.runtime().settings().values.remote_images
        bundle = render_comparison(snapshot.columns, remote_images=remote_images)
        return bundle.data, bundle.metadata


def _check(draft: Draft, magics: ClaudeMagics) -> None:
    if draft.beginning:
        raise ConfigurationError(
            "--compare asks several models, and continue goes on with the answer of one. Use one of them; nothing was sent."
        )
    if draft.options.insert_code:
        raise ConfigurationError(
            "--compare has several answers, and fix puts the code of one into a new cell. Use one of them; nothing was sent."
        )
    check_models(draft.options.compare, magics.runtime())


def _why_not_whole(comparison: Comparison, *, is_interrupted: bool) -> BaseException | None:
    if comparison.phase is Phase.CANCELLED:
        return KeyboardInterrupt("the answers were stopped.")
    if is_interrupted:
        return KeyboardInterrupt("the answers had just come to their end.")
    failures = {
        name: error for name, reply in comparison.items() if (error := _failure_of(reply)) is not None
    }
    if not failures:
        return None
    told = [f"{name} failed with {type(error).__name__}: {error}" for name, error in failures.items()]
    kept = [comparison.expression_for(name) for name in comparison if name not in failures]
    verb = "is" if len(kept) == 1 else "are"
    return ComparisonError(" ".join([*told, *([f"{' and '.join(kept)} {verb} whole."] if kept else [])]))


def _failure_of(reply: Reply) -> ClaudeError | None:
    """Return how a reply failed, or why it does not fit its schema."""
    if reply.error is not None:
        return reply.error
    try:
        _ = reply.parsed
    except ClaudeError as error:
        return error
    return None


def _choose_screen(draft: Draft, magics: ClaudeMagics, *, owns_area: bool) -> ComparisonScreen:
    shell, values = magics.shell, magics.runtime().settings().values
    publisher = shell.display_pub
    if draft.options.quiet:
        return SilentScreen()
    if draft.prompt.rstrip().endswith(";"):
        return SilentScreen(lambda line: _say(magics, line))
    if not hasattr(shell, "kernel") and not is_captured(publisher):
        return OneAfterAnotherScreen(sys.stdout)
    if not values.live or is_captured(publisher):
        return FinalColumnsScreen(publisher, remote_images=values.remote_images)
    if shows_widgets(shell):
        from ._growing_columns import GrowingColumns  # late: it imports ipywidgets

        remark = remark_on_stopping(shell, is_awaited=owns_area)
        return GrowingColumns(
            publisher, owns_area=owns_area, remote_images=values.remote_images, remark=remark
        )
    return ColumnsScreen(publisher, remote_images=values.remote_images)


def _control_of(
    comparison: Comparison, screen: ComparisonScreen, magics: ClaudeMagics
) -> contextlib.AbstractAsyncContextManager[None]:
    """Return the Stop button of the answers, where they are seen while they grow."""
    if screen.is_live:
        return stop_control(magics.shell, comparison.cancel)
    return contextlib.nullcontext()


def _say(magics: ClaudeMagics, line: str) -> None:
    bundle = render_notice(line)
    magics.show(bundle.data, bundle.metadata)
