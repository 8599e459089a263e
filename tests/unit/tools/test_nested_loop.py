"""Awaiting in a call that blocks: which loops may be let run inside themselves.

What nest-asyncio2 patches stays patched, so each of these has a process of its own. Kernels are in tests/kernel.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from claude_magic.tools._nested_loop import NestedLoopError, run_to_end

PROCESS_TIMEOUT = 60.0


def run(source: str) -> str:
    """Run Python source in a process of its own, and return its output."""
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=PROCESS_TIMEOUT,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


KERNEL = """
    import asyncio, sys
    from claude_magic.tools._nested_loop import NestedLoopError, run_to_end

    async def wind():
        await asyncio.sleep(0.01)
        return "5 Beaufort"

    class Kernel:
        async def shell_main(self, cell):
            return cell()

    def cell():
        try:
            return run_to_end(wind())
        except NestedLoopError as error:
            return f"refused: {error}"
"""


def test_inside_a_coroutine_of_the_user_it_is_refused() -> None:
    """It would break the kernel there; no coroutine remains unawaited."""

    async def wind() -> None: ...

    async def cell() -> None:
        run_to_end(wind())

    with pytest.raises(NestedLoopError, match=r"await claude\.ask_async"):
        asyncio.run(cell())


def test_in_a_plain_cell_of_a_kernel_the_loop_runs_nested() -> None:
    """Results and exceptions are passed on."""
    printed = run(
        KERNEL
        + """
    async def fail():
        await asyncio.sleep(0)
        raise LookupError("no wind")

    def failing_cell():
        try:
            run_to_end(fail())
        except LookupError as error:
            return error

    print(asyncio.run(Kernel().shell_main(cell)))
    print(asyncio.run(Kernel().shell_main(failing_cell)))
    """
    )

    assert printed == "5 Beaufort\nno wind\n"


def test_the_package_is_imported_only_then() -> None:
    """It patches asyncio for the whole process."""
    printed = run(
        KERNEL
        + """
    print(run_to_end(wind()), "nest_asyncio2" in sys.modules)
    asyncio.run(Kernel().shell_main(cell))
    print("nest_asyncio2" in sys.modules)
    """
    )

    assert printed == "5 Beaufort False\nTrue\n"


def test_an_older_version_is_refused() -> None:
    """It loses messages of the kernel."""
    printed = run(
        KERNEL
        + """
    import importlib.metadata
    importlib.metadata.version = lambda name: "1.7.2rc1"
    print(asyncio.run(Kernel().shell_main(cell)))
    """
    )

    assert printed.startswith("refused: nest-asyncio2 1.7.2rc1")


def test_a_loop_that_another_package_has_patched_is_refused() -> None:
    """Like the older nest_asyncio, whose patch stays."""
    printed = run(
        KERNEL
        + """
    def shell():
        loop = asyncio.get_running_loop()
        type(loop)._nest_patched = True
        asyncio._nest_patched = True
        return cell()
    print(asyncio.run(Kernel().shell_main(shell)))
    """
    )

    assert printed.startswith("refused: Another package has already patched the event loop")


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself POSIX signals")
def test_ctrl_c_cancels_only_the_awaitable() -> None:
    """Other tasks on the loop continue."""
    printed = run(
        KERNEL
        + """
    import signal
    ends, beats = [], []

    has_begun = []

    async def wait():
        has_begun.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("ended")

    async def beat():
        while True:
            await asyncio.sleep(0)
            beats.append(len(has_begun))
            if beats.count(1) == 3:  # both go on
                signal.raise_signal(signal.SIGINT)

    def cell():
        task = asyncio.get_running_loop().create_task(beat())
        try:
            run_to_end(wait())
        except KeyboardInterrupt:
            return ends, len(beats) > 2, task.done(), signal.getsignal(signal.SIGINT) is signal.default_int_handler

    loop = asyncio.new_event_loop()
    print(loop.run_until_complete(Kernel().shell_main(cell)))
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.close()
    """
    )

    assert printed == "(['ended'], True, False, True)\n"
