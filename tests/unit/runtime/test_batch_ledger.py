"""Batches in the ledger: admitted by their worst case, which stays reserved until they are finished."""

from __future__ import annotations

import asyncio

import pytest

from claude_magic.client import ClientConfig, Credential, HTTPClaudeClient, MessageRequest, Usage
from claude_magic.runtime import BATCH_SHARE, BillLine, BudgetExceededError, Ledger, WorstCase, worst_case

REQUEST = MessageRequest(
    model="claude-sonnet-5-5", max_tokens=1000, messages=[{"role": "user", "content": "Hi"}]
)


def worst(amount: float) -> WorstCase:
    return WorstCase(input_tokens=10, output_tokens=10, attempts=1, per_attempt=amount, is_counted=False)


CLIENT = HTTPClaudeClient(ClientConfig(), Credential(api_key="sk-test"))


def admit(ledger: Ledger, name: str, amount: float | None, *, request: MessageRequest = REQUEST) -> None:
    limit = None if amount is None else worst(amount)
    asyncio.run(ledger.admit_batch(CLIENT, name, request, limit, what="This batch", is_simulated=False))


def test_a_batch_is_admitted_only_if_its_worst_case_fits_beside_the_others() -> None:
    ledger = Ledger()
    ledger.set_budget(1.0)
    admit(ledger, "a", 0.6)

    with pytest.raises(BudgetExceededError, match=r"This batch could cost up to \$0\.60"):
        admit(ledger, "b", 0.6)

    assert ledger.account().reserved == 0.6
    ledger.finish_batch("a")
    admit(ledger, "b", 0.6)


def test_its_rows_are_booked_one_by_one_and_booking_twice_is_fine() -> None:
    ledger = Ledger()
    admit(ledger, "a", 0.6)

    for _ in range(2):
        ledger.book(
            [BillLine(model="claude-sonnet-5-5", usage=Usage(output_tokens=5), cost=0.01)], is_simulated=False
        )
    ledger.finish_batch("a")
    ledger.finish_batch("a")
    ledger.finish_batch("of another process")

    account = ledger.account()
    assert (account.spent, account.reserved) == (0.02, 0)
    [row] = ledger.rows()
    assert (row.requests, row.output_tokens) == (2, 10)


def test_a_model_without_a_price_is_refused_under_a_budget() -> None:
    ledger = Ledger()
    request = REQUEST.model_copy(update={"model": "claude-unknown"})
    admit(ledger, "a", None, request=request)
    ledger.set_budget(1.0)

    with pytest.raises(BudgetExceededError, match="the price of claude-unknown is not known"):
        admit(ledger, "b", None, request=request)


def test_the_worst_case_of_a_row_is_half_but_for_searches() -> None:
    """Tokens cost half; searches have their normal price."""
    online, batch = (worst_case(REQUEST, 100, attempts=1, share=share) for share in (1.0, BATCH_SHARE))
    assert online is not None
    assert batch is not None
    assert batch.total == pytest.approx(online.total / 2)

    tools = [{"type": "web_search_20260318", "name": "web_search", "max_uses": 3}]
    searching = REQUEST.model_copy(update={"tools": tools})
    online, batch = (worst_case(searching, 100, attempts=1, share=share) for share in (1.0, BATCH_SHARE))
    assert online is not None
    assert batch is not None
    assert batch.total - 0.03 == pytest.approx((online.total - 0.03) / 2)


def test_the_share_of_lost_answers_is_unconfirmed() -> None:
    """They may be billed, and are no longer reserved; those of another process are counted there."""
    ledger = Ledger()
    admit(ledger, "a", 0.6)

    for _ in range(2):
        ledger.lose_rows("a", 0.25)
    ledger.lose_rows("of another process", 1.0)

    account = ledger.account()
    assert (account.spent, account.unconfirmed) == (0, pytest.approx(0.3))
    assert account.reserved == pytest.approx(0.3)
    ledger.reduce_batch("a", 0.25)
    assert ledger.account().reserved == pytest.approx(0.15)
    ledger.lose_rows("a", 0.25)
    assert ledger.account().reserved == pytest.approx(0)
    ledger.finish_batch("a")
    assert ledger.account().unconfirmed == pytest.approx(0.45)
