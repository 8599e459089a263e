"""`claude`: Claude for plain Python in a cell, a function, a thread or a script.

`%load_ext` binds it in the notebook, so this file imports the rest of the package where it is first used.
"""

from __future__ import annotations

import contextvars
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypedDict, TypeVar, Unpack, cast

from ._tracebacks import short_errors

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path
    from types import FrameType

    from .bulk import BatchList, Mapper, MapRun, Request
    from .client import BucketState, ClaudeClient, MessageBatch
    from .display import FrontEnd
    from .panels import PromptPanel
    from .render import Methods
    from .runtime import Reply, ReplySnapshot, Runtime
    from .schema import OutputSchema
    from .tools import LoopExecutor, Toolbox, ToolExecutor, WaitingExecutor

Functions = Iterable[Callable[..., Any]] | None


def execute_while_waiting(functions: Functions, approve: str | None) -> WaitingExecutor | None:
    """Return what runs functions on the thread that calls this, once it waits for the answer; None if there are none.

    Raises:
        ConfigurationError: One of them cannot be a tool.
    """
    toolbox = _toolbox(functions)
    if toolbox is None:
        return None
    from .tools import TypedApproval, WaitingExecutor

    return WaitingExecutor(toolbox, approve=TypedApproval().ask if _is_asked(approve) else None)


def execute_on_loop(functions: Functions, approve: str | None) -> LoopExecutor | None:
    """Return what runs functions on the loop of the task that calls this. Raises as `execute_while_waiting` does."""
    import asyncio

    toolbox, task = _toolbox(functions), asyncio.current_task()
    if toolbox is None or task is None:
        return None
    from .tools import LoopExecutor, TypedApproval

    return LoopExecutor(
        toolbox,
        asyncio.get_running_loop(),
        contextvars.copy_context(),
        approve=TypedApproval().ask_on_loop if _is_asked(approve) else None,
        interrupt=task.cancel,
    )


def _toolbox(functions: Functions) -> Toolbox | None:
    if functions is None:
        return None
    from .tools import Toolbox

    return Toolbox.of(functions)


def _is_asked(approve: str | None) -> bool:
    if approve not in (None, "ask", "never"):
        from .client import ConfigurationError

        raise ConfigurationError(f'approve is "ask" or "never", not {approve!r}. Nothing was sent.')
    return approve != "never"


_Result = TypeVar("_Result")

_LOOK_INTERVAL = 0.5
"""Seconds between two looks at whether an answer is held up by a pause that a server asked for."""


_NOTEBOOK = "claude_magic.notebook"


def _tell_pause(reply: Reply) -> bool:
    """Say on stderr, where nothing is drawn, that a server asked to wait; return whether that was said."""
    from .render import describe_status

    snapshot = reply.snapshot()
    if snapshot.wait is None or snapshot.wait.kind != "paused":
        return False
    print(describe_status(snapshot, time.monotonic()), file=sys.stderr, flush=True)
    return True


async def _tell_pause_of(reply: Reply) -> None:
    import asyncio

    while not reply.done() and not _tell_pause(reply):  # noqa: ASYNC110 (the reply lives on another thread)
        await asyncio.sleep(_LOOK_INTERVAL)


class _ModelOptions(TypedDict, total=False):
    """Options of all that asks a model. The settings decide what is left out.

    Attributes:
        model: Model to ask.
        system: System prompt.
        max_tokens: Most tokens of an answer, thinking included.
        effort: "low", "medium", "high", "xhigh" or "max".
    """

    model: str | None
    system: str | None
    max_tokens: int | None
    effort: str | None


