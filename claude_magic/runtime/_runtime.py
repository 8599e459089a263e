"""`Runtime`, one per kernel. Magics, panels and plain Python start their replies here, from any thread."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

from .. import _forks  # noqa: F401
from .._observers import Observers
from ..client import (
    BucketState,
    ClaudeClient,
    ClaudeError,
    ConfigurationError,
    ModelInfo,
    PaceState,
    RequestPreview,
    preview_request,
)
from ..conversation import Conversations, Turn
from ..tools import interrupts_deferred
from ._accountant import TurnAccountant
from ._bridge import CassetteSource, ClientContext, DirectSource, Engine, Source
from ._cassette import Cassette, Cassettes
from ._connection import Connector, FoundCredential, SettingRow, redact_key
from ._ledger import Ledger, publish_budget
from ._limits import GaugeReading, RateLimits, read_gauge
from ._models import ModelNames
from ._progress import Phase, Progress
from ._provenance import AskedRows, RequestLog
from ._recording import cleaned_body, without_secrets
from ._reply import Jobs, Presenter, Reply
from ._requests import FROM_PYTHON, Question
from ._settings import ConfigReader, ResolvedSettings, SettingsSources
from ._turn import TurnPlan, TurnPlanner, TurnRun, ensure_final


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatus:
    """The state of the runtime at one moment.

    Attributes:
        base_url: Destination of the next request; "embedded simulator" for the simulator.
        is_running: Whether the bridge thread and its client exist; they start with the first request.
        credential: Kind and source of the credential, or None.
        limiter: Level, queue and pause of the limiter.
        in_flight: Number of replies that have not ended.
        last_error: The error of the last reply, or None.
        settings: All settings, the credential first.
        notes: Sentences for the user.
    """

    base_url: str
    is_running: bool
    credential: str | None
    limiter: BucketState
    in_flight: int
    last_error: str | None
    settings: tuple[SettingRow, ...]
    notes: tuple[str, ...]


_Result = TypeVar("_Result")

_MAX_PENDING_NOTES = 10
"""Maximum number of sentences that wait to be shown to the user."""


class Runtime:
    """The bridge thread, the shared client, its limiter, and the replies in flight.

    Nothing runs before the first request. Every method may be called from any thread.

    Args:
        environment: The environment variables; read again for each request.
        inherited: The state that `hand_over` of a previous runtime of this kernel returned, or None.
        publishes_budget: Child processes learn of the budget.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] = os.environ,
        inherited: Mapping[str, Any] | None = None,
        publishes_budget: bool = False,
    ) -> None:
        kept = inherited or {}
        self.last: Reply | None = kept.get("last")
        """The most recently started reply."""
        self._sources = SettingsSources(environment)
        self._sources.read_config = kept.get("read_config")
        self._connector = Connector(
            environment, self._sources.files, given=kept.get("login"), demo_choice=kept.get("demo_choice")
        )
        Reply.presenter = kept.get("presenter") or Reply.presenter
        self.conversations: Conversations = kept.get("conversations") or Conversations()
        """The threads of this kernel, with all their turns."""
        self.ledger = Ledger(kept.get("ledger"), is_published=publishes_budget, share=self.refresh_budget)
        """Usage, costs and the budget."""
        self._engine = Engine(kept.get("limits"), self._rate, self._notify_user, self.ledger.report_last)
        self.server_limits = RateLimits()
        """The rate limits that the server has reported."""
        self.model_names = ModelNames()
        """Resolves short names of models."""
        self._planner = TurnPlanner(self.conversations, self.model_names)
        self._starting = threading.Lock()
        self._pending_notes: deque[str] = deque(maxlen=_MAX_PENDING_NOTES)
        self._in_flight: dict[Reply, TurnPlan] = {}  # oldest first
        self._watchers: Observers = kept.get("observers") or Observers("the starts of replies")
        self.jobs = Jobs(self.in_flight)
        """The numbered answers that can be stopped."""
        self.log: RequestLog = kept.get("log") or RequestLog()
        """The requests of this kernel, for the Methods section of a paper."""
        self.cassettes: Cassettes = kept.get("cassettes") or Cassettes()
        """The cassettes in which answers are recorded."""

    # Asking...

    def start(self, question: str | Question, **settings: Any) -> Reply:
        """Start a question, and return its reply at once while it streams.

        Args:
            question: The prompt, sent unchanged; or a `Question`.
            **settings: Settings that override those of the question, such as `model` and `max_tokens`; None means not given.

        Raises:
            ConfigurationError: A setting or option cannot be used, there is no key, or the prompt is empty. Nothing was
                sent. (Later errors are raised by the reply.)
        """
        if not isinstance(question, Question):
            question = Question(prompt=question)
        given = {name: value for name, value in settings.items() if value is not None}
        plan = self.plan(replace(question, settings={**question.settings, **given}) if given else question)
        return self._start(plan, self._source(plan.settings))

    def _start(self, plan: TurnPlan, source: Source) -> Reply:
        """Run a turn on the bridge, and register its reply as the last one and as in flight."""
        progress = Progress(
            plan.question,
            model=plan.request.model,
            max_attempts=plan.settings.values.max_retries + 1,
            notes=(*plan.notes, *self._sources.local_notes(plan.settings)),
        )
        while self._pending_notes and plan.question.origin != FROM_PYTHON:
            progress.add_note(self._pending_notes.popleft())
        reply = Reply(plan.question, progress, thread=plan.thread, asked_with=plan.asked_with)
        accountant = self._accountant_for(plan.thread, plan.settings, source)
        run = TurnRun(plan, progress, planner=self._planner, accountant=accountant)

        def on_end(task: asyncio.Task[None]) -> None:
            accountant.finish(None)  # releases the reservation of a run that ended abnormally
            ensure_final(progress, task, source.redact)
            self._in_flight.pop(reply, None)

        # An interrupt in between would leave a reply in flight that never ends, and that later questions wait for.
        with interrupts_deferred():
            with self._starting:
                before = self._turns_before(plan)
                self._in_flight[reply] = plan
                self.last = reply
            try:
                reply.bind(self._engine.spawn(source, partial(run.run, before=before), on_end=on_end))
            except BaseException:
                self._in_flight.pop(reply, None)
                progress.cancel(None)
                raise
        self._watchers.notify()
        return reply

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each start of a reply, on the starting thread; return a function that removes it."""
        return self._watchers.add(callback)

    def _turns_before(self, plan: TurnPlan) -> tuple[Reply, ...]:
        """Return the answers that a turn must wait for because it continues from them: those in flight in its thread.

        Turns on a separate branch (`is_side_branch`) do not count. While a user's function runs as a tool, the result is empty,
        because that function may have asked the question.
        """
        if plan.place is None:
            return ()
        before = [
            reply
            for reply, other in tuple(self._in_flight.items())
            if other.place is not None
            and other.thread == plan.thread
            and not (other.place.is_side_branch or reply.done())
        ]
        return () if any(reply.phase is Phase.CALLING for reply in before) else tuple(before)

    def plan(self, question: Question) -> TurnPlan:
        """Return the plan for a question, with its first request, without sending anything.

        Raises:
            ConfigurationError: The question cannot be sent.
        """
        return self._planner.plan(question, self.settings(question.settings))

    def asked_with(self, turn: Turn) -> Question:
        """Return the question with which to request the rest of a truncated turn."""
        return self._planner.asked_with(turn)

    def preview(self, plan: TurnPlan) -> RequestPreview:
        """Return the HTTP request of a planned question, with secrets redacted.

        Raises:
            ConfigurationError: The request cannot be sent. Without a key, only an answer from a cassette is possible.
        """
        may_be_sent = plan.settings.values.replay == "off"
        connection = self._connector.connect(plan.settings, self.find_credential(), needs_key=may_be_sent)
        preview = preview_request(connection.config, connection.credential, plan.request)
        shown = self.without_secrets(preview.body)
        return replace(preview, body=dict(shown), is_redacted=shown is not preview.body)

    def without_secrets(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a request's JSON object redacted for display and saving, as in cassettes; the same object if nothing is secret."""
        return cleaned_body(body, lambda text: without_secrets(self.redact(text)))

    def _accountant_for(
        self, thread: str | None, settings: ResolvedSettings, source: Source, *, rows: AskedRows | None = None
    ) -> TurnAccountant:
        return TurnAccountant(
            self.ledger,
            self.server_limits,
            attempts=settings.values.max_retries + 1,
            is_simulated=source.is_simulated,
            thread=thread,
            log=self.log,
            rows=rows,
        )

    def _source(self, settings: ResolvedSettings) -> Source:
        if settings.values.replay == "off":
            return DirectSource(settings, self._connector)
        return CassetteSource(settings, self._connector, self.cassettes)

    def count_recorded(self, keys: Iterable[bytes], options: Mapping[str, object]) -> int:
        """Return how many of the requests with these keys the cassette would answer; 0 if replay does not use recordings.

        Raises:
            CassetteError: The cassette cannot be read.
        """
        if self.settings(options).values.replay not in ("auto", "only"):
            return 0
        cassette = self.cassette(options)
        return sum(cassette.peek(key.hex()) is not None for key in keys)

    def cassette(self, options: Mapping[str, object] | None = None) -> Cassette:
        """Return the cassette named by the settings, with the current content of its file.

        Args:
            options: As for `settings`.

        Raises:
            CassetteError: The cassette cannot be read.
        """
        cassette = self.cassettes.at(self.settings(options).values.cassette)
        cassette.refresh()
        return cassette

    def submit(
        self,
        work: Callable[[ClaudeClient], Awaitable[_Result]],
        options: Mapping[str, object] | None = None,
    ) -> concurrent.futures.Future[_Result]:
        """Run a coroutine with the shared client on the bridge: `runtime.submit(lambda client: client.list_models())`.

        Args:
            work: Called with the client; returns an awaitable.
            options: As for `settings`.

        Raises:
            ConfigurationError: A setting cannot be used, or there is no key. Errors and cancellation of the work are
                reported by the future.
        """
        return self._engine.submit(self._source(self.settings(options)), partial(_with_client, work))

    def spawn(
        self,
        work: Callable[[ClaudeClient, Callable[[], TurnAccountant]], Coroutine[Any, Any, None]],
        options: Mapping[str, object],
        *,
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> Callable[[], None]:
        """Run a coroutine that makes many requests on the bridge; return a function that cancels it from any thread.

        Args:
            work: Called with the client and a factory of accountants. Each accountant admits and books one request after the
                other, so that the budget is kept; none of them requests token counts from the server.
            options: As for `settings`.
            on_end: Called on the bridge with the task when it has ended.

        Raises:
            ConfigurationError: A setting or option cannot be used, or there is no key.
        """
        settings = self.settings(options)
        source = self._source(settings)
        make_accountant = partial(self._accountant_for, None, settings, source, rows=AskedRows())
        run = partial(_with_client, lambda client: work(client, make_accountant))
        return self._engine.spawn(source, run, on_end=on_end)

    def refresh_budget(self) -> concurrent.futures.Future[None] | None:
        """Start `Ledger.refresh` on the bridge, and return its future; None if no other process shares the limiter."""
        with contextlib.suppress(ClaudeError):  # the next request reports the same error
            if self.ledger.is_shared or self.settings().values.limiter is not None:
                return self.submit(self.ledger.refresh)
        return None

    def list_models(self) -> concurrent.futures.Future[list[ModelInfo]]:
        """Fetch the server's list of models."""
        return self.submit(lambda client: client.list_models())

    def in_flight(self) -> tuple[Reply, ...]:
        """Return the replies that have not ended, oldest first."""
        return tuple(reply for reply in tuple(self._in_flight) if not reply.done())

    # Settings...

    def settings(self, options: Mapping[str, object] | None = None) -> ResolvedSettings:
        """Resolve the settings from their current sources.

        Args:
            options: Options passed with a call, by setting; None counts as not given.

        Raises:
            ConfigurationError: A value in force is not valid, or a settings file cannot be read.
        """
        return self._sources.resolve(options or {})

    def use_config(self, read: ConfigReader | None) -> None:
        """Read the settings of `%config` with this function; None stops that."""
        self._sources.read_config = read

    def login(self, key: str) -> None:
        """Use this API key from now on. It stays in memory until `logout` or the end of the kernel.

        Raises:
            ConfigurationError: The text cannot be a key. The message does not contain it.
        """
        self._connector.login(key)

    def logout(self) -> bool:
        """Forget the key that was given to `login`, and return whether there was one."""
        return self._connector.logout()

    def find_credential(self) -> FoundCredential | None:
        """Return the credential in force, with its source, or None.

        Raises:
            ConfigurationError: The credential in force cannot be a key.
        """
        return self._connector.find_credential()

    def redact(self, text: str) -> str:
        """Replace the key, and secrets in custom headers, by `[REDACTED]` in text from other sources."""
        found: FoundCredential | None = None
        secrets: tuple[str, ...] = ()
        with contextlib.suppress(ConfigurationError):  # an invalid key was never sent, so no text contains it
            found = self.find_credential()
            secrets = self.settings().values.secrets
        return redact_key(text, found, secrets)

    # Demo...

    @property
    def is_demo(self) -> bool:
        """Whether the embedded simulator answers the next request."""
        return self._connector.is_demo(self.settings(), self.find_credential())

    def demo_on(self) -> None:
        """Use the embedded simulator.

        Raises:
            ConfigurationError: A credential is configured, which a notebook does not override.
        """
        self._connector.demo_on(self.settings())

    def demo_off(self) -> None:
        """Use the real API, regardless of `CLAUDE_MAGIC_DEMO`."""
        self._connector.demo_choice = False

    # The limiter, the presenter, the end...

    def limiter_state(self) -> BucketState:
        """Return level, queue and pause of the shared limiter."""
        return self._engine.limiter_state()

    def _rate(self) -> float:
        return self.settings().values.rate_limit_rps

    def _notify_user(self, sentence: str) -> None:
        """Show a message about a shared limiter: with a displayed reply in flight, or else with the next one."""
        shown = next((reply for reply in self.in_flight() if reply.origin != FROM_PYTHON), None)
        if shown is not None:
            shown.add_note(sentence)
        else:
            self._pending_notes.append(sentence)

    def print_pending_notes(self) -> None:
        """Print pending sentences to stderr. Call it on the waiting thread: output of other threads appears elsewhere."""
        while self._pending_notes:
            print_note(self._pending_notes.popleft())

    def pace_state(self) -> tuple[PaceState, ...]:
        """Return the learned pace of the server's limits for each model class."""
        return self._engine.pace_state()

    def read_gauge(self) -> GaugeReading:
        """Return everything that can delay a request.

        Raises:
            ConfigurationError: A setting is invalid.
        """
        return read_gauge(
            self.limiter_state(), self.pace_state(), self.server_limits, self.in_flight(), now=time.time()
        )

    def status(self) -> RuntimeStatus:
        """Return the status of the runtime, without secrets.

        Raises:
            ConfigurationError: A setting in force is not valid.
        """
        settings, found = self.settings(), self.find_credential()
        config = settings.values.client_config()
        error = None if self.last is None else self.last.error
        problem = self._engine.limiter_problem
        return RuntimeStatus(
            base_url="embedded simulator"
            if self._connector.is_demo(settings, found)
            else config.shown_base_url,
            is_running=self._engine.is_running,
            credential=None if found is None else f"{found.kind}, {found.source}",
            limiter=self.limiter_state(),
            in_flight=len(self.in_flight()),
            last_error=None if error is None else f"{type(error).__name__}: {self.redact(str(error))}",
            settings=tuple(self._connector.rows(settings, found)),
            notes=(
                *settings.notes,
                *self._connector.notes(config, found),
                *(() if problem is None else (problem,)),
            ),
        )

    @property
    def presenter(self) -> Presenter | None:
        """The presenter of replies, or None."""
        return Reply.presenter

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "The runtime belongs to its process and cannot be copied or pickled. In another process, use "
            "`claude_magic.claude` there. Replies that have ended can be pickled."
        )

    def set_presenter(self, present: Presenter | None) -> None:
        """Set the function that renders replies as rich output; with None they are plain text."""
        Reply.presenter = present

    def close(self) -> None:
        """Cancel the replies in flight, and end the client, the thread and the simulator. The next request starts them again.

        The limiter's state, the login, the demo choice and the last reply stay, because they belong to the kernel.
        """
        self._engine.close()
        self._connector.close()

    def hand_over(self) -> dict[str, Any]:
        """Close, and return the state for the next runtime of this kernel."""
        self.close()
        return {
            "last": self.last,
            "login": self._connector.given,
            "demo_choice": self._connector.demo_choice,
            "read_config": self._sources.read_config,
            "presenter": Reply.presenter,
            "limits": self._engine.dump(),
            "observers": self._watchers,
            "conversations": self.conversations,
            "ledger": self.ledger.dump(),
            "cassettes": self.cassettes,
            "log": self.log,
        }

    def start_over_after_fork(self) -> object:
        """Replace the objects that belong to the parent process in a forked child.

        Returns:
            The parent's objects. The caller must keep them alive: closing them, even by garbage collection, would disturb
            the parent, because they share its sockets and selectors.
        """
        self._starting = threading.Lock()
        parents = (self._engine, self._connector.start_over_after_fork())
        self.ledger = self.ledger.for_forked_child()
        self._engine = Engine(self._engine.dump(), self._rate, self._notify_user, self.ledger.report_last)
        self._watchers.clear()
        self.cassettes, self.log = Cassettes(), RequestLog()
        self.conversations.reset_lock()
        self.server_limits, self.model_names = RateLimits(), ModelNames()
        self._planner = TurnPlanner(self.conversations, self.model_names)
        for reply in {*self.in_flight(), *([] if self.last is None else [self.last])}:
            reply.abandon()
        self._in_flight.clear()
        self.jobs = Jobs(self.in_flight)
        return parents


