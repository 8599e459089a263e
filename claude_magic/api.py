"""`claude`: the Python interface, for cells, functions, threads and scripts.

`%load_ext` imports this module, so it imports the rest of the package only where it is used.
"""

from __future__ import annotations

# Not later: Python refuses to import it once the main thread has ended.
import concurrent.futures.thread  # noqa: F401
import contextlib
import contextvars
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, TypeVar, Unpack, cast

from . import _forks  # noqa: F401
from ._tracebacks import short_errors

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path
    from types import FrameType

    from .bulk import BatchList, Mapper, MapRequest, MapRun
    from .client import BucketState, ClaudeClient, MessageBatch
    from .display import FrontEnd
    from .panels import PromptPanel
    from .render import Bundle, Methods
    from .runtime import Question, Reply, ReplySnapshot, Runtime
    from .schema import OutputSchema
    from .tools import LoopExecutor, Toolbox, ToolExecutor, WaitingExecutor

Functions = Iterable[Callable[..., Any]] | None


def execute_while_waiting(functions: Functions, approve: str | None) -> WaitingExecutor | None:
    """Return an executor that runs functions on the calling thread while it waits for the answer; None without functions.

    Raises:
        ConfigurationError: A function cannot be used as a tool, or `approve` is not a valid value.
    """
    toolbox = _toolbox(functions)
    if toolbox is None:
        return None
    from .tools import TypedApproval, WaitingExecutor, needs_approval

    return WaitingExecutor(toolbox, approve=TypedApproval().ask if needs_approval(approve) else None)


def execute_on_loop(functions: Functions, approve: str | None) -> LoopExecutor | None:
    """Return an executor that runs functions on the event loop of the calling task. Raises as `execute_while_waiting` does."""
    import asyncio

    toolbox, task = _toolbox(functions), asyncio.current_task()
    if toolbox is None or task is None:
        return None
    from .tools import LoopExecutor, TypedApproval, needs_approval

    return LoopExecutor(
        toolbox,
        asyncio.get_running_loop(),
        contextvars.copy_context(),
        approve=TypedApproval().ask_on_loop if needs_approval(approve) else None,
        interrupt=task.cancel,
    )


def _toolbox(functions: Functions) -> Toolbox | None:
    if functions is None:
        return None
    from .tools import Toolbox

    return Toolbox.of(functions)


_Result = TypeVar("_Result")

_WAIT_CHECK_INTERVAL = 0.5
"""Seconds between two checks of whether an answer waits because of the server."""
_SHORT_WAIT = 2.0
"""Seconds of a wait that needs no explanation, unless the server asked for it."""


_NOTEBOOK = "claude_magic.notebook"


def _report_wait(reply: Reply) -> bool:
    """Print on stderr why a reply waits for the server, because nothing else shows it; return whether it was printed."""
    from .render import describe_status
    from .runtime import print_note

    snapshot = reply.snapshot()
    wait = snapshot.wait
    if wait is None or wait.kind not in ("paused", "limit", "backoff"):
        return False
    if wait.kind != "paused" and wait.remaining() < _SHORT_WAIT:
        return False
    print_note(describe_status(snapshot, time.monotonic()))
    return True


async def _watch_for_wait(reply: Reply) -> None:
    import asyncio

    while not reply.done() and not _report_wait(reply):  # noqa: ASYNC110 (the reply lives on another thread)
        await asyncio.sleep(_WAIT_CHECK_INTERVAL)


class _ModelOptions(TypedDict, total=False):
    """Options of every method that asks a model. The settings supply those that are left out.

    Attributes:
        model: Full or short name of the model, such as "opus".
        system: System prompt.
        max_tokens: Maximum tokens of an answer, thinking included.
        effort: "low", "medium", "high", "xhigh" or "max".
    """

    model: str | None
    system: str | None
    max_tokens: int | None
    effort: str | None


