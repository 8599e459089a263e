"""Tracebacks of errors that leave `claude`: one frame of the package below the user's own line."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import claude_magic
from claude_magic import ClaudeError, claude
from claude_magic.client import ClaudeClient, ConfigurationError
from claude_magic.runtime import Phase, close_runtime
from claude_magic.simulator import Gate, Simulator, hold, reply, status

HOME = str(Path(claude_magic.__file__).parent)
TIMEOUT = 120.0


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Iterator[None]:
    """This process as a kernel whose environment points at `sim`, without waiting times."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "1000")
    monkeypatch.setenv("CLAUDE_MAGIC_INITIAL_BACKOFF", "0.01")
    yield
    close_runtime()


def frames(error: BaseException) -> tuple[int, int]:
    """Return the number of the caller's frames in a traceback, and of all others."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    callers = sum(file == __file__ for file in files)
    return callers, len(files) - callers


def failure(call: Callable[[], Any]) -> BaseException:
    """Return the error that a call raises, or that its result raises when awaited."""

    async def main() -> None:
        await call()

    try:
        result = call()
        if asyncio.iscoroutine(result):
            result.close()
            asyncio.run(main())
    except BaseException as error:
        return error
    pytest.fail("it does not fail")


CALLS: dict[str, Callable[[], Any]] = {
    "ask": lambda: claude.ask("hi"),
    "ask_async": lambda: claude.ask_async("hi"),
    "submit": lambda: claude.submit("hi"),
    "map": lambda: claude.map("{{ item }}", [1, 2], journal=False),
    "map_async": lambda: claude.map_async("{{ item }}", [1, 2], journal=False),
    "run": lambda: claude.run(lambda client: client.list_models()),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_missing_key_shows_one_frame_of_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decision 7 applies to Python too."""
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.delenv("ANTHROPIC_BASE_URL")

    error = failure(CALLS[name])

    assert isinstance(error, ConfigurationError)
    assert "no API key" in str(error)
    callers, others = frames(error)
    if name.endswith("async"):
        others -= sum("asyncio" in frame.filename for frame in traceback.extract_tb(error.__traceback__))
    assert callers >= 2
    assert others == 1


@pytest.mark.parametrize("name", ["ask", "map"])
def test_what_the_server_says_is_one_frame_of_ours(name: str, sim: Simulator) -> None:
    sim.script(*[status(401)] * 2)

    error = failure(CALLS[name])

    assert isinstance(error, ClaudeError)
    assert frames(error)[1] == 1


def test_a_misspelt_name_in_a_map_is_one_frame_of_ours() -> None:
    error = failure(lambda: claude.map("{{ itm }}", [1], journal=False))

    assert isinstance(error, ConfigurationError)
    assert "Did you mean item?" in str(error)
    assert frames(error)[1] == 1


def test_errors_and_retry_of_what_is_no_result_are_one_frame_of_ours() -> None:
    assert frames(failure(lambda: claude.errors([1])))[1] == 1
    assert frames(failure(lambda: claude.retry([1])))[1] == 1


def test_waiting_for_a_reply_shows_one_frame_of_the_package(sim: Simulator) -> None:
    """However often, and in each way of waiting."""
    sim.script(status(400, message="no such thing"))
    answer = claude.submit("hi")

    first, second = failure(lambda: answer.result(TIMEOUT)), failure(lambda: answer.result(TIMEOUT))

    assert first is second
    assert frames(second)[1] == 1

    async def awaiting() -> None:
        await answer

    with pytest.raises(ClaudeError) as caught:
        asyncio.run(awaiting())
    ours = [frame for frame in traceback.extract_tb(caught.tb) if frame.filename.startswith(HOME)]
    assert len(ours) == 1


def test_a_wait_that_is_too_long_and_one_for_a_cancelled_reply_are_one_frame_of_ours(sim: Simulator) -> None:
    sim.script(hold(Gate()))
    answer = claude.submit("hi")

    late = failure(lambda: answer.result(0.01))
    answer.cancel()
    cancelled = failure(lambda: answer.result(TIMEOUT))

    assert (type(late), frames(late)[1]) == (TimeoutError, 1)
    assert (type(cancelled), frames(cancelled)[1]) == (concurrent.futures.CancelledError, 1)


