"""Ctrl-C just before a read or a wait.

Python alone would notice it only after the next key, or at the end of the wait.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import functools
import operator
import os
import queue
import selectors
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from claude_magic.display import FrontEnd
from claude_magic.notebook._session_commands import login
from claude_magic.runtime import interrupts_kept_for
from claude_magic.tools import ToolCall, TypedApproval, interruptible_read
from claude_magic.tools._nested_loop import run_to_end

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="on Windows, `input` waits for signals too"
)

KEY_AFTER = 30.0
CALL = ToolCall(name="tide_table", arguments={"port": "Brest"})
Read = Callable[..., str]


def interrupt_before(wait: Callable[[], Any]) -> Any:
    """Raise SIGINT after the last bytecode before a C function, and return the function's result."""
    interrupt = functools.partial(getattr(ctypes.CDLL(None), "raise"), signal.SIGINT)
    # `map` in C runs both without returning to the interpreter.
    return collections.deque(map(operator.call, [interrupt, wait]), maxlen=1).pop()


@pytest.fixture
def read_too_late() -> Iterator[Read]:
    """Read from a silent terminal, with Ctrl-C after the last bytecode and before the system call; a key follows after `KEY_AFTER`."""
    terminal, keyboard = os.pipe()
    pressed: list[str] = []

    def press() -> None:
        pressed.append("y")
        os.write(keyboard, b"y")

    key = threading.Timer(KEY_AFTER, press)
    key.start()

    def read(*_prompt: str) -> str:
        return str(interrupt_before(functools.partial(os.read, terminal, 1)), "ascii")

    yield read
    key.cancel()
    key.join()
    os.close(terminal)
    os.close(keyboard)
    assert not pressed, "Ctrl-C was handled only after a key"


def test_ctrl_c_before_the_read_is_handled(read_too_late: Read) -> None:
    """Without a key; signal handler and wake-up file descriptor are restored, and no thread is left."""
    before = signal.getsignal(signal.SIGINT), threading.active_count()

    with pytest.raises(KeyboardInterrupt), interruptible_read():
        read_too_late()

    assert (signal.getsignal(signal.SIGINT), threading.active_count()) == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("is_on_loop", [False, True])
def test_a_question_about_a_tool_handles_it(
    monkeypatch: pytest.MonkeyPatch, read_too_late: Read, is_on_loop: bool
) -> None:
    """In a plain cell and in an awaited one."""
    monkeypatch.setattr("builtins.input", read_too_late)
    approval = TypedApproval()

    with pytest.raises(KeyboardInterrupt):
        _ = asyncio.run(approval.ask_on_loop(CALL)) if is_on_loop else approval.ask(CALL)


def test_what_is_typed_comes_through_and_nothing_is_raised_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal, no exception."""
    monkeypatch.setattr("builtins.input", lambda _question: "y")

    assert TypedApproval().ask(CALL) == ""


def test_a_signal_handler_of_an_event_loop_still_runs() -> None:
    """The loop's own wake-up file descriptor receives what came meanwhile."""
    received = []

    async def ask() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, received.append, "SIGUSR1")
        with interruptible_read():
            os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(1_000):
            if received:
                return
            await asyncio.sleep(0.01)

    asyncio.run(ask())

    assert received == ["SIGUSR1"]


def test_in_another_thread_nothing_changes() -> None:
    """Only the main thread can install handlers."""
    outcome: list[str] = []

    def ask() -> None:
        with interruptible_read():
            outcome.append("asked")

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()

    assert outcome == ["asked"]


def test_the_confirmation_of_a_price_handles_it(monkeypatch: pytest.MonkeyPatch, read_too_late: Read) -> None:
    """A map that is not confirmed costs nothing."""
    monkeypatch.setattr("builtins.input", read_too_late)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    confirm = FrontEnd(types.SimpleNamespace(user_ns={})).confirm

    assert confirm is not None
    with pytest.raises(KeyboardInterrupt):
        confirm("Ask 10,000 rows for about 20 USD? ")


def test_ctrl_d_is_a_no(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No price is approved, and no key is set."""

    def closed(_question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    monkeypatch.setattr("getpass.getpass", closed)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    confirm = FrontEnd(types.SimpleNamespace(user_ns={})).confirm
    cell: Any = types.SimpleNamespace(runtime=None)

    assert confirm is not None
    assert not confirm("Ask 10,000 rows for about 20 USD? ")
    login(cell, {})

    assert "nothing has changed" in capsys.readouterr().out


def test_the_entry_of_a_key_handles_it(monkeypatch: pytest.MonkeyPatch, read_too_late: Read) -> None:
    """No key is set."""
    monkeypatch.setattr("getpass.getpass", read_too_late)
    entered: list[str] = []
    cell: Any = types.SimpleNamespace(runtime=types.SimpleNamespace(login=entered.append))

    with pytest.raises(KeyboardInterrupt):
        login(cell, {})

    assert entered == []


def test_a_wait_for_a_reply_handles_it() -> None:
    """No thread waits for a lock without a bound."""
    ended = threading.Event()
    reply: Any = types.SimpleNamespace(
        cancel=ended.set, when_done=lambda _note: lambda: None, pending_calls=None
    )
    wakes: Any = queue.SimpleQueue()
    end = threading.Timer(KEY_AFTER, wakes.put, ("done",))
    end.start()

    def get(timeout: float | None = None) -> Any:
        if not ended.is_set():
            return interrupt_before(functools.partial(wakes.get, True, timeout))
        return "done"

    def wait() -> None:
        with interrupts_kept_for(reply) as waiting:
            waiting._wakes = types.SimpleNamespace(get=get, put=wakes.put)  # type: ignore[assignment]
            waiting.wait()

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert ended.is_set()
    assert end.is_alive(), "Ctrl-C was handled only when the reply ended"
    end.cancel()


@pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="replaces the selector of Linux")
def test_a_tool_that_waits_on_a_loop_handles_it() -> None:
    """The loop wakes often enough to see a signal that did not wake it."""

    class LateSignals(selectors.EpollSelector):
        is_late = False

        def select(self, timeout: float | None = None) -> Any:
            if not self.is_late:
                return super().select(timeout)
            self.is_late = False
            bound = -1 if timeout is None else timeout
            interrupt_before(functools.partial(self._selector.poll, bound, 1))  # type: ignore[attr-defined]
            return []

    selector = LateSignals()
    loop = asyncio.SelectorEventLoop(selector)

    async def wait() -> None:
        selector.is_late = True
        await asyncio.Event().wait()

    end = threading.Timer(KEY_AFTER, loop.call_soon_threadsafe, (lambda: None,))
    end.start()
    with pytest.raises(KeyboardInterrupt):
        run_to_end(wait(), idle_loop=lambda: loop)
    loop.close()

    assert end.is_alive(), "Ctrl-C was handled only when the loop woke for another reason"
    end.cancel()