class _AnswerOptions(_ModelOptions, total=False):
    """Options of questions and maps.

    Attributes:
        thinking: "show", "hide" or "off".
        stop_sequences: Strings at which an answer ends.
        schema: Type that an answer must match: a pydantic model, dataclass or TypedDict; for rows also a description such as
            `"label, confidence float"`. The parsed object is `reply.parsed`; a table gets a column for each field.
        extra: Further fields of the request, with the API's names.
        raw: Send the prompt, or the rows, even if they contain what looks like an API key.
    """

    thinking: str | None
    stop_sequences: list[str] | None
    schema: Any
    extra: Mapping[str, Any] | None
    raw: bool


class AskOptions(_AnswerOptions, total=False):
    """Options of a question. The settings supply those that are left out.

    Attributes:
        thread: Conversation to continue, created at its first use: one word of letters, digits, _ . and -. Without one, the
            question belongs to no conversation.
        replay: "auto" answers from the cassette and records the rest, "only" sends nothing, "record" asks again, "off" does neither.
        tools: Functions that Claude may call. They run on the thread that called `ask`, or on the event loop that
            awaits `ask_async`.
        approve: "ask" (the default) asks you to type yes or no before each call; "never" runs every call without asking.
    """

    thread: str | None
    replay: Literal["off", "auto", "only", "record"] | None
    tools: Iterable[Callable[..., Any]] | None
    approve: Literal["ask", "never"] | None


class PanelOptions(_ModelOptions, total=False):
    """Options of a panel. The settings supply those that are left out.

    Attributes:
        thread: Conversation that its questions belong to; by default a new one.
        tools: Functions that Claude may call. They run between cells.
        approve: "ask" (the default) shows buttons before each call; "never" runs every call without asking.
    """

    thread: str | None
    tools: Iterable[Callable[..., Any]] | None
    approve: Literal["ask", "never"] | None


class _RowOptions(_AnswerOptions, total=False):
    """Options of maps and mappers.

    Attributes:
        names: Variables that the prompt may use in addition to the row's own; by default all that are visible to the caller. A
            mapper pickles them; its default is only those that its prompt uses.
        prefix: Prefix of the names of the answer columns.
        max_cost: Maximum cost in USD of the map, or of one call of a mapper (one partition or batch). A script must set it if the
            estimated cost of a map is above the setting `map_ask_above`. A row is sent only if it and those in flight fit into the
            rest, each at the price of the most expensive answer so far; before the first answer, at its worst case, or one row at a
            time at its estimated price.
        concurrency: Maximum number of requests in flight; by default as many as the server and the limiter allow, up to 200.
    """

    names: Mapping[str, object] | None
    prefix: str
    max_cost: float | None
    concurrency: int | None


class MapOptions(_RowOptions, total=False):
    """Options of a map. The settings supply those that are left out.

    Attributes:
        repeat: Number of answers for each row: a table gets one row per answer, a list one list per item.
        journal: File or folder in which answers are kept; by default `.claude-magic` in the current folder; False keeps none.
        via: "online", or "batch" for half the price and answers within a day. The journal remembers the batch, so you can
            interrupt the wait and run the same line later, in any kernel, to continue.
        replay: As for a question. With a cassette, no journal is kept unless `journal` names one.
        dry_run: Send nothing, and return what would be sent.
    """

    repeat: int
    journal: str | Path | bool | None
    via: Literal["online", "batch"]
    replay: Literal["off", "auto", "only", "record"] | None
    dry_run: bool


class MapperOptions(_RowOptions, total=False):
    """Options of a mapper. The settings of each process supply those that are left out.

    Attributes:
        limiter: URL of a Redis or Valkey server through which all processes share one rate limit. Leave out the password: the
            workers read it from CLAUDE_MAGIC_LIMITER.
        journal: Folder that all workers can reach, in which each writes its answers. Rows that have an answer there are not asked
            again.
        keep: Input columns to put before the answers in the result: their names, or a table with these columns. By default none:
            the index shows which answer belongs to which row.
    """

    limiter: str | None
    journal: str | Path | None
    keep: Any


