"""Ctrl-C while the main thread waits for a reply."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest
from IPython.core.interactiveshell import InteractiveShell

from claude_magic import claude
from claude_magic.bulk import MapRun
from claude_magic.runtime import (
    Phase,
    Runtime,
    _reply,
    close_runtime,
    interrupts_kept_for,
    wait_interruptibly,
)
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

    monkeypatch.setattr(_reply, "_CANCEL_TIMEOUT", 2 * TIMEOUT)  # what a first one alone would wait
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


class _InterruptAt:
    """Presses Ctrl-C at a line of the package that this thread executes; at the latest when a wait begins.

    Attributes:
        count: Number of lines executed so far.
    """

    def __init__(self, number: float) -> None:
        self._number = number
        self._is_due = True
        self.count = 0

    def __enter__(self) -> _InterruptAt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if "claude_magic" not in frame.f_code.co_filename:
            return None
        self.count += event == "line"
        is_waiting = frame.f_code is _reply.Waiting._take.__code__
        if self._is_due and (self.count > self._number or is_waiting):
            self._is_due = False
            signal.raise_signal(signal.SIGINT)
        return self._trace


def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def ask_each(mapper: Any) -> object:
    import pandas

    return mapper(pandas.DataFrame({"text": ["a", "b"]}))


WAYS: dict[str, Callable[[], object]] = {
    "a question": lambda: claude.ask("Count.", thread="counting"),
    "a question with tools": lambda: claude.ask("Count.", thread="counting", tools=[double], approve="never"),
    "a map": lambda: claude.map("Say {{ item }}", ["a", "b"], journal=False),
    "a mapper": lambda: ask_each(claude.mapper("Say {{ text }}")),
}


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_at_any_line_leaves_nothing_in_flight(
    monkeypatch: pytest.MonkeyPatch, sim: Simulator, way: str
) -> None:
    """Also between the start of a request and the wait for it: nobody could cancel it later, and it would be billed."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-0123456789abcdef")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    runs: list[MapRun] = []
    start = MapRun.start

    def noted(run: MapRun, *arguments: Any) -> None:
        runs.append(run)
        start(run, *arguments)

    monkeypatch.setattr(MapRun, "start", noted)
    ask, gate = WAYS[way], Gate()

    def lines_until(number: float) -> int:
        sim.script(hold(gate), hold(gate))
        with pytest.raises(KeyboardInterrupt), _InterruptAt(number) as interrupt:
            ask()
        deadline = time.monotonic() + TIMEOUT
        while claude.in_flight or not all(run.done() for run in runs):
            assert time.monotonic() < deadline, f"interrupted at line {number}, it goes on"
            time.sleep(0.002)
        sim.clear()
        return interrupt.count

    try:
        lines_until(math.inf)  # imports everything
        last = lines_until(math.inf)
        for number in (*range(0, last, last // 20), *range(last - 120, last, 3)):
            lines_until(number)
        assert claude.ask("And now?", thread="counting").text
    finally:
        gate.open()
        close_runtime()


def run_cell(source: str) -> None:
    """Run a cell in an IPython shell without a kernel, and raise its error."""
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "claude_magic")
    shell.run_cell(source).raise_error()


LEFT: dict[str, Callable[[], object]] = {
    **WAYS,
    "a question on a loop": lambda: asyncio.run(claude.ask_async("Count.")),
    "a cell": lambda: run_cell("%claude Count."),
    "a comparison": lambda: run_cell("%claude --compare opus,sonnet Count."),
    "a map in a cell": lambda: run_cell("rows = ['a', 'b']\n%claude --map rows Say {{ item }}"),
}


@pytest.mark.parametrize("way", LEFT)
def test_a_time_limit_in_a_signal_handler_stops_what_it_leaves(
    monkeypatch: pytest.MonkeyPatch, sim: Simulator, tmp_path: Path, way: str
) -> None:
    """Such limits are common in tests and scripts. Nobody waits for the answer any more, and it would be billed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-0123456789abcdef")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    gate = Gate()
    sim.script(hold(gate), hold(gate))

    class LimitError(Exception):
        pass

    def limit(*_: object) -> None:
        raise LimitError

    def alarm() -> None:
        while not sim.requests:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGALRM)

    previous = signal.signal(signal.SIGALRM, limit)
    threading.Thread(target=alarm, daemon=True).start()
    try:
        with pytest.raises(LimitError):
            LEFT[way]()
        deadline = time.monotonic() + TIMEOUT
        while sim.open_connections:
            assert time.monotonic() < deadline, "it goes on"
            time.sleep(0.002)
    finally:
        signal.signal(signal.SIGALRM, previous)
        gate.open()
        close_runtime()
