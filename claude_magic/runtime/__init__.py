"""The runtime of a kernel: the bridge thread, the shared client, replies and settings. Contains no display code."""

from __future__ import annotations

from ._accountant import TurnAccountant
from ._budget import Account, BudgetExceededError, WorstCase, count_input, worst_case
from ._cassette import FOLDER, Cassette, CassetteError, make_folder
from ._connection import SIMULATOR_HEADER
from ._ledger import Ledger, LedgerRow
from ._limits import ClassReading, GaugeReading, LimitReading, Refusal, WaitingReading
from ._models import (
    BATCH_SHARE,
    MODELS,
    MODELS_AS_OF,
    PRICES_AS_OF,
    SHORT_NAMES,
    BillLine,
    bill_of,
    cost_of,
    facts_of,
    format_price,
    format_usd,
    nearest_model,
    newest_of,
    price_of,
    table_id,
    total,
    undated,
    usd,
)
from ._progress import BlockSnapshot, CallSnapshot, Phase, ReplySnapshot, Wait, describe_reason
from ._provenance import Asked, AskedRows, Tally, asked_of
from ._recording import SENT_AS_IT_IS, Recording
from ._replay import NO_BATCHES, NotRecordedError
from ._reply import Job, Reply, ShownOnce, Waitable, interrupts_kept_for, stopped_if_left, wait_interruptibly
from ._requests import FROM_PANEL, FROM_PYTHON, Question, Where
from ._runtime import Runtime, RuntimeStatus, close_runtime, get_runtime, print_note
from ._settings import EFFORTS, QUESTION_FIELDS, Settings
from ._turn import TurnPlan