class _AnswerOptions(_ModelOptions, total=False):
    """Options of what is asked and answered in one call.

    Attributes:
        thinking: "show", "hide" or "off".
        stop_sequences: Strings at which an answer ends.
        schema: What an answer must fit: a pydantic model, dataclass or TypedDict, or, for rows, a description as `label, confidence float`.
            The object is `reply.parsed`; a table gets a column for each field.
        extra: More fields of the request, as the API names them.
        raw: Send the prompt, or rows, even if they hold what looks like an API key.
    """

    thinking: str | None
    stop_sequences: list[str] | None
    schema: Any
    extra: Mapping[str, Any] | None
    raw: bool


class AskOptions(_AnswerOptions, total=False):
    """Options of a question. The settings decide what is left out.

    Attributes:
        thread: The conversation to continue; without one the question stands alone.
        replay: "auto" answers from the cassette and records the rest, "only" sends nothing, "record" asks again, "off" does neither.
        tools: Functions of yours that Claude may call. They run on the thread that called `ask`, or on the
            loop that awaits `ask_async`.
        approve: "ask" (the default) asks you to type yes or no before each call; "never" runs all of them.
    """

    thread: str | None
    replay: Literal["off", "auto", "only", "record"] | None
    tools: Iterable[Callable[..., Any]] | None
    approve: Literal["ask", "never"] | None


class PanelOptions(_ModelOptions, total=False):
    """Options of a panel. The settings decide what is left out.

    Attributes:
        thread: The conversation that its questions belong to; a new one if left out.
        tools: Functions of yours that Claude may call. They run between cells.
        approve: "ask" (the default) shows buttons before each call; "never" runs all of them.
    """

    thread: str | None
    tools: Iterable[Callable[..., Any]] | None
    approve: Literal["ask", "never"] | None


class _RowOptions(_AnswerOptions, total=False):
    """Options of what asks about each row.

    Attributes:
        names: The names that the prompt may hold beside those of a row; by default those that the caller sees. Those of a mapper are
            pickled, and by default only those that its prompt holds.
        prefix: What the names of the answer columns begin with.
        max_cost: USD that the map may cost, or one call of a mapper: one partition or batch. Needed in scripts where the estimate of
            a map is above the setting `map_ask_above`.
        concurrency: Requests in flight at most; by default as many as server and limiter take, up to 200.
    """

    names: Mapping[str, object] | None
    prefix: str
    max_cost: float | None
    concurrency: int | None


class MapOptions(_RowOptions, total=False):
    """What may be given with a map; what is left out is taken from the settings.

    Attributes:
        repeat: Draws of each row: a table gets a row for each, a list a list.
        journal: Where answers are kept: a file or folder; by default `.claude-magic` in the current folder; False keeps none.
        via: "online"; or "batch": half the price, and answers within a day. The journal remembers the batch, so waiting may be
            interrupted, and the same line goes on in any kernel.
        replay: As for a question. With a cassette no journal is kept, unless one is named.
        dry_run: Send nothing; return what would be sent.
    """

    repeat: int
    journal: str | Path | bool | None
    via: Literal["online", "batch"]
    replay: Literal["off", "auto", "only", "record"] | None
    dry_run: bool


class MapperOptions(_RowOptions, total=False):
    """What may be given with a mapper; what is left out is taken from the settings of each process.

    Attributes:
        limiter: Address of a Redis or Valkey server on which all processes share one limit; without a password, which the workers
            read from CLAUDE_MAGIC_LIMITER.
        journal: A folder that all workers see, where each writes the answers it has got. What stands there is not asked again.
        keep: Columns of the input that the result holds in front of the answers: names, or a table that has them. By default none:
            the index tells which answer belongs to which row.
    """

    limiter: str | None
    journal: str | Path | None
    keep: Any


def _attributes_in(kind: Any) -> str:
    return inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]


def _complete_docstrings() -> None:
    """Let the docstring of each public kind of options list all of them, those included that it shares with others."""
    for kind in (AskOptions, PanelOptions, MapOptions, MapperOptions):
        shared = (
            each
            for each in (_ModelOptions, _AnswerOptions, _RowOptions)
            if each.__annotations__.keys() <= kind.__annotations__.keys()
        )
        if kind.__doc__:  # Python's -OO leaves docstrings out
            head = kind.__doc__.partition("Attributes:")[0]
            kind.__doc__ = f"{head.rstrip()}\n\nAttributes:\n" + "\n".join(
                map(_attributes_in, (*shared, kind))
            )


