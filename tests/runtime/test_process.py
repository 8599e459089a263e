"""The life of the bridge thread in a real process: exit, unload, reload, fork. Each script runs with warnings as errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_magic.simulator import Gate, Simulator, hold, reply

RunScript = Callable[..., str]

SETTINGS = {"ANTHROPIC_API_KEY": "k", "CLAUDE_MAGIC_RATE_LIMIT_RPS": "1000"}

BRIDGES = """
import threading, time
def bridges():
    return sum(thread.name == "claude-magic-bridge" for thread in threading.enumerate())
"""


def test_importing_the_package_starts_nothing_and_loads_nothing_heavy(run_script: RunScript) -> None:
    """`import claude_magic` costs no HTTP, no pydantic, no thread."""
    script = """
    import sys, threading
    import claude_magic
    heavy = {"httpx2", "pydantic", "ipywidgets", "markdown_it", "nh3", "asyncio", "IPython"}
    print(sorted(heavy & sys.modules.keys()), threading.active_count(), "claude" in dir(claude_magic))
    """

    assert run_script(script).strip() == "[] 1 True"


def test_getting_the_runtime_starts_no_thread(run_script: RunScript) -> None:
    """The bridge starts with the first request, not before."""
    script = """
    import threading
    from claude_magic.runtime import get_runtime
    assert get_runtime() is get_runtime()
    get_runtime().settings(), get_runtime().limiter_state()
    print(threading.active_count())
    """

    assert run_script(script).strip() == "1"


@pytest.mark.parametrize(
    "work",
    [
        "claude.ask('Hello').text",
        "claude.ask('Hello', replay='auto').text",
        "[*claude.map('Say {{ item }}', range(3))]",
        "[*claude.map('Say {{ item }}', range(3), journal=False)]",
    ],
)
@pytest.mark.parametrize("has_asked", [False, True], ids=["first", "again"])
def test_a_thread_goes_on_when_the_main_thread_has_ended(
    run_script: RunScript, sim: Simulator, work: str, has_asked: bool
) -> None:
    """Python waits for such threads, but its thread pools accept nothing any more: reading rows and host names needs some."""
    sim.script(*[reply("Yes.")] * 5)
    script = f"""
    import contextlib, io, threading
    from claude_magic import claude
    {"claude.ask('Hi')" if has_asked else ""}
    def work():
        threading.main_thread().join()
        with contextlib.redirect_stderr(io.StringIO()):  # the summary of a map
            print({work})
    threading.Thread(target=work).start()
    """

    output = run_script(script, **SETTINGS, ANTHROPIC_BASE_URL=sim.url.replace("127.0.0.1", "localhost"))

    assert output.strip() in ("Yes.", str(["Yes."] * 3))


def test_the_interpreter_exits_in_silence_with_an_answer_in_mid_stream(
    run_script: RunScript, sim: Simulator
) -> None:
    """There is no warning about a pending task, an open loop or an open socket, and nothing hangs."""
    sim.script(hold(Gate(), text="one two three"))
    script = """
    import time
    from claude_magic import claude
    reply = claude.submit("Hello")
    while not reply.text:
        time.sleep(0.01)
    print("streaming")
    """

    assert run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS).strip() == "streaming"


def test_the_interpreter_exits_in_silence_while_the_simulator_streams(run_script: RunScript) -> None:
    """The embedded simulator ends with everything else."""
    script = """
    import time
    from claude_magic import claude
    reply = claude.submit("Hello")
    while reply.usage is None:
        time.sleep(0.01)
    print(reply.is_simulated)
    """

    assert run_script(script, CLAUDE_MAGIC_DEMO="auto").strip() == "True"


def test_closing_ends_thread_and_client_and_the_next_question_starts_them_again(
    run_script: RunScript, sim: Simulator
) -> None:
    """Unloading leaves no thread; what was in flight is cancelled; asking again works."""
    sim.script(hold(Gate(), text="one two three"))
    script = (
        BRIDGES
        + """
