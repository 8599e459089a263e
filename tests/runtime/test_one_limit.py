"""One limit for several processes: two runtimes, like those of two kernels, with a Redis server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claude_magic.bulk import MapRequest, make_plan
from claude_magic.client import ConfigurationError, MessageRequest, RedisBucket, Usage
from claude_magic.notebook._money_commands import budget
from claude_magic.runtime import BillLine, BudgetExceededError, Ledger, Question, Runtime, worst_case
from claude_magic.runtime._ledger import Reservation
from claude_magic.simulator import Simulator

from ..redis_server import RedisServer, redis_server

KEY = "sk-ant-test-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server for all tests of this file, each of which has its own account."""
    with redis_server() as running:
        yield running


@pytest.fixture
def kernels(
    server: RedisServer, request: pytest.FixtureRequest
) -> Iterator[tuple[Simulator, Runtime, Runtime]]:
    """A simulator, and two runtimes that share the limit of one key."""
    with Simulator() as simulator:
        environment = {
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": simulator.url,
            "CLAUDE_MAGIC_LIMITER": f"{server.url}?account={request.node.name}",
            "CLAUDE_MAGIC_RATE_LIMIT_RPS": "0.01",
        }
        pair = Runtime(environment=environment), Runtime(environment=environment)
        yield simulator, *pair
        for runtime in pair:
            runtime.close()


def test_two_kernels_wait_for_each_other(kernels: tuple[Simulator, Runtime, Runtime]) -> None:
    """Promise: requests of one count for the other."""
    _, one, other = kernels
    one.start("Hello").result()
    other.submit(lambda client: client.bucket.acquire(0.001)).result()  # type: ignore[attr-defined]

    assert other.limiter_state().level < 0.5


def test_status_shows_the_address_without_its_password(tmp_path: Path) -> None:
    """Promise: neither the table of settings nor an error shows the password."""
    runtime = Runtime(
        environment={
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_MAGIC_LIMITER": "redis://user:hunter2@host:6380/3?members=9",
            "XDG_CONFIG_HOME": str(tmp_path),
        }
    )
    (row,) = [row for row in runtime.status().settings if row.name == "limiter"]

    assert (row.value, row.source) == ("redis://host:6380/3", "environment (CLAUDE_MAGIC_LIMITER)")
    assert "hunter2" not in repr(runtime.status())

    broken = Runtime(environment={"CLAUDE_MAGIC_LIMITER": "redsi://:hunter2@host"})
    with pytest.raises(ConfigurationError, match="limiter") as caught:
        broken.settings()
    assert "hunter2" not in str(caught.value)


def test_a_file_beside_the_notebook_does_not_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: an untrusted notebook cannot choose which server receives the request counts."""
    (tmp_path / "claude-magic.toml").write_text('limiter = "redis://elsewhere/0"')
    monkeypatch.chdir(tmp_path)

    with pytest.warns(UserWarning, match="may not set limiter"):
        settings = Runtime(environment={}).settings()

    assert settings.values.limiter is None


def test_what_the_server_reports_to_one_kernel_the_others_know(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: limits that one kernel learns from headers apply to another one that has not sent a request yet."""
    _, one, other = kernels
    for runtime in kernels[1:]:  # both are there
        runtime.submit(lambda client: client.bucket.acquire(0.0001)).result()  # type: ignore[attr-defined]
    one.start("Hello").result()
    deadline = time.monotonic() + 20
    while not any(state.limits for state in other.pace_state()):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    assert {state.model_class for state in other.pace_state()} == {
        state.model_class for state in one.pace_state()
    }


def test_who_comes_later_learns_what_was_reported_before(kernels: tuple[Simulator, Runtime, Runtime]) -> None:
    """Promise: a worker that starts later does not learn the limits from 429s."""
    _, one, other = kernels
    one.start("Hello").result()
    deadline = time.monotonic() + 20
    while not other.pace_state():
        assert time.monotonic() < deadline
        other.submit(lambda client: client.bucket.acquire(0.0001)).result()  # type: ignore[attr-defined]
        other.close()  # the next one connects again

    assert other.pace_state()[0].limits


# The budget...


REQUEST = MessageRequest(
    model="claude-haiku-5-5", max_tokens=1000, messages=[{"role": "user", "content": "Hello"}]
)


