"""One per kernel: the bridge thread, the shared client, replies and settings. It knows threads and loops, not displays."""

from __future__ import annotations

from ..conversation import Forest, Thread, ThreadSummary, Turn, load_forest, save_forest
from ..tools import CallState
from ._budget import Account, BudgetExceededError, count_input
from ._connection import Connection
from ._credentials import FoundCredential
from ._heartbeat import loop_kept_awake
from ._jobs import Job, Jobs
from ._kernel import close_runtime, get_runtime
from ._ledger import Ledger, LedgerRow
from ._model_names import SHORT_NAMES, ModelNames, nearest_model, newest_of, table_id
from ._models import MODELS, MODELS_AS_OF, ModelFacts, facts_of, undated
from ._prices import PRICES_AS_OF, BillLine, Price, cost_of, format_price, format_usd, price_of
from ._question import Question, Where
from ._reply import Presenter, Reply
from ._runtime import Runtime
from ._server_limits import ModelLimits, RateLimits, Refusal
from ._settings import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_MODEL,
    EFFORTS,
    NOTEBOOK_FIELDS,
    ResolvedSettings,
    Settings,
)
from ._snapshot import BlockSnapshot, CallSnapshot, Phase, ReplySnapshot, Round, Wait
from ._status import RuntimeStatus, SettingRow
from ._turn_plan import ContextFullError, TurnPlan
from ._waiting import Waitable, Waiting, interrupts_kept_for, wait_interruptibly
from ._worst_case import WorstCase, worst_case

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "DEFAULT_MODEL",
    "EFFORTS",
    "MODELS",
    "MODELS_AS_OF",
    "NOTEBOOK_FIELDS",
    "PRICES_AS_OF",
    "SHORT_NAMES",
    "Account",
    "BillLine",
    "BlockSnapshot",
    "BudgetExceededError",
    "CallSnapshot",
    "CallState",
    "Connection",
    "ContextFullError",
    "Forest",
    "FoundCredential",
    "Job",
    "Jobs",
    "Ledger",
    "LedgerRow",
    "ModelFacts",
    "ModelLimits",
    "ModelNames",
    "Phase",
    "Presenter",
    "Price",
    "Question",
    "RateLimits",
    "Refusal",
    "Reply",
    "ReplySnapshot",
    "ResolvedSettings",
    "Round",
    "Runtime",
    "RuntimeStatus",
    "SettingRow",
    "Settings",
    "Thread",
    "ThreadSummary",
    "Turn",
    "TurnPlan",
    "Wait",
    "Waitable",
    "Waiting",
    "Where",
    "WorstCase",
    "close_runtime",
    "cost_of",
    "count_input",
    "facts_of",
    "format_price",
    "format_usd",
    "get_runtime",
    "interrupts_kept_for",
    "load_forest",
    "loop_kept_awake",
    "nearest_model",
    "newest_of",
    "price_of",
    "save_forest",
    "table_id",
    "undated",
    "wait_interruptibly",
    "worst_case",
]
