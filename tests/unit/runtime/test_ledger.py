"""The ledger and its budget: no request that could exceed it is sent, and all possible costs count."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import pytest

from claude_magic.client import ClaudeClient, ConfigurationError, MessageRequest, NotFoundError, Usage
from claude_magic.runtime._budget import BudgetExceededError
from claude_magic.runtime._ledger import Ledger, LedgerRow, Reservation
from claude_magic.runtime._models import lines_of

SONNET = "claude-sonnet-5-5"
WORST_OF_ONE = 0.012
"""1,000 tokens in and 1,000 out, once, asked of Sonnet 5.5."""


class CountingClient:
    """A client that counts every request as a fixed number of tokens, or fails."""

    def __init__(self, tokens: int | Exception = 1000) -> None:
        self.tokens = tokens
        self.counted = 0

    async def count_tokens(self, request: MessageRequest) -> int:
        self.counted += 1
        await asyncio.sleep(0)
        if isinstance(self.tokens, Exception):
            raise self.tokens
        return self.tokens


def request(model: str = SONNET, *, max_tokens: int = 1000, **fields: Any) -> MessageRequest:
    messages = [{"role": "user", "content": "Hello"}]
    return MessageRequest(model=model, max_tokens=max_tokens, messages=messages, **fields)


async def admit(
    ledger: Ledger,
    client: CountingClient | None = None,
    *,
    asked: MessageRequest | None = None,
    attempts: int = 1,
    is_simulated: bool = False,
) -> Reservation:
    return await ledger.admit(
        cast(ClaudeClient, client or CountingClient()),
        asked or request(),
        attempts=attempts,
        is_simulated=is_simulated,
    )


def finish(
    ledger: Ledger, reservation: Reservation, usage: Usage | None, *, model: str = SONNET, **fields: Any
) -> None:
    bill = () if usage is None else lines_of(model, usage)
    ledger.finish(reservation, bill=bill, **{"thread": "main", **fields})


def ledger_with(budget: float | None) -> Ledger:
    ledger = Ledger()
    ledger.set_budget(budget)
    return ledger


def test_without_a_budget_nothing_is_counted() -> None:
    """No extra request precedes the user's."""
    client = CountingClient()

    asyncio.run(admit(Ledger(), client))

    assert client.counted == 0


def test_rows_are_kept_by_model_and_thread() -> None:
    """Requests, tokens, the cached part of them, and the price."""

    async def run() -> Ledger:
        ledger = Ledger()
        usage = Usage(input_tokens=1000, output_tokens=100, cache_read_input_tokens=500)
        finish(ledger, await admit(ledger), usage)
        finish(ledger, await admit(ledger), usage)
        finish(ledger, await admit(ledger), usage, thread="side")
        finish(ledger, await admit(ledger), usage, model="llama4", thread=None)
        return ledger

    main, side, unknown = asyncio.run(run()).rows()

    assert main == LedgerRow(
        model=SONNET,
        thread="main",
        is_simulated=False,
        requests=2,
        input_tokens=3000,
        cached_tokens=1000,
        output_tokens=200,
        cost=pytest.approx(2 * (0.002 + 0.001 + 0.00005)),
        spent=pytest.approx(2 * (0.002 + 0.001 + 0.00005)),
    )
    assert (side.thread, side.requests) == ("side", 1)
    assert (unknown.model, unknown.input_tokens, unknown.cost) == ("llama4", 1500, None)


@pytest.mark.parametrize("attempts", [1, 4])
def test_the_worst_case_must_fit_into_the_budget(attempts: int) -> None:
    """An amount equal to the budget is admitted, a slightly larger one is not."""

    async def run(budget: float) -> None:
        await admit(ledger_with(budget), attempts=attempts)

    asyncio.run(run(attempts * WORST_OF_ONE))
    with pytest.raises(BudgetExceededError):
        asyncio.run(run(attempts * WORST_OF_ONE - 0.00001))


def test_the_refusal_says_all_one_needs() -> None:
    """The possible cost and its reason, the amount spent, and two remedies."""

    async def run() -> None:
        ledger = ledger_with(2.0)
        finish(ledger, await admit(ledger), Usage(output_tokens=152_000))
        await admit(ledger, CountingClient(3412), asked=request(max_tokens=16_000), attempts=4)

    with pytest.raises(BudgetExceededError) as refused:
        asyncio.run(run())

    assert refused.value.message == (
        "This request could cost up to $0.667 (3,412 tokens in, 16,000 out, 4 attempts); $1.52 of $2.00 are spent. "
        "It was not sent. Raise the budget with `%claude budget 3`, or lower max_tokens."
    )
    assert isinstance(refused.value, ConfigurationError)