class SharingClient:
    """The part of a client that a ledger uses: its limiter."""

    def __init__(self, server: RedisServer, account: str) -> None:
        self.bucket = RedisBucket(f"{server.url}?members=2", 100, account=account)


Admit = Callable[[Ledger], Awaitable[Reservation]]


def with_ledgers(
    server: RedisServer, account: str, play: Callable[[list[Ledger], Admit], Awaitable[None]]
) -> None:
    """Run a test with two ledgers that share the limiter of an account."""

    async def main() -> None:
        clients = {Ledger(): SharingClient(server, account) for _ in range(2)}

        async def admit(ledger: Ledger) -> Reservation:
            client: Any = clients[ledger]
            return await ledger.admit(client, REQUEST, attempts=1, is_simulated=False, counts_input=False)

        try:
            async with asyncio.timeout(60):
                await play(list(clients), admit)
        finally:
            for client in clients.values():
                await client.bucket.aclose()

    asyncio.run(main())


def bill(usd: float) -> list[BillLine]:
    return [BillLine(model=REQUEST.model, usage=Usage(input_tokens=1, output_tokens=1), cost=usd)]


def worst_of(reservation: Reservation) -> float:
    worst = reservation.worst_case()
    assert worst is not None
    return worst.total


def test_a_budget_holds_for_all_that_share_the_limiter(server: RedisServer) -> None:
    """Promise: amounts that one process has reserved or spent count for the other, and unused ones are released."""

    async def play(ledgers: list[Ledger], admit: Admit) -> None:
        one, other = ledgers
        worst = worst_of(await admit(one))
        one.set_budget(3.5 * worst)
        held = [await admit(one), await admit(other)]  # and the one before the budget was set
        assert other.budget == pytest.approx(3.5 * worst)

        with pytest.raises(BudgetExceededError, match="It was not sent"):
            await admit(other)
        with pytest.raises(BudgetExceededError):
            await admit(one)
        one.finish(held[0], bill=bill(worst / 10), thread=None)
        again = await retried(admit, other)
        assert other.account().committed == pytest.approx(3.1 * worst)
        other.release(again)

        one.set_budget(None)
        await admit(one)
        await admit(other)
        await admit(other)
        assert other.budget is None

    with_ledgers(server, "budget", play)


def test_a_batch_that_does_not_fit_is_named_as_one(server: RedisServer) -> None:
    """As without a shared limiter."""

    async def main() -> None:
        ledger, client = Ledger(), SharingClient(server, "batches")
        sharing: Any = client
        ledger.set_budget(0.000001)
        worst = worst_case(REQUEST, None, attempts=1)
        try:
            with pytest.raises(BudgetExceededError, match="This batch could cost up to"):
                await ledger.admit_batch(sharing, "a", REQUEST, worst, what="This batch", is_simulated=False)
        finally:
            await client.bucket.aclose()

    asyncio.run(main())


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    while not condition():
        await asyncio.sleep(0.005)


async def retried(admit: Admit, ledger: Ledger) -> Reservation:
    """Admit as soon as the other process has reported the cost of its request."""
    while True:
        try:
            return await admit(ledger)
        except BudgetExceededError:
            await asyncio.sleep(0.01)


def test_requests_that_start_together_do_not_pass_the_budget_together(server: RedisServer) -> None:
    """Promise: of twenty concurrent requests in two processes, only as many are admitted as fit."""

    async def play(ledgers: list[Ledger], admit: Admit) -> None:
        one, other = ledgers
        first = await admit(one)
        worst = worst_of(first)
        one.release(first)
        one.set_budget(5.5 * worst)
        await admit(one)

        results = await asyncio.gather(
            *(admit(ledger) for _ in range(10) for ledger in (one, other)), return_exceptions=True
        )

        assert sum(isinstance(result, Reservation) for result in results) == 4
        assert sum(isinstance(result, BudgetExceededError) for result in results) == 16

    with_ledgers(server, "together", play)


