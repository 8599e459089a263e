"""Turns of a conversation as the server receives them: history, incomplete turns, and budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from claude_magic.client import ClaudeError
from claude_magic.runtime import Phase, Question, Reply, Runtime, Where
from claude_magic.simulator import Gate, Simulator, end_without_stop, hold, reply, status

TIMEOUT = 120.0
When = Callable[[Reply, Callable[[Reply], object]], None]


def ask(runtime: Runtime, prompt: str, *, where: Where | None = None, **options: Any) -> Reply:
    """Ask in the main thread of the conversation."""
    return runtime.start(Question(prompt=prompt, where=where or Where()), **options)


def sent(sim: Simulator, index: int = -1) -> list[dict[str, Any]]:
    """The messages of a request that the simulator has seen."""
    body = sim.requests[index].body
    assert body is not None
    return list(body["messages"])


def roles(sim: Simulator) -> str:
    """The roles of the last request, by their first letters."""
    return "".join(message["role"][0] for message in sent(sim))


def test_what_was_said_before_goes_back_as_it_came(runtime: Runtime, sim: Simulator) -> None:
    """Including thinking and its signature, which current models check."""
    first = ask(runtime, "Name a prime.").result(TIMEOUT)
    ask(runtime, "And the next?").result(TIMEOUT)

    assert first.message is not None
    assert sent(sim) == [
        {"role": "user", "content": "Name a prime."},
        first.message.to_param(),
        {"role": "user", "content": "And the next?"},
    ]
    assert sim.requests[-1].status == 200


def test_a_question_that_stands_alone_sends_and_leaves_nothing(runtime: Runtime, sim: Simulator) -> None:
    """As `claude.ask` does, and `--no-history`."""
    ask(runtime, "Remember 7.").result(TIMEOUT)
    runtime.start("What did I say?").result(TIMEOUT)
    assert len(sent(sim)) == 1

    ask(runtime, "And now?").result(TIMEOUT)
    assert roles(sim) == "uau"


def test_threads_do_not_send_turns_of_each_other(runtime: Runtime, sim: Simulator) -> None:
    """Each has a history of its own."""
    ask(runtime, "I am in the main thread.").result(TIMEOUT)
    ask(runtime, "I am elsewhere.", where=Where(thread="ideas")).result(TIMEOUT)
    assert roles(sim) == "u"

    ask(runtime, "Go on.", where=Where(thread="ideas")).result(TIMEOUT)
    assert roles(sim) == "uau"
    assert sent(sim)[0]["content"] == "I am elsewhere."


def test_a_failed_question_leaves_no_trace_in_the_conversation(runtime: Runtime, sim: Simulator) -> None:
    """It has no answer, and the model would answer both of two consecutive questions."""
    ask(runtime, "One.").result(TIMEOUT)
    sim.script(status(400))
    with pytest.raises(ClaudeError):
        ask(runtime, "Two.").result(TIMEOUT)

    ask(runtime, "Three.").result(TIMEOUT)

    assert [message["content"] for message in sent(sim) if message["role"] == "user"] == ["One.", "Three."]


def test_a_dropped_answer_is_kept_as_far_as_it_came(runtime: Runtime, sim: Simulator) -> None:
    """The next question may refer to it, and the server accepts it."""
    sim.script(end_without_stop(after_deltas=30))
    dropped = ask(runtime, "Tell me about tides, please, at some length.")
    with pytest.raises(ClaudeError):
        dropped.result(TIMEOUT)
    assert dropped.text.strip()

    ask(runtime, "Go on.").result(TIMEOUT)

    assert sent(sim)[1]["content"][-1]["text"] == dropped.text
    assert sim.requests[-1].status == 200


@pytest.mark.parametrize("has_begun", [False, True])
def test_an_interrupted_question_leaves_a_history_that_the_server_accepts(
    runtime: Runtime, sim: Simulator, when: When, has_begun: bool
) -> None:
    """Before the first word nothing is kept, afterwards the partial answer."""
    ask(runtime, "One.").result(TIMEOUT)
    gate = Gate()
    sim.script(hold(gate, after_deltas=30) if has_begun else hold(gate, after_deltas=0))
    stopped = ask(runtime, "Tell me about tides.")
    when(stopped, lambda each: each.text if has_begun else each.phase is Phase.SENT)
    stopped.cancel()
    when(stopped, lambda each: each.done())
    gate.open()

    ask(runtime, "Three.").result(TIMEOUT)

    assert roles(sim) == ("uauau" if has_begun else "uau")
    assert sim.requests[-1].status == 200


def test_a_paused_turn_is_resumed_by_itself(runtime: Runtime, sim: Simulator) -> None:
    """The reply is sent back unchanged, and both parts are one answer with the sum of their tokens."""
    answer = ask(runtime, "!simulate pause_turn\nSearch for tides.").result(TIMEOUT)

    first, second = answer.snapshot().rounds
    assert roles(sim) == "ua"
    assert answer.stop_reason == "end_turn"
    assert answer.usage is not None
    assert answer.usage.output_tokens == first.usage.output_tokens + second.usage.output_tokens

    ask(runtime, "Thanks.").result(TIMEOUT)
    assert roles(sim) == "uaau"
    assert sim.requests[-1].status == 200


def test_a_change_of_the_system_prompt_never_refuses_the_thread(runtime: Runtime, sim: Simulator) -> None:
    """The server drops the thinking that is bound to the previous one, as documented."""
    ask(runtime, "One.", system="You are terse.").result(TIMEOUT)
    ask(runtime, "Two.", system="You are kind.").result(TIMEOUT)
    ask(runtime, "Three.", system="You are kind.").result(TIMEOUT)

    assert [request.status for request in sim.requests] == [200, 200, 200]
    assert roles(sim) == "uauau"


@pytest.mark.parametrize(
    "model", ["claude-haiku-5-5", "claude-opus-4-8", "claude-haiku-4-5", "claude-fable-5-2"]
)
def test_a_change_of_the_model_never_refuses_the_thread(runtime: Runtime, sim: Simulator, model: str) -> None:
    """And back again."""
    ask(runtime, "One.").result(TIMEOUT)
    ask(runtime, "Two.", model=model).result(TIMEOUT)
    ask(runtime, "Three.").result(TIMEOUT)

    assert [request.status for request in sim.requests] == [200, 200, 200]
    assert roles(sim) == "uauau"


def test_a_short_name_becomes_the_newest_model_of_its_line(runtime: Runtime, sim: Simulator) -> None:
    """By the server's list, which is requested once."""
    first = ask(runtime, "One.", model="opus").result(TIMEOUT)
    ask(runtime, "Two.", model="opus").result(TIMEOUT)

    assert first.model == "claude-opus-5-5"
    assert [request.path.partition("?")[0] for request in sim.requests].count("/v1/models") == 1


