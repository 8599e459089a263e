"""`Runtime`: what a kernel has one of. Magics, panels and plain Python start their replies here, from any thread."""

from __future__ import annotations

import concurrent.futures
import os
import threading
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..client import (
    BucketState,
    ClaudeClient,
    ConfigurationError,
    Health,
    MessageRequest,
    ModelInfo,
    TokenBucket,
)
from ._bridge import Bridge
from ._connection import Connection, demo_connection, is_demo, real_connection
from ._credentials import Credentials, FoundCredential, redact
from ._demo import EmbeddedSimulator
from ._exchange import end_in_any_case, exchange
from ._files import SettingsFiles, local_file_path, user_file_path
from ._progress import Progress
from ._reply import Presenter, Reply
from ._requests import check_prompt, check_stop_sequences, plan_request
from ._settings import ResolvedSettings
from ._shared_client import SharedClient
from ._sources import (
    Layer,
    config_layer,
    environment_layer,
    local_file_layer,
    option_layer,
    resolve,
    user_file_layer,
)
from ._status import RuntimeStatus, connection_notes, setting_rows

_Result = TypeVar("_Result")
ConfigReader = Callable[[], Mapping[str, object]]


class Runtime:
    """The bridge thread, the shared client, its limiter, and the replies in flight.

    Nothing runs before the first request. Every method may be called from any thread.

    Args:
        environment: The environment variables; read afresh for each request.
        inherited: What a former runtime of this kernel handed over, or None.
    """

    def __init__(
        self, *, environment: Mapping[str, str] = os.environ, inherited: Mapping[str, Any] | None = None
    ) -> None:
        kept = inherited or {}
        self.last: Reply | None = kept.get("last")
        """The reply that was started last."""
        self._environment = environment
        self._files = SettingsFiles()
        self._credentials = Credentials(self._files, login=kept.get("login"))
        self._demo_choice: bool | None = kept.get("demo_choice")
        self._read_config: ConfigReader | None = kept.get("read_config")
        self._presenter: Presenter | None = kept.get("presenter")
        self._bucket_state: Mapping[str, float] | None = kept.get("bucket_state")
        self._bucket: TokenBucket | None = None
        self._simulator = EmbeddedSimulator()
        self._engine: _Engine | None = None
        self._in_flight: dict[Reply, None] = {}  # a set that keeps its order
        self._warned: set[str] = set()
        self._lock = threading.RLock()

    # Asking...

    def start(
        self,
        prompt: str,
        *,
        model: str | None = None,
        system: str | None = None,
        max_tokens: int | None = None,
        effort: str | None = None,
        thinking: str | None = None,
        stop_sequences: list[str] | None = None,
    ) -> Reply:
        """Ask, and return the reply at once; it streams from now on. Options left out are taken from the settings.

        Args:
            prompt: The user's words, sent as they are.
            model: Model to ask.
            system: System prompt.
            max_tokens: Bound of the answer in model tokens, thinking included.
            effort: "low", "medium", "high", "xhigh" or "max".
            thinking: "show", "hide" or "off".
            stop_sequences: Strings at which the answer ends.

        Raises:
            ConfigurationError: A setting or option cannot be used, there is no key, or the prompt is empty. Nothing was
                sent. (What happens after the sending is the reply's to tell.)
        """
        check_prompt(prompt)
        sequences = check_stop_sequences(stop_sequences)
        options = {
            "model": model,
            "system": system,
            "max_tokens": max_tokens,
            "effort": effort,
            "thinking": thinking,
        }
        settings = self.settings(options)
        plan = plan_request(prompt, settings, sequences)
        found = self.find_credential()
        connection = self._connect(settings, found)
        progress = Progress(
            model=plan.request.model, max_attempts=connection.config.max_retries + 1, notes=plan.notes
        )
        reply = Reply(prompt, progress, presenter=lambda: self._presenter)
        self._launch(reply, progress, plan.request, connection, lambda text: redact(text, found))
        return reply

    def submit(
        self, work: Callable[[ClaudeClient], Awaitable[_Result]]
    ) -> concurrent.futures.Future[_Result]:
        """Run something with the shared client on the bridge: `runtime.submit(lambda client: client.list_models())`.

        Raises:
            ConfigurationError: A setting cannot be used, or there is no key. Errors of the work itself, and being
                cancelled, come through the future.
        """
        connection = self._connect(self.settings(), self.find_credential())

        async def run(shared: SharedClient) -> _Result:
            async with shared.lend(connection) as client:
                return await work(client)

        with self._lock:
            engine = self._running_engine(connection)
            return engine.bridge.submit(run(engine.shared))

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
        local = self._local_layer()
        for note in () if local is None else local.notes:
            if note not in self._warned:
                self._warned.add(note)
                warnings.warn(note, stacklevel=3)
        layers = (
            option_layer(options or {}),
            config_layer({} if self._read_config is None else self._read_config()),
            environment_layer(self._environment),
            local,
            user_file_layer(self._user_file, self._files.read(self._user_file)),
        )
        return resolve(layer for layer in layers if layer is not None)

    def use_config(self, read: ConfigReader | None) -> None:
        """Read the settings of `%config` from here; None ends that."""
        self._read_config = read

    def login(self, key: str) -> None:
        """Use this API key from now on. It stays in memory, until `logout` or the end of the kernel.

        Raises:
            ConfigurationError: It cannot be a key. The message does not show it.
        """
        self._credentials.login(key)
        self._demo_choice = None

    def logout(self) -> None:
        """Forget the key that was given to `login`."""
        self._credentials.logout()

    def redact(self, text: str) -> str:
        """Replace the key by `[REDACTED]` in text that comes from elsewhere."""
        try:
            found = self.find_credential()
        except ConfigurationError:  # what cannot be a key was never sent, so nobody can quote it
            found = None
        return redact(text, found)

    @property
    def _user_file(self) -> Path:
        return user_file_path(self._environment)

    def _local_layer(self) -> Layer | None:
        path = local_file_path(self._environment)
        return None if path is None else local_file_layer(path, self._files.read(path))

    def find_credential(self) -> FoundCredential | None:
        """Return the credential in force, with its source, or None.

        Raises:
            ConfigurationError: The one in force cannot be a key.
        """
        return self._credentials.find(self._environment, self._user_file)

    # Demo...

    @property
    def is_demo(self) -> bool:
        """Whether the embedded simulator answers the next request."""
        return is_demo(self.settings(), self.find_credential(), self._demo_choice)

    def demo_on(self) -> None:
        """Let the embedded simulator answer.

        Raises:
            ConfigurationError: A credential is configured, which a notebook shall not override.
        """
        if self.is_demo:
            return
        found = self.find_credential()
        if found is not None:
            raise ConfigurationError(
                f"There is an {found.kind} ({found.source}), and a notebook does not override it. To use the simulator "
                "all the same, start Jupyter with CLAUDE_MAGIC_DEMO=on."
            )
        self._demo_choice = True

    def demo_off(self) -> None:
        """Let the real API answer, whatever `CLAUDE_MAGIC_DEMO` says."""
        self._demo_choice = False

    # The limiter, the presenter, the end...

    def limiter_state(self) -> BucketState:
        """Level, queue and pause of the shared limiter."""
        with self._lock:
            return self._bucket_for(self.settings().values.client_config().rate_limit_rps).state

    def status(self) -> RuntimeStatus:
        """Describe the runtime; no secret is in it.

        Raises:
            ConfigurationError: A setting in force is not valid.
        """
        settings = self.settings()
        found = self.find_credential()
        config = settings.values.client_config()
        is_simulated = is_demo(settings, found, self._demo_choice)
        error = None if self.last is None else self.last.error
        return RuntimeStatus(
            base_url="embedded simulator" if is_simulated else config.base_url,
            host="simulator" if is_simulated else "official" if config.is_official_host else "own",
            is_running=self._engine is not None and self._engine.bridge.is_usable,
            credential=None if found is None else f"{found.kind}, {found.source}",
            limiter=self.limiter_state(),
            in_flight=len(self.in_flight()),
            last_error=None if error is None else f"{type(error).__name__}: {self.redact(str(error))}",
            settings=setting_rows(settings, found),
            notes=(*settings.notes, *self._credentials.notes, *connection_notes(config, found)),
        )

    @property
    def has_presenter(self) -> bool:
        """Whether somebody has said how replies are drawn."""
        return self._presenter is not None

    def set_presenter(self, present: Presenter | None) -> None:
        """Say how replies are drawn as rich output; without it they are plain text."""
        self._presenter = present

    def close(self) -> None:
        """Cancel what is in flight, and end client, thread and simulator. The next request starts them again.

        The limiter's state stays, and so do login, demo choice and the last reply: they belong to the kernel.
        """
        with self._lock:
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.bridge.close()
            self._simulator.close()

    def hand_over(self) -> dict[str, Any]:
        """Close, and return what the next runtime of this kernel goes on with."""
        self.close()
        return {
            "last": self.last,
            "login": self._credentials.given,
            "demo_choice": self._demo_choice,
            "read_config": self._read_config,
            "presenter": self._presenter,
            "bucket_state": self._bucket_state if self._bucket is None else self._bucket.dump(),
        }

    def start_over_after_fork(self) -> object:
        """Let go of what belongs to the parent process, in a forked child; the child makes its own.

        Returns:
            The parent's things. They must be kept: closing them, also by the garbage collector, would disturb the
            parent, whose sockets and selectors they share.
        """
        self._lock = threading.RLock()  # some thread of the parent may hold the former one
        parents = (self._engine, self._bucket, self._simulator)
        if self._bucket is not None:
            self._bucket_state = self._bucket.dump()
        self._engine, self._bucket, self._simulator = None, None, EmbeddedSimulator()
        for reply in self.in_flight():
            reply.abandon()
        self._in_flight.clear()
        return parents

    # The engine...

    def _connect(self, settings: ResolvedSettings, found: FoundCredential | None) -> Connection:
        if is_demo(settings, found, self._demo_choice):
            with self._lock:
                return demo_connection(settings, self._simulator)
        return real_connection(settings, found)

    def _launch(
        self,
        reply: Reply,
        progress: Progress,
        request: MessageRequest,
        connection: Connection,
        redact: Callable[[str], str],
    ) -> None:
        def on_end(failure: BaseException | None) -> None:
            end_in_any_case(progress, failure, redact)
            self._in_flight.pop(reply, None)

        with self._lock:
            engine = self._running_engine(connection)
            self._in_flight[reply] = None
            self.last = reply
            work = exchange(engine.shared.lend(connection), request, progress)
            reply.bind(engine.bridge.spawn(work, on_end=on_end))

    def _running_engine(self, connection: Connection) -> _Engine:
        """Return the engine, started if necessary; called under the lock."""
        if self._engine is None or not self._engine.bridge.is_usable:
            self._engine = _Engine(self._bucket_for(connection.config.rate_limit_rps))
        return self._engine

    def _bucket_for(self, rate: float) -> TokenBucket:
        if self._bucket is None:
            self._bucket = TokenBucket(rate)
            if self._bucket_state is not None:
                self._bucket.restore(self._bucket_state)
        return self._bucket


class _Engine:
    """What runs: the bridge and the client on it."""

    def __init__(self, bucket: TokenBucket) -> None:
        self.shared = SharedClient(bucket)
        self.bridge = Bridge(on_close=self.shared.aclose)
