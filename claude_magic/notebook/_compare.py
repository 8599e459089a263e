"""`--compare`: asks several models the same question at the same time, and shows their answers side by side.

Each model is sent the same conversation so far. The conversation continues from the answer of the model that is named first; the
other answers are kept on branches of their own.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..client import ClaudeError, ConfigurationError
from ..display import ComparisonContent, Surface, remark_on_stopping
from ..render import Column, render_comparison
from ..runtime import (
    SHORT_NAMES,
    Phase,
    Question,
    Reply,
    ShownOnce,
    facts_of,
    get_runtime,
    nearest_model,
    table_id,
    undated,
)
from ._answer import bind, follow_to_end, surface_in
from ._cell import loads_remote_images
from ._money_commands import list_models

if TYPE_CHECKING:
    from ._cell import Cell
    from ._line import Line

_LISTING_TIMEOUT: Final = 2.0
"""Seconds to wait for the server's list of models. Without the list, the names are not checked."""
_MOST_LISTED: Final = 8


async def compare(line: Line, question: Question, cell: Cell) -> Comparison:
    """Ask all models, and draw their answers in the cell.

    Raises:
        KeyboardInterrupt: The cell was interrupted; the partial answers stay.
        ComparisonError: Some requests failed, or their answers do not match the schema; all answers stay.
        ConfigurationError: The models cannot be compared. Nothing was sent.
    """
    questions = await question_per_model(line, question, cell)
    comparison, is_interrupted = await follow_to_end(
        lambda: _start(line, questions, cell), lambda comparison: _surface(comparison, line, cell), cell
    )
    error = _error_of(comparison, is_interrupted=is_interrupted)
    if error is not None:
        cell.keep_value(comparison)
        raise error
    return comparison


async def question_per_model(line: Line, question: Question, cell: Cell) -> list[Question]:
    """Return the question for each compared model; only the question itself without `--compare`.

    Raises:
        ConfigurationError: The models cannot be compared.
    """
    names = line.options.compare
    if not names:
        return [question]
    await check_models(names, cell)
    return [dataclasses.replace(question, settings={**question.settings, "model": name}) for name in names]


def _start(line: Line, asked: Sequence[Question], cell: Cell) -> Comparison:
    """Send each model its question, and bind the comparison to the variable that `-o` names.

    Raises:
        ConfigurationError: One of the models cannot be asked. Nothing was sent.
    """
    runtime = cell.runtime
    questions = {str(each.settings["model"]): each for each in asked}
    for each in questions.values():
        runtime.plan(each)
    # The cell's previous outputs, where an earlier job of this cell draws, have been removed.
    runtime.jobs.stop_of_cell(cell.key)
    first, *others = questions
    # Start the first model last: until then the conversation does not move, so all models are asked at the same point.
    replies = {name: runtime.start(_on_own_branch(questions[name])) for name in others}
    replies = {first: runtime.start(questions[first]), **replies}
    comparison = Comparison(replies[first].prompt, replies, variable=line.options.out or "_")
    bind(comparison, line, cell)
    return comparison


def _on_own_branch(question: Question) -> Question:
    where = question.where
    return dataclasses.replace(
        question, where=None if where is None else dataclasses.replace(where, is_side_branch=True)
    )


def _error_of(comparison: Comparison, *, is_interrupted: bool) -> BaseException | None:
    if comparison.phase is Phase.CANCELLED:
        return KeyboardInterrupt("the answers were stopped.")
    if is_interrupted:
        return KeyboardInterrupt("the answers had just ended.")
    failures = {
        name: error for name, reply in comparison.items() if (error := _failure_of(reply)) is not None
    }
    if not failures:
        return None
    failed = [f"{name} failed with {type(error).__name__}: {error}" for name, error in failures.items()]
    kept = [comparison.expression_for(name) for name in comparison if name not in failures]
    verb = "is" if len(kept) == 1 else "are"
    return ComparisonError(" ".join([*failed, *([f"{' and '.join(kept)} {verb} complete."] if kept else [])]))


def _failure_of(reply: Reply) -> ClaudeError | None:
    """Return the error of a reply, or the one of an answer that does not match its schema; None if there is neither."""
    if reply.error is not None:
        return reply.error
    try:
        _ = reply.parsed
    except ClaudeError as error:
        return error
    return None


def _surface(comparison: Comparison, line: Line, cell: Cell) -> Surface:
    remark = remark_on_stopping(cell.front_end, is_awaited=cell.is_awaited)
    content = ComparisonContent(remote_images=cell.settings.remote_images, remark=remark)
    return surface_in(content, comparison, line, cell, in_widgets=True)


async def check_models(names: Sequence[str], cell: Cell) -> None:
    """Check the names of models: the built-in table first, then the server's list.

    Raises:
        ConfigurationError: Two names mean the same model, or the server has no such model. Nothing was sent.
    """
    _check_different(names)
    unknown = [name for name in names if name not in SHORT_NAMES and facts_of(name) is None]
    # None if the server does not list its models.
    models, _problem = await list_models(cell, timeout=_LISTING_TIMEOUT) if unknown else (None, "")
    offered = [model.id for model in models or ()]
    for name in unknown:
        if offered and not {name, undated(name)} & {
            known for model in offered for known in (model, undated(model))
        }:
            raise ConfigurationError(
                f"This server has no model {name}.{_hint(name, offered)} Nothing was sent."
            )


