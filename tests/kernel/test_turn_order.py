"""Questions of one conversation are sent one after the other, without deadlock."""

import pytest

from claude_magic.simulator import Gate, hold, reply

ASKING_TOOL = '''
from claude_magic import claude
def second_opinion(question: str) -> str:
    """Ask somebody else."""
    return claude.ask(question, thread="main").text
async def async_opinion(question: str) -> str:
    """Ask somebody else."""
    return (await claude.ask_async(question, thread="main")).text
'''


def asked(sim):
    return [seen.body["messages"] for seen in sim.requests if seen.path == "/v1/messages"]


@pytest.mark.parametrize("tool", ["second_opinion", "async_opinion"])
@pytest.mark.parametrize("prefix", ["%%claude", "x = 1\n%claude"])
def test_a_tool_may_ask_in_the_conversation_that_calls_it(kernel, sim, tool, prefix):
    """Its question does not wait for the answer that waits for the tool."""
    kernel.run(ASKING_TOOL)
    separator = "\n" if prefix == "%%claude" else " "

    run = kernel.run(
        f'{prefix} --new --tools {tool} --approve never{separator}Use {tool} for question "Really?"'
    )

    assert run.status == "ok", run.stderr
    assert any(messages[-1]["content"] == "Really?" for messages in asked(sim))


def test_questions_from_many_threads_come_one_after_the_other(kernel, sim):
    """Each is sent after the complete answers of all earlier ones."""
    kernel.run("from claude_magic import claude")

    kernel.run("replies = [claude.submit(f'Question {n}', thread='crowd') for n in range(12)]")
    kernel.run("for each in replies: each.result()")

    sent = asked(sim)
    assert [len(messages) for messages in sent] == [2 * n + 1 for n in range(12)]
    assert [messages[-1]["content"] for messages in sent] == [f"Question {n}" for n in range(12)]
    assert kernel.value("len(claude.runtime.conversations.threads()[1:])") == "1"


def test_a_question_behind_one_that_is_stopped_goes_on_from_what_had_come(kernel, sim):
    """Stopping a question does not stop those that wait for it."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=2, text="First words, then many more."), reply("Second."))
    kernel.run("from claude_magic import claude\nfirst = claude.submit('One', thread='stopped')")
    kernel.run("import time\nwhile not first.text: time.sleep(0.01)")
    kernel.run(
        "second = claude.submit('Two', thread='stopped')\nwhile second.snapshot().wait is None: time.sleep(0.01)"
    )
    assert kernel.value("second.phase.value, second.snapshot().wait.kind") == "('queued', 'turn')"

    kernel.run("first.cancel(); second.result()")
    gate.open()

    assert kernel.value("second.text") == "'Second.'"
    assert len(asked(sim)[-1]) == 3
    assert "First" in str(asked(sim)[-1][1])