def test_what_is_in_flight_counts() -> None:
    """Two concurrent requests cannot exceed the budget together."""

    async def run() -> list[Any]:
        ledger = ledger_with(1.5 * WORST_OF_ONE)
        return await asyncio.gather(admit(ledger), admit(ledger), return_exceptions=True)

    first, second = asyncio.run(run())

    assert isinstance(first, Reservation)
    assert isinstance(second, BudgetExceededError)
    assert "up to $0.012 are reserved for requests in flight" in second.message


def test_a_finished_request_gives_back_what_it_did_not_use() -> None:
    """A request that was never sent releases its reservation, too."""

    async def run() -> Ledger:
        ledger = ledger_with(WORST_OF_ONE)
        ledger.release(await admit(ledger))
        finish(ledger, await admit(ledger), Usage(input_tokens=0))
        await admit(ledger)
        return ledger

    account = asyncio.run(run()).account()

    assert (account.spent, account.reserved) == (0, pytest.approx(WORST_OF_ONE))


def test_a_budget_that_is_set_later_knows_what_is_in_flight() -> None:
    """That request was not counted, so the local upper bound is used."""

    async def run() -> None:
        ledger = Ledger()
        await admit(ledger, asked=request(max_tokens=100_000))
        ledger.set_budget(1.0)
        await admit(ledger)

    with pytest.raises(BudgetExceededError, match=r"up to \$1\.0\d are reserved"):
        asyncio.run(run())


def test_attempts_that_may_have_been_billed_count_at_their_worst() -> None:
    """A server that fails with a 500 may have executed the request, and does not report its cost."""

    async def run() -> Ledger:
        ledger = ledger_with(10 * WORST_OF_ONE)
        finish(ledger, await admit(ledger, attempts=4), Usage(output_tokens=100), unconfirmed_attempts=2)
        finish(ledger, await admit(ledger, attempts=4), None, unconfirmed_attempts=4)
        return ledger

    account = asyncio.run(run()).account()

    assert account.spent == pytest.approx(0.001)
    assert account.unconfirmed == pytest.approx(6 * WORST_OF_ONE)


def test_what_a_partial_answer_cost_is_not_counted_twice() -> None:
    """The known cost is spent; only the rest of its worst case is unconfirmed."""

    async def run() -> Ledger:
        ledger = ledger_with(1.0)
        reservation = await admit(ledger)
        finish(ledger, reservation, Usage(output_tokens=100), unconfirmed_attempts=1, is_partial=True)
        return ledger

    ledger = asyncio.run(run())

    assert ledger.account().spent == pytest.approx(0.001)
    assert ledger.account().unconfirmed == pytest.approx(WORST_OF_ONE - 0.001)
    assert ledger.rows()[0].partial == 1


def test_an_answer_of_a_model_without_a_price_counts_at_its_worst() -> None:
    """A gateway may route to another model."""

    async def run() -> Ledger:
        ledger = ledger_with(1.0)
        finish(ledger, await admit(ledger), Usage(output_tokens=100), model="llama4")
        return ledger

    assert asyncio.run(run()).account().unconfirmed == pytest.approx(WORST_OF_ONE)


def test_a_model_without_a_price_is_refused_while_a_budget_is_set() -> None:
    """No request is sent to the server for it."""
    client = CountingClient()

    with pytest.raises(BudgetExceededError, match=r"price of llama4 is not known.*`%claude budget off`"):
        asyncio.run(admit(ledger_with(100.0), client, asked=request("llama4")))

    assert client.counted == 0
    asyncio.run(admit(Ledger(), asked=request("llama4")))


def test_where_the_server_does_not_count_an_upper_bound_does() -> None:
    """It is larger than any count would be, and the message names it an upper bound."""
    client = CountingClient(NotFoundError("there is no such path"))

    with pytest.raises(BudgetExceededError, match="an upper bound because the server did not count"):
        asyncio.run(admit(ledger_with(0.001), client))


def test_the_simulator_has_an_account_of_its_own() -> None:
    """Simulated requests spend nothing of the real budget; the budget applies to each account."""

    async def run() -> Ledger:
        ledger = ledger_with(1.2 * WORST_OF_ONE)
        finish(ledger, await admit(ledger, is_simulated=True), Usage(output_tokens=500))
        with pytest.raises(BudgetExceededError):
            await admit(ledger, is_simulated=True)
        await admit(ledger)
        return ledger

    ledger = asyncio.run(run())

    assert ledger.account(is_simulated=True).spent == pytest.approx(0.005)
    assert ledger.account().spent == 0
    assert [row.is_simulated for row in ledger.rows()] == [True]