def test_a_server_that_goes_and_forgets_neither_loses_nor_doubles_what_was_spent() -> None:
    """Promise: while it cannot be reached each process has its share of the rest; when it is back, empty, the state is restored."""

    async def play(ledgers: list[Ledger], admit: Admit) -> None:
        one, other = ledgers
        first = await admit(one)
        worst = worst_of(first)
        one.set_budget(8.5 * worst)
        one.finish(first, bill=bill(worst), thread=None)
        await admit(other)
        await admit(one)  # 3 of 8.5 are spent, and both know that, or almost
        own_server.kill()
        alone = await admit(other)
        for _ in range(2):
            await admit(other)  # half of the 6.5 that are left
        for _ in range(2):
            with pytest.raises(BudgetExceededError, match="cannot be reached"):
                await admit(other)
        own_server.start()
        await until(lambda: all(ledger._shared._link.is_up for ledger in ledgers))  # type: ignore[union-attr]
        other.finish(alone, bill=bill(worst), thread=None)
        await admit(one)

        assert other.budget == one.budget == pytest.approx(8.5 * worst)
        await admit(other)
        with pytest.raises(BudgetExceededError, match=r"It was not sent\. Raise"):
            await admit(one)
        assert other.account().spent == pytest.approx(2 * worst)

    with redis_server() as own_server:
        with_ledgers(own_server, "forgets", play)


def test_a_ledger_that_continues_another_is_not_counted_twice(server: RedisServer) -> None:
    """Promise: a reload of the package does not double the amount spent; a forked child adds only its own amounts."""

    async def play(ledgers: list[Ledger], admit: Admit) -> None:
        one, other = ledgers
        first = await admit(one)
        worst = worst_of(first)
        one.set_budget(10 * worst)
        one.finish(first, bill=bill(worst), thread=None)
        await admit(other)

        reloaded, child = Ledger(one.dump()), one.for_forked_child()

        assert reloaded._shared.name == one._shared.name
        assert child._shared.name != one._shared.name
        assert child._account_since_fork(False).committed == 0.0
        assert child.account().spent == pytest.approx(worst)

    with_ledgers(server, "continued", play)


