"""The budget over real sockets: which requests are sent, and the cost of each kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from claude_magic.client import (
    ClaudeError,
    ClientConfig,
    ContentBlockDelta,
    HTTPClaudeClient,
    MessageRequest,
    UnknownStatusError,
)
from claude_magic.runtime import BudgetExceededError, Ledger, cost_of
from claude_magic.runtime._accountant import TurnAccountant
from claude_magic.runtime._limits import RateLimits
from claude_magic.runtime._models import ModelNames
from claude_magic.runtime._provenance import RequestLog
from claude_magic.simulator import (
    Behaviour,
    Gate,
    Post,
    Simulator,
    close_mid_stream,
    drop_before_headers,
    error_event,
    hold,
    reply,
    reset_mid_stream,
    status,
    stream_events,
)
from claude_magic.simulator._wire import Hold, Steps

ATTEMPTS = 4
MAX_TOKENS = 1000
SONNET = "claude-sonnet-5-5"
OUTPUT = MAX_TOKENS * 10e-6
"""What the output of one attempt costs at most, in USD."""


def request(model: str = SONNET, prompt: str = "Hello") -> MessageRequest:
    return MessageRequest(model=model, max_tokens=MAX_TOKENS, messages=[{"role": "user", "content": prompt}])


async def ask(
    url: str,
    ledger: Ledger,
    asked: MessageRequest,
    *,
    is_cancelled: bool = False,
    is_known_to_be_simulated: bool = True,
) -> None:
    """Send a request like the runtime: admit, stream, finish. Or cancel it after its first words."""
    config = ClientConfig(base_url=url, max_retries=ATTEMPTS - 1, initial_backoff=0, rate_limit_rps=1000)
    accountant = TurnAccountant(
        ledger,
        RateLimits(),
        attempts=ATTEMPTS,
        is_simulated=is_known_to_be_simulated,
        thread="main",
        log=RequestLog(),
    )
    async with HTTPClaudeClient(config) as client:
        await accountant.admit(client, asked)
        stream = client.stream_message(asked, observer=accountant.on_event)
        try:
            async with stream:
                async for event in stream:
                    if is_cancelled and isinstance(event, ContentBlockDelta):
                        raise asyncio.CancelledError
        finally:
            accountant.finish(stream.message)


def paths(sim: Simulator) -> list[str]:
    return [seen.path for seen in sim.requests]


def test_without_a_budget_nothing_but_the_request_is_sent(sim: Simulator) -> None:
    """Promise: without a budget there is no overhead, not even a round trip."""
    asyncio.run(ask(sim.url, Ledger(), request()))

    assert paths(sim) == ["/v1/messages"]


def test_a_request_that_could_pass_the_budget_is_not_sent(sim: Simulator) -> None:
    """Promise: the error comes after a free token count, and before any billable request."""
    ledger = Ledger()
    ledger.set_budget(ATTEMPTS * OUTPUT)  # the input does not fit any more

    with pytest.raises(BudgetExceededError, match="could cost up to"):
        asyncio.run(ask(sim.url, ledger, request()))

    assert paths(sim) == ["/v1/messages/count_tokens"]


def test_a_request_that_fits_is_counted_and_sent(sim: Simulator) -> None:
    """Promise: its cost is booked by the server's usage, and the rest of its reservation is released."""
    ledger = Ledger()
    ledger.set_budget(ATTEMPTS * OUTPUT + 0.01)

    asyncio.run(ask(sim.url, ledger, request()))

    assert paths(sim) == ["/v1/messages/count_tokens", "/v1/messages"]
    (row,) = ledger.rows()
    account = ledger.account(is_simulated=True)
    assert (row.model, row.thread, row.requests, row.is_simulated) == (SONNET, "main", 1, True)
    assert row.cost == pytest.approx(row.input_tokens * 2e-6 + row.output_tokens * 10e-6)
    assert (account.spent, account.unconfirmed, account.reserved) == (row.cost, 0, 0)


def test_a_model_without_a_price_is_refused_before_anything_is_sent(sim: Simulator) -> None:
    """Promise: a budget that cannot be kept is an error."""
    ledger = Ledger()
    ledger.set_budget(1000)

    with pytest.raises(BudgetExceededError, match="price of llama4 is not known"):
        asyncio.run(ask(sim.url, ledger, request("llama4")))

    assert paths(sim) == []


