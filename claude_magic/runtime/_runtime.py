"""`Runtime`: what a kernel has one of. Magics, panels and plain Python start their replies here, from any thread."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

from ..client import (
    REDACTED,
    BucketState,
    ClaudeClient,
    ClaudeError,
    ClientConfig,
    ConfigurationError,
    Health,
    HTTPClaudeClient,
    MessageRequest,
    ModelInfo,
    PaceState,
    RequestPreview,
    preview_request,
    read_limiter_url,
)
from ..conversation import Conversations, Turn
from ._bridge import Engine, RateLimits, SharedClient
from ._budget import find_parent_budget, publish_budget
from ._cassette import Cassette, Cassettes
from ._connection import ConfigReader, Configuration, FoundCredential, redact
from ._ledger import Ledger, TurnAccountant
from ._progress import Progress
from ._provenance import AskedRows, RequestLog
from ._recording import cleaned_body, without_secrets
from ._replay import ReplayClient, ReplayRules
from ._reply import Jobs, Presenter, Reply
from ._requests import AskedWith, ModelNames, Question
from ._settings import SETTINGS, ResolvedSettings
from ._snapshot import Phase
from ._turn import TurnPlan, TurnPlanner, TurnRun, end_in_any_case

_UNPRINTED_FIELDS = frozenset({"headers"})
"""Gateways do put secrets into headers, so only their names are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting, its value as text, and where it comes from in words."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatus:
    """The state of the runtime at one moment.

    Attributes:
        base_url: Whom the next request goes to; for the simulator, "embedded simulator".

        is_running: Whether the bridge thread and its client exist; they start with the first request.
        credential: The kind of credential and where it comes from, in words; None if there is none.
        limiter: Level, queue and pause.
        in_flight: How many replies have not ended.
        last_error: How the last reply failed; None if it did not.
        settings: Every setting, the credential first.
        notes: What a person should know, as sentences.
    """

    base_url: str
    is_running: bool
    credential: str | None
    limiter: BucketState
    in_flight: int
    last_error: str | None
    settings: tuple[SettingRow, ...]
    notes: tuple[str, ...]


def setting_rows(settings: ResolvedSettings, found: FoundCredential | None) -> tuple[SettingRow, ...]:
    """List the credential and every setting."""
    values = settings.values
    rows = [
        SettingRow(name=name, value=_show(name, getattr(values, name)), source=settings.sources[name])
        for name in SETTINGS
    ]
    return (_credential_row(found), *rows)


def connection_notes(config: ClientConfig, found: FoundCredential | None) -> Iterable[str]:
    """Say what is unwise about a connection."""
    if config.sends_key_in_clear and found is not None:
        yield (
            f"The {found.kind} crosses the network unencrypted, because base_url begins with http:// and is not this "
            "machine."
        )


def _credential_row(found: FoundCredential | None) -> SettingRow:
    if found is None:
        return SettingRow(name="api_key", value="not set", source="default")
    name = "auth_token" if found.credential.is_token else "api_key"
    return SettingRow(name=name, value=REDACTED, source=found.source)


def _show(name: str, value: object) -> str:
    if name == "limiter" and isinstance(value, str):
        return read_limiter_url(value).shown
    if isinstance(value, Mapping) and name in _UNPRINTED_FIELDS:
        return ", ".join(f"{header}: {REDACTED}" for header in value) or "none"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


_Result = TypeVar("_Result")

_PYTHON = "Python"
"""The origin of a question that no cell and no panel shows."""
_KEPT_NEWS = 10
"""Sentences that wait for somebody to be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where answers come from.

    Attributes:
        lend: Lends the client.
        rate: Requests per second, where the limiter is yet to be made.
        is_simulated: The embedded simulator answers, as far as that is known.
        found: The credential, or None; for redaction.
    """

    lend: Callable[[SharedClient], AbstractAsyncContextManager[ClaudeClient]]
    rate: float
    is_simulated: bool
    found: FoundCredential | None