def test_a_kernel_keeps_a_budget_that_another_one_has_set(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: `%claude budget` in one notebook stops the other one before it sends."""
    simulator, one, other = kernels
    one.ledger.set_budget(0.000001)
    deadline = time.monotonic() + 20
    while not one.ledger.is_shared:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    with pytest.raises(BudgetExceededError):
        other.start("Hello").result()

    assert [request.path for request in simulator.requests if not request.path.endswith("count_tokens")] == []


def test_a_map_waits_for_what_other_processes_have_reserved(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: workers that share a budget do not fail because the others' reservations fill it temporarily."""
    simulator, one, other = kernels

    async def reserve(client: Any) -> Reservation:
        await client.bucket.acquire(0.0001)  # is there, as far as the others know
        return await one.ledger.admit(client, REQUEST, attempts=4, is_simulated=False, counts_input=False)

    first = one.submit(reserve).result()
    one.ledger.set_budget(1.2 * worst_of(first))
    while not one.ledger.is_shared:
        time.sleep(0.01)
    settings = {"model": REQUEST.model, "max_tokens": REQUEST.max_tokens}
    question = Question(prompt="Is {{ item }} odd?", settings=settings)
    plan = make_plan(MapRequest(question=question, items=[1], names={}, journal=False), other)
    for _ in plan.read():
        pass
    run = plan.start()
    deadline = time.monotonic() + 30
    while other.ledger.account().reserved == 0:  # it has requested the amount, and was refused
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not run.done()

    one.submit(_released(one.ledger, first)).result()

    assert len(run.result(60)) == 1
    assert simulator.requests


def _released(ledger: Ledger, reservation: Reservation) -> Callable[[Any], Awaitable[None]]:
    async def release(_client: Any) -> None:
        ledger.release(reservation)

    return release


def test_what_others_have_spent_is_there_when_it_is_looked_at(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: `%claude budget` in one notebook shows the amount spent by all."""
    _, one, other = kernels

    async def spend(client: Any) -> None:
        reservation = await one.ledger.admit(
            client, REQUEST, attempts=1, is_simulated=False, counts_input=False
        )
        one.ledger.finish(reservation, bill=bill(0.25), thread=None)

    one.ledger.set_budget(100.0)
    one.submit(spend).result()
    deadline = time.monotonic() + 20
    while other.ledger.account().spent < 0.25:
        assert time.monotonic() < deadline
        other.submit(other.ledger.refresh).result()

    assert other.ledger.budget == 100.0


def test_a_kernel_that_has_asked_nothing_shows_the_budget_of_all(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: the budget does not seem to be missing, and is not replaced by another one."""
    _, one, other = kernels
    one.ledger.set_budget(100.0)
    one.submit(one.ledger.refresh).result()
    shown: list[Any] = []
    values = other.settings().values
    cell: Any = SimpleNamespace(runtime=other, settings=values, front_end=SimpleNamespace(show=shown.append))

    budget(cell, {})

    assert "$100.00  of all that share the limiter" in shown[0].data["text/plain"]


@pytest.mark.parametrize("typed", ["$2", "off", ""])
def test_the_budget_command_asks_the_others_once(
    kernels: tuple[Simulator, Runtime, Runtime], monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """Promise: setting or showing the budget takes one refresh, and it is finished before the table is drawn."""
    _, one, other = kernels
    asked: list[Any] = []
    for runtime in (one, other):

        async def refresh(
            client: Any, runtime: Runtime = runtime, real: Callable[..., Any] = runtime.ledger.refresh
        ) -> None:
            await real(client)
            asked.append(runtime)

        monkeypatch.setattr(runtime.ledger, "refresh", refresh)
    front_end = SimpleNamespace(show=lambda table: asked.append(table.data["text/plain"]))
    cell: Any = SimpleNamespace(runtime=one, settings=one.settings().values, front_end=front_end)

    budget(cell, {"amount": typed} if typed else {})

    assert asked[0] is one
    assert len(asked) == 2
    assert ("$2.00  of all that share the limiter" in asked[1]) is (typed == "$2")
    one.ledger.set_budget(None)


def test_what_a_process_that_has_ended_had_reserved_is_free(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: a script that ends right after its last answer releases the unspent part of its reservation."""
    _, one, other = kernels

    async def spend(client: Any) -> None:
        for is_simulated in (False, True):
            reservation = await one.ledger.admit(
                client, REQUEST, attempts=1, is_simulated=is_simulated, counts_input=False
            )
            one.ledger.finish(reservation, bill=bill(0.25), thread=None)

    one.ledger.set_budget(100.0)
    one.submit(spend).result()
    one.close()

    other.submit(other.ledger.refresh).result()
    for is_simulated in (False, True):
        account = other.ledger.account(is_simulated=is_simulated)
        assert (account.spent, account.reserved, account.unconfirmed) == (0.25, 0.0, 0.0)


def test_requests_without_a_budget_leave_nothing_reserved(server: RedisServer) -> None:
    """Promise: a budget that is set later starts at zero, however many concurrent requests there were before."""

    async def play(ledgers: list[Ledger], admit: Admit) -> None:
        one, other = ledgers
        for held in await asyncio.gather(*(admit(one) for _ in range(8))):
            one.finish(held, bill=bill(0.01), thread=None)

        await admit(other)

        others = other._shared.others(is_simulated=False)
        assert others.reserved + others.unconfirmed == 0

    with_ledgers(server, "no-budget", play)


@pytest.mark.parametrize("origin", ["In[1]", "Python"])
def test_a_limiter_that_is_away_is_said_once_where_it_is_read(
    origin: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Promise: with the answer of a cell, or on stderr in plain Python; not with later answers."""
    pytest.importorskip("redis")
    with Simulator() as simulator:
        runtime = Runtime(
            environment={
                "ANTHROPIC_API_KEY": KEY,
                "ANTHROPIC_BASE_URL": simulator.url,
                "CLAUDE_MAGIC_LIMITER": f"unix://{tmp_path}/nobody?members=1",
            }
        )
        try:
            replies = [runtime.start(Question(prompt="Hello", origin=origin)) for _ in range(2)]
            notes = [note for reply in replies for note in reply.result().snapshot().notes]
            assert runtime.status().notes[-1].startswith("The limiter at unix://")
            runtime.print_pending_notes()
        finally:
            runtime.close()

    said = notes if origin == "In[1]" else capfd.readouterr().err.splitlines()
    assert len([line for line in said if "cannot be reached" in line]) == 1
