"""The events of attempts, and the amounts booked for them."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import pytest

from claude_magic.client import (
    AttemptFinished,
    AttemptNotSent,
    AttemptStarted,
    ClaudeClient,
    ClaudeError,
    ConfigurationError,
    InvalidRequestError,
    Message,
    MessageRequest,
    NetworkError,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseStarted,
    ServerError,
    StreamInterruptedError,
    UnknownStatusError,
    Usage,
)
from claude_magic.runtime._accountant import TurnAccountant, may_be_billed
from claude_magic.runtime._ledger import Ledger
from claude_magic.runtime._limits import RateLimits
from claude_magic.runtime._provenance import RequestLog

REQUEST = MessageRequest(
    model="claude-sonnet-5-5", max_tokens=1000, messages=[{"role": "user", "content": "Hello"}]
)
ANSWER = Message(model="claude-sonnet-5-5", content=[], usage=Usage(input_tokens=10, output_tokens=100))
KNOWN = 10 * 2e-6 + 100 * 10e-6
STARTED = AttemptStarted(attempt=1, max_attempts=4)


def finished(error: ClaudeError | None = None) -> AttemptFinished:
    return AttemptFinished(
        attempt=1,
        max_attempts=4,
        method="POST",
        path="/v1/messages",
        status=None,
        error=error,
        will_retry=False,
        delay=None,
        duration=1.0,
        elapsed=1.0,
        request_id=None,
        give_up_reason=None,
    )


class Client:
    """A client that is never called, because there is no budget."""


def accountant(ledger: Ledger, limits: RateLimits | None = None) -> TurnAccountant:
    made = TurnAccountant(
        ledger, limits or RateLimits(), attempts=4, is_simulated=False, thread="main", log=RequestLog()
    )
    asyncio.run(made.admit(cast(ClaudeClient, Client()), REQUEST))
    return made


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (ServerError("bad gateway", status=502), True),
        (ServerError("timeout", status=504), True),
        (OverloadedError("overloaded", status=529), False),
        (OverloadedError("overloaded in mid-stream"), True),
        (RateLimitError("slow down", status=429), False),
        (InvalidRequestError("no", status=400), False),
        (UnknownStatusError("a web page", status=404), False),
        (UnknownStatusError("cannot be read", status=200), True),
        (RequestTimeoutError("silence"), True),
        (StreamInterruptedError("cut"), True),
        (NetworkError("refused", was_sent=False), False),
        (ConfigurationError("no key"), False),
    ],
)
def test_an_attempt_counts_if_it_may_have_been_executed(error: ClaudeError, counts: bool) -> None:
    """A request rejected by status or never received by the server was not executed; all others may have been."""
    assert may_be_billed(error) is counts


def test_a_whole_answer_is_booked_at_its_price() -> None:
    """No amount is unconfirmed."""
    ledger = Ledger()
    turn = accountant(ledger)

    turn.on_event(STARTED)
    turn.on_event(finished())
    turn.finish(ANSWER)

    assert ledger.account().spent == pytest.approx(KNOWN)
    assert ledger.account().unconfirmed == 0
    assert ledger.rows()[0].partial == 0


def test_an_attempt_that_was_cancelled_before_it_was_sent_costs_and_logs_nothing() -> None:
    """One that was sent before may have been billed."""
    for first, unconfirmed in ((None, 0), (finished(ServerError("bad gateway", status=502)), 1)):
        ledger = Ledger()
        turn = accountant(ledger)
        for event in (*([STARTED, first] if first else []), STARTED, AttemptNotSent(attempt=2)):
            turn.on_event(event)
        turn.finish(None)

        assert bool(ledger.account().unconfirmed) is bool(unconfirmed)
        assert (turn.record is None) is (first is None)


def test_failed_attempts_before_it_stay_open() -> None:
    """Each may have been billed."""
    ledger = Ledger()
    turn = accountant(ledger)

    for outcome in (finished(ServerError("bad", status=500)), finished()):
        turn.on_event(STARTED)
        turn.on_event(outcome)
    turn.finish(ANSWER)

    assert ledger.account().spent == pytest.approx(KNOWN)
    assert ledger.account().unconfirmed > 0.01


def test_a_cancelled_answer_may_go_on_at_the_server() -> None:
    """The cost of the partial answer is spent; the rest of its worst case is unconfirmed."""
    ledger = Ledger()
    turn = accountant(ledger)

    turn.on_event(STARTED)
    turn.finish(ANSWER)

    account = ledger.account()
    assert account.spent == pytest.approx(KNOWN)
    assert account.unconfirmed + account.spent > 0.01
    assert ledger.rows()[0].partial == 1


def test_a_request_that_never_left_costs_nothing() -> None:
    """It was cancelled while it waited for the limiter."""
    ledger = Ledger()

    accountant(ledger).finish(None)

    assert ledger.rows() == ()
    assert ledger.account().committed == 0


def test_an_answer_without_a_usage_is_not_taken_for_free() -> None:
    """If a server sends no usage, nothing is booked as spent, and the worst case is unconfirmed."""
    ledger = Ledger()
    turn = accountant(ledger)

    turn.on_event(STARTED)
    turn.on_event(finished())
    turn.finish(Message(model="claude-sonnet-5-5", content=[]))

    assert ledger.account().spent == 0
    assert ledger.account().unconfirmed > 0.01


def test_a_simulator_is_known_by_its_responses() -> None:
    """At any URL, its answers go to the simulator's account."""
    ledger, limits = Ledger(), RateLimits()
    turn = accountant(ledger, limits)
    headers = {"claude-magic-simulator": "1", "anthropic-ratelimit-requests-limit": "50"}

    turn.on_event(STARTED)
    turn.on_event(ResponseStarted(attempt=1, status=200, request_id=None, headers=headers))
    turn.on_event(finished())
    turn.finish(ANSWER)

    assert ledger.account().committed == 0
    assert ledger.rows()[0].is_simulated
    assert limits.by_model()[0].limits[0].limit == 50


