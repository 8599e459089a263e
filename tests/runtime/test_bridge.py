"""The bridge thread by itself: results, cancelling, closing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Iterator

import pytest

from claude_magic.client import ClaudeError
from claude_magic.runtime import Runtime
from claude_magic.runtime._bridge import Bridge, BridgeClosedError
from claude_magic.runtime._progress import Progress

TIMEOUT = 120.0


async def nothing() -> None:
    """Do nothing."""


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    bridge = Bridge(on_close=nothing)
    yield bridge
    bridge.close()


def test_results_and_errors_come_through_the_future(bridge: Bridge) -> None:
    """Unchanged."""

    async def name_thread() -> str:
        return threading.current_thread().name

    async def fail() -> None:
        raise LookupError("of ours")

    assert bridge.submit(name_thread()).result(TIMEOUT) == "claude-magic-bridge"
    with pytest.raises(LookupError, match="of ours"):
        bridge.submit(fail()).result(TIMEOUT)


def test_what_is_cancelled_before_its_first_step_still_ends(bridge: Bridge) -> None:
    """`on_end` is called, although none of its code has run."""
    ended: list[bool] = []
    has_ended = threading.Event()

    def on_end(task: asyncio.Task[None]) -> None:
        ended.append(task.cancelled())
        has_ended.set()

    bridge.spawn(forever(), on_end=on_end)()

    assert has_ended.wait(TIMEOUT)
    assert ended == [True]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_would_end_a_program_ends_one_task(bridge: Bridge, error: type[BaseException]) -> None:
    """asyncio stops its loop then. The caller gets the error, and other work goes on, also in the same step."""
    gate = asyncio.Event()

    async def leave() -> None:
        raise error

    async def wait() -> str:
        await gate.wait()
        return "went on"

    async def open_gate() -> None:
        asyncio.get_running_loop().call_soon(sys.exit)
        gate.set()

    waiting = bridge.submit(wait())
    leaving = [bridge.submit(leave()) for _ in range(3)]

    for each in leaving:
        with pytest.raises(error):
            each.result(TIMEOUT)
    bridge.submit(open_gate()).result(TIMEOUT)
    assert waiting.result(TIMEOUT) == "went on"
    assert bridge.is_usable


def test_closing_cancels_what_runs_and_then_closes_the_client() -> None:
    """In this order; afterwards the thread has ended."""
    order: list[str] = []

    async def work() -> None:
        has_begun.set()
        try:
            await forever()
        finally:
            await asyncio.sleep(0.01)
            order.append("work")

    async def on_close() -> None:
        order.append("client")

    has_begun = threading.Event()
    bridge = Bridge(on_close=on_close)
    future = bridge.submit(work())
    assert has_begun.wait(TIMEOUT)

    bridge.close()

    assert order == ["work", "client"]
    assert future.cancelled()
    assert not bridge.is_usable


def test_a_closed_bridge_refuses_work_and_leaves_no_coroutine_behind(bridge: Bridge) -> None:
    """A coroutine left behind would block its waiter forever."""
    bridge.close()
    bridge.close()

    with pytest.raises(BridgeClosedError):
        bridge.submit(nothing())
    with pytest.raises(BridgeClosedError):
        bridge.spawn(nothing(), on_end=lambda _: None)


def test_cancelling_after_the_bridge_has_closed_does_nothing(bridge: Bridge) -> None:
    """A late Stop click is not an error."""
    cancel = bridge.spawn(forever(), on_end=lambda _: None)
    bridge.close()

    cancel()


def test_a_bridge_can_be_closed_from_its_own_thread(bridge: Bridge) -> None:
    """It does not wait for itself."""

    async def close() -> None:
        bridge.close()

    future = bridge.submit(close())

    concurrent.futures.wait([future], TIMEOUT)
    assert future.done()
    bridge.close()
    assert not bridge.is_usable


def test_a_client_that_fails_to_close_does_not_keep_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Only the class of the error is logged."""

    async def fail() -> None:
        raise OSError("sk-ant-secret-0123456789")

    bridge = Bridge(on_close=fail)
    bridge.close()

    assert "OSError" in caplog.text
    assert "secret" not in caplog.text


def test_asking_while_others_close_again_and_again_never_hangs(runtime: Runtime) -> None:
    """Each question is answered or cancelled, and the runtime works afterwards."""
    is_over = threading.Event()
    unexpected: list[BaseException] = []

    def ask() -> None:
        while not is_over.is_set():
            try:
                runtime.start("Hello").result(TIMEOUT)
            except concurrent.futures.CancelledError:
                continue
            except BaseException as error:
                unexpected.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        runtime.start("Hello")
        runtime.close()
    is_over.set()
    for thread in threads:
        thread.join(TIMEOUT)

    assert unexpected == []
    assert not any(thread.is_alive() for thread in threads)
    assert runtime.start("Hello").result(TIMEOUT).done()
    assert runtime.in_flight() == ()


def test_a_fault_of_ours_ends_the_reply_as_failed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of the package does not block a waiter forever; the message asks to report it, and contains no key."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError("near sk-ant-secret-0123456789")

    monkeypatch.setattr(Progress, "complete", fail)
    answer = runtime.start("Hello")

    with pytest.raises(ClaudeError, match=r"bug in claude_magic \(ZeroDivisionError: near \[REDACTED\]\)"):
        answer.result(TIMEOUT)

    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text
