"""What a map asks: its arguments, the request of each row, and an index from rows to distinct requests."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, Final

from ..client import KEY_BYTES, ConfigurationError, RequestKeys, batch_params
from ..context import CHARS_PER_TOKEN, NullValueError, Part, content_of, row_prompt
from ..runtime import Question, Runtime, facts_of
from ._journal import NO_KEY, Journal
from ._rows import Rows

_CACHE_MARGIN: Final = 1.1
"""Safety factor on the minimum length of a cached prefix. A shorter one is not cached, but delays the other rows."""
_CACHE_CONTROL: Final = {"online": {"type": "ephemeral"}, "batch": {"type": "ephemeral", "ttl": "1h"}}
"""`cache_control` of the shared prefix. A batch takes longer than the default of five minutes."""

Filled = tuple[Part, ...] | str
"""The part of a row's prompt after the shared prefix; or, as a string, the reason why the row cannot be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRequest:
    """The arguments of one map: the question of each row, and what only a map has.

    Attributes:
        question: What is asked about each row, outside of any conversation and without tools. Its prompt is a template, in which
            `{{ expression }}` inserts values of a row; its content goes before each prompt.
        items: The rows: a table, column, list, dict or generator.
        names: Variables of the notebook that the prompt may use.
        journal: Where answers are kept: a file, a folder, or an open journal. None and True mean the journal beside the notebook, False
            means memory only. With a cassette, None also means memory only, since the cassette has the answers.
        repeat: Number of answers (draws) for each row.
        prefix: Prefix of the names of the answer columns.
        concurrency: Maximum number of requests in flight; None adapts it to the server, up to 200.
        max_cost: Maximum cost of the run in USD, or None.
        asks_failed_again: Also ask requests whose earlier answer was truncated, declined, or did not fit the schema.
        keeps_columns: The result includes the columns of the input, so no answer may replace one of them.
        via: "online", or "batch" for half the price and answers within 24 hours.
    """

    question: Question
    items: Any
    names: Mapping[str, object]
    journal: Journal | str | Path | bool | None = None
    repeat: int = 1
    prefix: str = ""
    concurrency: int | None = None
    max_cost: float | None = None
    asks_failed_again: bool = False
    keeps_columns: bool = True
    via: str = "online"

    @property
    def is_batch(self) -> bool:
        """Whether the map uses message batches."""
        return self.via == "batch"

    def check(self) -> None:
        """Validate the arguments that do not depend on the rows.

        Raises:
            ConfigurationError: An argument is invalid. Nothing was sent.
        """
        prompt = self.question.prompt
        if not isinstance(prompt, str):
            are_swapped = isinstance(self.items, str)
            found = f"The prompt of a map is a text, not {type(prompt).__name__}."
            raise ConfigurationError(
                f"{found} {'The arguments are swapped: the' if are_swapped else 'The'} prompt comes first, then the rows: "
                'claude.map("Classify: {{ text }}", df). Nothing was sent.'
            )
        _check_count("repeat", self.repeat)
        if self.concurrency is not None:
            _check_count("concurrency", self.concurrency)
        if self.via not in ("online", "batch"):
            raise ConfigurationError(f"via is 'online' or 'batch', not {self.via!r}. Nothing was sent.")
        if self.via == "batch" and self.concurrency is not None:
            raise ConfigurationError(
                "concurrency limits the requests in flight, and a batch has none: its rows are sent together. Leave one of them "
                "out. Nothing was sent."
            )
        if not isinstance(self.prefix, str):
            raise ConfigurationError(
                f"prefix is a text that the names of the answer columns begin with, not {self.prefix!r}. Nothing was sent."
            )
        if self.max_cost is not None and not (isinstance(self.max_cost, Real) and self.max_cost >= 0):
            raise ConfigurationError(
                f"max_cost is an amount in USD, such as 2.50, not {self.max_cost!r}. Nothing was sent."
            )


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} is a whole number from 1, not {value!r}. Nothing was sent.")


@dataclass(frozen=True, slots=True)
class RowJob:
    """One request to send.

    Attributes:
        index: Number of the distinct request.
        row: Place of its first occurrence among all draws of all rows.
        key: Key of the request in the journal.
        messages: Messages of the request.
        draw: Number of the draw, starting at 0.
    """

    index: int
    row: int
    key: bytes
    messages: list[dict[str, Any]]
    draw: int = 0


