"""What a request is sent with: settings, credential and destination, found afresh each time."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from ..client import ConfigurationError
from ._connection import Connection, demo_connection, is_demo, real_connection
from ._credentials import Credentials, FoundCredential, redact
from ._demo import EmbeddedSimulator
from ._files import FILE_NAME, SettingsFiles, local_file_path, user_file_path
from ._settings import ResolvedSettings, shown
from ._sources import (
    Layer,
    config_layer,
    environment_layer,
    local_file_layer,
    option_layer,
    resolve,
    user_file_layer,
)

ConfigReader: TypeAlias = Callable[[], Mapping[str, object]]


class Configuration:
    """The sources of settings, the credential, and the choice between the API and the simulator.

    Attributes:
        read_config: Reads what `%config` has set; None where there is no shell.
        demo_choice: What `%claude demo` said; None if nothing.
        credentials: Finds the credential.

    Args:
        environment: The environment variables.
        login: The credential that a former runtime of this kernel was given, or None.
    """

    def __init__(self, environment: Mapping[str, str], *, login: FoundCredential | None = None) -> None:
        self.read_config: ConfigReader | None = None
        self.demo_choice: bool | None = None
        self._environment = environment
        self._files = SettingsFiles()
        self.credentials = Credentials(self._files, login=login)
        self._simulator = EmbeddedSimulator()
        self._simulator_lock = threading.Lock()
        self._warned: set[str] = set()
        self._told_influence = ""

    def settings(self, options: Mapping[str, object]) -> ResolvedSettings:
        """Resolve the settings; `options` are those given with a call, None counting as not given.

        Raises:
            ConfigurationError: A value in force is not valid, or a settings file cannot be read.
        """
        local = self._local_layer()
        layers = (
            option_layer(options),
            config_layer({} if self.read_config is None else self.read_config()),
            environment_layer(self._environment),
            local,
            user_file_layer(self._user_file, self._files.read(self._user_file)),
        )
        self._warn_once(() if local is None else local.notes)
        return resolve(layer for layer in layers if layer is not None)

    def influences(self, settings: ResolvedSettings) -> tuple[str, ...]:
        """Say what a file beside the notebook has set: once, and again when that has changed."""
        made = settings.set_beside_notebook
        told = ", ".join(f"{name} {shown(value)}" for name, value in made.items())
        if told == self._told_influence:
            return ()
        self._told_influence = told
        if not told:
            return ()
        return (
            f"{FILE_NAME} beside the notebook sets {told}. %claude status shows where each setting comes from.",
        )

    def find_credential(self) -> FoundCredential | None:
        """Return the credential in force, or None.

        Raises:
            ConfigurationError: The one in force cannot be a key.
        """
        return self.credentials.find(self._environment, self._user_file)

    def redact(self, text: str) -> str:
        """Replace the key by `[REDACTED]` in text that comes from elsewhere."""
        try:
            found = self.find_credential()
        except ConfigurationError:  # what cannot be a key was never sent, so nobody can quote it
            found = None
        return redact(text, found)

    def is_demo(self, settings: ResolvedSettings, found: FoundCredential | None) -> bool:
        """Whether the embedded simulator answers."""
        return is_demo(settings, found, self.demo_choice)

    def connect(self, settings: ResolvedSettings, found: FoundCredential | None) -> Connection:
        """Decide whom a request goes to; starts the simulator where it is that one.

        Raises:
            ConfigurationError: It is the official API, and there is no credential.
        """
        if self.is_demo(settings, found):
            with self._simulator_lock:
                return demo_connection(settings, self._simulator)
        return real_connection(settings, found)

    def close(self) -> None:
        """End the simulator; it starts again when it is needed."""
        with self._simulator_lock:
            self._simulator.close()

    def start_over_after_fork(self) -> object:
        """Let go of the parent's simulator, in a forked child, and return it to be kept."""
        parents = self._simulator
        self._simulator = EmbeddedSimulator()
        self._simulator_lock = threading.Lock()
        return parents

    @property
    def _user_file(self) -> Path:
        return user_file_path(self._environment)

    def _local_layer(self) -> Layer | None:
        path = local_file_path(self._environment)
        return None if path is None else local_file_layer(path, self._files.read(path))

    def _warn_once(self, notes: tuple[str, ...]) -> None:
        """Say what is ignored in a file that somebody put there on purpose."""
        for note in notes:
            if note not in self._warned:
                self._warned.add(note)
                warnings.warn(note, stacklevel=5)  # the caller of whoever asked for settings
