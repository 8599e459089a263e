"""One limit for many: two runtimes, as two kernels would have them, with one server between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.runtime import Runtime
from claude_magic.simulator import Simulator

from ..redis_server import RedisServer, redis_server

KEY = "sk-ant-test-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server for all tests of this file; each has an account of its own."""
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
    """Promise: what one has taken is gone for the other."""
    _, one, other = kernels
    one.start("Hello").result()
    other.submit(lambda client: client.bucket.acquire(0.001)).result()  # type: ignore[attr-defined]

    assert other.limiter_state().level < 0.5


def test_status_shows_the_address_without_its_password(tmp_path: Path) -> None:
    """Promise: neither the table of settings nor a complaint shows the password."""
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
    """Promise: a stranger's notebook does not choose who is told how much we ask."""
    (tmp_path / "claude-magic.toml").write_text('limiter = "redis://elsewhere/0"')
    monkeypatch.chdir(tmp_path)

    with pytest.warns(UserWarning, match="may not set limiter"):
        settings = Runtime(environment={}).settings()

    assert settings.values.limiter is None


def test_what_the_server_tells_one_kernel_the_others_know(
    kernels: tuple[Simulator, Runtime, Runtime],
) -> None:
    """Promise: limits that headers teach one kernel hold in the next, which has not asked anything yet."""
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


def test_who_comes_later_learns_what_was_told_before(kernels: tuple[Simulator, Runtime, Runtime]) -> None:
    """Promise: a worker that starts now does not learn of the limits by 429s."""
    _, one, other = kernels
    one.start("Hello").result()
    deadline = time.monotonic() + 20
    while not other.pace_state():
        assert time.monotonic() < deadline
        other.submit(lambda client: client.bucket.acquire(0.0001)).result()  # type: ignore[attr-defined]
        other.close()  # the next one connects again

    assert other.pace_state()[0].limits
