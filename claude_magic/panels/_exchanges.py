"""The conversation that a panel shows: exchange after exchange, the last of which may be under way."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ipywidgets import VBox

from ..client import ConfigurationError
from ..live import painter
from ..render import Exchange
from ..runtime import Reply
from ._answer_actions import AnswerActions, Surroundings
from ._approval_bar import ApprovalBar
from ._asked import Asked
from ._exchange_view import ExchangeView


class Exchanges(VBox):
    """Shows them from top to bottom, and draws the one that is under way.

    Args:
        surroundings: What the actions under an answer act on.
        on_change: Called when an answer begins, when it has grown, and when it has ended; on any thread.
        on_end: Called when an answer has ended, after that.
        remote_images: Load images from other hosts.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        on_change: Callable[[], None],
        on_end: Callable[[], None],
        remote_images: bool,
    ) -> None:
        self._surroundings = surroundings
        self._on_change = on_change
        self._on_end = on_end
        self._remote_images = remote_images
        self._lock = threading.Lock()
        super().__init__(_dom_classes=["claude-magic-exchanges"])

    @property
    def views(self) -> tuple[ExchangeView, ...]:
        """What is shown, oldest first."""
        return tuple(self.children)

    @property
    def replies(self) -> tuple[Reply, ...]:
        """The answers, oldest first."""
        return tuple(view.reply for view in self.views)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is on its way."""
        return not all(reply.done() for reply in self.replies)

    def ended(self) -> dict[Reply, Exchange]:
        """Return those that have ended, oldest first."""
        return {view.reply: view.snapshot() for view in self.views if view.reply.done()}

    def add(
        self, asked: Asked, start: Callable[[ApprovalBar], Reply], *, instead_of: Reply | None = None
    ) -> Reply:
        """Start a reply, and show it at the end, or in the place of another one and of all that followed it.

        Args:
            asked: The question.
            start: Asks it, and is given where a person can be asked about calls.
            instead_of: The other one.

        Raises:
            ConfigurationError: An answer is on its way.
        """
        with self._lock:
            if self.is_busy:
                raise ConfigurationError(
                    "An answer is on its way in this panel. Stop it, or wait for its end."
                )
            index = self.replies.index(instead_of) if instead_of in self.replies else len(self.replies)
            kept, dropped = self.views[:index], self.views[index:]
            approval = ApprovalBar(self._surroundings.browser.announce)
            reply = start(approval)
            actions = AnswerActions(reply, self._surroundings)
            view = ExchangeView(asked, reply, approval, actions, remote_images=self._remote_images)
            self.children = (*kept, view)
        self._on_change()
        painter.follow(reply, lambda: self._draw(view))
        for each in dropped:
            each.take_away()
        return reply

    def stop(self) -> None:
        """Stop the answer that is on its way; what has come of it stays."""
        for reply in self.replies:
            reply.cancel()

    def take_away(self) -> None:
        """Stop, and show nothing any more."""
        with self._lock:
            self.stop()
            views, self.children = self.views, ()
        for view in views:
            view.take_away()

    def close(self) -> None:
        """Stop, and take all of it away for good; what has come of it can still be read here."""
        self.stop()
        super().close()  # first: no page may be told of a conversation whose parts are gone
        for view in self.views:
            view.take_away()

    def _draw(self, view: ExchangeView) -> float:
        try:
            interval = view.draw()
        except Exception as error:
            self._surroundings.faults.tell(error)
            view.reply.when_done(self._on_change)
            raise  # to the painter, which gives up on the picture
        self._on_change()
        if view.reply.done():
            self._on_end()
        return interval
