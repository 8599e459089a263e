"""One per kernel: the bridge thread, the shared client, replies and settings. It knows threads and loops, not displays."""

from __future__ import annotations

from ._connection import Connection
from ._credentials import FoundCredential
from ._heartbeat import loop_kept_awake
from ._kernel import close_runtime, get_runtime
from ._reply import Presenter, Reply
from ._runtime import Runtime
from ._settings import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_MODEL,
    EFFORTS,
    NOTEBOOK_FIELDS,
    ResolvedSettings,
    Settings,
)
from ._snapshot import BlockSnapshot, CallSnapshot, CallState, Phase, ReplySnapshot, Round, Wait
from ._status import RuntimeStatus, SettingRow
from ._waiting import Waiting, interrupts_kept_for, wait_interruptibly

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "DEFAULT_MODEL",
    "EFFORTS",
    "NOTEBOOK_FIELDS",
    "BlockSnapshot",
    "CallSnapshot",
    "CallState",
    "Connection",
    "FoundCredential",
    "Phase",
    "Presenter",
    "Reply",
    "ReplySnapshot",
    "ResolvedSettings",
    "Round",
    "Runtime",
    "RuntimeStatus",
    "SettingRow",
    "Settings",
    "Wait",
    "Waiting",
    "close_runtime",
    "get_runtime",
    "loop_kept_awake",
    "interrupts_kept_for",
    "wait_interruptibly",
]