@pytest.mark.parametrize(
    ("failures", "billed"),
    [
        ([status(429), status(529)], 0),
        ([status(500), status(502), status(504)], 3),
        ([drop_before_headers()], 1),
        ([error_event()], 1),
    ],
    ids=["429 and 529", "500, 502 and 504", "dropped connection", "error in a stream"],
)
def test_failed_attempts_count_if_they_may_have_been_billed(
    failures: Sequence[Behaviour], billed: int, sim: Simulator
) -> None:
    """Promise: each at its worst case, until the end of the kernel; attempts that were not executed cost nothing."""
    sim.script(*failures, reply("There."))
    ledger = Ledger()
    ledger.set_budget(1.0)

    asyncio.run(ask(sim.url, ledger, request()))

    account = ledger.account(is_simulated=True)
    assert account.unconfirmed == pytest.approx(billed * OUTPUT, rel=0.05)
    assert ledger.rows()[0].partial == 0


def test_an_answer_that_cannot_be_read_is_unconfirmed(sim: Simulator) -> None:
    """Promise: the status says that the request was executed, so it may be billed."""
    sim.script(status(200, body=b"paid for", content_type="text/plain"))
    ledger = Ledger()
    ledger.set_budget(1.0)

    with pytest.raises(UnknownStatusError):
        asyncio.run(ask(sim.url, ledger, request()))

    account = ledger.account(is_simulated=True)
    assert account.spent == 0
    assert account.unconfirmed == pytest.approx(OUTPUT, rel=0.05)


@pytest.mark.parametrize("cut", [close_mid_stream(after_events=8), reset_mid_stream(after_events=8)])
def test_an_answer_that_breaks_off_counts_whole(cut: Behaviour, sim: Simulator) -> None:
    """Promise: the cost of the partial answer is spent, and the output that the server may still have generated is unconfirmed."""
    sim.script(cut)
    ledger = Ledger()
    ledger.set_budget(1.0)

    with pytest.raises(ClaudeError):
        asyncio.run(ask(sim.url, ledger, request()))

    account = ledger.account(is_simulated=True)
    assert account.spent + account.unconfirmed == pytest.approx(OUTPUT, rel=0.05)
    assert ledger.rows()[0].partial == 1


def test_a_cancelled_answer_counts_whole(sim: Simulator) -> None:
    """Promise: stopping saves time, but it is unknown whether it saves money."""
    sim.script(hold(Gate()))
    ledger = Ledger()
    ledger.set_budget(1.0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask(sim.url, ledger, request(), is_cancelled=True))

    account = ledger.account(is_simulated=True)
    assert account.reserved == 0
    assert account.spent + account.unconfirmed == pytest.approx(OUTPUT, rel=0.05)


def test_an_answer_that_is_stopped_before_its_first_word_cost_its_input(sim: Simulator) -> None:
    """Promise: the usage that the server has reported counts, even if no event was returned yet."""
    message = {
        "id": "msg_1",
        "role": "assistant",
        "model": SONNET,
        "content": [],
        "usage": {"input_tokens": 700},
    }
    start = stream_events({"type": "message_start", "message": message})

    def behave(post: Post) -> Steps:
        yield from start(post)
        yield Hold(Gate())

    sim.script(behave)
    ledger = Ledger()

    async def run() -> None:
        accountant = TurnAccountant(
            ledger, RateLimits(), attempts=1, is_simulated=True, thread=None, log=RequestLog()
        )
        async with HTTPClaudeClient(ClientConfig(base_url=sim.url)) as client:
            await accountant.admit(client, request())
            stream = client.stream_message(request(), observer=accountant.on_event)
            reading = asyncio.ensure_future(anext(stream))
            async with asyncio.timeout(60):
                while not stream.message.id:
                    await asyncio.sleep(0.005)
            reading.cancel()
            await asyncio.wait([reading])
            accountant.finish(stream.message)

    asyncio.run(run())

    (row,) = ledger.rows()
    assert (row.input_tokens, row.partial, row.estimated) == (700, 1, 1)
    assert ledger.account(is_simulated=True).spent == pytest.approx(row.cost)
    assert row.cost == pytest.approx(700 * 2e-6, rel=0.01)


