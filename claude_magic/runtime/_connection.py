"""Decides whom a request goes to, and with which credential: the API, a server of the user's own, or the simulator."""

from __future__ import annotations

from dataclasses import dataclass

from ..client import ClientConfig, ConfigurationError, Credential
from ._credentials import FoundCredential
from ._demo import EmbeddedSimulator
from ._settings import ResolvedSettings

_NO_KEY = (
    "There is no API key: ANTHROPIC_API_KEY is not set in this kernel. Set it where Jupyter starts and restart the kernel, "
    "or type `%claude login` to give it for this session. Without a key, `%claude demo on` lets a simulator answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a client is built from."""

    config: ClientConfig
    credential: Credential | None
    is_simulated: bool = False

    def needs_other_client_than(self, other: Connection) -> bool:
        """Whether a client built for the other one cannot serve this one. The rate does not count: buckets adapt."""
        return _without_rate(self.config) != _without_rate(other.config) or _key(self) != _key(other)

    def is_same_account(self, other: Connection) -> bool:
        """Whether the limits that a server told for the other one hold for this one."""
        return self.config.base_url == other.config.base_url and _key(self) == _key(other)


def _without_rate(config: ClientConfig) -> ClientConfig:
    return config.model_copy(update={"rate_limit_rps": 1.0, "rate_limit_capacity": None})


def _key(connection: Connection) -> tuple[bool, str] | None:
    credential = connection.credential
    return None if credential is None else (credential.is_token, credential.reveal())


def is_demo(settings: ResolvedSettings, found: FoundCredential | None, choice: bool | None) -> bool:
    """Decide whether the simulator answers.

    Args:
        settings: The settings in force.
        found: The credential in force.
        choice: What `%claude demo` said, or None.
    """
    if choice is not None:
        return choice
    mode = settings.values.demo
    return mode == "on" or (mode == "auto" and found is None and settings.is_default("base_url"))


def demo_connection(settings: ResolvedSettings, simulator: EmbeddedSimulator) -> Connection:
    """Connect to the simulator. It gets no credential, and no header that may hold a secret of some gateway."""
    config = settings.values.client_config(
        base_url=simulator.url(), messages_path="/v1/messages", headers={}, auth_header="x-api-key"
    )
    return Connection(config=config, credential=None, is_simulated=True)


def real_connection(settings: ResolvedSettings, found: FoundCredential | None) -> Connection:
    """Connect to the server that the settings name.

    Raises:
        ConfigurationError: It is the official API, and there is no credential.
    """
    config = settings.values.client_config()
    if found is None and config.is_official_host:
        raise ConfigurationError(_NO_KEY)
    return Connection(config=config, credential=None if found is None else found.credential)
