"""What `%claude status` tells, as data: nothing in here is secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..client import REDACTED, BucketState, ClientConfig
from ._credentials import FoundCredential
from ._settings import ResolvedSettings

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
        host: "official", "own" for another host or a gateway, "simulator".
        is_running: Whether the bridge thread and its client exist; they start with the first request.
        credential: The kind of credential and where it comes from, in words; None if there is none.
        limiter: Level, queue and pause.
        in_flight: How many replies have not ended.
        last_error: How the last reply failed; None if it did not.
        settings: Every setting, the credential first.
        notes: What a person should know, as sentences.
    """

    base_url: str
    host: str
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
        for name in type(values).model_fields
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
    if isinstance(value, Mapping) and name in _UNPRINTED_FIELDS:
        return ", ".join(f"{header}: {REDACTED}" for header in value) or "none"
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