def _attributes_in(kind: Any) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]


def _complete_docstrings() -> None:
    """Make the docstring of each public options class list all of its options, inherited ones included."""
    for kind in (AskOptions, PanelOptions, MapOptions, MapperOptions):
        shared = (
            each
            for each in (_ModelOptions, _AnswerOptions, _RowOptions)
            if each.__annotations__.keys() <= kind.__annotations__.keys()
        )
        if kind.__doc__:  # python -OO removes docstrings
            head = kind.__doc__.partition("Attributes:")[0]
            kind.__doc__ = f"{head.rstrip()}\n\nAttributes:\n" + "\n".join(
                map(_attributes_in, (*shared, kind))
            )


_complete_docstrings()

_CALLER = 2
"""Frames between a method decorated with `short_errors` and its caller."""

_Method = TypeVar("_Method", bound=Callable[..., Any])
_SEE = "**options: See `{}`."
_DEFAULTS: Mapping[str, Any] = {"raw": False, "dry_run": False, "repeat": 1, "prefix": "", "via": "online"}
"""Defaults of the options whose default is not None."""


def _spelled_out(options: Any) -> Callable[[_Method], _Method]:
    """Return a decorator that lists each option in a method's signature and docstring, for `?` and completion."""

    def spell_out(method: _Method) -> _Method:
        signature = inspect.signature(method)
        parameters = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_DEFAULTS.get(name),
                annotation=getattr(annotation, "__forward_arg__", annotation),
            )
            for name, annotation in options.__annotations__.items()
        ]
        method.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        if method.__doc__ and options.__doc__:
            listed = _attributes_in(options).strip()
            method.__doc__ = inspect.cleandoc(method.__doc__).replace(_SEE.format(options.__name__), listed)
        return method

    return spell_out


