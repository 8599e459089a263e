"""Ctrl-C while the main thread waits for a reply."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from claude_magic.runtime import Phase, Runtime, _reply, interrupts_kept_for, wait_interruptibly
from claude_magic.simulator import Gate, Simulator, hold, slow_headers, status

TIMEOUT = 120.0
Waited = TypeVar("Waited")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends itself POSIX signals")


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """Install Python's own SIGINT handler for each test, and restore that of the test runner afterwards."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, previous)


def interrupt_when(reply: Waited, condition: Callable[[Waited], object]) -> None:
    """Press Ctrl-C once, as soon as the main thread waits and the reply is in some state."""

    def press() -> None:
        deadline = time.monotonic() + TIMEOUT
        while signal.getsignal(signal.SIGINT) is signal.default_int_handler or not condition(reply):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


def test_ctrl_c_in_mid_stream_cancels_and_keeps_the_text(runtime: Runtime, sim: Simulator) -> None:
    """The wait ends with KeyboardInterrupt, and the last reply has the partial text."""
    sim.script(hold(Gate(), after_deltas=2, text="one two three four five six seven"))
    answer = runtime.start("Count.")
    interrupt_when(answer, lambda it: it.text)

    with pytest.raises(KeyboardInterrupt):
        answer.result(TIMEOUT)

    assert runtime.last is answer
    assert answer.phase is Phase.CANCELLED
    assert answer.text.startswith("one")


def test_ctrl_c_before_the_first_byte_ends_the_wait(runtime: Runtime, sim: Simulator) -> None:
    """A silent server does not block the cell."""
    sim.script(slow_headers(3600))
    answer = runtime.start("Hello")
    interrupt_when(answer, lambda it: it.phase is Phase.SENT)

    with pytest.raises(KeyboardInterrupt):
        answer.result(TIMEOUT)

    assert answer.phase is Phase.CANCELLED


def test_ctrl_c_in_back_off_ends_the_wait(make_runtime: Callable[..., Runtime], sim: Simulator) -> None:
    """Neither does a long back-off."""
    runtime = make_runtime(
        ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_INITIAL_BACKOFF="200"
    )
    sim.script(status(529))
    answer = runtime.start("Hello")
    interrupt_when(answer, lambda it: it.phase is Phase.RETRYING)

    with pytest.raises(KeyboardInterrupt):
        answer.result(TIMEOUT)

    assert len(sim.requests) == 1


def test_ctrl_c_in_the_limiter_ends_the_wait(make_runtime: Callable[..., Runtime], sim: Simulator) -> None:
    """Nor the limiter."""
    runtime = make_runtime(
        ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_RATE_LIMIT_RPS="0.01"
    )
    runtime.start("takes the one token").result(TIMEOUT)
    answer = runtime.start("Hello")
    interrupt_when(answer, lambda it: it.snapshot().wait)

    with pytest.raises(KeyboardInterrupt):
        answer.result(TIMEOUT)

    assert len(sim.requests) == 1


def test_no_ctrl_c_is_lost_at_whatever_moment_it_comes(runtime: Runtime, sim: Simulator) -> None:
    """Each of 60 interrupts at pseudo-random moments around a short answer ends a wait or raises by itself."""
    lost = []

    for number in range(60):
        answer = runtime.start("Hello")
        timer = threading.Timer(number / 60 * 0.02, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            answer.result(TIMEOUT)
            while timer.is_alive():
                time.sleep(0.001)
            time.sleep(0.01)
            lost.append(number)
        except KeyboardInterrupt:
            timer.join()

    assert lost == []


def test_a_second_ctrl_c_raises_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user need not wait for a reply that does not end."""

    class Stuck:
        pending_calls = None

        def cancel(self) -> None:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

        def when_done(self, callback: Callable[[], None]) -> Callable[[], None]:
            return lambda: None

    monkeypatch.setattr(_reply, "_SETTLING_TIME", 2 * TIMEOUT)  # what a first one alone would wait
    stuck = Stuck()
    interrupt_when(stuck, lambda _: True)
    started_at = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        wait_interruptibly(stuck)

    assert time.monotonic() - started_at < TIMEOUT


def test_ctrl_c_between_two_steps_of_a_wait_comes_with_the_next(runtime: Runtime, sim: Simulator) -> None:
    """Drawing a frame between two steps is not interrupted."""
    sim.script(hold(Gate()))
    answer = runtime.start("Hello")
    steps = []

    def draw_until_done() -> None:
        with interrupts_kept_for(answer) as waiting:
            while not waiting.wait(0.01):
                steps.append("begun")
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                steps.append("finished")

    with pytest.raises(KeyboardInterrupt):
        draw_until_done()

    assert steps == ["begun", "finished"]
    assert answer.phase is Phase.CANCELLED


def test_waiting_on_another_thread_touches_no_signal_handler(runtime: Runtime, sim: Simulator) -> None:
    """Signals belong to the main thread; a wait elsewhere works all the same."""
    texts: list[str] = []
    thread = threading.Thread(target=lambda: texts.append(runtime.start("Hello").result(TIMEOUT).text))

    thread.start()
    thread.join(TIMEOUT)

    assert len(texts) == 1


def test_a_kernel_that_ignores_ctrl_c_keeps_ignoring_it(runtime: Runtime) -> None:
    """If SIGINT is ignored, as between the cells of some kernels, waiting does not change that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer = runtime.start("Hello")

    os.kill(os.getpid(), signal.SIGINT)

    assert answer.result(TIMEOUT).phase is Phase.COMPLETE
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)
