"""What is known of the limits of the server that is asked at present. It outlives clients, the bridge and `%reload_ext`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from ..client import ClassRecord, PaceState, ServerPace
from ._connection import Connection


class PaceRecord(TypedDict):
    """What was learnt, as plain data, and of which server."""

    base_url: str
    classes: Mapping[str, ClassRecord]


class KnownPace:
    """Keeps the pace for one server and account; another server or credential has limits of its own.

    Args:
        record: What a former runtime of this kernel had learnt, or None. It names no credential, so the first connection to
            its server is taken for the same account.
    """

    def __init__(self, record: PaceRecord | None = None) -> None:
        self._record = record
        self._connection: Connection | None = None
        self._pace = ServerPace()

    def for_connection(self, connection: Connection) -> ServerPace:
        """Return the pace for the server of a connection. Belongs to the bridge's loop."""
        former, self._connection = self._connection, connection
        if former is None:
            if self._record is not None and self._record["base_url"] == connection.config.base_url:
                self._pace.restore(self._record["classes"])
        elif not connection.is_same_account(former):
            self._pace = ServerPace()
        return self._pace

    @property
    def state(self) -> tuple[PaceState, ...]:
        """What holds for each class of models that was asked. Any thread may ask."""
        return self._pace.state

    def dump(self) -> PaceRecord | None:
        """Return what was learnt, for the runtime that follows."""
        if self._connection is None:
            return self._record
        return {"base_url": self._connection.config.base_url, "classes": self._pace.dump()}