class Claude:
    """The Python interface to Claude. It uses the kernel's shared client with its rate limiter, retries and settings.

    Example:
        ```python
        from claude_magic import claude

        reply = claude.ask("Name three primes.")  # waits for the answer
        print(reply.text)

        reply = await claude.ask_async("And three more?")  # waits; your other tasks keep running

        reply = claude.submit("Count to a hundred.")  # returns immediately
        reply.cancel()
        ```
    """

    def __call__(self, *_prompt: object, **_options: object) -> NoReturn:
        """Raise an error that names the methods to call instead.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            '`claude` is an object with methods, and is not called itself. Use claude.ask("..."), `await claude.ask_async("...")` or '
            "claude.map(prompt, rows). Nothing was sent."
        )

    @_spelled_out(AskOptions)
    @short_errors
    def ask(self, prompt: str, **options: Unpack[AskOptions]) -> Reply:
        """Ask, wait for the whole answer, and return it. Works on any thread.

        On the main thread, Ctrl-C (the kernel's interrupt) cancels the request and raises KeyboardInterrupt; `claude.last` keeps
        the partial answer. This blocks a running event loop: in async code, use `await claude.ask_async(...)`.

        Example:
            ```python
            reply = claude.ask("Name three primes.", model="haiku")
            reply.text, reply.usage, reply.cost
            ```

        Args:
            prompt: The prompt.
            **options: See `AskOptions`.

        Raises:
            ClaudeError: The request failed. `claude.last.text` has the partial answer.
            KeyboardInterrupt: The wait was interrupted.
        """
        from .runtime import interrupts_kept_for, stopped_if_left
        from .tools import interrupts_deferred

        tools = execute_while_waiting(options.get("tools"), options.get("approve"))
        with interrupts_deferred():
            reply = self._start(prompt, options, tools)
            notes = reply.snapshot().notes
            with stopped_if_left(reply), interrupts_kept_for(reply) as waiting:
                is_reported = False
                while not waiting.wait(None if is_reported else _WAIT_CHECK_INTERVAL):
                    is_reported = is_reported or _report_wait(reply)
        self._print_notes(reply, notes)
        return reply.result()

    @_spelled_out(AskOptions)
    @short_errors
    async def ask_async(self, prompt: str, **options: Unpack[AskOptions]) -> Reply:
        """Ask, and await the whole answer. Works on any event loop.

        Cancelling the awaiting task cancels the request too. Ctrl-C in one of its tools cancels that task.

        Args:
            prompt: The prompt.
            **options: See `AskOptions`.

        Raises:
            ClaudeError: The request failed. `claude.last.text` has the partial answer.
        """
        import asyncio

        from .runtime import stopped_if_left

        tools = execute_on_loop(options.get("tools"), options.get("approve"))
        reply = self._start(prompt, options, tools)
        notes = reply.snapshot().notes
        watch = asyncio.create_task(_watch_for_wait(reply))
        try:
            with stopped_if_left(reply):
                return await reply
        finally:
            watch.cancel()
            self._print_notes(reply, notes)

    @_spelled_out(AskOptions)
    @short_errors
    def submit(self, prompt: str, **options: Unpack[AskOptions]) -> Reply:
        """Ask, and return immediately a reply that is still in flight. Works on any thread.

        Args:
            prompt: The prompt.
            **options: See `AskOptions`.

        Raises:
            ConfigurationError: The question cannot be sent, or has tools, which run only while the caller waits.
        """
        if options.get("tools"):
            from .client import ConfigurationError

            raise ConfigurationError(
                "Tools run where the caller waits for the answer, and claude.submit does not wait. Use claude.ask(...) or "
                "`await claude.ask_async(...)`. Nothing was sent."
            )
        return self._start(prompt, options, None)

    @_spelled_out(MapOptions)
    @short_errors
    def map(self, prompt: str, items: Any, **options: Unpack[MapOptions]) -> Any:
        """Ask about each row of a table, or each item of a collection, wait, and return the input with the answers.

        Each answer is saved in the journal before it counts as done: running the same line again asks only about rows without an
        answer. A row that fails has no answer, and its `error` gives the reason; see `errors` and `retry`.

        Example:
            ```python
            out = claude.map("Classify this review: {{ text }}", df, schema="label, confidence float")
            ```

        Args:
            prompt: Prompt with expressions in double braces: `{{ column }}` for a table, `{{ item }}` for a list, column or dict.
                The server caches the part before the first expression if it is long enough.
            items: Table or column of pandas, polars or another library that narwhals supports; a list, dict or generator.
            **options: See `MapOptions`.

        Returns:
            For a table or column, a table with the input's columns, the answer columns, and `error`. For anything else, a list or
            dict whose attribute `errors` has the reasons. `claude.errors(out)` and `out.claude.errors()` work with all of these.

        Raises:
            ConfigurationError: The options cannot be used, or the map could cost more than allowed. Nothing was sent.
            MapStoppedError: Not all rows were asked: the budget is used up, the key is refused, or the server does not respond.
            KeyboardInterrupt: The map was interrupted. The answers so far are kept, and are in the exception's `result`.
        """
        from .tools import run_blocking

        request = self._map_request(prompt, items, options, sys._getframe(_CALLER))
        return run_blocking(self._map(request, dry_run=options.get("dry_run")))

    @_spelled_out(MapOptions)
    @short_errors
    def map_async(self, prompt: str, items: Any, **options: Unpack[MapOptions]) -> Coroutine[Any, Any, Any]:
        """Do the same as `map` without blocking the event loop: `out = await claude.map_async(prompt, df)`.

        Cancelling the awaiting task stops the map; the answers so far are kept.

        Args:
            prompt: As for `map`.
            items: As for `map`.
            **options: See `MapOptions`.
        """
        request = self._map_request(prompt, items, options, sys._getframe(_CALLER))
        return self._map(request, dry_run=options.get("dry_run"), is_awaited=True)

    @_spelled_out(MapperOptions)
    @short_errors
    def mapper(self, prompt: str, **options: Unpack[MapperOptions]) -> Mapper:
        """Return a callable that maps a table to a table, for engines that split tables: Dask, Ray, Spark. Sends nothing.

        The mapper can be pickled and contains no key: each process that calls it reads its own environment.

        ```python
        label = claude.mapper("Classify: {{ text }}", schema=Label, limiter="redis://host/0", journal="/shared/labels")
        labels = ddf.map_partitions(label, meta=label.meta)
        ```

        Args:
            prompt: As for `map`.
            **options: See `MapperOptions`.

        Raises:
            ConfigurationError: An option is not valid.
        """
        from dataclasses import replace

        from .bulk import Mapper, used_names

        _check_options(options, MapperOptions)
        known = {name: value for name, value in options.items() if name in MapOptions.__annotations__}
        request = self._map_request(prompt, None, cast(MapOptions, known), sys._getframe(_CALLER))
        settings = {**request.question.settings, "limiter": options.get("limiter")}
        request = replace(
            request,
            question=replace(request.question, settings=settings),
            names=request.names if options.get("names") is not None else used_names(prompt, request.names),
        )
        return Mapper(request, journal=options.get("journal"), keep=options.get("keep"))

    @short_errors
    def errors(self, result: Any, column: str | None = None) -> Any:
        """Return the rows of a map's result that have no answer: a table for a table, else the reasons by position or key.

        `out.claude.errors()` does the same for pandas and polars tables, lists and dicts.

        Args:
            result: Result of `map`, or a part or copy of it, also as a table of another library.
            column: Name of the error column; needed for a result of another kernel, such as one read from a file.

        Raises:
            ConfigurationError: `result` does not come from a map of this kernel, and `column` is not given.
        """
        from .bulk import failed_rows

        return failed_rows(result, column)

    @short_errors
    def retry(self, result: Any) -> Any:
        """Ask again about the rows of a map's result that have no answer, and return the whole result with the new answers.

        This includes rows whose answer was cut off, declined, or did not match the schema; running the map's line again does not.

        Args:
            result: The object that `map` returned, not a copy.

        Raises:
            ConfigurationError: `result` does not come from a map of this process.
        """
        from dataclasses import replace

        from .bulk import origin_of
        from .tools import run_blocking

        return run_blocking(self._map(replace(origin_of(result), asks_failed_again=True), dry_run=False))

    @short_errors
    def batches(self, journal: str | Path | None = None) -> BatchList:
        """Return the message batches of this key's workspace, newest first, each with its progress and the map that sent it.

        Args:
            journal: Journal of the maps; by default the one in the current folder.

        Raises:
            ClaudeError: The server did not list the batches.
        """
        from .bulk import BatchDesk

        return BatchDesk(self.runtime, journal).list()

    @short_errors
    def cancel_batch(self, batch_id: str) -> MessageBatch:
        """Request the cancellation of a batch, and return the batch. Requests completed by then have answers and are billed.

        Raises:
            ConfigurationError: This key's workspace has no batch with this id.
            InvalidRequestError: The batch has already ended.
        """
        from .bulk import BatchDesk

        return BatchDesk(self.runtime).cancel(batch_id)

    @short_errors
    def forget_batch(self, name: str, journal: str | Path | None = None) -> int:
        """Forget a lost batch, so that its rows without an answer can be asked again; return their number.

        If the server has the batch after all, it is billed, and its answers are not fetched.

        Args:
            name: Id of the batch; if sending it was interrupted, the tag that `batches` shows instead.
            journal: Journal that contains the batch; by default the one in the current folder.

        Raises:
            ClaudeError: The journal has no open batch with this name.
        """
        from .bulk import BatchDesk

        return BatchDesk(self.runtime, journal).forget(name)

    @short_errors
    def methods(
        self, *, cassette: bool = False, appendix: bool = False, manifest: str | Path | None = None
    ) -> Methods:
        """Return a Methods paragraph for a paper, in Markdown, from the requests actually made; `.manifest` has the same as data.

        Args:
            cassette: Describe the requests in the cassette instead of those of this kernel.
            appendix: Append the prompts.
            manifest: JSON file to write the manifest to; None writes none.

        Raises:
            ConfigurationError: The manifest cannot be written, or the cassette cannot be read.
        """
        from .render import describe_methods

        return describe_methods(self.runtime, of_cassette=cassette, has_appendix=appendix, manifest=manifest)

    @short_errors
    def run(self, work: Callable[[ClaudeClient], Awaitable[_Result]]) -> Future[_Result]:
        """Call the shared client directly, and return a future: `claude.run(lambda client: client.list_models()).result()`.

        Args:
            work: Called with the client, on its event loop; returns an awaitable.

        Raises:
            ConfigurationError: A setting cannot be used, or there is no key. Errors of the work are reported by the future.
        """
        return self.runtime.submit(work)

    @_spelled_out(PanelOptions)
    @short_errors
    def panel(self, **options: Unpack[PanelOptions]) -> PromptPanel:
        """Return a panel: a conversation with its own input box and buttons, displayed as the value of a cell.

        Args:
            **options: See `PanelOptions`.

        Raises:
            ConfigurationError: A setting or option is not valid.
        """
        from .panels import PromptPanel  # late: this imports ipywidgets

        return PromptPanel(**options)

    @property
    def last(self) -> Reply | None:
        """The most recent reply of any cell, panel or Python code, even if it failed or was interrupted; None before the first."""
        return self.runtime.last

    @property
    def in_flight(self) -> tuple[Reply, ...]:
        """The replies in flight, oldest first."""
        return self.runtime.in_flight()

    @property
    @short_errors
    def limiter(self) -> BucketState:
        """Level, queue and pause of the rate limiter that all requests share."""
        return self.runtime.limiter_state()

    @property
    def runtime(self) -> Runtime:
        """The kernel's runtime, for extensions."""
        from .runtime import get_runtime

        runtime = get_runtime()
        if runtime.presenter is None and (notebook := sys.modules.get(_NOTEBOOK)) is not None:
            notebook.connect()  # so that `%config ClaudeMagics` applies here too
        if runtime.presenter is None:  # the magics are not loaded, but replies look the same
            runtime.set_presenter(_present)
        return runtime

    def _start(self, prompt: str, options: AskOptions, tools: ToolExecutor | None) -> Reply:
        _check_options(options, AskOptions)
        from .runtime import Where
        from .tools import needs_approval

        needs_approval(options.get("approve"))  # a typo is an error, also without tools
        thread = options.get("thread")
        where = None if thread is None else Where(thread=thread)
        schema = _schema_of(options.get("schema"))
        return self.runtime.start(_question(prompt, options, output_schema=schema, where=where, tools=tools))

    def _print_notes(self, reply: Reply, known: tuple[str, ...]) -> None:
        """Print on stderr what a reply has noted since its start, such as that the cassette could not be written."""
        from .runtime import print_note

        for note in reply.snapshot().notes[len(known) :]:
            print_note(note)
        self.runtime.print_pending_notes()

    def _map_request(self, prompt: str, items: Any, options: MapOptions, frame: FrameType) -> MapRequest:
        from .bulk import MapRequest
        from .schema import make_output_schema

        _check_options(options, MapOptions)
        chosen: dict[str, Any] = {**_DEFAULTS, **options}
        names = options.get("names")
        names = {**frame.f_globals, **frame.f_locals} if names is None else names
        kind = options.get("schema")
        schema = make_output_schema(kind, names) if isinstance(kind, str) else _schema_of(kind)
        return MapRequest(
            question=_question(prompt, options, output_schema=schema),
            items=items,
            names=names,
            journal=options.get("journal"),
            concurrency=options.get("concurrency"),
            max_cost=options.get("max_cost"),
            repeat=chosen["repeat"],
            prefix=chosen["prefix"],
            via=chosen["via"],
        )

    @short_errors
    async def _map(self, request: MapRequest, *, dry_run: bool | None, is_awaited: bool = False) -> Any:
        """Run a map and show its progress. Unless `is_awaited`, the coroutine never suspends."""
        import asyncio

        from .bulk import MapSurface, make_plan
        from .display import follow, follow_blocking
        from .runtime import stopped_if_left
        from .tools import interrupts_deferred

        with contextlib.closing(make_plan(request, self.runtime)) as plan:
            for _ in plan.read():
                if is_awaited:
                    await asyncio.sleep(0)
            if dry_run:
                return plan.preview()
            front_end, is_live = _front_end(), self.runtime.settings().values.live
            plan.approve_price(front_end)
            with contextlib.nullcontext() if is_awaited else interrupts_deferred():
                run = plan.start()
                with stopped_if_left(run):
                    surface = MapSurface(front_end, is_live=is_live, keeps=run.again == "")
                    try:
                        if is_awaited:
                            await follow(run, surface)
                        else:
                            follow_blocking(run, surface)
                    except KeyboardInterrupt:
                        raise _stopped(run) from None
                    finally:
                        surface.finish(run.snapshot())
            self.runtime.print_pending_notes()
            return run.result()

    def __repr__(self) -> str:
        return "<claude: ask, ask_async, submit, map, last>"


def _schema_of(kind: Any) -> OutputSchema | None:
    from .schema import OutputSchema

    return None if kind is None else OutputSchema(kind, getattr(kind, "__name__", str(kind)))


def _stopped(run: MapRun) -> KeyboardInterrupt:
    """Return the exception for an interrupted map; its `result` has the answers so far."""
    kept = "The answers so far:" if run.again is None else "What was answered is kept:"
    stopped = KeyboardInterrupt(f"the map was stopped. {kept} {run.how_to_continue()}")
    stopped.result = run.so_far()  # type: ignore[attr-defined]
    return stopped


def _question(prompt: str, options: Mapping[str, Any], **fields: Any) -> Question:
    """Return the question of a prompt, or of each row of a map, with these options, and other fields."""
    from .runtime import QUESTION_FIELDS, Question

    return Question(
        prompt=prompt,
        settings={name: options.get(name) for name in QUESTION_FIELDS},
        stop_sequences=options.get("stop_sequences"),
        extra=options.get("extra") or {},
        is_raw=bool(options.get("raw")),
        **fields,
    )


def _check_options(options: Mapping[str, Any], kind: Any) -> None:
    """Reject unknown options.

    Raises:
        TypeError: An option is unknown.
    """
    known = kind.__annotations__
    if unknown := sorted(options.keys() - known.keys()):
        from .context import did_you_mean

        raise TypeError(
            f"There is no option {unknown[0]!r}.{did_you_mean(unknown[0], known)} The options are {', '.join(known)}. Nothing was sent."
        )


def _front_end() -> FrontEnd | None:
    """Return the capabilities of IPython's front end; None outside of IPython."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell = get_ipython()
    if shell is None:
        return None
    from .display import FrontEnd

    return FrontEnd(shell)


def _present(snapshot: ReplySnapshot) -> Bundle:
    from .render import render_reply  # late: most programs never display a reply

    return render_reply(snapshot)


claude = Claude()
"""The shared instance: `from claude_magic import claude`."""

__all__ = ["AskOptions", "Claude", "MapOptions", "MapperOptions", "PanelOptions", "claude"]