from claude_magic.runtime import close_runtime, get_runtime
reply = get_runtime().start("Hello")
while not reply.text:
    time.sleep(0.01)
close_runtime()
close_runtime()
print(reply.phase.value, bridges(), threading.active_count())
print(get_runtime().start("Again").result(120).phase.value, bridges())
"""
    )

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS).split("\n")

    assert printed[:2] == ["cancelled 0 1", "complete 1"]


def test_the_limiters_state_outlives_unloading(run_script: RunScript, sim: Simulator) -> None:
    """The bucket keeps its level: unloading does not bypass the limit."""
    script = """
    from claude_magic.runtime import get_runtime
    runtime = get_runtime()
    runtime.start("Hello").result(120)
    runtime.close()
    print(runtime.limiter_state().level < 0.5)
    """

    printed = run_script(
        script, ANTHROPIC_BASE_URL=sim.url, ANTHROPIC_API_KEY="k", CLAUDE_MAGIC_RATE_LIMIT_RPS="0.001"
    )

    assert printed.strip() == "True"


def test_reloading_all_our_modules_leaks_no_thread_and_keeps_the_limiter(
    run_script: RunScript, sim: Simulator
) -> None:
    """After `importlib.reload` of all modules the new code runs on one thread and keeps the state."""
    script = (
        BRIDGES
        + """
import importlib, sys
import claude_magic
from claude_magic.runtime import get_runtime
previous = get_runtime()
previous.start("Hello").result(120)
previous.login("sk-ant-from-login-0123456789")
for _ in range(8):  # as often as our modules build on one another
    for name in [name for name in sys.modules if name.startswith("claude_magic")]:
        importlib.reload(sys.modules[name])
import claude_magic.runtime as reloaded
runtime = reloaded.get_runtime()
print(runtime is previous, type(runtime) is reloaded.Runtime, bridges())
print(runtime.limiter_state().level < 10, runtime.last.text == previous.last.text, runtime.status().credential)
print(claude_magic.claude.ask("Again").phase.value, bridges())
"""
    )

    printed = run_script(
        script, ANTHROPIC_BASE_URL=sim.url, ANTHROPIC_API_KEY="k", CLAUDE_MAGIC_RATE_LIMIT_RPS="0.5"
    )

    assert printed.splitlines() == [
        "False True 0",
        "True True API key, %claude login",
        "complete 1",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_has_a_bridge_of_its_own_and_the_parent_keeps_his(
    run_script: RunScript, sim: Simulator
) -> None:
    """After a fork, both can ask, neither hangs, and a reply of the parent fails in the child instead of waiting
    forever."""
    gate = Gate()
    sim.script(hold(gate, text="the parent's"))
    script = """
    import os, sys, time, warnings
    from claude_magic import NetworkError, claude
    warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks in processes with threads
    reply = claude.submit("Hello")
    while not reply.text:
        time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        try:
            reply.result(120)
        except NetworkError as error:
            print("child:", type(error).__name__, "forked" in str(error))
        print("child:", claude.ask("Hello").phase.value, len(claude.in_flight), flush=True)
        sys.exit(0)
    os.waitpid(pid, 0)
    print("parent:", claude.ask("Hello").phase.value, reply.phase.value)
    """

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS)

    assert printed.splitlines() == [
        "child: NetworkError True",
        "child: complete 0",
        "parent: complete streaming",
    ]


FORK_AT = """
import os, signal, sys, threading, time, warnings
from claude_magic import claude
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks in processes with threads
reached = threading.Event()
def reach():
    reached.set()
    time.sleep(0.5)
class Finder:
    def find_spec(self, name, *_):
        if name == AT:
            reach()
