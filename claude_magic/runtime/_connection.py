"""The connection of each request: finds the credential, and chooses between the API and the simulator.

Keys print as `[REDACTED]`.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..client import REDACTED, ClientConfig, ConfigurationError, Credential, read_limiter_url
from ._settings import SECRET_FIELDS, SETTINGS, ResolvedSettings, SettingsFiles, user_file_path

# The API key is held in a `Credential`, which prints as `[REDACTED]`, and nowhere else.
#
# Search order: `%claude login`, `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`, the settings file in the user's config folder, the
# OS keyring, Colab's secrets. The last two are searched only if no other source has a key.
KEYRING_SERVICE = "claude-magic"
KEYRING_USER = "api_key"
COLAB_SECRET = "ANTHROPIC_API_KEY"  # noqa: S105  # the name of the secret in Colab

_LOOKUP_TIMEOUT = 3.0
"""Seconds to wait for the keyring: a locked one may wait for a dialog that is not visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCredential:
    """A credential and a description of its source."""

    credential: Credential
    source: str

    @property
    def kind(self) -> str:
        """The kind of credential: "API key" or "auth token"."""
        return "auth token" if self.credential.is_token else "API key"


def _from_environment(environment: Mapping[str, str]) -> FoundCredential | None:
    for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        if environment.get(variable):
            is_token = variable == "ANTHROPIC_AUTH_TOKEN"
            return _found(environment[variable], f"environment ({variable})", is_token=is_token)
    return None


def _found(value: str, source: str, *, is_token: bool = False) -> FoundCredential:
    try:
        credential = Credential(auth_token=value) if is_token else Credential(api_key=value)
    except ConfigurationError as error:
        problem = error.message
    else:
        return FoundCredential(credential=credential, source=source)
    raise ConfigurationError(f"{problem} It comes from: {source}.")


def _read_store(store: Callable[[], str | None], name: str, notes: list[str]) -> FoundCredential | None:
    try:
        key = store()
    except Exception as failure:  # third-party code; on any failure there is just no key from this store
        # The message is not quoted, because it could contain a secret.
        notes.append(f"{name}: no key could be read ({type(failure).__name__}).")
        return None
    return _found(key, name) if key and key.strip() else None


def _read_keyring() -> str | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    found: concurrent.futures.Future[str | None] = concurrent.futures.Future()

    def look_up() -> None:
        try:
            keyring: Any = importlib.import_module("keyring")
            found.set_result(keyring.get_password(KEYRING_SERVICE, KEYRING_USER))
        except Exception as failure:  # raised again on the calling thread
            found.set_exception(failure)

    threading.Thread(target=look_up, name="claude-magic-keyring", daemon=True).start()
    try:
        return found.result(_LOOKUP_TIMEOUT)
    except Exception as failure:
        if type(failure).__name__ == "NoKeyringError":  # a machine without a keyring is not an error
            return None
        raise


def _read_colab() -> str | None:
    try:
        userdata: Any = importlib.import_module("google.colab.userdata")
    except ImportError:
        return None
    secret: str | None = userdata.get(COLAB_SECRET)
    return secret


def redact_key(text: str, found: FoundCredential | None, secrets: tuple[str, ...] = ()) -> str:
    """Replace the key in force, and other text that looks like a key, by `[REDACTED]` in text from other sources.

    Args:
        text: The text.
        found: The key.
        secrets: Other secrets to replace: `ClientConfig.secrets`.
    """
    credential = Credential.placeholder() if found is None else found.credential
    return credential.hiding(secrets).redact(text)


SIMULATOR_HEADER = "claude-magic-simulator"
"""Header that marks a simulator's responses, at any URL."""
_CHUNK_DELAY = 0.03
"""Seconds between two deltas, so that an answer streams at a readable speed."""


class EmbeddedSimulator:
    """A simulator on a thread of this process. It starts when its URL is first read."""

    def __init__(self) -> None:
        self._simulator: Any = None
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def url(self) -> str:
        """Return the base URL. Starts the simulator if it is not running, as in a forked child."""
        with self._lock:
            if self._simulator is None or self._pid != os.getpid():
                self._pid = os.getpid()
                # Imported by name: this is the only use of the simulator in the package, and few sessions need it.
                module = importlib.import_module("claude_magic.simulator")
                self._simulator = module.Simulator(chunk_delay=_CHUNK_DELAY, max_recorded=0).start()
            return str(self._simulator.url)

    def close(self) -> None:
        """Stop the simulator. It starts again when it is needed."""
        with self._lock:
            simulator, self._simulator = self._simulator, None
            if simulator is not None and self._pid == os.getpid():
                simulator.close()