def test_a_server_that_turned_out_to_be_a_simulator_stays_one() -> None:
    """Its later requests are on the simulator's account from the start."""

    async def run() -> bool:
        ledger, client = Ledger(), CountingClient()
        ledger.mark_simulated(cast(ClaudeClient, client))
        return (await admit(ledger, client)).is_simulated

    assert asyncio.run(run())


def test_the_next_ledger_of_the_kernel_goes_on() -> None:
    """Reloading the extension keeps the amounts and the budget."""

    async def run() -> Ledger:
        ledger = ledger_with(5.0)
        reservation = await admit(ledger, attempts=2)
        finish(ledger, reservation, Usage(output_tokens=100), unconfirmed_attempts=1)
        return ledger

    ledger = asyncio.run(run())
    again = Ledger(ledger.dump())

    assert (again.budget, again.rows(), again.account()) == (5.0, ledger.rows(), ledger.account())


def test_a_forked_child_has_nothing_in_flight() -> None:
    """The parent finishes its own requests; the amount spent before the fork counts for both."""

    async def run() -> Ledger:
        ledger = ledger_with(5.0)
        finish(ledger, await admit(ledger), Usage(output_tokens=100))
        await admit(ledger)
        return ledger.for_forked_child()

    child = asyncio.run(run())

    assert (child.budget, child.account().reserved) == (5.0, 0)
    assert child.account().spent == pytest.approx(0.001)


@pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf, 1e12, 10**400])
def test_a_budget_is_an_amount(amount: float) -> None:
    """Zero is valid: nothing may be spent."""
    with pytest.raises(ConfigurationError, match="amount in USD"):
        Ledger().set_budget(amount)

    assert ledger_with(0.0).budget == 0


def test_a_price_that_is_not_known_takes_back_none_that_is() -> None:
    """One answer without a price keeps the spent amount of the others; the row has no total cost."""

    async def run() -> Ledger:
        ledger = ledger_with(1.0)
        finish(ledger, await admit(ledger), Usage(output_tokens=100))
        finish(ledger, await admit(ledger), Usage(output_tokens=100, service_tier="priority"))
        return ledger

    ledger = asyncio.run(run())

    assert ledger.account().spent == pytest.approx(0.001)
    assert ledger.rows()[0].cost is None
    assert Ledger(ledger.dump()).account() == ledger.account()


def test_each_model_that_took_part_has_its_row() -> None:
    """The request is counted for the model that answered."""
    steps = [
        {"type": "message", "input_tokens": 1000, "output_tokens": 10, "model": SONNET},
        {"type": "fallback_message", "input_tokens": 1000, "output_tokens": 100, "model": "claude-opus-5-5"},
    ]
    usage = Usage.model_validate({"input_tokens": 1000, "output_tokens": 100, "iterations": steps})

    async def run() -> Ledger:
        ledger = Ledger()
        finish(ledger, await admit(ledger), usage)
        return ledger

    opus, sonnet = asyncio.run(run()).rows()

    assert (opus.model, opus.requests, opus.output_tokens) == ("claude-opus-5-5", 1, 100)
    assert (sonnet.model, sonnet.requests, sonnet.output_tokens) == (SONNET, 0, 10)
    assert (opus.cost, sonnet.cost) == (pytest.approx(0.006), pytest.approx(0.0021))


def test_an_estimate_is_known_as_one_in_rows_and_account() -> None:
    """Also in the next ledger of the kernel."""

    async def run() -> Ledger:
        ledger = Ledger()
        finish(ledger, await admit(ledger), Usage(output_tokens=100))
        finish(ledger, await admit(ledger), Usage(output_tokens=1).estimated(500), is_partial=True)
        return ledger

    ledger = asyncio.run(run())

    for each in (ledger, Ledger(ledger.dump())):
        assert each.rows()[0].estimated == 1
        assert each.account().is_estimate
        assert each.account().spent == pytest.approx(0.006)


def test_a_reservation_is_given_back_even_if_it_cannot_be_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while booking must not keep the reservation forever."""

    async def run() -> Ledger:
        ledger = ledger_with(2 * WORST_OF_ONE)
        reservation = await admit(ledger)
        monkeypatch.setattr(reservation, "worst_case", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finish(ledger, reservation, None, unconfirmed_attempts=1)
        return ledger

    assert asyncio.run(run()).account().reserved == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"fallbacks": [{"model": "llama4"}]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "llama4"}]},
    ],
)
def test_a_budget_refuses_a_request_that_a_model_without_a_price_may_answer(fields: dict[str, Any]) -> None:
    """Its possible cost is unknown."""
    with pytest.raises(BudgetExceededError, match="price of llama4 is not known"):
        asyncio.run(admit(ledger_with(1000.0), asked=request(**fields)))