def test_a_schema_mismatch_keeps_its_cause_without_internal_frames(sim: Simulator) -> None:
    """pydantic's reason is shown, without its frames."""
    sim.script(reply('{"n": "many"}'))

    class Count(pytest.importorskip("pydantic").BaseModel):  # type: ignore[misc]
        n: int

    answer = claude.ask("hi", schema=Count)
    error = failure(lambda: answer.parsed)

    assert isinstance(error, ClaudeError)
    assert frames(error)[1] == 1
    causes = [each for each in (error.__cause__, error.__context__) if each is not None]
    assert [traceback.extract_tb(cause.__traceback__) for cause in causes] == [[] for _ in causes]


@pytest.mark.skipif(os.name == "nt", reason="sends itself a POSIX signal")
@pytest.mark.parametrize(
    "ask", [lambda: claude.ask("hi"), lambda: claude.map("{{ item }}", [1], journal=False)]
)
def test_an_interrupt_shows_one_frame_of_the_package(sim: Simulator, ask: Callable[[], Any]) -> None:
    """In `ask` and in `map`."""
    sim.script(hold(Gate()))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = len(sim.requests)

    def press() -> None:
        deadline = time.monotonic() + TIMEOUT
        while signal.getsignal(signal.SIGINT) is signal.default_int_handler or len(sim.requests) == asked:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    try:
        error = failure(ask)
    finally:
        signal.signal(signal.SIGINT, previous)

    assert isinstance(error, KeyboardInterrupt)
    assert frames(error)[1] == 1


def test_an_error_of_the_shared_client_keeps_the_users_frames_only(sim: Simulator) -> None:
    """`claude.run(...).result()` is a standard future."""
    sim.script(status(401), status(401))

    async def mine(client: ClaudeClient) -> object:
        return await client.execute("hi", model="claude-haiku-5-5")

    plain = failure(claude.run(lambda client: client.execute("hi", model="claude-haiku-5-5")).result)
    through_mine = failure(claude.run(mine).result)

    names = [frame.name for frame in traceback.extract_tb(through_mine.__traceback__)]
    assert not any(frame.filename.startswith(HOME) for frame in traceback.extract_tb(plain.__traceback__))
    assert "mine" in names


def test_an_error_in_user_code_keeps_its_whole_traceback() -> None:
    """A mapped generator that raises an error of Python, or of this package."""

    def broken(error: Exception) -> Iterator[int]:
        yield 1
        raise error

    for error in (ValueError("mine"), ConfigurationError("met in the user's code")):
        raised = failure(lambda error=error: claude.map("{{ item }}", broken(error), journal=False))

        assert frames(raised)[1] == 1
        assert raised.__cause__ is error
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[-1] == "broken"

    def stopped() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    interrupt = failure(lambda: claude.map("{{ item }}", stopped(), journal=False))

    assert isinstance(interrupt, KeyboardInterrupt)
    assert traceback.extract_tb(interrupt.__traceback__)[-1].name == "stopped"
    assert frames(interrupt)[1] > 1


def test_the_error_that_the_user_is_handling_keeps_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python shows it above this package's error."""
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.delenv("ANTHROPIC_BASE_URL")

    def ask_while_handling() -> None:
        try:
            int("many")
        except ValueError:
            claude.ask("hi")

    error = failure(ask_while_handling)

    assert isinstance(error.__context__, ValueError)
    assert frames(error.__context__)[0] == 1
    assert frames(error)[1] == 1


def test_a_bug_in_the_package_keeps_its_whole_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a bug report."""
    monkeypatch.setattr("claude_magic.runtime._turn.check_prompt", lambda _question: {}["bug"])

    error = failure(lambda: claude.ask("hi"))

    assert isinstance(error, KeyError)
    assert frames(error)[1] > 3


def test_a_decorated_method_keeps_its_signature_and_caller() -> None:
    """`claude.ask?` shows signature and docstring, and `map` finds the caller's variables."""
    assert "Ask, wait" in (claude.ask.__doc__ or "")
    here = "found in the caller"

    out = claude.map("Say {{ here }} {{ item }}", [1], dry_run=True, journal=False)

    assert here in str(out.samples[0]["messages"])
    assert claude.last is None or claude.last.phase is not Phase.SENT
