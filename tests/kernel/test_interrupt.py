"""The interrupt button at every stage of an answer."""

import socket
import time

import pytest

from claude_magic.simulator import Gate, hold, reply, slow_headers, status

ROUNDS = 10


@pytest.fixture(scope="module")
def kernel(start_kernel):
    """A kernel whose limiter is easily used up."""
    return start_kernel()


def interrupt_when(kernel, code, condition):
    """Run a cell, interrupt it once the condition holds, and wait for the kernel."""
    run = kernel.start(code).until(condition)
    kernel.interrupt()
    return run.finish()


def assert_interrupted(run):
    assert run.status == "error"
    assert run.error["ename"] == "KeyboardInterrupt"
    assert len("\n".join(run.error["traceback"]).splitlines()) == 1, "one line, no frames"


def test_an_interrupt_in_mid_stream_keeps_what_had_come(kernel, sim):
    """S2: the partial answer is kept on the screen, in the variable and in claude.last; the stream is closed."""
    for _ in range(ROUNDS):
        sim.script(hold(Gate(), after_deltas=2, text="Half an answer and no more of it."))

        run = interrupt_when(
            kernel, "%%claude -o partial\nhi", lambda run: any("Half" in frame for frame in run.frames)
        )

        assert_interrupted(run)
        picture, error = run.outputs
        assert "Half" in picture["data"]["text/html"]
        assert "nterrupted" in picture["data"]["text/html"]
        assert picture["data"]["text/plain"] == eval(kernel.value("partial.text"))
        assert error["output_type"] == "error"
    assert kernel.value("__import__('claude_magic').claude.last is partial") == "True"
    assert kernel.value("__import__('claude_magic').claude.in_flight") == "()"


def test_an_interrupt_before_the_first_byte_ends_the_cell(kernel, sim):
    """A silent server does not block a cell."""
    for _ in range(ROUNDS):
        sim.script(slow_headers(60))

        run = interrupt_when(kernel, "%%claude\nhi", lambda run: len(run.frames) >= 1)

        assert_interrupted(run)
        assert [output["output_type"] for output in run.outputs] == ["error"]


def test_r2_an_interrupt_during_a_backoff_ends_the_cell(kernel, sim):
    """R2: a wait of ten seconds before a retry does not delay the interrupt."""
    for _ in range(ROUNDS):
        sim.script(status(529))

        run = interrupt_when(
            kernel, "%%claude\nhi", lambda run: any("verloaded" in frame for frame in run.frames)
        )

        assert_interrupted(run)
    assert len(sim.requests) == ROUNDS, "no attempt was made after the interrupt"


def test_l2_an_interrupt_in_the_limiter_takes_nothing_from_it(start_kernel, sim):
    """L2: cancelled waits use no capacity, and the next cell is not delayed."""
    kernel = start_kernel(CLAUDE_MAGIC_RATE_LIMIT_RPS="0.05")
    kernel.run("%%claude\ntake the only one")
    for _ in range(ROUNDS):
        run = interrupt_when(
            kernel, "%%claude\nhi", lambda run: any("rate limiter" in frame for frame in run.frames)
        )

        assert_interrupted(run)
    assert len(sim.requests) == 1
    assert kernel.value("__import__('claude_magic').claude.limiter.waiters") == "0"
    assert kernel.value("__import__('claude_magic').claude.limiter.level > 0") == "True"


def test_a_blocking_cell_is_interrupted_too(kernel, sim):
    """A line among other code is interrupted, and so is the code after it."""
    for _ in range(ROUNDS):
        sim.script(hold(Gate(), after_deltas=1, text="Half an answer and no more."))

        run = interrupt_when(
            kernel,
            "print('before')\nx = %claude -o partial hi\nprint('after')",
            lambda run: any("Half" in frame for frame in run.frames),
        )

        assert_interrupted(run)
        assert run.stdout == "before\n"
        assert kernel.value("partial.phase.name") == "'CANCELLED'"


def test_a_reply_that_an_interrupted_cell_awaited_is_cancelled(kernel, sim):
    """Interrupting the user's own `await reply` leaves no stream behind."""
    sim.script(hold(Gate(), after_deltas=1))
    kernel.run("from claude_magic import claude")

    run = kernel.start("reply = claude.submit('hi')\nprint('asked')\nawait reply").until(
        lambda run: run.stdout
    )
    kernel.interrupt()
    run.finish()

    assert run.status == "error"
    kernel.run("import time\nwhile not reply.done(): time.sleep(0.01)")
    assert kernel.value("reply.phase.name") == "'CANCELLED'"


def test_an_interrupt_during_the_last_picture_still_fails_the_cell(kernel, sim):
    """No interrupt is lost: it keeps the next cell from running, even if the answer has just ended."""
    kernel.run(
        "import os, signal\n"
        "def press(message):\n"
        "    if 'text/plain' in message['content'].get('data', ()): os.kill(os.getpid(), signal.SIGINT)\n"
        "    return message\n"
        "get_ipython().display_pub.register_hook(press)"
    )
    sim.script(reply("Complete."))

    run = kernel.run("%%claude -o whole\nhi")
    kernel.run("get_ipython().display_pub.unregister_hook(press)")

    assert_interrupted(run)
    assert run.outputs[0]["data"]["text/plain"] == "Complete."
    assert kernel.value("whole.phase.name") == "'COMPLETE'"


@pytest.mark.parametrize(
    "code", ["%claude models", "print('asked')\n%claude models", "%%claude --dry-run\nhi"]
)
def test_an_interrupt_while_a_subcommand_or_dry_run_asks_the_server(kernel, code):
    """A server that accepts a connection and stays silent blocks neither, and the cell ends with one line."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kernel.run(f"%config ClaudeMagics.base_url = 'http://127.0.0.1:{silent.getsockname()[1]}'")
        run = kernel.start(code)
        with silent.accept()[0]:
            time.sleep(0.2)  # until it waits
            kernel.interrupt()
            run.finish()
    kernel.run("%config ClaudeMagics.base_url = None")

    assert_interrupted(run)


def test_an_interrupt_while_the_package_is_imported_is_one_line(kernel):
    """The first question imports for about a second; otherwise the traceback would have hundreds of frames."""
    kernel.run(
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'claude_magic.notebook._question':\n"
        "            sys.meta_path.remove(self)\n"
        "            raise KeyboardInterrupt\n"
        "sys.modules.pop('claude_magic.notebook._question', None)\n"
        "sys.meta_path.insert(0, Interrupt())"
    )

    assert_interrupted(kernel.run("print('asked')\n%claude hi"))


def test_the_next_cell_works_after_many_interrupts(kernel, sim):
    """S2: the connection pool still works."""
    sim.script(reply("All is well."))

    run = kernel.run("%%claude\nhi")

    assert run.outputs[0]["data"]["text/plain"] == "All is well."