def _check_different(names: Sequence[str]) -> None:
    named: dict[str, str] = {}
    for name in names:
        model = table_id(name) or name
        if model in named:
            raise ConfigurationError(
                f"--compare {','.join(names)}: {named[model]} and {name} are the same model, {model}. Nothing was sent."
            )
        named[model] = name


def _hint(name: str, offered: Sequence[str]) -> str:
    guess = nearest_model(name, offered)
    if guess is not None:
        return f" Did you mean {guess}?"
    listed = ", ".join(offered[:_MOST_LISTED])
    others = " and others" if len(offered) > _MOST_LISTED else ""
    return f" It has {listed}{others}. Short names are {', '.join(SHORT_NAMES)}; `%claude models` lists all."


class ComparisonError(ClaudeError):
    """Some of the compared answers failed, or do not match their schema. The others are complete."""


@dataclass(frozen=True, slots=True)
class ComparisonSnapshot:
    """All answers of a comparison at one moment, in the order in which the models were named."""

    columns: tuple[Column, ...]

    @property
    def phase(self) -> Phase:
        """The common phase: final when all are final, and then the worst of them."""
        return _phase_of(column.answer.phase for column in self.columns)

    @property
    def version(self) -> int:
        """A number that grows with each change of an answer."""
        return sum(column.answer.version for column in self.columns)


class Comparison(ShownOnce, Mapping[str, Reply]):
    """The answers of several models to one question.

    A mapping from the model names, as given, to the replies, in that order: `answers["sonnet"]`. Full model names and
    positions (from 0) are accepted as keys too. A reply can be used while it streams.

    Attributes:
        prompt: The prompt.
        replies: The replies, in the order in which the models were named.
    """

    def __init__(self, prompt: str, replies: Mapping[str, Reply], *, variable: str) -> None:
        """Combine the replies.

        Args:
            prompt: The prompt.
            replies: The replies by the model names, as given.
            variable: Name of the variable to which the comparison is bound.
        """
        self.prompt = prompt
        self.replies = tuple(replies.values())
        self._by_name = dict(replies)
        self._variable = variable

    # Mapping of replies

    def __getitem__(self, key: str | int) -> Reply:
        if isinstance(key, int):
            found = self.replies[key] if -len(self) <= key < len(self) else None
        else:
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
        """Return the Python expression for one of the replies: `both["opus"]`."""
        return f'{self._variable}["{name}"]'

    # Waiting and stopping

    @property
    def phase(self) -> Phase:
        """The common phase: final when all are final, and then the worst of them."""
        return _phase_of(reply.phase for reply in self.replies)

    def snapshot(self) -> ComparisonSnapshot:
        """Return the current state of all answers."""
        return ComparisonSnapshot(
            tuple(
                Column(name=name, kept_in=self.expression_for(name), answer=reply.snapshot())
                for name, reply in self.items()
            )
        )

    def done(self) -> bool:
        """Return whether all answers have ended."""
        return all(reply.done() for reply in self.replies)

    def cancel(self) -> None:
        """Stop all answers, and keep what has arrived."""
        for reply in self.replies:
            reply.cancel()

    def observe(self, callback: Callable[[Comparison], None]) -> Callable[[], None]:
        """Call back after each change of an answer, as `Reply.observe` does; return a function that unsubscribes."""
        unsubscribe = [reply.observe(lambda _reply: callback(self)) for reply in self.replies]
        return lambda: _call_all(unsubscribe)

    def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once all answers have ended, as `Reply.when_done` does; return a function that unsubscribes."""
        ended, lock = itertools.count(1), threading.Lock()

        def on_end() -> None:
            with lock:
                is_last = next(ended) == len(self.replies)
            if is_last:
                callback()

        unsubscribe = [reply.when_done(on_end) for reply in self.replies]
        return lambda: _call_all(unsubscribe)

    @property
    def pending_calls(self) -> None:
        """None: compared answers call no client-side tools."""
        return None

    # Pickling and copying

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "is_on_screen"}

    # Display

    def __str__(self) -> str:
        return render_comparison(self.snapshot().columns).data["text/plain"]

    def __repr__(self) -> str:
        states = (f"{name}: {reply.phase.value}" for name, reply in self.items())
        return f"<Comparison {', '.join(states)}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        return render_comparison(self.snapshot().columns, remote_images=loads_remote_images(get_runtime()))


def _phase_of(phases: Iterable[Phase]) -> Phase:
    """Return the common phase of several answers: final when all are final, and then the worst of them."""
    found = set(phases)
    if not all(phase.is_final for phase in found):
        return Phase.STREAMING
    return next(phase for phase in (Phase.CANCELLED, Phase.FAILED, Phase.COMPLETE) if phase in found)


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
