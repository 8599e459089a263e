"""`Comparison`: the answers of several models to one question, each a reply of its own."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..client import ClaudeError
from ..render import Column, render_comparison
from ..runtime import Phase, Reply, undated

Presenter = Callable[["ComparisonSnapshot"], tuple[Mapping[str, Any], Mapping[str, Any]]]


class ComparisonError(ClaudeError):
    """One or more of several answers failed, or do not fit their schema. The others are whole."""


@dataclass(frozen=True, slots=True)
class ComparisonSnapshot:
    """All answers at one moment, in the order in which their models were named."""

    columns: tuple[Column, ...]

    @property
    def phase(self) -> Phase:
        """Final when all are; then the worst of theirs."""
        return _phase_of(column.answer.phase for column in self.columns)

    @property
    def version(self) -> int:
        """Grows with each change of any of them."""
        return sum(column.answer.version for column in self.columns)


class Comparison(Mapping[str, Reply]):
    """The answers of several models to one question.

    A mapping from the models, as they were named, to the replies, in that order: `answers["sonnet"]`. The full name of the model
    that answered is understood too, and so is a number, counted from 0. Each reply can be used while it streams.

    Attributes:
        prompt: What was asked.
        replies: The answers, in the order in which the models were named.
        is_on_screen: Set by whoever has drawn the answers. The next time IPython would show them as the value of a cell,
            it shows nothing and clears this.
    """

    def __init__(
        self, prompt: str, replies: Mapping[str, Reply], *, variable: str, present: Presenter
    ) -> None:
        """Take the replies together.

        Args:
            prompt: What was asked.
            replies: The answers, by the models as they were named.
            variable: The name under which a user finds the comparison.
            present: Makes a mimebundle of them.
        """
        self.prompt = prompt
        self.replies = tuple(replies.values())
        self.is_on_screen = False
        self._by_name = dict(replies)
        self._variable = variable
        self._present = present

    # The answers...

    def __getitem__(self, key: str | int) -> Reply:
        if isinstance(key, int):
            return self.replies[key]
        found = self._by_name.get(key)
        if found is None:
            models = (reply for reply in self.replies if key in (reply.model, undated(reply.model)))
            found = next(models, None)
        if found is None:
            raise KeyError(f"{key}: there are the answers of {', '.join(self)}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def expression_for(self, name: str) -> str:
        """Return what a user writes to get at one of the answers."""
        return f'{self._variable}["{name}"]'

    # Waiting and stopping...

    @property
    def phase(self) -> Phase:
        """Where they are on their way; final when all are."""
        return _phase_of(reply.phase for reply in self.replies)

    def snapshot(self) -> ComparisonSnapshot:
        """Return all answers as they are at this moment."""
        return ComparisonSnapshot(
            tuple(
                Column(name=name, kept_in=self.expression_for(name), answer=reply.snapshot())
                for name, reply in self.items()
            )
        )

    def done(self) -> bool:
        """Whether all have ended."""
        return all(reply.done() for reply in self.replies)

    def cancel(self) -> None:
        """Stop them all, and keep what has come."""
        for reply in self.replies:
            reply.cancel()

    def observe(self, callback: Callable[[Comparison], None]) -> Callable[[], None]:
        """Call back after each change of one of them, as `Reply.observe` does. Returns a function that ends it."""
        endings = [reply.observe(lambda _reply: callback(self)) for reply in self.replies]
        return lambda: _call_all(endings)

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once, when all have ended, as `Reply.when_done` does. Returns a function that takes the wish back."""
        ended, lock = itertools.count(1), threading.Lock()

        def note_end() -> None:
            with lock:
                is_last = next(ended) == len(self.replies)
            if is_last:
                callback()

        endings = [reply.when_done(note_end) for reply in self.replies]
        return lambda: _call_all(endings)

    @property
    def errands(self) -> None:
        """There are none: answers that are compared call no tools of this side."""
        return None

    # Copies...

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_present", "is_on_screen")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._present, self.is_on_screen = _present_stored, False

    # In a notebook...

    def __str__(self) -> str:
        return render_comparison(self.snapshot().columns).data["text/plain"]

    def __repr__(self) -> str:
        states = (f"{name}: {reply.phase.value}" for name, reply in self.items())
        return f"<Comparison {', '.join(states)}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        return self._present(self.snapshot())

    def _ipython_display_(self) -> None:
        if not self.is_on_screen:
            raise NotImplementedError  # IPython's word for "show it in the usual way"
        self.is_on_screen = False


def _present_stored(snapshot: ComparisonSnapshot) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    bundle = render_comparison(snapshot.columns)
    return bundle.data, bundle.metadata


def _phase_of(phases: Iterable[Phase]) -> Phase:
    """Return the phase of several answers: final when all are, and then the worst."""
    found = set(phases)
    if not all(phase.is_final for phase in found):
        return Phase.STREAMING
    return next(phase for phase in (Phase.CANCELLED, Phase.FAILED, Phase.COMPLETE) if phase in found)


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