_NO_KEY = (
    "There is no API key: ANTHROPIC_API_KEY is not set. Type `%claude login` to give a key for this session, or set the variable "
    "where Jupyter or the script starts, and restart. Without a key, `%claude demo on`, in a script CLAUDE_MAGIC_DEMO=on, lets a "
    "simulator answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The configuration and the credential that a client is built from."""

    config: ClientConfig
    credential: Credential | None
    is_simulated: bool = False

    def needs_other_client_than(self, other: Connection) -> bool:
        """Return whether a client built for `other` cannot be used. The rate is ignored, because buckets adapt to it."""
        return _without_rate(self.config) != _without_rate(other.config) or _key(self) != _key(other)

    def is_same_account(self, other: Connection) -> bool:
        """Return whether the limits that a server reported for `other` apply to this connection."""
        return self.config.base_url == other.config.base_url and _key(self) == _key(other)


def _without_rate(config: ClientConfig) -> ClientConfig:
    return config.model_copy(update={"rate_limit_rps": 1.0, "rate_limit_capacity": None})


def _key(connection: Connection) -> tuple[bool, str] | None:
    credential = connection.credential
    return None if credential is None else (credential.is_token, credential.reveal())


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One setting, its value as text, and a description of its source."""

    name: str
    value: str
    source: str


class Connector:
    """Makes the connections: finds the credential, and chooses between the API and the simulator.

    Args:
        environment: The environment variables.
        files: Reads the settings file, which may contain the key.
        given: The credential given to `login` in a previous runtime of this kernel, or None.
        demo_choice: The choice made with `%claude demo` there, or None.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        files: SettingsFiles,
        *,
        given: FoundCredential | None = None,
        demo_choice: bool | None = None,
    ) -> None:
        self.given = given
        self.demo_choice = demo_choice
        self._environment = environment
        self._files = files
        self._stored: FoundCredential | None = None
        self._has_searched_stores = False
        self._store_notes: tuple[str, ...] = ()
        self._simulator = EmbeddedSimulator()

    def login(self, key: str) -> None:
        """Use this key from now on. It is kept in memory only.

        Raises:
            ConfigurationError: The text cannot be a key. The message does not contain it.
        """
        self.given = FoundCredential(credential=Credential(api_key=key), source="%claude login")
        self.demo_choice = None

    def logout(self) -> bool:
        """Forget the key of `login`, and return whether there was one. The secret stores are searched again when needed."""
        is_given = self.given is not None
        self.given = self._stored = None
        self._has_searched_stores = False
        return is_given

    def find_credential(self) -> FoundCredential | None:
        """Return the credential in force, or None.

        Raises:
            ConfigurationError: The credential in force cannot be a key. The message contains its source, but not the text.
        """
        return self.given or _from_environment(self._environment) or self._from_file() or self._from_stores()

    def _from_file(self) -> FoundCredential | None:
        path = user_file_path(self._environment)
        for name in SECRET_FIELDS:
            secret = self._files.read_secret(path, name)
            if secret:
                return _found(secret, f"file ({path})", is_token=name == "auth_token")
        return None

    def _from_stores(self) -> FoundCredential | None:
        if not self._has_searched_stores:
            self._has_searched_stores = True
            notes: list[str] = []
            self._stored = _read_store(_read_keyring, "OS keyring", notes) or _read_store(
                _read_colab, "Colab's secrets", notes
            )
            self._store_notes = tuple(notes)
        return self._stored

    def is_demo(self, settings: ResolvedSettings, found: FoundCredential | None) -> bool:
        """Return whether the embedded simulator answers, by the choice of `%claude demo`, else by the settings."""
        if self.demo_choice is not None:
            return self.demo_choice
        mode = settings.values.demo
        return mode == "on" or (mode == "auto" and found is None and settings.is_default("base_url"))

    def demo_on(self, settings: ResolvedSettings) -> None:
        """Use the embedded simulator.

        Raises:
            ConfigurationError: A credential is configured, which a notebook does not override.
        """
        found = self.find_credential()
        if self.is_demo(settings, found):
            return
        if found is not None:
            raise ConfigurationError(
                f"There is an {found.kind} ({found.source}), and a notebook does not override it. To use the simulator "
                "anyway, start Jupyter with CLAUDE_MAGIC_DEMO=on."
            )
        self.demo_choice = True

    def connect(
        self, settings: ResolvedSettings, found: FoundCredential | None, *, needs_key: bool = True
    ) -> Connection:
        """Return the connection for requests. Starts the simulator if it is the destination.

        Raises:
            ConfigurationError: The destination is the official API, and there is no credential.
        """
        if self.is_demo(settings, found):
            # The simulator gets no credential, and no headers, which may contain a gateway's secret.
            config = settings.values.client_config(
                base_url=self._simulator.url(),
                messages_path="/v1/messages",
                headers={},
                auth_header="x-api-key",
            )
            return Connection(config=config, credential=None, is_simulated=True)
        config = settings.values.client_config()
        if found is None and needs_key and config.is_official_host:
            raise ConfigurationError(_NO_KEY)
        return Connection(config=config, credential=None if found is None else found.credential)

    def close(self) -> None:
        """Stop the simulator. It starts again when it is needed."""
        self._simulator.close()

    def start_over_after_fork(self) -> object:
        """Replace the parent's simulator in a forked child, and return it; the caller must keep it alive."""
        parents, self._simulator = self._simulator, EmbeddedSimulator()
        return parents

    def rows(self, settings: ResolvedSettings, found: FoundCredential | None) -> Iterator[SettingRow]:
        """Yield a row for the credential and for each setting, without secrets."""
        if found is None:
            yield SettingRow(name="api_key", value="not set", source="default")
        else:
            name = "auth_token" if found.credential.is_token else "api_key"
            yield SettingRow(name=name, value=REDACTED, source=found.source)
        for name in SETTINGS:
            shown_name = "shown_base_url" if name == "base_url" else name
            value, source = getattr(settings.values, shown_name), settings.sources[name]
            if name == "demo" and self.demo_choice is not None:
                value, source = "on" if self.demo_choice else "off", "%claude demo"
            yield SettingRow(name=name, value=_shown(name, value), source=source)

    def notes(self, config: ClientConfig, found: FoundCredential | None) -> Iterator[str]:
        """Yield errors of the secret stores and warnings about the connection, as sentences."""
        yield from self._store_notes
        if config.sends_key_in_clear and found is not None:
            yield (
                f"The {found.kind} crosses the network unencrypted, because base_url begins with http:// and is not this "
                "machine."
            )


def _shown(name: str, value: object) -> str:
    if name == "limiter" and isinstance(value, str):
        return read_limiter_url(value).shown
    if isinstance(
        value, Mapping
    ):  # headers: they may contain a gateway's secret, so only their names are shown
        return ", ".join(f"{header}: {REDACTED}" for header in value) or "none"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