def test_a_model_that_nobody_knows_is_asked_for_and_then_explained(runtime: Runtime, sim: Simulator) -> None:
    """Promise: the name is sent unchanged; the server's error gets a suggestion."""
    with pytest.raises(ClaudeError, match=r"model: opsu.*Did you mean opus\?"):
        ask(runtime, "One.", model="opsu").result(TIMEOUT)

    assert sim.requests[-1].body["model"] == "opsu"


def test_a_budget_refuses_before_anything_is_sent(runtime: Runtime, sim: Simulator) -> None:
    """The token count is free; the message is not sent."""
    runtime.ledger.set_budget(0.01)

    refused = ask(runtime, "Tell me everything.")
    with pytest.raises(ClaudeError, match="budget"):
        refused.result(TIMEOUT)

    assert all(request.path.endswith("count_tokens") for request in sim.requests)
    runtime.ledger.set_budget(None)
    assert ask(runtime, "Tell me everything.").result(TIMEOUT).phase is Phase.COMPLETE


def test_a_reply_that_says_nothing_is_not_sent_back(runtime: Runtime, sim: Simulator) -> None:
    """The API rejects an empty turn, so the conversation continues without it."""
    ask(runtime, "One.").result(TIMEOUT)
    sim.script(reply(""))
    ask(runtime, "Two.").result(TIMEOUT)

    ask(runtime, "Three.").result(TIMEOUT)

    assert roles(sim) in ("uau", "uauau")
    assert sim.requests[-1].status == 200