class Runtime:
    """The bridge thread, the shared client, its limiter, and the replies in flight.

    Nothing runs before the first request. Every method may be called from any thread.

    Args:
        environment: The environment variables; read afresh for each request.
        inherited: What a previous runtime of this kernel handed over, or None.
        publish_budget: Told of each budget that is set, so that the processes below this one know.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] = os.environ,
        inherited: Mapping[str, Any] | None = None,
        publish_budget: Callable[[float | None], None] = lambda _amount: None,
    ) -> None:
        kept = inherited or {}
        self.last: Reply | None = kept.get("last")
        """The reply that was started last."""
        self._configuration = Configuration(environment, login=kept.get("login"))
        self._configuration.demo_choice = kept.get("demo_choice")
        self._configuration.read_config = kept.get("read_config")
        Reply.presenter = kept.get("presenter") or Reply.presenter
        self._engine = Engine(kept.get("limits"), self._say)
        self.conversations: Conversations = kept.get("conversations") or Conversations()
        """The threads of this kernel, and all turns in them."""
        self._publish_budget = publish_budget
        self.ledger = Ledger(kept.get("ledger"), publish=self._tell_budget, find_parent=find_parent_budget)
        """What was used, what it cost, and the budget."""
        self.server_limits = RateLimits()
        """What the server has said about its own limits."""
        self.model_names = ModelNames()
        """Which models short names mean."""
        self._planner = TurnPlanner(self.conversations, self.model_names)
        self._starting = threading.Lock()
        self._unsaid: deque[str] = deque(maxlen=_KEPT_NEWS)
        self._in_flight: dict[Reply, TurnPlan] = {}  # oldest first
        self._watchers: dict[object, Callable[[], None]] = kept.get("watchers") or {}
        self.jobs = Jobs(self.in_flight)
        """The answers that can be stopped by their numbers."""
        self.log: RequestLog = kept.get("log") or RequestLog()
        """What was asked, for the Methods section of a paper."""
        self.cassettes: Cassettes = kept.get("cassettes") or Cassettes()
        """The files in which answers are recorded."""

    # Asking...

    def start(
        self,
        question: str | Question,
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        effort: str | None = None,
        thinking: str | None = None,
        replay: str | None = None,
    ) -> Reply:
        """Ask, and return the reply at once; it streams from now on. Options left out are taken from the settings.

        Args:
            question: The user's words, sent as they are; or all that can be said about a question.
            model: Model to ask.
            system: System prompt.
            max_tokens: Bound of the answer in model tokens, thinking included.
            effort: "low", "medium", "high", "xhigh" or "max".
            thinking: "show", "hide" or "off".
            replay: "auto", "only", "record" or "off".

        Raises:
            ConfigurationError: A setting or option cannot be used, there is no key, or the prompt is empty. Nothing was
                sent. (What happens after the sending is the reply's to tell.)
        """
        options = {
            "model": model,
            "system": system,
            "max_tokens": max_tokens,
            "effort": effort,
            "thinking": thinking,
            "replay": replay,
        }
        if not isinstance(question, Question):
            question = Question(prompt=question)
        settings = self.settings(options)
        plan = self._planner.plan(question, settings)
        source = self._source(settings)
        progress = Progress(
            question,
            model=plan.request.model,
            max_attempts=settings.values.max_retries + 1,
            notes=(*plan.notes, *self._configuration.influences(settings)),
        )
        while self._unsaid and question.origin != _PYTHON:
            progress.add_note(self._unsaid.popleft())
        reply = Reply(question, progress, thread=plan.thread, asked_with=plan.asked_with)
        accountant = self._accountant_for(plan.thread, settings, source)
        run = TurnRun(plan, progress, planner=self._planner, settings=settings, accountant=accountant)

        def on_end(task: asyncio.Task[None]) -> None:
            accountant.finish(None)  # nothing is left reserved for a run that could not end by itself
            end_in_any_case(progress, task, lambda text: redact(text, source.found))
            self._in_flight.pop(reply, None)

        self._spawn(reply, plan, run, source, on_end)
        return reply

    def _spawn(
        self,
        reply: Reply,
        plan: TurnPlan,
        run: TurnRun,
        source: Source,
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """Let the reply run on the bridge; from now on it is the last one, and in flight."""
        with self._starting:
            before = self._turns_before(plan)
            self._in_flight[reply] = plan
            self.last = reply
        cancel = self._engine.spawn(
            lambda shared: run.run(source.lend(shared), before),
            rate=source.rate,
            on_end=on_end,
        )
        reply.bind(cancel)
        for callback in tuple(self._watchers.values()):
            callback()

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever a reply has been started, on the thread that starts it; return what ends that."""
        watcher = object()
        self._watchers[watcher] = callback

        def forget() -> None:
            self._watchers.pop(watcher, None)

        return forget

    def _turns_before(self, plan: TurnPlan) -> tuple[Reply, ...]:
        """Return the answers that a turn has to wait for, because it goes on from them: those in flight in its thread.

        Nothing goes on from a turn beside the conversation. While a function of the user's runs as a tool there are none
        at all: the question may come out of that function.
        """
        if plan.place is None:
            return ()
        before = [
            reply
            for reply, other in tuple(self._in_flight.items())
            if other.place is not None
            and other.thread == plan.thread
            and not (other.place.is_beside or reply.done())
        ]
        return () if any(reply.phase is Phase.CALLING for reply in before) else tuple(before)

    def plan(self, question: Question, options: Mapping[str, object] | None = None) -> TurnPlan:
        """Return what asking a question would send first, without sending anything.

        Args:
            question: What would be asked.
            options: As for `settings`.

        Raises:
            ConfigurationError: It could not be sent.
        """
        return self._planner.plan(question, self.settings(options))

    def asked_with(self, turn: Turn) -> AskedWith:
        """Return what the question of a turn that was cut was asked with."""
        return self._planner.asked_with(turn)

    def preview(self, request: MessageRequest) -> RequestPreview:
        """Return what a request would look like on the wire; no secret is in it.

        Raises:
            ConfigurationError: It could not be sent.
        """
        connection = self._configuration.connect(self.settings(), self.find_credential())
        preview = preview_request(connection.config, connection.credential, request)
        shown = self.without_secrets(preview.body)
        return replace(preview, body=dict(shown), is_redacted=shown is not preview.body)

    def without_secrets(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the JSON object of a request as it may be shown and saved, by the rule of cassettes; the same object where nothing is secret."""
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
            counts_input=rows is None,
            log=self.log,
            rows=rows,
        )

    def _source(self, settings: ResolvedSettings) -> Source:
        """Return where answers come from: the server, or a cassette and behind it the server.

        Raises:
            ConfigurationError: There is no key, and something could be sent at once.
        """
        values, configuration = settings.values, self._configuration
        if values.replay == "off":
            found = self.find_credential()
            connection = configuration.connect(settings, found)
            return Source(
                lend=lambda shared: shared.lend(connection),
                rate=values.rate_limit_rps,
                is_simulated=connection.is_simulated,
                found=found,
            )
        found = None if values.replay == "only" else self.find_credential()
        cassette = self.cassettes.at(values.cassette)
        rules = ReplayRules(
            mode=values.replay, speed=values.replay_speed, records_errors=values.record_errors
        )

        @asynccontextmanager
        async def lend_later(shared: SharedClient) -> AsyncIterator[HTTPClaudeClient]:
            # On a thread: it may start the simulator.
            loop = asyncio.get_running_loop()
            connection = await loop.run_in_executor(None, configuration.connect, settings, found)
            async with shared.lend(connection) as client:
                yield client

        def lend(shared: SharedClient) -> AbstractAsyncContextManager[ClaudeClient]:
            return ReplayClient(cassette, rules, lambda: lend_later(shared), lambda text: redact(text, found))

        is_demo = configuration.is_demo(settings, found)
        return Source(lend=lend, rate=values.rate_limit_rps, is_simulated=is_demo, found=found)

    def count_recorded(self, keys: Iterable[bytes], options: Mapping[str, object]) -> int:
        """Return how many of these requests the cassette would answer, by their keys; 0 where none is asked for.

        Raises:
            CassetteError: It cannot be read.
        """
        if self.settings(options).values.replay not in ("auto", "only"):
            return 0
        cassette = self.cassette(options)
        return sum(cassette.peek(key.hex()) is not None for key in keys)

    def cassette(self, options: Mapping[str, object] | None = None) -> Cassette:
        """Return the cassette that the settings name, as it is at this moment.

        Args:
            options: As for `settings`.

        Raises:
            CassetteError: It cannot be read.
        """
        cassette = self.cassettes.at(self.settings(options).values.cassette)
        cassette.refresh()
        return cassette

    def submit(
        self,
        work: Callable[[ClaudeClient], Awaitable[_Result]],
        options: Mapping[str, object] | None = None,
    ) -> concurrent.futures.Future[_Result]:
        """Run something with the shared client on the bridge: `runtime.submit(lambda client: client.list_models())`.

        Args:
            work: Gets the client.
            options: As for `settings`.

        Raises:
            ConfigurationError: A setting cannot be used, or there is no key. Errors of the work itself, and being
                cancelled, come through the future.
        """
        source = self._source(self.settings(options))

        async def run(shared: SharedClient) -> _Result:
            async with source.lend(shared) as client:
                return await work(client)

        return self._engine.submit(run, rate=source.rate)

    def spawn(
        self,
        work: Callable[[ClaudeClient, Callable[[], TurnAccountant]], Coroutine[Any, Any, None]],
        options: Mapping[str, object],
        *,
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> Callable[[], None]:
        """Run work of many requests with the shared client on the bridge; return what cancels it, from any thread.

        Args:
            work: Gets the client, and what makes accountants: each books one request after the other, and each request is
                admitted, so that a budget holds. They count no input at the server.
            options: As for `settings`.
            on_end: Called on the bridge with its task, once that has ended.

        Raises:
            ConfigurationError: A setting or option cannot be used, or there is no key.
        """
        settings = self.settings(options)
        source = self._source(settings)

        rows = AskedRows()

        def make_accountant() -> TurnAccountant:
            return self._accountant_for(None, settings, source, rows=rows)

        async def run(shared: SharedClient) -> None:
            async with source.lend(shared) as client:
                await work(client, make_accountant)

        return self._engine.spawn(run, rate=source.rate, on_end=on_end)

    def _tell_budget(self, amount: float | None) -> None:
        """Let the processes below this one know of its budget, and those that share its limiter."""
        self._publish_budget(amount)
        with contextlib.suppress(ClaudeError):  # said with the next request, as one without a key is
            if self.settings().values.limiter is not None:
                self.submit(self.ledger.share_budget)

    def check_health(self) -> concurrent.futures.Future[Health]:
        """Ask whether the server can be reached and takes the key. Never billed."""
        return self.submit(lambda client: client.health_check())

    def list_models(self) -> concurrent.futures.Future[list[ModelInfo]]:
        """Ask which models the server offers."""
        return self.submit(lambda client: client.list_models())

    def in_flight(self) -> tuple[Reply, ...]:
        """The replies that have not ended, oldest first."""
        return tuple(reply for reply in tuple(self._in_flight) if not reply.done())

    # Settings...

    def settings(self, options: Mapping[str, object] | None = None) -> ResolvedSettings:
        """Resolve the settings afresh.

        Args:
            options: What was given with a call, by setting; None counts as not given.

        Raises:
            ConfigurationError: A value in force is not valid, or a settings file cannot be read.
        """
        return self._configuration.settings(options or {})

    def use_config(self, read: ConfigReader | None) -> None:
        """Read the settings of `%config` from here; None ends that."""
        self._configuration.read_config = read

    def login(self, key: str) -> None:
        """Use this API key from now on. It stays in memory, until `logout` or the end of the kernel.

        Raises:
            ConfigurationError: It cannot be a key. The message does not show it.
        """
        self._configuration.credentials.login(key)
        self._configuration.demo_choice = None

    def logout(self) -> None:
        """Forget the key that was given to `login`."""
        self._configuration.credentials.logout()

    def find_credential(self) -> FoundCredential | None:
        """Return the credential in force, with its source, or None.

        Raises:
            ConfigurationError: The one in force cannot be a key.
        """
        return self._configuration.find_credential()

    def redact(self, text: str) -> str:
        """Replace the key by `[REDACTED]` in text that comes from elsewhere."""
        return self._configuration.redact(text)

    # Demo...

    @property
    def is_demo(self) -> bool:
        """Whether the embedded simulator answers the next request."""
        return self._configuration.is_demo(self.settings(), self.find_credential())

    def demo_on(self) -> None:
        """Let the embedded simulator answer.

        Raises:
            ConfigurationError: A credential is configured, which a notebook must not override.
        """
        if self.is_demo:
            return
        found = self.find_credential()
        if found is not None:
            raise ConfigurationError(
                f"There is an {found.kind} ({found.source}), and a notebook does not override it. To use the simulator "
                "anyway, start Jupyter with CLAUDE_MAGIC_DEMO=on."
            )
        self._configuration.demo_choice = True

    def demo_off(self) -> None:
        """Let the real API answer, whatever `CLAUDE_MAGIC_DEMO` says."""
        self._configuration.demo_choice = False

    # The limiter, the presenter, the end...

    def limiter_state(self) -> BucketState:
        """Level, queue and pause of the shared limiter."""
        return self._engine.limiter_state(self.settings().values.rate_limit_rps)

    def _say(self, sentence: str) -> None:
        """Tell a person what became of a limiter on a server: with an answer that is being shown, else when somebody asks."""
        shown = next((reply for reply in self.in_flight() if reply.origin != _PYTHON), None)
        if shown is not None:
            shown.add_note(sentence)
        else:
            self._unsaid.append(sentence)

    def tell_news(self) -> None:
        """Say on stderr what has not been said with an answer, on the thread that waits: what others print, notebooks put elsewhere."""
        while self._unsaid:
            print(self._unsaid.popleft(), file=sys.stderr, flush=True)

    def pace_state(self) -> tuple[PaceState, ...]:
        """What the server's own limits allow, as far as they were learnt, for each class of models."""
        return self._engine.pace_state()

    def status(self) -> RuntimeStatus:
        """Describe the runtime; no secret is in it.

        Raises:
            ConfigurationError: A setting in force is not valid.
        """
        settings = self.settings()
        found = self.find_credential()
        config = settings.values.client_config()
        is_simulated = self._configuration.is_demo(settings, found)
        error = None if self.last is None else self.last.error
        return RuntimeStatus(
            base_url="embedded simulator" if is_simulated else config.base_url,
            is_running=self._engine.is_running,
            credential=None if found is None else f"{found.kind}, {found.source}",
            limiter=self.limiter_state(),
            in_flight=len(self.in_flight()),
            last_error=None if error is None else f"{type(error).__name__}: {self.redact(str(error))}",
            settings=setting_rows(settings, found),
            notes=(
                *settings.notes,
                *self._configuration.credentials.notes,
                *connection_notes(config, found),
                *([problem] if (problem := self._engine.limiter_problem) else []),
            ),
        )

    @property
    def presenter(self) -> Presenter | None:
        """How replies are drawn; None where nobody has said."""
        return Reply.presenter

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "The runtime belongs to its process, so it is not copied or stored: in another process use "
            "`claude_magic.claude` there. Replies that have ended can be stored."
        )

    def set_presenter(self, present: Presenter | None) -> None:
        """Say how replies are drawn as rich output; without it they are plain text."""
        Reply.presenter = present

    def close(self) -> None:
        """Cancel what is in flight, and end client, thread and simulator. The next request starts them again.

        The limiter's state stays, and so do login, demo choice and the last reply: they belong to the kernel.
        """
        self._engine.close()
        self._configuration.close()

    def hand_over(self) -> dict[str, Any]:
        """Close, and return what the next runtime of this kernel goes on with."""
        self.close()
        return {
            "last": self.last,
            "login": self._configuration.credentials.given,
            "demo_choice": self._configuration.demo_choice,
            "read_config": self._configuration.read_config,
            "presenter": Reply.presenter,
            "limits": self._engine.dump(),
            "watchers": self._watchers,
            "conversations": self.conversations,
            "ledger": self.ledger.dump(),
            "cassettes": self.cassettes,
            "log": self.log,
        }

    def start_over_after_fork(self) -> object:
        """Let go of what belongs to the parent process, in a forked child; the child makes its own.

        Returns:
            The parent's things. They must be kept: closing them, also by the garbage collector, would disturb the
            parent, whose sockets and selectors they share.
        """
        self._starting = threading.Lock()
        parents = (self._engine, self._configuration.start_over_after_fork())
        self._engine = Engine(self._engine.dump(), self._say)
        self._watchers, self.cassettes, self.log = {}, Cassettes(), RequestLog()
        self.conversations.reset_lock()
        self.ledger = self.ledger.for_forked_child()
        self.server_limits, self.model_names = RateLimits(), ModelNames()
        self._planner = TurnPlanner(self.conversations, self.model_names)
        for reply in {*self.in_flight(), *([] if self.last is None else [self.last])}:
            reply.abandon()
        self._in_flight.clear()
        self.jobs = Jobs(self.in_flight)
        return parents


# `importlib.reload` executes this file again in the same namespace, so what was there before is still there.
_kept: dict[str, Any] = globals().get("_kept", {})
_lock: threading.Lock = globals().get("_lock", threading.Lock())


def get_runtime() -> Runtime:
    """Return this kernel's runtime. Makes the object on first use, but starts no thread.

    It survives `%reload_ext`. When our modules were reloaded, a new runtime of the new code takes over: the old one's
    thread ends, while the limiter's state, the login and the last reply stay.
    """
    with _lock:
        previous = _kept.get("runtime")
        if type(previous) is Runtime:
            return previous
        runtime = Runtime(
            inherited=None if previous is None else previous.hand_over(), publish_budget=publish_budget
        )
        _kept["runtime"] = runtime
        if previous is None:
            _watch_process()
        return runtime


def close_runtime() -> None:
    """End the runtime's thread, client and simulator, if there is one; see `Runtime.close`."""
    runtime = _kept.get("runtime")
    if runtime is not None:
        runtime.close()


def _watch_process() -> None:
    """Close at the interpreter's exit, and start over in forked children."""
    atexit.register(lambda: publish_budget(None))
    atexit.register(lambda: close_runtime())
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _start_over_after_fork())


def _start_over_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    runtime = _kept.get("runtime")
    if runtime is not None:
        _kept.setdefault("parents", []).append(runtime.start_over_after_fork())
