"""One client for the kernel: kept, replaced when its settings change, but never while it is in use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from claude_magic.client import ClaudeClient, MessageRequest, NetworkError
from claude_magic.runtime import Phase, Reply, Runtime
from claude_magic.simulator import Gate, Simulator, hold

KEY = "sk-ant-test-0123456789abcdef"
TIMEOUT = 120.0


@pytest.fixture
def other_sim() -> Iterator[Simulator]:
    """A second server."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim_of_one() -> Iterator[Simulator]:
    """A server that allows one request a minute."""
    with Simulator(requests_per_minute=1) as simulator:
        yield simulator


@pytest.fixture
def config(runtime: Runtime) -> dict[str, object]:
    """What `%config` sets for `runtime`; tests change it at will."""
    values: dict[str, object] = {}
    runtime.use_config(lambda: values)
    return values


class _Notice:
    """Records that a reply has changed."""

    def __init__(self) -> None:
        self.has_come = threading.Event()

    def __call__(self, _: Reply) -> None:
        self.has_come.set()


def clients_used(runtime: Runtime, count: int = 1) -> list[ClaudeClient]:
    async def identify(client: ClaudeClient) -> ClaudeClient:
        return client

    return [runtime.submit(identify).result(TIMEOUT) for _ in range(count)]


def test_c1_every_request_of_a_kernel_uses_the_same_client(runtime: Runtime, sim: Simulator) -> None:
    """Replies, token counts and lists of models share one client, and one connection where they come in turn."""
    first, second = clients_used(runtime, 2)
    runtime.start("Hello").result(TIMEOUT)
    runtime.list_models().result(TIMEOUT)
    request = MessageRequest(
        model="claude-haiku-5-5", max_tokens=10, messages=[{"role": "user", "content": "Hello"}]
    )
    count = runtime.submit(lambda client: client.count_tokens(request)).result(TIMEOUT)

    assert first is second
    assert count > 0
    assert [request.path.partition("?")[0] for request in sim.requests] == [
        "/v1/messages",
        "/v1/models",
        "/v1/messages/count_tokens",
    ]
    assert sim.connections == 1


@pytest.mark.parametrize(
    "change",
    [{"timeout": 17.0}, {"max_retries": 1}, {"betas": ("x-2026-01-01",)}, {"headers": {"X-Team": "blue"}}],
)
def test_a_setting_that_the_client_depends_on_exchanges_it(
    runtime: Runtime, config: dict[str, object], change: Mapping[str, object]
) -> None:
    """The next request uses the new settings."""
    [before] = clients_used(runtime)

    config.update(change)
    after, again = clients_used(runtime, 2)

    assert before is not after
    assert after is again


@pytest.mark.parametrize("change", [{"model": "claude-haiku-5-5"}, {"max_tokens": 5}, {"live": False}])
def test_a_setting_that_concerns_one_request_keeps_the_client(
    runtime: Runtime, config: dict[str, object], change: Mapping[str, object]
) -> None:
    """Its connections are kept."""
    [before] = clients_used(runtime)

    config.update(change)

    assert clients_used(runtime) == [before]


def test_l1_a_new_rate_reaches_the_bucket_in_place(runtime: Runtime, config: dict[str, object]) -> None:
    """The rate changes; the client, its connections and the level of the bucket stay."""
    [before] = clients_used(runtime)

    config["rate_limit_rps"] = 0.2
    after = clients_used(runtime)

    assert after == [before]
    assert (runtime.limiter_state().refill_rate, runtime.limiter_state().capacity) == (0.2, 1.0)


