"""Finds the API key. It is held in a `Credential`, which prints as `[REDACTED]`, and in nothing else.

The order: `%claude login`, `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`, the settings file in the user's config folder, the
OS keyring, Colab's secrets. The last two are asked only where nothing else was found.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..client import ConfigurationError, Credential
from ._files import SettingsFiles
from ._settings import SECRET_FIELDS

KEYRING_SERVICE = "claude-magic"
KEYRING_USER = "api_key"
COLAB_SECRET = "ANTHROPIC_API_KEY"  # noqa: S105  # the name under which Colab keeps it

_LOOKUP_TIMEOUT = 3.0
"""Seconds given to the keyring: a locked one may wait for a dialog that nobody sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCredential:
    """A credential and where it comes from, in words."""

    credential: Credential
    source: str

    @property
    def kind(self) -> str:
        """What it is: an API key or an auth token."""
        return "auth token" if self.credential.is_token else "API key"


class Credentials:
    """The credential of this kernel, looked up when it is needed.

    Args:
        files: Reads the settings file.
        login: What a former runtime of this kernel was given, or None.
    """

    def __init__(self, files: SettingsFiles, *, login: FoundCredential | None = None) -> None:
        self._files = files
        self._login = login
        self._stored: FoundCredential | None = None
        self._has_searched_stores = False
        self.notes: tuple[str, ...] = ()
        """What went wrong with a store of secrets, as sentences."""

    @property
    def given(self) -> FoundCredential | None:
        """What `login` was given, or None."""
        return self._login

    def login(self, key: str) -> None:
        """Use this key from now on; it is kept in memory only.

        Raises:
            ConfigurationError: It cannot be a key. The message does not show it.
        """
        self._login = FoundCredential(credential=Credential(api_key=key), source="%claude login")

    def logout(self) -> None:
        """Forget the key of `login`, and search the stores of secrets again when one is needed."""
        self._login = self._stored = None
        self._has_searched_stores = False

    def find(self, environment: Mapping[str, str], user_file: Path) -> FoundCredential | None:
        """Return the credential in force, or None.

        Raises:
            ConfigurationError: The one in force cannot be a key. The message names its source, and does not show it.
        """
        return (
            self._login or _from_environment(environment) or self._from_file(user_file) or self._from_stores()
        )

    def _from_file(self, path: Path) -> FoundCredential | None:
        for name in SECRET_FIELDS:
            secret = self._files.read_secret(path, name)
            if secret:
                return _found(secret, f"file ({path})", is_token=name == "auth_token")
        return None

    def _from_stores(self) -> FoundCredential | None:
        if not self._has_searched_stores:
            self._has_searched_stores = True
            notes: list[str] = []
            self._stored = _ask(_ask_keyring, "OS keyring", notes) or _ask(
                _ask_colab, "Colab's secrets", notes
            )
            self.notes = tuple(notes)
        return self._stored


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
        complaint = error.message
    else:
        return FoundCredential(credential=credential, source=source)
    raise ConfigurationError(f"{complaint} It comes from: {source}.")


def _ask(store: Callable[[], str | None], name: str, notes: list[str]) -> FoundCredential | None:
    try:
        key = store()
    except Exception as failure:  # foreign code of any kind; without it we are merely without its key
        # Its text is not quoted: nobody knows what a store of secrets puts there.
        notes.append(f"{name}: no key could be read ({type(failure).__name__}).")
        return None
    return _found(key, name) if key and key.strip() else None


def _ask_keyring() -> str | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    answers: list[str | None] = []
    failures: list[Exception] = []

    def look_up() -> None:
        try:
            keyring: Any = importlib.import_module("keyring")
            answers.append(keyring.get_password(KEYRING_SERVICE, KEYRING_USER))
        except Exception as failure:  # carried to the asking thread
            failures.append(failure)

    thread = threading.Thread(target=look_up, name="claude-magic-keyring", daemon=True)
    thread.start()
    thread.join(_LOOKUP_TIMEOUT)
    if (
        failures and type(failures[0]).__name__ != "NoKeyringError"
    ):  # there is none on this machine: no failure
        raise failures[0]
    if failures:
        return None
    if not answers:
        raise TimeoutError
    return answers[0]


def _ask_colab() -> str | None:
    try:
        userdata: Any = importlib.import_module("google.colab.userdata")
    except ImportError:
        return None
    secret: str | None = userdata.get(COLAB_SECRET)
    return secret


def redact(text: str, found: FoundCredential | None) -> str:
    """Replace the key in force, and whatever else looks like one, in text that comes from elsewhere."""
    credential = Credential.placeholder() if found is None else found.credential
    return credential.redact(text)
