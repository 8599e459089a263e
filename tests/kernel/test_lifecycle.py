"""Loading, unloading, reloading, restarting and shutting down."""

import json
import re
import subprocess
import sys

import pytest

from claude_magic.simulator import Gate, hold, reply

STATE = """
import threading
def state(ip=get_ipython()):
    formatters = [ip.display_formatter.mimebundle_formatter, ip.display_formatter.ipython_display_formatter,
                  *ip.display_formatter.formatters.values()]
    return {
        "magics": sorted(f"{kind} {name}" for kind, table in ip.magics_manager.magics.items() for name in table),
        "registry": sorted(ip.magics_manager.registry),
        "transformers": [type(each).__name__ for each in ip.input_transformers_cleanup],
        "post": len(ip.input_transformers_post),
        "matchers": len(ip.Completer.custom_matchers),
        "hooks": {event: len(callbacks) for event, callbacks in ip.events.callbacks.items()},
        "configurables": sorted(type(each).__name__ for each in ip.configurables),
        "formatters": [sorted(map(str, [*each.type_printers, *each.deferred_printers])) for each in formatters],
        "attributes": sorted(name for name in vars(ip) if "claude" in name),
        "custom": len(ip.custom_exceptions),
        "threads": sorted(thread.name for thread in threading.enumerate() if "claude" in thread.name),
        "names": sorted(name for name in ip.user_ns if "claude" in name),
    }
"""