async def _with_client(work: Callable[[ClaudeClient], Awaitable[_Result]], lent: ClientContext) -> _Result:
    """Await what `work` returns for the client."""
    async with lent as client:
        return await work(client)


# `importlib.reload` executes this file again in the same namespace, so the previous globals still exist.
_kept: dict[str, Any] = globals().get("_kept", {})
_lock: threading.Lock = globals().get("_lock", threading.Lock())


def get_runtime() -> Runtime:
    """Return this kernel's runtime. The first call creates it without starting a thread.

    It survives `%reload_ext`. After a reload of the modules, a runtime of the new code takes over: the old thread ends, and
    the limiter's state, the login and the last reply stay.
    """
    with _lock:
        previous = _kept.get("runtime")
        if type(previous) is Runtime:
            return previous
        runtime = Runtime(inherited=None if previous is None else previous.hand_over(), publishes_budget=True)
        _kept["runtime"] = runtime
        if previous is None:
            _watch_process()
        return runtime


def close_runtime() -> None:
    """Close the runtime, if there is one; see `Runtime.close`."""
    runtime = _kept.get("runtime")
    if runtime is not None:
        runtime.close()


def _watch_process() -> None:
    """Register handlers that close the runtime at exit."""
    atexit.register(lambda: publish_budget(None))
    atexit.register(lambda: close_runtime())


def _start_over_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    runtime = _kept.get("runtime")
    if runtime is not None:
        _kept.setdefault("parents", []).append(runtime.start_over_after_fork())


# Not with the first runtime: a process may be forked while another thread creates that one.
if hasattr(os, "register_at_fork") and not _kept.get("watches_forks"):
    os.register_at_fork(after_in_child=lambda: _start_over_after_fork())
    _kept["watches_forks"] = True


def print_note(text: str) -> None:
    """Print a line on stderr, if there is a stderr that can be written. If not, the note is lost, but not the answer."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
