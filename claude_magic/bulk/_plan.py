"""The plan of a map: which rows have answers already, what the others may cost, and how the result is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from typing import Any, Final

from ..client import ConfigurationError, Usage
from ..context import CHARS_PER_TOKEN, exposed_in, refusal
from ..display import FrontEnd
from ..runtime import NO_BATCHES, SENT_AS_IT_IS, Runtime, Settings, cost_of, table_id
from ..schema import AnswerError
from ._batch_delivery import max_batch_cost
from ._batch_notes import BatchNotes, demo_server, describe_held, held_rows, name_server, now
from ._batches import BatchEngine
from ._display import Preview, approve_price
from ._journal import Answer, Journal, open_journal
from ._online import OnlineEngine
from ._origins import MapColumns, check_columns, remember_origin
from ._requests import MapRequest, RowIndex, RowJob, RowRequests, joined_text
from ._rows import DRAW, Rows, as_rows, field_values, read_once, register_accessors
from ._run import MapRun, Results, Task

_CHUNK: Final = 256
"""Rows read at a time."""
ANSWER_COLUMN: Final = "answer"
ERROR_COLUMN: Final = "error"
_TYPICAL_TEXT_TOKENS: Final = 200
_TYPICAL_OBJECT_TOKENS: Final = 60
"""Estimated output tokens of an answer as text, and as an object of a schema, until the journal has answers of this map."""
_SAMPLE_COUNT: Final = 3
_RESOLVING_TIMEOUT = 10.0
"""Seconds to wait until a short name is resolved. The server has a shorter time; the bridge may be busy."""


@dataclass(slots=True)
class _ReadTotals:
    """Totals collected while rows are read.

    Attributes:
        chars: Characters of the distinct requests, without the shared prefix.
        failed: Requests with an unusable answer in the journal.
        tokens_out: Output tokens of all answers in the journal.
        refused: Requests not sent because they contain text that looks like credentials.
        recorded: Requests that the cassette answers.
    """

    chars: int = 0
    failed: int = 0
    tokens_out: int = 0
    refused: int = 0
    recorded: int = 0


class MapPlan:
    """A map before it starts: read the rows, preview, check the price, start. Its methods run the user's expressions on the calling thread.

    Args:
        request: Arguments of the map.
        runtime: Runtime that sends the requests.
        journal: Journal of the answers. It is closed at the end of the run.
        model: Full name of the model.

    Attributes:
        journal: The journal.
        results: Answers and problems by number of the request.

    Raises:
        ConfigurationError: The map is invalid. Nothing was sent.
    """

    def __init__(self, request: MapRequest, runtime: Runtime, journal: Journal, model: str) -> None:
        self.journal = journal
        request.check()
        self._request = replace(request, items=read_once(request.items))
        self._runtime = runtime
        self._schema = request.question.output_schema
        self._options = {**request.question.settings, "model": model}
        self._rows: Rows = as_rows(self._request.items)
        self._row_requests = RowRequests(self._request, self._rows, runtime, self._options)
        self._columns = self._add_columns()
        self._index = RowIndex()
        self._totals = _ReadTotals()
        self.results = Results()
        self._read_at = now()
        self._has_started = False

    # Reading...

    def read(self) -> Iterator[int]:
        """Read all rows, and yield the number of rows read after each chunk."""
        for start in range(0, self._rows.count, _CHUNK):
            self._read_chunk(start)
            yield min(start + _CHUNK, self._rows.count)
        self._index.end()

    def _read_chunk(self, start: int) -> None:
        index, totals = self._index, self._totals
        fresh: dict[bytes, str] = {}
        for row, parts in enumerate(self._row_requests.read(start, start + _CHUNK), start):
            for draw in range(self._request.repeat):
                if isinstance(parts, str):
                    index.add_problem(row, parts)
                elif index.add(key := self._row_requests.key(parts, draw)):
                    fresh[key] = joined_text(parts)
        self.results.texts.extend([None] * len(fresh))
        totals.chars += sum(map(len, fresh.values()))
        for key, answer in self.journal.find(list(fresh)).items():
            if answer.problem is None or not self._request.asks_failed_again:
                self._load_known(index.number_of(key), answer)
                del fresh[key]
        if not self._request.asks_failed_again:
            totals.recorded += self._runtime.count_recorded(fresh, self._options)
        if not self._request.question.is_raw and exposed_in("\n".join(fresh.values()), "rows"):
            self._refuse_exposed(fresh)

    def _load_known(self, number: int, answer: Answer) -> None:
        self.results.load(number, answer)
        self._totals.failed += answer.problem is not None
        self._totals.tokens_out += answer.tokens_out

    def _refuse_exposed(self, texts: Mapping[bytes, str]) -> None:
        """Set a problem for each request whose text looks like it contains credentials, so that it is not sent."""
        for key, text in texts.items():
            if exposed := exposed_in(text, "The row"):
                reason = refusal(exposed, "raw=True (--raw in a cell) sends it as it is.")
                self.results.problems[self._index.number_of(key)] = reason.replace(
                    "Nothing was sent. ", "It was not sent. "
                )
                self._totals.refused += 1

    # Preview...

    def preview(self) -> Preview:
        """Return the preview of the map. All rows must have been read."""
        request, results, totals, requests = self._request, self.results, self._totals, self._row_requests
        held = self._rows_in_batches()
        done = results.known + totals.failed + totals.refused + totals.recorded
        done += sum(held.values()) * request.is_batch
        to_ask = max(0, len(results.texts) - done)
        usage = self._usage(to_ask)
        samples = list(islice(requests.samples(requests.read(0, _CHUNK)), _SAMPLE_COUNT))
        shown = [self._runtime.without_secrets(body) for body in samples]
        worst = None
        if request.is_batch:
            empty = requests.template.model_copy(update={"messages": requests.messages(())})
            worst = max_batch_cost(empty, to_ask, totals.chars)
        return Preview(
            model=requests.template.model,
            rows=len(self._index),
            requests=len(results.texts),
            known=results.known,
            recorded=totals.recorded,
            unasked=self._unasked + totals.refused,
            to_ask=to_ask,
            tokens_in=usage.total_input_tokens,
            tokens_out=usage.output_tokens,
            cost=cost_of(requests.template.model, usage),
            seconds=to_ask / self._runtime.limiter_state().refill_rate,
            is_simulated=self._runtime.is_demo,
            notes=(*self._preview_notes(to_ask, held), *([SENT_AS_IT_IS] if samples != shown else [])),
            samples=tuple(shown),
            via=request.via,
            in_batches=sum(held.values()),
            worst=worst,
        )

    def _usage(self, to_ask: int) -> Usage:
        """Estimate the tokens of `to_ask` requests."""
        totals, requests, is_batch = self._totals, self._row_requests, self._request.is_batch
        shared = round(requests.shared_chars / CHARS_PER_TOKEN)
        apart = round(totals.chars / max(1, len(self.results.texts)) * to_ask / CHARS_PER_TOKEN)
        output = _TYPICAL_TEXT_TOKENS if self._schema is None else _TYPICAL_OBJECT_TOKENS
        if totals.tokens_out:
            output = round(totals.tokens_out / (self.results.known + totals.failed))
        is_read = requests.is_cached and to_ask > 1
        return Usage(
            input_tokens=apart + (0 if is_read else shared * to_ask),
            cache_creation_input_tokens=shared if is_read else 0,
            cache_read_input_tokens=shared * (to_ask - 1) if is_read else 0,
            output_tokens=min(output, requests.template.max_tokens) * to_ask,
            cache_creation={"ephemeral_1h_input_tokens": shared} if is_read and is_batch else None,
            service_tier="batch" if is_batch else None,
        )

    def _preview_notes(self, to_ask: int, held: Mapping[str, int]) -> Iterator[str]:
        yield from self._row_requests.notes(to_ask)
        if to_ask and self._settings.replay == "only":
            yield "Replay is 'only': rows that are not in the cassette are not sent, and fail."
        if held and not self._request.is_batch:
            yield describe_held(held)
        if self._totals.failed:
            yield (
                f"{self._totals.failed:,} were answered with an error before (cut, declined, or not fitting the schema). They are not "
                "asked again by this line; claude.retry asks them."
            )

    def approve_price(self, front_end: FrontEnd | None) -> None:
        """Return if the map is cheap or its price is approved, by `max_cost` or interactively.

        Raises:
            ConfigurationError: The price is above `max_cost`, or was not approved. Nothing was sent.
        """
        if self._settings.replay == "only":  # nothing is sent
            return
        above = self._runtime.settings().values.map_ask_above
        approve_price(self.preview(), self._request.max_cost, asks_above=above, front_end=front_end)

    @property
    def _unasked(self) -> int:
        """Number of rows for which no request can be built, times the draws of each."""
        return len(self._index.problems) * self._request.repeat

    def _rows_in_batches(self) -> dict[str, int]:
        """Return the number of unanswered rows in each open batch, by batch id, or by tag if the id is unknown."""
        notes = BatchNotes(self.journal)
        notes.drop_demos(self._server)
        return held_rows(notes.open(), self._places)

    def _places(self) -> dict[bytes, tuple[int, int]]:
        """Return the unanswered requests: number and place, by key."""
        index, texts = self._index, self.results.texts
        unanswered = ((number, place) for number, place in index.first_places() if texts[number] is None)
        return {index.key_at(place): (number, place) for number, place in unanswered}

    @property
    def _server(self) -> str:
        """The name of the server. Each process with the demo has a server of its own, which ends with the process."""
        return demo_server() if self._runtime.is_demo else name_server(str(self._settings.base_url))

    @property
    def _settings(self) -> Settings:
        return self._runtime.settings(self._options).values

    # Running...

    @property
    def _again(self) -> str | None:
        """The argument `again` of `MapRun`: how the same line asks only the rest; None if it cannot."""
        replay = self._settings.replay
        if self.journal.is_durable or replay == "auto":
            return ""
        return None if replay == "off" else " with --replay auto"

    def start(self) -> MapRun:
        """Start the requests that have no answer yet, and return immediately.

        Raises:
            ConfigurationError: Some of the rows are in open batches.
            ClaudeError: The journal cannot be written, or there is no key. Nothing was sent.
        """
        request = self._request
        if not request.is_batch and (held := self._rows_in_batches()):
            raise ConfigurationError(f"{describe_held(held)} Nothing was sent.")
        template, jobs = self._row_requests.template, self._jobs()
        number = self.journal.begin_run(
            prompt=request.question.prompt,
            model=template.model,
            rows=len(self._index),
            requests=len(self.results.texts),
            keys=bytes(self._index.keys),
        )
        task = Task(
            request=request,
            template=template,
            feed=lambda: next(jobs, []),
            rebuild=self._row_requests.rebuild_job,
            results=self.results,
            journal=self.journal,
            run=number,
            rows=len(self._index),
            unasked=self._unasked,
            expected_cost=cost_of(template.model, self._usage(1)) or 0.0,
            warms_cache=self._row_requests.is_cached,
            asks_again=self._settings.max_retries > 0,
        )
        self.results.add_remarks(self._row_requests.remarks)
        run = MapRun(task, self.result, again=self._again)
        self._has_started = True
        run.start(
            partial(self._runtime.spawn, options=self._options),
            self._make_batch_engine() if request.is_batch else OnlineEngine,
        )
        return run

    def _make_batch_engine(self) -> Callable[..., BatchEngine]:
        return partial(
            BatchEngine,
            server=self._server,
            ledger=self._runtime.ledger,
            since=self._read_at,
            find_places=self._places,
        )

    def close(self) -> None:
        """Close the journal, unless a run was started: the run closes it at its end."""
        if not self._has_started:
            self.journal.close()

    def _jobs(self) -> Iterator[list[RowJob]]:
        """Yield the requests that have no answer, in chunks. Each request is sent for the first row that needs it."""
        repeat, results = self._request.repeat, self.results
        wanted = (found for found in self._index.first_places() if results.is_open(found[0]))
        for chunk, requests in groupby(wanted, lambda found: found[1] // repeat // _CHUNK):
            start = chunk * _CHUNK
            filled, jobs = self._row_requests.read(start, start + _CHUNK), []
            for number, place in requests:
                parts = filled[place // repeat - start]
                if isinstance(parts, str):  # the expression returned a value before, and now fails
                    results.problems[number] = parts
                else:
                    jobs.append(self._row_requests.job(number, place, parts))
            if jobs:
                yield jobs

    def result(self) -> Any:
        """Return the input with the available answers added, and remember its origin for `claude.retry`.

        The error column has the reason for each missing answer.
        """
        columns, errors = self.answers()
        result = self._rows.build(
            columns, errors, error_name=self._columns.error, repeat=self._request.repeat
        )
        # Answers kept in memory only are found in the open journal.
        journal = self.journal if self.journal.path is None else self._request.journal
        question = replace(self._request.question, outlives_cell=False)
        request = replace(self._request, journal=journal, question=question)
        remember_origin(result, request, self._columns.empty() if self._rows.columns else None)
        register_accessors(result)
        return result

    def answers(self) -> tuple[dict[str, list[Any]], list[str | None]]:
        """Return the available answers by column name, and the reasons for missing answers by row."""
        names, fields = self._columns.answers, self._fields()
        columns: list[list[Any]] = [[] for _ in names]
        errors: list[str | None] = []
        made: dict[int, tuple[list[Any], str | None]] = {}
        is_repeated = len(self.results.texts) < len(self._index.numbers)
        for place, index in enumerate(self._index.numbers):
            if (found := made.get(index)) is None:
                found = self._values(index, place, fields)
                if is_repeated and index >= 0:
                    made[index] = found
            values, error = found
            errors.append(error)
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        return dict(zip(names, columns, strict=True)), errors

    def _values(self, index: int, place: int, fields: tuple[str, ...]) -> tuple[list[Any], str | None]:
        nothing: list[Any] = [None] * max(1, len(fields))
        if index < 0:
            return nothing, self._index.problems[place // self._request.repeat]
        text = self.results.texts[index]
        if text is None:
            problem = self.results.problems.get(index)
            return nothing, problem or self.results.open_reason(self._index.key_at(place))
        if self._schema is None:
            return [text], None
        try:
            value = self._schema.parse(text)
        except AnswerError as error:  # a validator of the schema's class now rejects the answer
            return nothing, str(error)
        return (field_values(value, fields) if fields else [value]), None

    # Columns of the result...

    def _fields(self) -> tuple[str, ...]:
        return self._schema.fields if self._schema is not None and self._rows.columns else ()

    def _add_columns(self) -> MapColumns:
        """Return the columns that the map adds; those of an earlier map they replace.

        Raises:
            ConfigurationError: A column that was not made by an earlier map has one of these names.
        """
        request, rows = self._request, self._rows
        names, error = answer_columns(request, self._fields())
        read = {*self._row_requests.prompt.columns}
        if not read <= {*rows.columns}:  # the whole row
            read |= {*rows.columns} - {rows.answer_columns.get(name) for name in (*names, error)}
        columns = MapColumns(tuple(names), error, tuple(name for name in rows.columns if name in read))
        if request.keeps_columns:
            extra = [DRAW] if request.repeat > 1 else []
            added = replace(columns, answers=(*names, *extra))
            check_columns(added, rows, request.items, is_extended=bool(extra))
            made = rows.answer_columns
            rows.replaced = {made[name] for name in added.columns if name in made}
        return columns


def answer_columns(request: MapRequest, fields: Sequence[str]) -> tuple[list[str], str]:
    """Return the names of the answer columns for these fields, and the name of the error column.

    Raises:
        ConfigurationError: A field has the name of the error column or the draw column.
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


def make_plan(request: MapRequest, runtime: Runtime) -> MapPlan:
    """Return the plan of a map, before any row is read.

    Raises:
        ConfigurationError: The map is invalid. Nothing was sent.
        JournalError: The journal cannot be opened.
    """
    settings = request.question.settings
    values = runtime.settings(settings).values
    name = model = values.model
    if (known := table_id(name)) is not None:
        # Resolve the short name to the server's newest model first, since the model is part of each key.
        found = runtime.submit(lambda client: runtime.model_names.resolve(client, name), settings)
        try:
            model = found.result(_RESOLVING_TIMEOUT)
        except (TimeoutError, CancelledError):  # `resolve` does the same if the server is slow
            found.cancel()
            model = known
    is_recorded = values.replay != "off"
    if is_recorded and request.is_batch:
        raise ConfigurationError(NO_BATCHES)
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