def test_booking_twice_counts_once() -> None:
    """A second `finish` has no effect."""
    ledger = Ledger()
    turn = accountant(ledger)
    turn.on_event(STARTED)
    turn.on_event(finished())

    turn.finish(ANSWER)
    turn.finish(ANSWER)

    assert ledger.rows()[0].requests == 1


def test_a_reply_that_cannot_be_read_gives_back_what_was_reserved() -> None:
    """The worst case is booked instead, and the answer is not lost."""
    for broken in (lambda: 1 / 0, lambda: Message.model_validate({"content": 5})):
        ledger = Ledger()
        turn = accountant(ledger)
        ledger.set_budget(1.0)
        turn.on_event(STARTED)
        turn.on_event(finished())

        turn.finish(cast(Any, broken))

        account = ledger.account()
        assert (account.reserved, account.spent) == (0, 0)
        assert account.unconfirmed > 0


@pytest.mark.parametrize("count", [10**400, -(10**400), 1e308, -200_000])
def test_a_count_beyond_reason_neither_fails_nor_frees_money(count: float) -> None:
    """A gateway may send it in any field of the usage."""
    for usage in (
        {"input_tokens": count, "output_tokens": 1},
        {"input_tokens": 1, "output_tokens": count},
        {"input_tokens": 1, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": count}},
        {"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"web_search_requests": count}},
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "iterations": [{"type": "message", "input_tokens": count, "output_tokens": 1}],
        },
    ):
        ledger = Ledger()
        turn = accountant(ledger)
        turn.on_event(STARTED)
        turn.on_event(finished())

        turn.finish(Message.model_validate({"model": "claude-sonnet-5-5", "content": [], "usage": usage}))

        account = ledger.account()
        assert account.reserved == 0
        assert account.spent >= 0
        assert math.isfinite(account.spent)
        assert all(row.input_tokens >= 0 and row.output_tokens >= 0 for row in ledger.rows())