def fork_and_ask():
    assert reached.wait(60)
    if os.fork() == 0:
        signal.alarm(60)
        print("child:", claude.ask("Hello").phase.value, flush=True)
        os._exit(0)
    print(os.wait()[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.parametrize(
    ("ask", "module"),
    [
        ("threading.Thread(target=lambda: claude.ask('Hello')).start()", "claude_magic.runtime._turn"),
        ("threading.Thread(target=lambda: claude.ask('Hello')).start()", "pydantic"),
        ("threading.Thread(target=lambda: claude.ask('Hello')).start()", "httpcore2"),
        ("claude.submit('Hello')", "httpcore2"),
        ("claude.submit('Hello')", "anyio.abc"),
    ],
)
def test_a_child_that_is_forked_while_the_package_is_imported_can_ask(
    run_script: RunScript, sim: Simulator, ask: str, module: str
) -> None:
    """The first answer of a process imports most of the package and its libraries, in two threads."""
    script = f"AT = {module!r}\n{FORK_AT}\nsys.meta_path.insert(0, Finder())\n{ask}\nfork_and_ask()"

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS)

    assert printed.splitlines() == ["child: complete", "0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_child_that_is_forked_while_the_runtime_is_made_can_ask(
    run_script: RunScript, sim: Simulator
) -> None:
    """Another thread makes it, under a lock."""
    script = f"""{FORK_AT}
from claude_magic.runtime import _runtime
make = _runtime.Runtime.__init__
def make_slowly(*args, **options):
    if not reached.is_set():
        reach()
    make(*args, **options)
_runtime.Runtime.__init__ = make_slowly
threading.Thread(target=lambda: claude.ask('Hello')).start()
fork_and_ask()
"""

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS)

    assert printed.splitlines() == ["child: complete", "0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_forking_by_multiprocessing_works_in_both_processes(run_script: RunScript, sim: Simulator) -> None:
    """A pool of forked workers asks for itself."""
    script = """
    import multiprocessing, warnings
    from claude_magic import claude
    warnings.simplefilter("ignore", DeprecationWarning)
    claude.ask("Hello")
    def work(prompt):
        return claude.ask(prompt).phase.value
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(work, ["one", "two", "three"]))
    print(claude.ask("Hello").phase.value)
    """

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS)

    assert printed.splitlines() == ["['complete', 'complete', 'complete']", "complete"]


WORKER = """
from claude_magic import claude
from claude_magic.runtime import BudgetExceededError


def work(prompt):
    try:
        return claude.ask(prompt, max_tokens=1000).phase.value
    except BudgetExceededError as error:
        return error.message


def work_with_a_budget(prompt):
    claude.runtime.ledger.set_budget(1.0)
    return work(prompt)


def start_another(method):
    import multiprocessing

    with multiprocessing.get_context(method).Pool(1) as pool:
        return pool.map(work, ["nested"])[0]


def ask_both(prompt):
    return work(prompt), start_another("fork"), start_another("spawn")
"""
POOLS = {
    "fork": "multiprocessing.get_context('fork').Pool(4)",
    "spawn": "multiprocessing.get_context('spawn').Pool(2)",
    "forkserver": "multiprocessing.get_context('forkserver').Pool(2)",
    "executor": "concurrent.futures.ProcessPoolExecutor(2)",
}


@pytest.fixture
def worker(tmp_path: Path) -> None:
    """A module that worker processes can import."""
    (tmp_path / "worker.py").write_text(WORKER)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("kind", "first_budget"),
    [("fork", 5), ("fork", None), ("spawn", 5), ("forkserver", None), ("executor", None)],
)
def test_a_budget_is_not_multiplied_by_worker_processes(
    kind: str, first_budget: float | None, run_script: RunScript, sim: Simulator
) -> None:
    """However they are started, before or after the budget is set: each raises an error with the reason, and sends nothing."""
    script = f"""
    import concurrent.futures, multiprocessing, os
    from worker import claude, work
    if __name__ == "__main__":
        claude.ask("Hello")
        claude.runtime.ledger.set_budget({first_budget})
        with {POOLS[kind]} as pool:
            list(pool.map(int, "1234"))  # the workers run
            claude.runtime.ledger.set_budget(5)
            answers = list(pool.map(work, ["one", "two", "three"]))
        print(set(answers).pop().replace(str(os.getpid()), "PID"), len(set(answers)))
        print(claude.ask("Hello", max_tokens=1000).phase.value)
    """

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS).splitlines()

    assert printed[0].startswith("A budget of $5.00 is set in process PID, which started this one")
    assert printed == [printed[0], "complete"]
    assert printed[0].endswith(" 1"), "each gets the same answer"
    assert sum(seen.path == "/v1/messages" for seen in sim.requests) == 2


