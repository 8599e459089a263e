"""From rows to requests: what each row asks, and which rows ask the same."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from ..client import KEY_BYTES, ConfigurationError, RequestKeys, batch_params
from ..context import CHARS_PER_TOKEN, NullValueError, Part, content_of, row_prompt
from ..runtime import Question, Runtime, facts_of
from ._engine import RowJob
from ._request import Request
from ._rows import Rows
from ._runs import NO_KEY

_SAFETY: Final = 1.1
"""A shared part that may be too short to be cached is not marked: what is marked in vain is still asked first, alone."""
_MARKS: Final = {"online": {"type": "ephemeral"}, "batch": {"type": "ephemeral", "ttl": "1h"}}
"""Of what is cached. A batch is not done within the five minutes that are usual."""

Filled = tuple[Part, ...] | str
"""What a row asks behind what all rows share; or, as a text, why it cannot be asked."""


class RowRequests:
    """Makes the requests of rows. It runs the user's expressions, on the thread that calls.

    What all rows share goes first, and is marked for the server's cache where it is long enough.

    Args:
        request: What is mapped over what.
        rows: The input.
        runtime: Who asks.
        options: The settings of the request, with the full name of the model.

    Attributes:
        prompt: The prompt.
        template: The request of all rows, without their messages.
        is_cached: What they share is cached at the server, by the request that goes first.
        shared_chars: The characters that they share.

    Raises:
        ConfigurationError: No row can be asked so. Nothing was sent.
    """

    def __init__(self, request: Request, rows: Rows, runtime: Runtime, options: Mapping[str, object]) -> None:
        self.prompt = row_prompt(request.prompt, rows.names, request.names)
        self._request = request
        self._rows = rows
        plan = runtime.plan(_question_of(request), options)
        self._notes = (*plan.notes, *self.prompt.notes)
        shared = [*(each.parts for each in request.attachments), (self.prompt.beginning,)]
        self._shared = _blocks_of(content_of([parts for parts in shared if any(parts)]))
        system = runtime.settings(options).values.system or ""
        self.shared_chars = len(system) + sum(len(block.get("text", "")) for block in self._shared)
        facts = facts_of(plan.request.model)
        self._cache_minimum = math.inf if facts is None else facts.cache_minimum_tokens
        self.is_cached = self.shared_chars / CHARS_PER_TOKEN >= _SAFETY * self._cache_minimum
        changes = self._marked(plan.request.system) if self.is_cached else {}
        changes |= {"messages": [], "cache_control": None, "asks_again": request.asks_failed_again}
        self.template = plan.request.model_copy(update=changes)
        if request.is_batch:
            batch_params(self.template)
        self._keys = RequestKeys(self.template)

    def _marked(self, system: Any) -> dict[str, Any]:
        """Mark the end of what all rows share, and return what that changes of the request."""
        mark = {"cache_control": _MARKS[self._request.via]}
        if self._shared:
            self._shared = [*self._shared[:-1], {**self._shared[-1], **mark}]
        elif isinstance(system, str):
            return {"system": [{"type": "text", "text": system, **mark}]}
        return {}

    def read(self, start: int, stop: int) -> list[Filled]:
        """Return what rows ask."""
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
        if not self.is_cached and not self._request.attachments:
            content = content_of([(self.prompt.beginning, *parts)])
        else:
            content = [*self._shared, *_blocks_of(content_of([tuple(parts)]))]
        return [{"role": "user", "content": content}]

    def key(self, parts: Sequence[Part], draw: int) -> bytes:
        """Return the key of a row's request."""
        return self._keys.key(self.messages(parts), draw)

    def job(self, number: int, place: int, parts: Sequence[Part]) -> RowJob:
        """Return a row's request as a job, by its number among the distinct ones and its place among all draws of all rows."""
        messages, draw = self.messages(parts), place % self._request.repeat
        return RowJob(number, place, self._keys.key(messages, draw), messages, draw)

    def job_again(self, number: int, place: int) -> RowJob:
        """Read the row at a place once more, and return its job."""
        row = place // self._request.repeat
        (values,) = self._rows.read(row, row + 1, self.prompt.columns)
        return self.job(number, place, self.prompt.fill(values))

    def samples(self, parts: Sequence[Filled]) -> Iterator[dict[str, Any]]:
        """Yield requests as they would be sent, as the API's JSON objects; none for a row that cannot be asked."""
        for each in parts:
            if not isinstance(each, str):
                request = self.template.model_copy(update={"messages": self.messages(each)})
                yield request.to_body(stream=False)

    def notes(self, to_ask: int) -> Iterator[str]:
        """Yield what a person should know of these requests, where so many are sent."""
        yield from self._notes
        if to_ask > 1 and self.prompt.shared_after / CHARS_PER_TOKEN > self._cache_minimum:
            yield (
                f"{self.prompt.shared_after:,} characters behind the first value are the same for all rows, and no cache finds them "
                "there. Put what all rows share in front of the values."
            )


class RowIndex:
    """Which request each draw of each row asks; equal ones ask the same.

    Attributes:
        numbers: The number of the request, by place; -1 where a row cannot be asked.
        keys: The keys of the requests, by place, joined; `NO_KEY` where a row cannot be asked.
        problems: Why a row cannot be asked, by row.
    """

    def __init__(self) -> None:
        self.numbers = array("q")
        self.keys = bytearray()
        self.problems: dict[int, str] = {}
        self._known: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, key: bytes) -> bool:
        """Take the next draw, and return whether nothing before asks the same."""
        count = len(self._known)
        self.numbers.append(self._known.setdefault(key, count))
        self.keys += key
        return len(self._known) > count

    def add_problem(self, row: int, problem: str) -> None:
        """Take a draw of a row that cannot be asked."""
        self.problems[row] = problem
        self.numbers.append(-1)
        self.keys += NO_KEY

    def number_of(self, key: bytes) -> int:
        """Return the number of a request that was taken."""
        return self._known[key]

    def end(self) -> None:
        """Forget what is needed only as long as rows are taken."""
        self._known = {}

    def places(self, is_wanted: Callable[[int], bool]) -> dict[bytes, tuple[int, int]]:
        """Return number and first place of the requests whose number is wanted, by key."""
        found: dict[bytes, tuple[int, int]] = {}
        for place, number in enumerate(self.numbers):
            if number >= 0 and is_wanted(number):
                key = bytes(self.keys[place * KEY_BYTES : (place + 1) * KEY_BYTES])
                found.setdefault(key, (number, place))
        return found


def text_of(parts: Sequence[Part]) -> str:
    """Return the text of what a row asks."""
    return "".join(part for part in parts if isinstance(part, str))


def _question_of(request: Request) -> Question:
    return Question(
        prompt=request.prompt,
        output_schema=request.schema,
        max_searches=request.max_searches,
        stop_sequences=request.stop_sequences,
        extra=request.extra or {},
        is_raw=request.is_raw,
    )


def _blocks_of(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    return list(content)