class RowRequests:
    """A builder of the requests of rows. It evaluates the user's expressions on the calling thread.

    The prefix that all rows share comes first, and is marked for prompt caching if it is long enough.

    Args:
        request: Arguments of the map.
        rows: Rows of the input.
        runtime: Runtime that sends the requests.
        options: Settings of the request, with the full name of the model.

    Attributes:
        prompt: The parsed prompt template.
        template: The request without messages, common to all rows.
        remarks: Sentences about the content, the options and the prompt, such as what was redacted.
        is_cached: The shared prefix is marked for caching, so one request is sent before the others.
        shared_chars: Length of the shared prefix in characters.

    Raises:
        ConfigurationError: The prompt or the options are invalid. Nothing was sent.
    """

    def __init__(
        self, request: MapRequest, rows: Rows, runtime: Runtime, options: Mapping[str, object]
    ) -> None:
        question = request.question
        self.prompt = row_prompt(question.prompt, rows.names, request.names)
        self._request = request
        self._rows = rows
        plan = runtime.plan(replace(question, settings=options, content=None))
        self.remarks = (*plan.notes, *self.prompt.notes)
        self._shared = [*_blocks_of(question.content or ""), *_blocks_of(self.prompt.beginning)]
        system = plan.settings.values.system or ""
        self.shared_chars = len(system) + sum(len(block.get("text", "")) for block in self._shared)
        facts = facts_of(plan.request.model)
        self._cache_minimum = math.inf if facts is None else facts.cache_minimum_tokens
        self.is_cached = self.shared_chars / CHARS_PER_TOKEN >= _CACHE_MARGIN * self._cache_minimum
        changes = self._mark_shared(plan.request.system) if self.is_cached else {}
        changes |= {"messages": [], "cache_control": None, "asks_again": request.asks_failed_again}
        self.template = plan.request.model_copy(update=changes)
        if request.is_batch:
            batch_params(self.template)
        self._keys = RequestKeys(self.template)

    def _mark_shared(self, system: Any) -> dict[str, Any]:
        """Set `cache_control` at the end of the shared prefix, and return the changed fields of the request."""
        mark = {"cache_control": _CACHE_CONTROL[self._request.via]}
        if self._shared:
            self._shared = [*self._shared[:-1], {**self._shared[-1], **mark}]
        elif isinstance(system, str):
            return {"system": [{"type": "text", "text": system, **mark}]}
        return {}

    def read(self, start: int, stop: int) -> list[Filled]:
        """Return the filled prompts of the rows from `start` to `stop`."""
        filled: list[Filled] = []
        for row in self._rows.read(start, stop, self.prompt.columns):
            try:
                filled.append(self.prompt.fill(row))
            except NullValueError as error:
                filled.append(error.message)
            except ConfigurationError as error:
                filled.append(error.message.removesuffix(" Nothing was sent."))
        return filled

    def messages(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        """Return the messages of a row."""
        if not self.is_cached and self._request.question.content is None:
            content = content_of([(self.prompt.beginning, *parts)])
        else:
            content = [*self._shared, *_blocks_of(content_of([tuple(parts)]))]
        return [{"role": "user", "content": content}]

    def key(self, parts: Sequence[Part], draw: int) -> bytes:
        """Return the key of a row's request in the journal."""
        return self._keys.key(self.messages(parts), draw)

    def job(self, number: int, place: int, parts: Sequence[Part]) -> RowJob:
        """Return a row's request as a job.

        Args:
            number: Number of the distinct request.
            place: Position among all draws of all rows.
            parts: The filled prompt.
        """
        messages, draw = self.messages(parts), place % self._request.repeat
        return RowJob(number, place, self._keys.key(messages, draw), messages, draw)

    def rebuild_job(self, number: int, place: int) -> RowJob:
        """Read the row at a place again, and return its job."""
        row = place // self._request.repeat
        (values,) = self._rows.read(row, row + 1, self.prompt.columns)
        return self.job(number, place, self.prompt.fill(values))

    def samples(self, parts: Sequence[Filled]) -> Iterator[dict[str, Any]]:
        """Yield the requests of rows as JSON objects of the API, skipping rows that cannot be sent."""
        for each in parts:
            if not isinstance(each, str):
                request = self.template.model_copy(update={"messages": self.messages(each)})
                yield request.to_body(stream=False)

    def notes(self, to_ask: int) -> Iterator[str]:
        """Yield remarks for the preview, given the number of requests to send."""
        yield from self.remarks
        if to_ask > 1 and self.prompt.shared_after / CHARS_PER_TOKEN > self._cache_minimum:
            yield (
                f"{self.prompt.shared_after:,} characters after the first value are the same for all rows, but cannot "
                "be cached there. Put the text that all rows share before the values."
            )


class RowIndex:
    """An index from each draw of each row to its distinct request.

    Attributes:
        numbers: Number of the request, by place; -1 if the row cannot be sent.
        keys: Keys of the requests, by place, concatenated; `NO_KEY` if the row cannot be sent.
        problems: Reasons why rows cannot be sent, by row.
    """

    def __init__(self) -> None:
        self.numbers = array("q")
        self.keys = bytearray()
        self.problems: dict[int, str] = {}
        self._known: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, key: bytes) -> bool:
        """Add the next draw, and return whether its request is new."""
        count = len(self._known)
        self.numbers.append(self._known.setdefault(key, count))
        self.keys += key
        return len(self._known) > count

    def add_problem(self, row: int, problem: str) -> None:
        """Add a draw of a row that cannot be sent."""
        self.problems[row] = problem
        self.numbers.append(-1)
        self.keys += NO_KEY

    def number_of(self, key: bytes) -> int:
        """Return the number of a request added before."""
        return self._known[key]

    def end(self) -> None:
        """Free the lookup table that is needed only while rows are added."""
        self._known = {}

    def first_places(self) -> Iterator[tuple[int, int]]:
        """Yield the number and the first place of each distinct request, in order."""
        number = 0
        for place, found in enumerate(self.numbers):
            if found == number:
                yield number, place
                number += 1

    def key_at(self, place: int) -> bytes:
        """Return the key of the request at a place."""
        return bytes(self.keys[place * KEY_BYTES : (place + 1) * KEY_BYTES])


def joined_text(parts: Sequence[Part]) -> str:
    """Return the text parts of a filled prompt, joined."""
    return "".join(part for part in parts if isinstance(part, str))


def _blocks_of(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    return list(content)