@pytest.mark.usefixtures("worker")
def test_a_budget_is_not_multiplied_by_joblib(run_script: RunScript, sim: Simulator) -> None:
    """Its workers are not started by `multiprocessing`."""
    script = """
    import joblib
    from worker import claude, work
    claude.runtime.ledger.set_budget(5)
    answers = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(prompt) for prompt in ("one", "two"))
    print({each[:19] for each in answers})
    """

    assert run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS).strip() == "{'A budget of $5.00 i'}"
    assert list(sim.requests) == []


@pytest.mark.usefixtures("worker")
def test_a_script_that_a_kernel_starts_keeps_out_of_its_budget(run_script: RunScript, sim: Simulator) -> None:
    """As with `!python script.py`. After the budget is removed, it can ask."""
    script = """
    import subprocess, sys
    from worker import claude
    run = [sys.executable, "-c", "from worker import work; print(work('Hello')[:19])"]
    for amount in (5, None):
        claude.runtime.ledger.set_budget(amount)
        print(subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip())
    """

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS)

    assert printed.splitlines() == ["A budget of $5.00 i", "complete"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.usefixtures("worker")
def test_a_worker_with_a_budget_of_its_own_spends_that_and_its_own_workers_do_not(
    run_script: RunScript, sim: Simulator
) -> None:
    """Its own budget starts a new account. Processes that it starts are below both budgets."""
    script = """
    import os
    from worker import ask_both, claude, work_with_a_budget
    claude.ask("Hello", max_tokens=1000)
    claude.runtime.ledger.set_budget(0.0)
    if os.fork() == 0:
        print(work_with_a_budget("one"), len(claude.runtime.ledger.rows()), flush=True)
        alone, *nested = ask_both("two")
        print(alone, [each[:21] for each in nested], flush=True)
        os._exit(0)
    os.wait()
    """

    printed = run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS)

    assert printed.splitlines() == [
        "complete 1",
        "complete ['A budget of $1.00 is ', 'A budget of $1.00 is ']",
    ]


@pytest.mark.usefixtures("worker")
def test_threads_share_the_budget_of_their_process(run_script: RunScript, sim: Simulator) -> None:
    """Of concurrent requests, as many are sent as fit together; no error mentions another process."""
    script = """
    from concurrent.futures import ThreadPoolExecutor
    from worker import claude, work
    claude.runtime.ledger.set_budget(5)
    with ThreadPoolExecutor(8) as threads:
        print(set(threads.map(work, map(str, range(8)))))
    """

    assert run_script(script, ANTHROPIC_BASE_URL=sim.url, **SETTINGS).strip() == "{'complete'}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_the_limiter_of_a_forked_child_goes_on_where_its_parents_stood(
    run_script: RunScript, sim: Simulator
) -> None:
    """A fork does not refill the bucket, nor does a fork of a fork."""
    script = """
    import os
    from claude_magic import claude
    claude.ask("Hello")
    for _ in range(2):
        if os.fork():
            os.wait()
            break
        print(claude.limiter.level < 0.5, flush=True)
    """

    printed = run_script(
        script, ANTHROPIC_BASE_URL=sim.url, ANTHROPIC_API_KEY="k", CLAUDE_MAGIC_RATE_LIMIT_RPS="0.001"
    )

    assert printed.splitlines() == ["True", "True"]