def test_loading_imports_nothing_that_a_cell_may_never_need():
    """`%load_ext` imports the magics and their options, but no other package, and prints nothing.

    `make bench` measures its time.
    """
    code = (
        "import sys, json\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "before = set(sys.modules)\n"
        "shell.run_line_magic('load_ext', 'claude_magic')\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    packages = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names

    assert done.stderr == ""
    assert packages <= {"claude_magic", "IPython"}
    assert {name.split(".")[1] for name in loaded if name.startswith("claude_magic.")} == {
        "_forks",
        "_tracebacks",
        "_version",
        "api",
        "notebook",
    }
    rarely_needed = {"claude_magic.notebook._completion", "claude_magic.notebook._typos"}
    assert not {"asyncio", "difflib", *rarely_needed} & set(loaded)


def test_loading_binds_claude_and_unloading_takes_it_back(start_kernel, sim):
    """`claude` exists without an import, is not a variable of the user, and applies `%config` from the first
    question on."""
    kernel = start_kernel(load=False)
    kernel.run("%load_ext claude_magic")
    heavy = "sorted({'pydantic', 'httpx2', 'ipywidgets'} & set(__import__('sys').modules))"
    assert kernel.value(f"claude.__class__.__name__, {heavy}") == "('Claude', [])"
    assert kernel.run("%who").stdout == "Interactive namespace is empty.\n"

    kernel.run("%config ClaudeMagics.model = 'claude-haiku-5-5'")
    kernel.run("claude.ask('hi')")
    assert sim.requests[-1].body["model"] == "claude-haiku-5-5"
    assert kernel.run("%%claude --dry-run\n{{ claude }}").status == "ok"
    assert kernel.run("%reload_ext claude_magic\nprint(claude.last.model)").stdout == "claude-haiku-5-5\n"

    kernel.run("%unload_ext claude_magic")
    assert kernel.value("'claude' in globals(), 'claude' in get_ipython().user_ns_hidden") == "(False, False)"


def test_a_variable_claude_of_the_users_stays_and_notes_name_another_way(start_kernel, sim):
    """Whether it was defined before or after loading. Expressions in notes can be run unchanged."""
    sim.script(*[hold(Gate(), after_deltas=1, text="Half an answer and no more.")] * 3)
    kernel = start_kernel(load=False)

    def interrupted():
        run = kernel.start("%%claude\nhi").until(lambda run: any("Half" in frame for frame in run.frames))
        kernel.manager.interrupt_kernel()
        return re.sub("<[^>]*>", "", run.finish().outputs[0]["data"]["text/html"])

    kernel.run("claude = 'Monet'")
    kernel.run("%load_ext claude_magic")
    assert kernel.value("claude") == "'Monet'"
    assert "is kept in claude_magic.claude.last (after import claude_magic)." in interrupted()
    assert kernel.run("import claude_magic; print(claude_magic.claude.last.text[:4])").stdout == "Half\n"
    assert "is kept in claude_magic.claude.last." in interrupted()

    kernel.run("%unload_ext claude_magic")
    assert kernel.value("claude") == "'Monet'"
    kernel.run("del claude")
    kernel.run("%load_ext claude_magic")
    assert "is kept in claude.last." in interrupted()
    kernel.run("claude = 'Debussy'")
    kernel.run("%unload_ext claude_magic")
    assert kernel.value("claude, 'claude' in get_ipython().user_ns_hidden") == "('Debussy', False)"


def test_a_question_in_the_cell_that_loads_has_an_explanation(start_kernel, sim):
    """IPython parses a cell before it runs it, and treats `?` as help.

    Once loaded, the line asks when it is run again.
    """
    sim.script(reply("Because."), reply("Therefore."))
    kernel = start_kernel(load=False)
    cell = "%load_ext claude_magic\n%claude -m opus Why is that?\n%claude status"

    first, second = kernel.run(cell), kernel.run(cell)
    third = kernel.run(cell.replace("load", "reload"))

    assert "takes the ? of '%claude -m opus Why is that?' for its own help" in first.stdout
    assert "takes the ?" not in second.stdout + third.stdout
    asked = [str(request.body["messages"][-1]) for request in sim.requests if request.body]
    assert [text.count("Why is that?") for text in asked] == [1, 1]


def test_unloading_leaves_nothing_behind(start_kernel, sim):
    """Magics, transformer, completer, hooks, `%config` class, formatters and threads are gone."""
    kernel = start_kernel(load=False)
    kernel.run(STATE)
    kernel.run("%unload_ext nothing")  # makes IPython load its magics for extensions
    kernel.run("before = state()")
    kernel.run("%load_ext claude_magic")
    assert kernel.run("%%claude\nhi").status == "ok"
    assert kernel.value("state()['threads']") != "[]"

    run = kernel.run("%unload_ext claude_magic")

    assert run.outputs == []
    assert (
        kernel.value("{key: (value, before[key]) for key, value in state().items() if value != before[key]}")
        == "{}"
    )
    assert "UsageError" in kernel.run("%claude hi").stderr


def test_l1_reloading_works_and_keeps_the_limiters_state(start_kernel, sim):
    """L1: `%reload_ext` does not bypass the limiter, and registers nothing twice."""
    kernel = start_kernel(CLAUDE_MAGIC_RATE_LIMIT_RPS="0.01")
    kernel.run(STATE)
    kernel.run("%%claude -o kept\nhi")
    kernel.run("before = state()")

    run = kernel.run("%reload_ext claude_magic")

    assert run.outputs == []
    assert kernel.value("{k: v for k, v in state().items() if k != 'threads' and v != before[k]}") == "{}"
    assert kernel.value("__import__('claude_magic').claude.limiter.level < 0.5") == "True"
    assert "text/html" in kernel.run("kept").outputs[0]["data"]
    waiting = kernel.start("%%claude\nhi").until(
        lambda run: any("rate limiter" in frame for frame in run.frames)
    )
    kernel.interrupt()
    waiting.finish()


def test_another_owner_of_the_name_is_reported_and_gets_it_back(start_kernel, sim):
    """One line reports it; unloading restores the previous magic."""
    kernel = start_kernel(load=False)
    kernel.run(
        "from IPython.core.magic import register_line_cell_magic\n"
        "@register_line_cell_magic\ndef claude(line, cell=None):\n    print('the other one')"
    )

    loaded = kernel.run("%load_ext claude_magic")
    answered = kernel.run("%%claude\nhi")
    kernel.run("%unload_ext claude_magic")

    assert loaded.stdout.count("\n") == 1
    assert "__main__" in loaded.stdout
    assert answered.outputs[0]["output_type"] == "display_data"
    assert kernel.run("%%claude\nhi").stdout == "the other one\n"
    assert kernel.run("%claude hi").stdout == "the other one\n"


def test_a_later_owner_of_the_name_keeps_it_when_we_unload(start_kernel):
    """Unloading removes only this package's magics."""
    kernel = start_kernel()
    kernel.run(
        "from IPython.core.magic import register_line_magic\n"
        "@register_line_magic\ndef claude(line):\n    print('the later one')"
    )

    kernel.run("%unload_ext claude_magic")

    assert kernel.run("%claude").stdout == "the later one\n"


OURS = ("claude_magic", "Task was destroyed", "never awaited", "Warning")
"""What would stand in a line on stderr if it were about us."""


@pytest.mark.parametrize("ending", ["idle", "streaming"])
def test_shutting_down_leaves_no_word_on_stderr(start_kernel, sim, ending):
    """No warning about pending tasks and no hanging thread, in any state of the kernel."""
    kernel = start_kernel()
    kernel.run("%%claude\nhi")
    if ending == "streaming":
        sim.script(hold(Gate(), after_deltas=1), hold(Gate(), after_deltas=1))
        kernel.run("from claude_magic import claude\nlost = claude.submit('hi')")
        kernel.start("%%claude\nhi").until(lambda run: len(run.frames) >= 1)

    kernel.manager.shutdown_kernel(now=False)

    assert not kernel.manager.is_alive()
    noise = [
        line
        for line in kernel.log.read_text().splitlines()
        if line and "over TCP without encryption" not in line
    ]
    if any("zmq.error.ZMQError" in line for line in noise):
        # ipykernel closes its sockets before it sends the reply of a cancelled cell, which is a bug of ipykernel.
        noise = [line for line in noise if any(word in line for word in OURS)]
    assert noise == []


def test_a_restarted_kernel_starts_afresh(start_kernel, sim):
    """Restart, load and ask."""
    kernel = start_kernel()
    kernel.run("%%claude\nhi")

    kernel.manager.restart_kernel(now=False)
    kernel.client.wait_for_ready(timeout=120)

    assert kernel.run("%load_ext claude_magic").status == "ok"
    assert kernel.run("%%claude\nhi").status == "ok"


def test_o2_the_key_stands_in_nothing_that_a_kernel_publishes(start_kernel, sim):
    """O2: neither in outputs, errors, status and logs nor in reprs."""
    kernel = start_kernel()
    sim.script(reply("fine"))
    cells = [
        "import logging; logging.basicConfig(level=logging.DEBUG)",
        "%%claude\nhi",
        "%claude status",
        "from claude_magic import claude\nclaude, claude.last, claude.runtime, claude.runtime.status()",
        "%config ClaudeMagics",
        "%%claude -m no-such-model\n!simulate nothing",
    ]

    published = "".join(str(kernel.run(cell).messages) for cell in cells)

    key = sim.requests[0].headers["x-api-key"]
    assert key.startswith("sk-ant-test")
    assert key not in published
    assert key not in kernel.log.read_text()