def test_requests_at_the_same_time_cannot_pass_the_budget_together(sim: Simulator) -> None:
    """Promise: of ten requests that fit individually, only the three that fit together are sent."""
    gate = Gate()
    sim.script(*[hold(gate)] * 10)
    ledger = Ledger()
    ledger.set_budget(3.5 * ATTEMPTS * OUTPUT)

    async def run() -> list[BaseException | None]:
        asking = [asyncio.ensure_future(ask(sim.url, ledger, request())) for _ in range(10)]
        async with asyncio.timeout(120):
            while sum(each.done() for each in asking) < 7:
                await asyncio.wait(asking, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            gate.open()
            await asyncio.wait(asking)
        return [each.exception() for each in asking]

    refusals = [outcome for outcome in asyncio.run(run()) if outcome is not None]

    assert len(refusals) == 7
    assert all(isinstance(refusal, BudgetExceededError) for refusal in refusals)
    assert paths(sim).count("/v1/messages") == 3


def test_a_simulator_is_recognised_by_its_first_response(sim: Simulator) -> None:
    """Promise: at any URL, its answers cost nothing of the real budget."""
    ledger = Ledger()
    ledger.set_budget(1.0)

    asyncio.run(ask(sim.url, ledger, request(), is_known_to_be_simulated=False))

    assert ledger.account().committed == 0
    assert ledger.rows()[0].is_simulated


def test_the_usage_of_a_server_is_priced_whole(sim: Simulator) -> None:
    """Promise: the row's price is the price of the usage that the server sent."""
    ledger = Ledger()

    asyncio.run(ask(sim.url, ledger, request(prompt="Count to three.")))

    async def send() -> Any:
        async with HTTPClaudeClient(ClientConfig(base_url=sim.url)) as client:
            return await client.send_message(request(prompt="Count to three."))

    assert ledger.rows()[0].cost == pytest.approx(cost_of(SONNET, asyncio.run(send()).usage))


def test_a_short_name_is_looked_up_once(sim: Simulator) -> None:
    """Promise: in the server's list; full names need no request."""

    async def run() -> list[str]:
        names = ModelNames()
        async with HTTPClaudeClient(ClientConfig(base_url=sim.url, rate_limit_rps=1000)) as client:
            return [await names.resolve(client, name) for name in ("claude-x", "opus", "opus", "haiku")]

    assert asyncio.run(run()) == ["claude-x", "claude-opus-5-5", "claude-opus-5-5", "claude-haiku-5-5"]
    assert paths(sim) == ["/v1/models"]


def stream_with(first: Any, last: Any, iterations: Any = None) -> Behaviour:
    """An answer whose usage says this at its start and at its end."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": []}
    usage = {"input_tokens": last, "output_tokens": last, "server_tool_use": {"web_search_requests": last}}
    return stream_events(
        {
            "type": "message_start",
            "message": {**message, "usage": {"input_tokens": first, "output_tokens": first}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": usage if iterations is None else {**usage, "iterations": iterations},
        },
        {"type": "message_stop"},
    )


NONSENSE = [-200_000, 10**400, 1e300, 1.5, True, "many", None, [1], {"input_tokens": -5}]


@pytest.mark.parametrize("count", NONSENSE, ids=lambda count: f"{count!s:.12}")
def test_counts_that_cannot_be_true_cost_nothing_of_the_budget_and_give_nothing_to_it(
    count: Any, sim: Simulator
) -> None:
    """Promise: with any counts of a gateway, the answer is kept, the amount spent never decreases, and nothing stays reserved."""
    ledger = Ledger()
    ledger.set_budget(1.0)
    iterations = [{"type": "message", "input_tokens": count, "output_tokens": count}, count]
    sim.script(
        stream_with(count, count), stream_with(count, count, iterations), stream_with(count, count, count)
    )

    for _ in range(3):
        asyncio.run(ask(sim.url, ledger, request()))

    account = ledger.account(is_simulated=True)
    assert 0 <= account.spent < 1.0
    assert account.reserved == 0
    assert ledger.rows()[0].requests == 3
