"""From a prompt and rows to requests: what each row asks, which of it is answered already, what the rest may cost."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..client import KEY_BYTES, ClaudeClient, ConfigurationError, RequestKeys, Usage, batch_params
from ..context import (
    CHARS_PER_TOKEN,
    NullValueError,
    Part,
    content_of,
    exposed_in,
    refusal,
    row_prompt,
)
from ..display import FrontEnd
from ..runtime import Question, ResolvedSettings, Runtime, TurnAccountant, cost_of, facts_of, table_id
from ..schema import AnswerError
from ._batch_delivery import BatchContext, Heard, worst_of_all
from ._batch_notes import BatchNotes, demo_server, describe_held, held_rows, name_server, now
from ._batches import BatchEngine
from ._engine import MOST_AT_ONCE, OnlineEngine, Results, RowJob, Task
from ._journal import Answer, Journal, open_journal
from ._preview import Preview, check_price
from ._request import Request
from ._rows import DRAW, Rows, as_rows, field_values, read_once, register_accessors, remember_origin
from ._run import MapRun
from ._runs import NO_KEY, Runs

_CHUNK: Final = 256
"""Rows that are read at a time."""
ANSWER_COLUMN: Final = "answer"
ERROR_COLUMN: Final = "error"
_USUAL_OUTPUT: Final = 200
_USUAL_OBJECT: Final = 60
"""Model tokens of an answer, where none of this map has come yet."""
_SAFETY: Final = 1.1
"""A shared part that may be too short to be cached is not marked: what is marked in vain is still asked first, alone."""
_MARKS: Final = {"online": {"type": "ephemeral"}, "batch": {"type": "ephemeral", "ttl": "1h"}}
"""Of what is cached. A batch is not done within the five minutes that are usual."""
_SHOWN_REQUESTS: Final = 3
_RESOLVING_TIMEOUT = 10.0
"""Seconds for the server to list its models, where a short name is given."""


class MapPlan:
    """A map before it is asked. Its steps run the user's expressions, on the thread that takes them.

    Args:
        request: What is mapped over what.
        runtime: Who asks.
        journal: Where answers are kept. It is closed with the run.
        model: The full name of the model.

    Attributes:
        journal: The journal.

    Raises:
        ConfigurationError: It cannot be asked. Nothing was sent.
    """

    def __init__(self, request: Request, runtime: Runtime, journal: Journal, model: str) -> None:
        self.journal = journal
        request.check()
        self._request = replace(request, items=read_once(request.items))
        self._runtime = runtime
        self._rows: Rows = as_rows(self._request.items)
        self._prompt = row_prompt(request.prompt, self._rows.names, request.names)
        self._options = {**request.settings, "model": model}
        self._settings: ResolvedSettings = runtime.settings(self._options)
        plan = runtime.plan(self._question(), self._options)
        self._notes = [*plan.notes, *self._prompt.notes]
        self._model = plan.request.model
        shared = [*(each.parts for each in request.attachments), (self._prompt.beginning,)]
        self._shared = _blocks_of(content_of([parts for parts in shared if any(parts)]))
        self._is_cached = self._can_cache()
        changes = self._template_fields(plan.request.system)
        self._template = plan.request.model_copy(update={**changes, "asks_again": request.asks_failed_again})
        if request.is_batch:
            batch_params(self._template)
        self._keys = RequestKeys(self._template)
        self._names = self._column_names()
        self._index_of = array("q")
        self._row_problems: dict[int, str] = {}
        self._all_keys = bytearray()
        self._indices: dict[bytes, int] = {}
        self._chars = self._known_output = self._failed_before = self._refused = self._recorded = 0
        self.results = Results(0)
        self._batches = BatchNotes(journal)
        self._read_at = now()
        self._fed_rows = self._fed_requests = 0
        self._has_started = False

    # Reading...

    def read(self) -> Iterator[int]:
        """Read all rows; yields after every few how many there are by now."""
        for start in range(0, self._rows.count, _CHUNK):
            self._read_chunk(start)
            yield min(start + _CHUNK, self._rows.count)
        self._indices = {}

    def _read_chunk(self, start: int) -> None:
        repeat = self._request.repeat
        fresh: dict[bytes, str] = {}
        for number, parts in enumerate(self._filled(start), start):
            for draw in range(repeat):
                if isinstance(parts, str):
                    self._row_problems[number] = parts
                    self._index_of.append(-1)
                    self._all_keys += NO_KEY
                    continue
                key = self._keys.key(self._messages(parts), draw)
                self._all_keys += key
                index = self._indices.get(key)
                if index is None:
                    index = self._indices[key] = len(self._indices)
                    fresh[key] = text = _text_of(parts)
                    self._chars += len(text)
                self._index_of.append(index)
        results = self.results
        results.texts.extend([None] * len(fresh))
        for key, answer in self.journal.find(list(fresh)).items():
            if self._take_known(self._indices[key], answer):
                del fresh[key]
        if not self._request.asks_failed_again:
            self._recorded += self._runtime.count_recorded(fresh, self._options)
        if not self._request.is_raw and exposed_in("\n".join(fresh.values()), "rows"):
            self._refuse_exposed(fresh)

    def _filled(self, start: int) -> list[tuple[Part, ...] | str]:
        """Return what a few rows ask, each; or, as a text, why one cannot be asked."""
        rows = self._rows.read(start, start + _CHUNK, self._prompt.columns)
        filled: list[tuple[Part, ...] | str] = []
        for row in rows:
            try:
                filled.append(self._prompt.fill(row))
            except NullValueError as error:
                filled.append(error.message)
            except ConfigurationError as error:
                filled.append(error.message.removesuffix(" Nothing was sent."))
        return filled

    def _refuse_exposed(self, texts: Mapping[bytes, str]) -> None:
        """Do not ask what contains what looks like credentials."""
        for key, text in texts.items():
            if exposed := exposed_in(text, "The row"):
                reason = refusal(exposed, "raw=True (--raw in a cell) sends it as it is.")
                self.results.problems[self._indices[key]] = reason.replace(
                    "Nothing was sent. ", "It was not sent. "
                )
                self._refused += 1

    def _take_known(self, index: int, answer: Answer) -> bool:
        """Take what the journal has; return whether that is enough."""
        if answer.problem is not None and self._request.asks_failed_again:
            return False
        self.results.take(index, answer)
        self.results.known += answer.problem is None
        self._failed_before += answer.problem is not None
        self._known_output += answer.tokens_out
        return True

    # What it will do...

    def preview(self) -> Preview:
        """Return what it is about to do, once all rows are read."""
        results = self.results
        requests, answered = len(results.texts), results.known + self._failed_before
        held = self._held_by_batches()
        settled = answered + self._refused + self._recorded
        settled += sum(held.values()) * self._request.is_batch
        to_ask = max(0, requests - settled)
        shared = _chars_of(self._shared) + len(self._settings.values.system or "")
        row_tokens = round(self._chars / max(1, requests) * to_ask / CHARS_PER_TOKEN)
        shared_tokens = round(shared / CHARS_PER_TOKEN)
        usual = _USUAL_OUTPUT if self._request.schema is None else _USUAL_OBJECT
        output = round(self._known_output / answered) if self._known_output else usual
        output = min(output, self._template.max_tokens)
        cost = cost_of(self._model, self._usage(to_ask, row_tokens, shared_tokens, output))
        rate = self._runtime.limiter_state().refill_rate
        worst = None
        if self._request.is_batch:
            empty = self._template.model_copy(update={"messages": self._messages(())})
            worst = worst_of_all(empty, to_ask, self._chars)
        return Preview(
            model=self._model,
            rows=len(self._index_of),
            requests=requests,
            known=results.known,
            recorded=self._recorded,
            unasked=len(self._row_problems) * self._request.repeat + self._refused,
            to_ask=to_ask,
            tokens_in=row_tokens + shared_tokens * to_ask,
            tokens_out=output * to_ask,
            cost=cost,
            seconds=to_ask / rate,
            is_simulated=self._runtime.is_demo,
            notes=tuple(self._remarks(to_ask, held)),
            samples=tuple(self._samples()),
            via=self._request.via,
            in_batches=sum(held.values()),
            worst=worst,
        )

    def check_price(self, front_end: FrontEnd | None) -> None:
        """Go on where the map is cheap, or its price is agreed to: with `max_cost`, or by the person at the front end.

        Raises:
            ConfigurationError: It costs more than was agreed to. Nothing was sent.
        """
        above = self._runtime.settings().values.map_ask_above
        check_price(self.preview(), self._request.max_cost, asks_above=above, front_end=front_end)

    def _held_by_batches(self) -> dict[str, int]:
        """Return how many of the rows without an answer each open batch holds, by its id, or its tag where that is not known."""
        self._batches.drop_demos(self._server)
        return held_rows(self._batches.open(), self._places)

    def _places(self) -> dict[bytes, tuple[int, int]]:
        """Return the rows without an answer: number of the request and of the row, by key."""
        places: dict[bytes, tuple[int, int]] = {}
        keys = self._all_keys
        for place, index in enumerate(self._index_of):
            if index >= 0 and self.results.texts[index] is None:
                key = bytes(keys[place * KEY_BYTES : (place + 1) * KEY_BYTES])
                places.setdefault(key, (index, place))
        return places

    @property
    def _server(self) -> str:
        """Where requests go; each demo is a server of its own, which goes with its process."""
        return demo_server() if self._runtime.is_demo else name_server(str(self._settings.values.base_url))

    def _usage(self, to_ask: int, row_tokens: int, shared_tokens: int, output: int) -> Usage:
        is_read = self._is_cached and to_ask > 1
        return Usage(
            input_tokens=row_tokens + (0 if is_read else shared_tokens * to_ask),
            cache_creation_input_tokens=shared_tokens if is_read else 0,
            cache_read_input_tokens=shared_tokens * (to_ask - 1) if is_read else 0,
            output_tokens=output * to_ask,
            cache_creation={"ephemeral_1h_input_tokens": shared_tokens}
            if is_read and self._request.is_batch
            else None,
            service_tier="batch" if self._request.is_batch else None,
        )

    def _remarks(self, to_ask: int, held: Mapping[str, int]) -> Iterator[str]:
        yield from self._notes
        if held and not self._request.is_batch:
            yield describe_held(held)
        minimum = self._cache_minimum()
        if to_ask > 1 and self._prompt.shared_after / CHARS_PER_TOKEN > minimum:
            yield (
                f"{self._prompt.shared_after:,} characters behind the first value are the same for all rows, and no cache finds them "
                "there. Put what all rows share in front of the values."
            )
        if self._failed_before:
            yield (
                f"{self._failed_before:,} were answered with an error before (cut, declined, or not fitting the schema). They are not "
                "asked again by this line; claude.retry asks them."
            )

    def _samples(self) -> Iterator[dict[str, Any]]:
        """Yield the first requests as they would be sent, as the API's JSON objects."""
        asked = [parts for parts in self._filled(0) if not isinstance(parts, str)]
        for parts in asked[:_SHOWN_REQUESTS]:
            request = self._template.model_copy(update={"messages": self._messages(parts)})
            yield request.to_body(stream=False)

    # Asking...

    def start(self) -> MapRun:
        """Begin to ask what has no answer yet; returns at once.

        Raises:
            ClaudeError: The journal cannot be written, or there is no key. Nothing was sent.
        """
        request = self._request
        if not request.is_batch and (held := self._held_by_batches()):
            raise ConfigurationError(f"{describe_held(held)} Nothing was sent.")
        number = Runs(self.journal).begin(
            prompt=request.prompt,
            model=self._model,
            rows=len(self._index_of),
            requests=len(self.results.texts),
            keys=bytes(self._all_keys),
        )
        task = Task(
            request=self._template,
            schema=request.schema,
            feed=self._feed,
            again=self._job,
            results=self.results,
            rows=len(self._index_of),
            most=request.concurrency or MOST_AT_ONCE,
            max_cost=request.max_cost,
            warms_cache=self._is_cached,
        )
        run = MapRun(
            task,
            prompt=request.prompt,
            origin=request.origin,
            outlives_cell=request.outlives_cell,
            make_result=self.result,
        )
        self._has_started = True
        run.start(
            self.journal,
            number,
            lambda work, *, on_end: self._runtime.spawn(work, self._options, on_end=on_end),
            make_engine=partial(self._batch_engine, number) if request.is_batch else OnlineEngine,
        )
        return run

    def _batch_engine(
        self,
        run: int,
        task: Task,
        client: ClaudeClient,
        make_accountant: Callable[[], TurnAccountant],
        tell: Callable[[], None],
    ) -> BatchEngine:
        context = BatchContext(
            task=task,
            client=client,
            notes=self._batches,
            run=run,
            since=self._read_at,
            server=self._server,
            ledger=self._runtime.ledger,
            heard=Heard(is_simulated=make_accountant().is_simulated),
        )
        return BatchEngine(context, tell, self._places)

    def close(self) -> None:
        """Close the journal, unless a run has it, which closes it at its end."""
        if not self._has_started:
            self.journal.close()

    def _feed(self) -> list[RowJob]:
        """Return the next requests that have no answer. A request is asked for the first row that makes it."""
        repeat, jobs = self._request.repeat, list[RowJob]()
        while not jobs and self._fed_rows < self._rows.count:
            start, self._fed_rows = self._fed_rows, min(self._fed_rows + _CHUNK, self._rows.count)
            wanted = []
            for place in range(start * repeat, self._fed_rows * repeat):
                if self._index_of[place] == self._fed_requests:
                    wanted.append((self._fed_requests, place))
                    self._fed_requests += 1
            wanted = [(index, place) for index, place in wanted if self.results.is_open(index)]
            if wanted:
                filled = self._filled(start)
                made = (self._made(index, place, filled[place // repeat - start]) for index, place in wanted)
                jobs = [job for job in made if job is not None]
        return jobs

    def _made(self, index: int, place: int, parts: tuple[Part, ...] | str) -> RowJob | None:
        if isinstance(
            parts, str
        ):  # an expression that gave a value when the rows were read, and gives none now
            self.results.problems[index] = parts
            return None
        return self._job_of(index, place, parts)

    def _job(self, index: int, place: int) -> RowJob:
        row = place // self._request.repeat
        (values,) = self._rows.read(row, row + 1, self._prompt.columns)
        return self._job_of(index, place, self._prompt.fill(values))

    def _job_of(self, index: int, place: int, parts: Sequence[Part]) -> RowJob:
        messages, draw = self._messages(parts), place % self._request.repeat
        return RowJob(index, place, self._keys.key(messages, draw), messages, draw)

    def result(self) -> Any:
        """Return the input with the answers there are beside it, and remember how it came about, so that `retry` can go on.

        Rows without an answer have the reason in the column of errors.
        """
        result = self._built()
        # Answers that are kept in no file are found in the open journal.
        journal = self.journal if self.journal.path is None else self._request.journal
        remember_origin(result, replace(self._request, journal=journal, outlives_cell=False))
        register_accessors(result)
        return result

    def _built(self) -> Any:
        names, *_ = self._names
        fields = self._fields()
        columns: list[list[Any]] = [[] for _ in names]
        errors: list[str | None] = []
        made: dict[int, tuple[list[Any], str | None]] = {}
        is_repeated = len(self.results.texts) < len(self._index_of)
        for place, index in enumerate(self._index_of):
            if (found := made.get(index)) is None or index < 0:
                found = self._values(index, place, fields)
                if is_repeated and index >= 0:
                    made[index] = found
            values, error = found
            errors.append(error)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        return self._rows.build(
            dict(zip(names, columns, strict=True)),
            errors,
            error_name=self._names[1],
            repeat=self._request.repeat,
        )

    def _values(self, index: int, place: int, fields: tuple[str, ...]) -> tuple[list[Any], str | None]:
        nothing: list[Any] = [None] * max(1, len(fields))
        if index < 0:
            return nothing, self._row_problems[place // self._request.repeat]
        text = self.results.texts[index]
        if text is None:
            return nothing, self.results.problems.get(index, self.results.why_open)
        if self._request.schema is None:
            return [text], None
        try:
            value = self._request.schema.parse(text)
        except AnswerError as error:  # the class of the schema has changed its mind since
            return nothing, str(error)
        return (field_values(value, fields) if fields else [value]), None

    # Parts of a request...

    def _question(self) -> Question:
        request = self._request
        return Question(
            prompt=request.prompt,
            output_schema=request.schema,
            max_searches=request.max_searches,
            stop_sequences=request.stop_sequences,
            extra=request.extra or {},
            is_raw=request.is_raw,
        )

    def _messages(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        if not self._is_cached and not self._request.attachments:
            content = content_of([(self._prompt.beginning, *parts)])
        else:
            content = [*self._shared, *_blocks_of(content_of([tuple(parts)]))]
        return [{"role": "user", "content": content}]

    def _cache_minimum(self) -> float:
        facts = facts_of(self._model)
        return math.inf if facts is None else facts.cache_minimum_tokens

    def _can_cache(self) -> bool:
        chars = _chars_of(self._shared) + len(self._settings.values.system or "")
        return chars / CHARS_PER_TOKEN >= _SAFETY * self._cache_minimum()

    def _template_fields(self, system: Any) -> dict[str, Any]:
        """Return what differs from the request of one question: the mark for the cache stands behind what all rows share."""
        fields: dict[str, Any] = {"messages": [], "cache_control": None}
        if not self._is_cached:
            return fields
        if self._shared:
            self._shared = [
                *self._shared[:-1],
                {**self._shared[-1], "cache_control": _MARKS[self._request.via]},
            ]
        elif isinstance(system, str):
            fields["system"] = [{"type": "text", "text": system, "cache_control": _MARKS[self._request.via]}]
        return fields

    # The result's columns...

    def _fields(self) -> tuple[str, ...]:
        schema = self._request.schema
        return schema.fields if schema is not None and self._rows.columns else ()

    def _column_names(self) -> tuple[list[str], str]:
        """Return the names of the answer columns, and of that of the errors.

        Raises:
            ConfigurationError: One of them is taken by a column that no earlier map has made.
        """
        request, taken = self._request, set(self._rows.columns)
        names, error = answer_columns(request, self._fields())
        made = {*names, error, *([DRAW] if request.repeat > 1 else [])}
        # All of them are there only if this is the result of an earlier map: then they are replaced.
        clash = [name for name in made if name in taken]
        if clash and (len(clash) < len(made) or request.repeat > 1):
            raise ConfigurationError(
                f"The table has a column {sorted(clash)[0]} already, and an answer would go there. prefix= names the columns of the answers "
                "differently: prefix='claude_'. Nothing was sent."
            )
        return names, error


def answer_columns(request: Request, fields: Sequence[str]) -> tuple[list[str], str]:
    """Return the names of the columns for an answer with these fields, and that of the column of errors.

    Raises:
        ConfigurationError: A field is called as a column that is not its own.
    """
    names = [f"{request.prefix}{name}" for name in fields or (ANSWER_COLUMN,)]
    error = f"{request.prefix}{ERROR_COLUMN}"
    others = {error: "why a row has no answer", **({DRAW: "which draw it is"} if request.repeat > 1 else {})}
    if taken := [name for name in names if name in others]:
        field = taken[0].removeprefix(request.prefix)
        raise ConfigurationError(
            f"The schema has a field {field}, and in the result the column {taken[0]} says {others[taken[0]]}. Name the field "
            f"differently, such as {field}_found. Nothing was sent."
        )
    return names, error


def make_plan(request: Request, runtime: Runtime) -> MapPlan:
    """Return a map that has read none of its rows yet.

    Raises:
        ConfigurationError: It cannot be asked. Nothing was sent.
        JournalError: The journal cannot be opened.
    """
    values = runtime.settings(request.settings).values
    name = model = values.model
    if table_id(name) is not None:
        # The server's newest of that name: what is asked is part of each key, so it is looked up first.
        found = runtime.submit(lambda client: runtime.model_names.resolve(client, name), request.settings)
        model = found.result(_RESOLVING_TIMEOUT)
    is_recorded = values.replay != "off" and not request.is_batch
    opened = open_journal(False if request.journal is None and is_recorded else request.journal)
    try:
        if request.is_batch and opened.path is None:
            raise ConfigurationError(
                "via='batch' needs a journal: the answers come hours later, perhaps to another kernel. Leave journal=False out. "
                "Nothing was sent."
            )
        return MapPlan(request, runtime, opened, model)
    except BaseException:
        if opened is not request.journal:
            opened.close()
        raise


def _blocks_of(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    return list(content)


def _chars_of(blocks: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(block.get("text", "")) for block in blocks)


def _text_of(parts: tuple[Part, ...]) -> str:
    return "".join(part for part in parts if isinstance(part, str))