_complete_docstrings()

_CALLER = 2
"""Frames from a method with `short_errors` to the code that calls it."""

_Method = TypeVar("_Method", bound=Callable[..., Any])
_SEE = "**options: See `{}`."
_DEFAULTS: Mapping[str, Any] = {"raw": False, "dry_run": False, "repeat": 1, "prefix": "", "via": "online"}
"""Of those options whose default is not None."""


def _spelled_out(options: Any) -> Callable[[_Method], _Method]:
    """Give a method that takes `**options` the signature and the docstring in which each of them stands, for `?` and completion."""

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
    """Asks Claude through the kernel's shared client, with its limiter, retries and settings. Has no state of its own.

    Example:
        ```python
        from claude_magic import claude

        reply = claude.ask("Name three primes.")  # waits
        print(reply.text)

        reply = await claude.ask_async("And three more?")  # waits, while your own tasks run

        reply = claude.submit("Count to a hundred.")  # returns at once
        reply.cancel()
        ```
    """

    def __call__(self, *_prompt: object, **_options: object) -> NoReturn:
        """Say which method asks.

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
        """Ask, wait for the whole answer, and return it. For any thread.

        On the main thread Ctrl-C (the kernel's interrupt) cancels it and raises KeyboardInterrupt; what had arrived is in
        `claude.last`. In a cell that runs an event loop this blocks the loop: there, `await claude.ask_async(...)` is better.

        Args:
            prompt: The user's words.
            **options: See `AskOptions`.

        Raises:
            ClaudeError: It failed; what had arrived is in `claude.last.text`.
            KeyboardInterrupt: It was interrupted.
        """
        from .runtime import interrupts_kept_for

        tools = execute_while_waiting(options.get("tools"), options.get("approve"))
        reply = self._start(prompt, options, tools)
        with interrupts_kept_for(reply) as waiting:
            told = False
            while not waiting.wait(None if told else _LOOK_INTERVAL):
                told = told or _tell_pause(reply)
        self.runtime.tell_news()
        return reply.result()

    @_spelled_out(AskOptions)
    @short_errors
    async def ask_async(self, prompt: str, **options: Unpack[AskOptions]) -> Reply:
        """Ask, and await the whole answer. For any event loop.

        Cancelling the task that awaits cancels the answer too; Ctrl-C in one of its tools cancels that task.

        Args:
            prompt: The user's words.
            **options: See `AskOptions`.

        Raises:
            ClaudeError: It failed; what had arrived is in `claude.last.text`.
        """
        import asyncio

        tools = execute_on_loop(options.get("tools"), options.get("approve"))
        reply = self._start(prompt, options, tools)
        telling = asyncio.create_task(_tell_pause_of(reply))
        try:
            return await reply
        except asyncio.CancelledError:
            reply.cancel()
            raise
        finally:
            telling.cancel()
            self.runtime.tell_news()

    @_spelled_out(AskOptions)
    @short_errors
    def submit(self, prompt: str, **options: Unpack[AskOptions]) -> Reply:
        """Ask, and return at once with a reply that is still in flight. For any thread.

        Args:
            prompt: The user's words.
            **options: See `AskOptions`.

        Raises:
            ConfigurationError: The question could not be sent, or it has tools, which run only where the caller waits.
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
        """Ask about each row of a table, or each item of anything else, and return it with the answers. Waits.

        Each answer is kept in the journal before it counts: running the same line again asks only rows without one. A row that
        fails has no answer, and the reason beside it; see `errors` and `retry`.

        Args:
            prompt: The prompt, with values in double braces: `{{ column }}` of a table, `{{ item }}` of a list, column or dict.
                The part before the first value is cached at the server where it is long enough.
            items: A table or column of pandas, polars or another library that narwhals knows; a list, dict or generator.
            **options: See `MapOptions`.

        Returns:
            A table for a table or column: its own columns, those of the answers, and `error`. A list or dict for anything else,
            with the reasons in its `errors`. `claude.errors(out)` and `out.claude.errors()` take any of them.

        Raises:
            ConfigurationError: It cannot be asked so, or costs more than was agreed to. Nothing was sent.
            MapStoppedError: Not all rows were asked: the budget has ended, the key is refused, the server does not answer.
            KeyboardInterrupt: It was interrupted. What was answered is kept, and in its `result`.
        """
        from .display import run_blocking

        request = self._map_request(prompt, items, options, sys._getframe(_CALLER))
        return run_blocking(self._map(request, dry_run=options.get("dry_run")))

    @_spelled_out(MapOptions)
    @short_errors
    def map_async(self, prompt: str, items: Any, **options: Unpack[MapOptions]) -> Coroutine[Any, Any, Any]:
        """Do as `map` does, and let the event loop go on meanwhile: `out = await claude.map_async(prompt, df)`.

        Cancelling the task that awaits stops the map; what was answered is kept.

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
        """Return a map as one callable, table to table, for engines that split tables: Dask, Ray, Spark. Sends nothing.

        It can be pickled and holds no key: each process that calls it reads its own environment.

        ```python
        label = claude.mapper("Classify: {{ text }}", schema=Label, limiter="redis://host/0", journal="/shared/labels")
        labels = ddf.map_partitions(label, meta=label.meta)
        ```

        Args:
            prompt: As for `map`.
            **options: See `MapperOptions`.

        Raises:
            ConfigurationError: An option cannot be used.
        """
        from dataclasses import replace

        from .bulk import Mapper, names_in

        _check_options(options, MapperOptions)
        known = {name: value for name, value in options.items() if name in MapOptions.__annotations__}
        request = self._map_request(prompt, None, cast(MapOptions, known), sys._getframe(_CALLER))
        request = replace(
            request,
            settings={**request.settings, "limiter": options.get("limiter")},
            names=request.names if options.get("names") is not None else names_in(prompt, request.names),
        )
        return Mapper(request, journal=options.get("journal"), keep=options.get("keep"))

    @short_errors
    def errors(self, result: Any, column: str | None = None) -> Any:
        """Return the rows of a map's result that have no answer: of a table as a table, else the reasons by place or key.

        `out.claude.errors()` does the same for tables of pandas and polars, lists and dicts.

        Args:
            result: What `map` returned, a part or a copy of it, also as a table of another library.
            column: The column of the errors; needed for a result of another kernel, such as one that was read from a file.

        Raises:
            ConfigurationError: It is no result of a map of this kernel, and no column is named.
        """
        from .bulk import failed_rows

        return failed_rows(result, column)

    @short_errors
    def retry(self, result: Any) -> Any:
        """Ask the rows of a map's result that have no answer again, and return the whole with their answers.

        Also asks those whose answer was cut, declined, or did not fit the schema; running the line of the map again does not.

        Args:
            result: What `map` returned: the object itself, not a copy.

        Raises:
            ConfigurationError: It is no result of a map of this process.
        """
        from dataclasses import replace

        from .bulk import origin_of
        from .display import run_blocking

        return run_blocking(self._map(replace(origin_of(result), asks_failed_again=True), dry_run=False))

    @short_errors
    def batches(self, journal: str | Path | None = None) -> BatchList:
        """Return the message batches of this key's workspace, newest first: how far they are, and which map has sent them.

        Args:
            journal: The journal that knows the maps; by default the one in the current folder.

        Raises:
            ClaudeError: The server does not list them.
        """
        from .bulk import BatchDesk

        return BatchDesk(self.runtime, journal).list()

    @short_errors
    def cancel_batch(self, batch_id: str) -> MessageBatch:
        """Begin to cancel a batch, and return it. What is done by then has answers, and is billed.

        Raises:
            ConfigurationError: This key finds none of that id.
            InvalidRequestError: It has ended.
        """
        from .bulk import BatchDesk

        return BatchDesk(self.runtime).cancel(batch_id)

    @short_errors
    def forget_batch(self, name: str, journal: str | Path | None = None) -> int:
        """Give the rows of a batch free that is lost, so that they can be asked again; return how many they are.

        If the batch is at the server all the same, it is billed, and its answers are not fetched.

        Args:
            name: Its id; the tag that `batches` shows where its sending broke off.
            journal: The journal that knows it; by default the one in the current folder.

        Raises:
            ClaudeError: The journal has no open batch of that name.
        """
        from .bulk import BatchDesk

        return BatchDesk(self.runtime, journal).forget(name)

    @short_errors
    def methods(
        self, *, cassette: bool = False, appendix: bool = False, manifest: str | Path | None = None
    ) -> Methods:
        """Return the Methods paragraph of a paper from what was really asked, in Markdown; `.manifest` is the same as data.

        Args:
            cassette: Describe what the cassette holds, in place of what this kernel has asked.
            appendix: With the prompts.
            manifest: A file for the manifest, as JSON; None writes none.

        Raises:
            ConfigurationError: The manifest cannot be written, or the cassette not read.
        """
        from .render import describe_methods

        return describe_methods(self.runtime, of_cassette=cassette, has_appendix=appendix, manifest=manifest)

    @short_errors
    def run(self, work: Callable[[ClaudeClient], Awaitable[_Result]]) -> Future[_Result]:
        """Use the shared client directly: `claude.run(lambda client: client.list_models()).result()`."""
        return self.runtime.submit(work)

    @_spelled_out(PanelOptions)
    @short_errors
    def panel(self, **options: Unpack[PanelOptions]) -> PromptPanel:
        """Return a panel, which shows itself as the value of a cell. This imports ipywidgets.

        Args:
            **options: See `PanelOptions`.

        Raises:
            ConfigurationError: A setting or option cannot be used.
        """
        from .panels import PromptPanel  # late: most programs that ask Claude show no widgets

        return PromptPanel(**options)

    @property
    def last(self) -> Reply | None:
        """The reply that was started last, from any cell, panel or program; also a failed or interrupted one. None before the first."""
        return self.runtime.last

    @property
    def in_flight(self) -> tuple[Reply, ...]:
        """The replies that have not ended, oldest first."""
        return self.runtime.in_flight()

    @property
    @short_errors
    def limiter(self) -> BucketState:
        """Level, queue and pause of the limiter that all requests share."""
        return self.runtime.limiter_state()

    @property
    def runtime(self) -> Runtime:
        """The runtime behind all this, for extensions."""
        from .runtime import get_runtime

        runtime = get_runtime()
        if runtime.presenter is None and (notebook := sys.modules.get(_NOTEBOOK)) is not None:
            notebook.connect()  # so that `%config ClaudeMagics` counts here too
        if runtime.presenter is None:  # the magics are not loaded, but a reply must look the same
            runtime.set_presenter(_present)
        return runtime

    def _start(self, prompt: str, options: AskOptions, tools: ToolExecutor | None) -> Reply:
        _check_options(options, AskOptions)
        from .runtime import Question, Where

        thread = options.get("thread")
        question = Question(
            prompt=prompt,
            where=None if thread is None else Where(thread=thread),
            tools=tools,
            output_schema=_schema_of(options.get("schema")),
            stop_sequences=options.get("stop_sequences"),
            extra=options.get("extra") or {},
            is_raw=bool(options.get("raw")),
        )
        return self.runtime.start(question, **_settings_in(options))

    def _map_request(self, prompt: str, items: Any, options: MapOptions, frame: FrameType) -> Request:
        from .bulk import Request
        from .schema import make_output_schema

        _check_options(options, MapOptions)
        chosen: dict[str, Any] = {**_DEFAULTS, **options}
        names = options.get("names")
        names = {**frame.f_globals, **frame.f_locals} if names is None else names
        kind = options.get("schema")
        return Request(
            prompt=prompt,
            items=items,
            names=names,
            settings=_settings_in(options),
            journal=options.get("journal"),
            schema=make_output_schema(kind, names) if isinstance(kind, str) else _schema_of(kind),
            stop_sequences=options.get("stop_sequences"),
            extra=options.get("extra"),
            is_raw=bool(options.get("raw")),
            concurrency=options.get("concurrency"),
            max_cost=options.get("max_cost"),
            repeat=chosen["repeat"],
            prefix=chosen["prefix"],
            via=chosen["via"],
        )

    @short_errors
    async def _map(self, request: Request, *, dry_run: bool | None, is_awaited: bool = False) -> Any:
        """Map, and show how far it is. Where it is not awaited it never suspends."""
        import asyncio

        from .bulk import MapSurface, make_plan
        from .display import follow, follow_blocking

        plan = make_plan(request, self.runtime)
        try:
            for _ in plan.read():
                if is_awaited:
                    await asyncio.sleep(0)
            if dry_run:
                return plan.preview()
            front_end, is_live = _front_end(), self.runtime.settings().values.live
            plan.check_price(front_end)
            is_kept = plan.journal.path is not None
            run, surface = plan.start(), MapSurface(front_end, is_live=is_live, keeps=is_kept)
            try:
                if is_awaited:
                    await follow(run, surface)
                else:
                    follow_blocking(run, surface)
            except KeyboardInterrupt:
                raise _stopped(run, is_kept=is_kept) from None
            finally:
                surface.finish(run.snapshot())
            self.runtime.tell_news()
            return run.result()
        finally:
            plan.close()

    def __repr__(self) -> str:
        return "<claude: ask, ask_async, submit, map, last>"


def _schema_of(kind: Any) -> OutputSchema | None:
    from .schema import OutputSchema

    return None if kind is None else OutputSchema(kind, getattr(kind, "__name__", str(kind)))


def _stopped(run: MapRun, *, is_kept: bool) -> KeyboardInterrupt:
    """Return the error of a map that was interrupted; its `result` is what there is."""
    rest = (
        f"What was answered is kept: {run.way_on()}"
        if is_kept
        else "Without a journal what was answered is in `result` of this error alone."
    )
    stopped = KeyboardInterrupt(f"the map was stopped. {rest}")
    stopped.result = run.so_far()  # type: ignore[attr-defined]
    return stopped


def _settings_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that are settings, by name; None for one that was not given."""
    from .runtime import QUESTION_FIELDS

    return {name: options.get(name) for name in QUESTION_FIELDS}


def _check_options(options: Mapping[str, Any], kind: Any) -> None:
    """Refuse options that there are not.

    Raises:
        TypeError: There is one.
    """
    known = kind.__annotations__
    if unknown := sorted(options.keys() - known.keys()):
        from .context import did_you_mean

        raise TypeError(
            f"There is no option {unknown[0]!r}.{did_you_mean(unknown[0], known)} The options are {', '.join(known)}. Nothing was sent."
        )


def _front_end() -> FrontEnd | None:
    """Return what IPython's front end can do; None outside of IPython."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    shell = get_ipython()
    if shell is None:
        return None
    from .display import FrontEnd

    return FrontEnd(shell)


def _present(snapshot: ReplySnapshot) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from .render import render_reply  # late: most programs that ask Claude never draw an answer

    bundle = render_reply(snapshot)
    return bundle.data, bundle.metadata


claude = Claude()
"""The one everybody imports."""

__all__ = ["AskOptions", "Claude", "MapOptions", "MapperOptions", "PanelOptions", "claude"]