def test_l1_what_the_server_says_of_its_limits_is_kept_to_and_survives_a_reload(
    sim_of_one: Simulator,
    make_runtime: Callable[..., Runtime],
    when: Callable[[Reply, Callable[[Reply], object]], None],
) -> None:
    """One request per minute: the second waits, shows that, and still waits in the next runtime."""
    runtime = make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim_of_one.url)
    runtime.start("Hello").result(TIMEOUT)

    second = runtime.start("Hello")
    when(second, lambda it: it.snapshot().wait is not None)
    wait = second.snapshot().wait
    after = Runtime(
        environment={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": sim_of_one.url},
        inherited=runtime.hand_over(),
    )
    third = after.start("Hello")
    when(third, lambda it: it.snapshot().wait is not None)

    assert wait is not None
    assert (wait.kind, wait.reason) == ("limit", "requests")
    assert second.phase is Phase.CANCELLED
    assert third.snapshot().phase is Phase.QUEUED
    assert len(sim_of_one.requests) == 1
    after.close()


def test_a_reply_in_flight_finishes_on_the_old_client_which_then_closes(
    runtime: Runtime,
    sim: Simulator,
    other_sim: Simulator,
    config: dict[str, object],
    when: Callable[[Reply, Callable[[Reply], object]], None],
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    """A new base_url does not affect a streaming answer, and leaves no connection open."""
    gate = Gate()
    sim.script(hold(gate, text="to the very end"))
    streaming = runtime.start("Hello")
    when(streaming, lambda it: it.phase is Phase.STREAMING)

    config["base_url"] = other_sim.url
    elsewhere = runtime.start("Hello").result(TIMEOUT)
    gate.open()

    assert streaming.result(TIMEOUT) == "to the very end"
    assert elsewhere.phase is Phase.COMPLETE
    assert (len(sim.requests), len(other_sim.requests)) == (1, 1)
    eventually(lambda: sim.open_connections == 0)
    assert other_sim.open_connections == 1


def test_another_key_is_sent_by_another_client(runtime: Runtime, sim: Simulator) -> None:
    """After `%claude login` no request carries the previous key."""
    runtime.start("Hello").result(TIMEOUT)
    runtime.login("sk-ant-another-0123456789")
    runtime.start("Hello").result(TIMEOUT)
    runtime.login("sk-ant-another-0123456789")
    runtime.start("Hello").result(TIMEOUT)

    keys = [request.headers["x-api-key"] for request in sim.requests]
    assert keys == [KEY, "sk-ant-another-0123456789", "sk-ant-another-0123456789"]
    assert sim.connections == 2


def test_health_is_asked_without_cost_and_never_raises_for_a_server_that_is_down(
    make_runtime: Callable[..., Runtime], runtime: Runtime, sim: Simulator
) -> None:
    """A working server, a bad key and an unreachable server are results, not errors."""
    refused = make_runtime(ANTHROPIC_API_KEY="invalid", ANTHROPIC_BASE_URL=sim.url)
    down = make_runtime(ANTHROPIC_BASE_URL="http://127.0.0.1:9", CLAUDE_MAGIC_MAX_RETRIES="0")

    findings = [
        each.submit(lambda client: client.health_check()).result(TIMEOUT) for each in (runtime, refused, down)
    ]

    assert [finding.is_reachable for finding in findings] == [True, True, False]
    assert [finding.is_authenticated for finding in findings] == [True, False, None]
    assert all(request.method == "GET" for request in sim.requests)


def test_errors_of_submitted_work_come_through_the_future(make_runtime: Callable[..., Runtime]) -> None:
    """With their own class."""
    down = make_runtime(ANTHROPIC_BASE_URL="http://127.0.0.1:9", CLAUDE_MAGIC_MAX_RETRIES="0")

    assert isinstance(down.list_models().exception(TIMEOUT), NetworkError)


def test_cancelling_the_future_cancels_the_work(runtime: Runtime) -> None:
    """As with any future of an executor, but the work really stops."""
    has_begun, has_ended = threading.Event(), threading.Event()

    async def work(_client: ClaudeClient) -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    future = runtime.submit(work)
    assert has_begun.wait(TIMEOUT)
    future.cancel()

    assert has_ended.wait(TIMEOUT)


def test_a_local_server_needs_no_key_and_gets_a_placeholder(
    make_runtime: Callable[..., Runtime], sim: Simulator
) -> None:
    """Servers such as Ollama require a header with any value; an unknown model is requested unchanged."""
    runtime = make_runtime(ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_MODEL="claude-haiku-5-5")

    runtime.start("Hello").result(TIMEOUT)

    assert sim.requests[0].headers["x-api-key"]


def test_many_cancelled_streams_leave_the_pool_serving(runtime: Runtime, sim: Simulator) -> None:
    """After 200 streams cancelled in all stages, the next question is answered."""
    for number in range(200):
        answer = runtime.start("Hello")
        if number % 3:
            answer.observe(notice := _Notice())
            notice.has_come.wait(0.01)
        answer.cancel()
    for answer in runtime.in_flight():
        answer.cancel()

    assert runtime.start("Hello").result(TIMEOUT).phase is Phase.COMPLETE
    assert runtime.in_flight() == ()
