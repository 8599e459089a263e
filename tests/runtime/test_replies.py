"""A reply from start to end, over real sockets, on different threads and loops."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_magic.client import (
    ClaudeError,
    ConfigurationError,
    InvalidApiKeyError,
    OverloadedError,
    StreamInterruptedError,
)
from claude_magic.context import interpolate
from claude_magic.conversation import save_forest
from claude_magic.render import render_history
from claude_magic.runtime import Phase, Question, Reply, Runtime, Where
from claude_magic.runtime._settings import DEFAULT_MODEL
from claude_magic.simulator import (
    Behaviour,
    Gate,
    Simulator,
    close_mid_stream,
    end_without_stop,
    error_event,
    hold,
    reply,
    reset_mid_stream,
    slow_headers,
    status,
    stream_events,
)
from claude_magic.tools import Toolbox, WaitingExecutor

SONNET = "claude-sonnet-5-5"
TIMEOUT = 120.0
When = Callable[[Reply, Callable[[Reply], object]], None]
MakeRuntime = Callable[..., Runtime]


def test_a_reply_holds_text_message_usage_and_where_it_came_from(runtime: Runtime, sim: Simulator) -> None:
    """The content is available in all forms."""
    sim.script(reply("Two and three.", thinking="Small ones.", usage={"output_tokens": 7}))

    answer = runtime.start("Name two primes.").result(TIMEOUT)

    assert answer.text == "Two and three."
    assert answer.thinking == "Small ones."
    assert answer.message is not None
    assert answer.message.text == answer.text
    assert answer.usage is not None
    assert answer.usage.output_tokens == 7
    assert (answer.phase, answer.stop_reason, answer.model) == (
        Phase.COMPLETE,
        "end_turn",
        "claude-sonnet-5-5",
    )
    assert (answer.request_id or "").startswith("req_")
    assert answer.is_simulated
    assert answer.error is None
    assert answer.done()


def partial_stream(text: str, **usage: int) -> Behaviour:
    """A stream that reports its input tokens, sends this text, and then stops without an end."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": []}
    start = {
        "type": "message_start",
        "message": {**message, "usage": {"input_tokens": 1000, "output_tokens": 1, **usage}},
    }
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    words = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return stream_events(start, block, *([words] if text else []), end="chunk")


CUT = {
    "cut": partial_stream("tide " * 2000),
    "reset": reset_mid_stream(after_events=400, text="tide " * 2000),
    "closed": close_mid_stream(after_events=400, text="tide " * 2000),
    "error": error_event(after_deltas=400, text="tide " * 2000),
    "no message_stop": end_without_stop(after_deltas=400, text="tide " * 2000),
}


@pytest.mark.parametrize("ending", CUT)
def test_what_a_broken_answer_cost_is_estimated_from_what_came(
    ending: str, make_runtime: MakeRuntime, sim: Simulator
) -> None:
    """The server says 1 token until the end. Reply, usage table and budget have the same amount, marked as an estimate."""
    sim.script(CUT[ending])
    runtime = make_runtime(ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url)

    answer = runtime.start("Write.")
    with pytest.raises(ClaudeError):
        answer.result(TIMEOUT)

    check_estimate(runtime, answer, characters=len(answer.text))
    assert len(answer.text) > 1000


def test_what_a_stopped_answer_cost_is_estimated_from_what_came(
    runtime: Runtime, sim: Simulator, when: When
) -> None:
    """While it streams, and the same in the end."""
    sim.script(hold(Gate(), text="tide " * 2000))
    answer = runtime.start("Write.")
    when(answer, lambda each: each.text)
    on_the_way = answer.usage
    answer.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        answer.result(TIMEOUT)

    check_estimate(runtime, answer, characters=len(answer.text))
    assert answer.usage == on_the_way


def check_estimate(runtime: Runtime, answer: Reply, *, characters: int) -> None:
    usage, message = answer.usage, answer.message
    assert usage is not None
    assert message is not None
    assert message.usage.is_estimate
    assert "is_estimate=True" in repr(usage)
    assert characters / 5 <= usage.output_tokens <= characters / 2 + 1
    assert answer.cost == pytest.approx((usage.input_tokens * 2 + usage.output_tokens * 10) / 1e6)
    assert answer.snapshot().is_estimate
    (row,) = runtime.ledger.rows()
    assert (row.estimated, row.output_tokens, row.cost) == (1, usage.output_tokens, answer.cost)
    account = runtime.ledger.account(is_simulated=row.is_simulated)
    assert (account.spent, account.is_estimate, account.reserved) == (answer.cost, True, 0)


def test_a_reply_acts_on_its_text_where_a_string_would(runtime: Runtime, sim: Simulator) -> None:
    """`str`, f-strings, `len`, `in` and `==` use the text, but a reply is not a string."""
    sim.script(reply("four"), reply("four"))

    answer, other = runtime.start("2 + 2?").result(TIMEOUT), runtime.start("2 + 2?").result(TIMEOUT)

    assert str(answer) == "four"
    assert f"{answer}!{answer:>6}" == "four!  four"
    assert len(answer) == 4
    assert "ou" in answer
    assert 4 not in answer
    assert answer == "four"
    assert answer != "five"
    assert answer != other
    assert not isinstance(answer, str)
    assert {answer, other, answer} == {other, answer}


def test_a_reply_in_a_prompt_is_all_of_its_text(runtime: Runtime, sim: Simulator) -> None:
    """As with a string, at any length."""
    sim.script(reply("A long answer. " * 5_000))

    answer = runtime.start("Go on.").result(TIMEOUT)

    assert interpolate("Shorten {{ answer }}!", {"answer": answer}).text == f"Shorten {answer.text}!"


def test_a_reply_streams_while_nobody_waits_for_it(runtime: Runtime, sim: Simulator, when: When) -> None:
    """Its text grows on the bridge thread, whatever the calling thread does."""
    gate = Gate()
    sim.script(hold(gate, after_deltas=1, text="one two three four five six seven"))

    answer = runtime.start("Count.")
    when(answer, lambda it: it.phase is Phase.STREAMING)
    partial = answer.snapshot()
    gate.open()
    answer.result(TIMEOUT)

    assert 0 < len(partial.text) < len(answer.text)
    assert not partial.blocks[0].is_complete
    assert partial.version < answer.snapshot().version
    assert answer.text == "one two three four five six seven"


def test_observers_are_called_for_every_change_and_the_end(runtime: Runtime, sim: Simulator) -> None:
    """The text grows to its end, and the last call has the final state."""
    sim.script(reply(chunks=["a", "b", "c", "d"]))
    seen: list[tuple[str, Phase, str]] = []

    answer = runtime.start("Spell.")
    answer.observe(lambda it: seen.append((it.text, it.phase, threading.current_thread().name)))
    answer.result(TIMEOUT)

    texts = [text for text, _, _ in seen]
    assert texts == sorted(texts, key=len)
    assert seen[-1][:2] == ("abcd", Phase.COMPLETE)
    assert {name for _, _, name in seen} == {"claude-magic-bridge"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_observer_that_raises_costs_nobody_the_reply(
    runtime: Runtime, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of a callback is logged; the reply and the other observers continue."""
    gate = Gate()
    sim.script(hold(gate, text="fine all the same"))
    calls: list[str] = []

    def fail(_: Reply) -> None:
        raise ZeroDivisionError

    answer = runtime.start("Go.")
    answer.observe(fail)
    forget = answer.observe(lambda it: calls.append(it.text))
    gate.open()
    answer.result(TIMEOUT)
    forget()

    assert answer == "fine all the same"
    assert calls[-1] == "fine all the same"
    assert "ZeroDivisionError" in caplog.text


def test_when_done_calls_once_also_for_a_reply_that_is_done(runtime: Runtime) -> None:
    """Whenever the callback is registered; an unregistered one is not called."""
    calls: list[str] = []
    answer = runtime.start("Hello")
    answer.when_done(lambda: calls.append("before"))
    forget = answer.when_done(lambda: calls.append("never"))
    forget()

    answer.result(TIMEOUT)
    answer.when_done(lambda: calls.append("after"))

    assert calls == ["before", "after"]


def test_a_failed_reply_raises_its_error_and_keeps_its_text(runtime: Runtime, sim: Simulator) -> None:
    """`text` has the partial answer, and each call of `result` raises the same error."""
    sim.script(
        error_event("overloaded_error", after_deltas=2, text="one two three four five six seven eight")
    )

    answer = runtime.start("Count.")
    with pytest.raises(OverloadedError) as raised:
        answer.result(TIMEOUT)

    assert answer.phase is Phase.FAILED
    assert raised.value is answer.error
    assert answer.text.startswith("one two")
    assert answer.error.partial is not None
    assert answer.error.partial.text == answer.text
    assert answer.message is not None
    assert answer.message.text == answer.text


def test_s2_a_dropped_stream_keeps_the_partial_text(runtime: Runtime, sim: Simulator) -> None:
    """A dropped connection has its own error class, and the next question works."""
    sim.script(reset_mid_stream(after_events=5, text="one two three four five six seven eight nine ten"))

    answer = runtime.start("Count.")
    with pytest.raises(StreamInterruptedError):
        answer.result(TIMEOUT)

    assert answer.text.startswith("one")
    assert runtime.start("Again.").result(TIMEOUT).phase is Phase.COMPLETE


def test_raising_the_same_error_again_does_not_lengthen_its_traceback(
    runtime: Runtime, sim: Simulator
) -> None:
    """The traceback of a failed reply does not grow with each `result()`."""
    sim.script(status(401))
    answer = runtime.start("Hello")
    lengths = []

    for _ in range(5):
        with pytest.raises(InvalidApiKeyError) as raised:
            answer.result(TIMEOUT)
        lengths.append(len(traceback.extract_tb(raised.value.__traceback__)))

    assert len(set(lengths)) == 1


def test_replies_can_be_awaited_on_any_loop_and_from_several_at_once(
    runtime: Runtime, sim: Simulator
) -> None:
    """Tasks on the loops of several threads get the same result."""
    gate = Gate()
    sim.script(hold(gate, text="for everybody"))
    answer = runtime.start("Share.")

    async def wait() -> str:
        async with asyncio.timeout(TIMEOUT):
            return str(await answer)

    async def main() -> list[str]:
        others = [asyncio.to_thread(asyncio.run, wait()) for _ in range(3)]
        waiting = asyncio.gather(wait(), wait(), *others)
        await asyncio.sleep(0)
        gate.open()
        return await waiting

    assert asyncio.run(main()) == ["for everybody"] * 5


def test_c1_threads_and_loops_share_one_client_and_its_connections(runtime: Runtime, sim: Simulator) -> None:
    """Sequential questions from a thread, a loop and the main thread use one TCP connection."""
    runtime.start("one").result(TIMEOUT)
    thread = threading.Thread(target=lambda: runtime.start("two").result(TIMEOUT))
    thread.start()
    thread.join(TIMEOUT)

    async def ask() -> None:
        await runtime.start("three")

    asyncio.run(ask())

    assert len(sim.requests) == 3
    assert sim.connections == 1


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(runtime: Runtime, sim: Simulator) -> None:
    """Concurrent questions are neither mixed up nor lost, and share one bridge."""
    before = set(threading.enumerate())
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        prompts = [f"Say exactly: the number {number}" for number in range(48)]
        answers = list(pool.map(lambda prompt: runtime.start(prompt).result(TIMEOUT), prompts))

    assert all(prompt == f"Say exactly: {answer}" for prompt, answer in zip(prompts, answers, strict=True))
    bridges = [thread for thread in threading.enumerate() if thread.name == "claude-magic-bridge"]
    assert len([thread for thread in bridges if thread not in before]) == 1


def test_waiting_with_a_timeout_leaves_the_reply_running(runtime: Runtime, sim: Simulator) -> None:
    """The timeout ends the wait, not the reply."""
    gate = Gate()
    sim.script(hold(gate, text="late"))
    answer = runtime.start("Take your time.")

    with pytest.raises(TimeoutError):
        answer.result(0.01)
    gate.open()

    assert answer.result(TIMEOUT) == "late"


def test_a_retry_is_reported_with_its_reason_and_countdown(
    make_runtime: MakeRuntime, sim: Simulator, when: When
) -> None:
    """During a back-off, the snapshot has the reason, the end of the wait, and the number of the next attempt."""
    runtime = make_runtime(ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url)
    sim.script(status(529))

    answer = runtime.start("Hello")
    when(answer, lambda it: it.phase is Phase.RETRYING)
    wait = answer.snapshot().wait
    answer.cancel()

    assert wait is not None
    assert (wait.kind, wait.reason, wait.attempt, wait.max_attempts) == ("backoff", "overloaded", 2, 4)
    assert 0 < wait.remaining() <= 10


def test_a_retried_reply_ends_complete_and_shows_both_attempts(
    make_runtime: MakeRuntime, sim: Simulator
) -> None:
    """A failure before the first text is retried invisibly, and recorded."""
    runtime = make_runtime(
        ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_INITIAL_BACKOFF="0.01"
    )
    sim.script(status(500), reply("at last"))

    answer = runtime.start("Hello").result(TIMEOUT)

    assert answer == "at last"
    assert [attempt.status for attempt in answer.snapshot().attempts] == [500, 200]
    assert answer.snapshot().wait is None


# Cancelling, wherever the reply is.


def _assert_cancelled(answer: Reply, runtime: Runtime) -> None:
    with pytest.raises(concurrent.futures.CancelledError):
        answer.result(TIMEOUT)
    assert answer.phase is Phase.CANCELLED
    assert answer.error is None
    assert answer not in runtime.in_flight()


def test_cancelling_in_mid_stream_keeps_the_text_and_closes_the_connection(
    runtime: Runtime, sim: Simulator, when: When, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """The server sees the disconnect, the partial text is kept, and the pool works for the next question."""
    sim.script(hold(Gate(), after_deltas=2, text="one two three four five six seven"))
    answer = runtime.start("Count.")
    when(answer, lambda it: it.phase is Phase.STREAMING)

    answer.cancel()

    _assert_cancelled(answer, runtime)
    assert answer.text.startswith("one")
    assert answer.message is not None
    assert answer.message.text == answer.text
    eventually(lambda: sim.requests[0].client_gone)
    assert runtime.start("Hello").result(TIMEOUT).phase is Phase.COMPLETE


def test_cancelling_before_the_first_byte_ends_at_once(
    runtime: Runtime, sim: Simulator, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """A silent server does not block a cancelled reply."""
    sim.script(slow_headers(3600))
    answer = runtime.start("Hello")
    eventually(lambda: sim.requests)

    answer.cancel()

    _assert_cancelled(answer, runtime)
    assert answer.text == ""
    assert answer.message is None
    eventually(lambda: sim.requests[0].client_gone)


def test_cancelling_in_back_off_ends_at_once(make_runtime: MakeRuntime, sim: Simulator, when: When) -> None:
    """A reply that waits for its next attempt ends immediately, without that attempt."""
    runtime = make_runtime(
        ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_INITIAL_BACKOFF="200"
    )
    sim.script(status(529))
    answer = runtime.start("Hello")
    when(answer, lambda it: it.phase is Phase.RETRYING)

    answer.cancel()

    _assert_cancelled(answer, runtime)
    assert len(sim.requests) == 1


def test_l2_cancelling_in_the_limiter_gives_the_place_to_the_next(
    make_runtime: MakeRuntime, sim: Simulator, when: When
) -> None:
    """A cancelled reply leaves the queue, and later ones move up."""
    runtime = make_runtime(
        ANTHROPIC_API_KEY="k", ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_RATE_LIMIT_RPS="0.2"
    )
    runtime.start("takes the one token").result(TIMEOUT)
    answer = runtime.start("waits")
    when(answer, lambda it: it.snapshot().wait is not None)
    follower = runtime.start("waits behind it")
    when(follower, lambda it: it.snapshot().wait is not None)

    answer.cancel()

    _assert_cancelled(answer, runtime)
    assert follower.result(TIMEOUT).phase is Phase.COMPLETE
    assert len(sim.requests) == 2


def test_cancelling_at_once_sends_nothing_and_ends(runtime: Runtime, sim: Simulator) -> None:
    """A reply that is cancelled before its first step on the bridge becomes final as well."""
    is_blocked, may_go_on = threading.Event(), threading.Event()

    async def block(_client: object) -> None:
        is_blocked.set()
        may_go_on.wait(TIMEOUT)

    runtime.submit(block)
    assert is_blocked.wait(TIMEOUT)
    answers = [runtime.start("Hello") for _ in range(20)]
    for answer in answers:
        answer.cancel()
    may_go_on.set()

    for answer in answers:
        answer.when_done(lambda: None)
        with pytest.raises(concurrent.futures.CancelledError):
            answer.result(TIMEOUT)
    assert not sim.requests


def test_cancelling_twice_or_too_late_does_nothing(runtime: Runtime) -> None:
    """A complete reply stays complete."""
    answer = runtime.start("Hello").result(TIMEOUT)

    answer.cancel()
    answer.cancel()

    assert answer.result(TIMEOUT).phase is Phase.COMPLETE


def test_cancelling_the_task_that_awaits_a_reply_leaves_the_reply_alone(
    runtime: Runtime, sim: Simulator
) -> None:
    """Others may wait for it too, so only `cancel()` ends it."""
    gate = Gate()
    sim.script(hold(gate, text="goes on"))
    answer = runtime.start("Hello")

    async def main() -> None:
        async def wait() -> None:
            await answer

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gate.open()

    assert answer.result(TIMEOUT) == "goes on"


def test_awaiting_a_cancelled_reply_raises_asyncios_own_error(runtime: Runtime, sim: Simulator) -> None:
    """Like awaiting a cancelled task."""
    sim.script(hold(Gate()))
    answer = runtime.start("Hello")
    answer.cancel()

    async def main() -> None:
        await answer

    with pytest.raises(asyncio.CancelledError, match="cancelled"):
        asyncio.run(main())


# What is wrong before anything is sent.


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_an_empty_prompt_is_refused_before_anything_is_sent(
    runtime: Runtime, sim: Simulator, prompt: str
) -> None:
    """It contains no question."""
    with pytest.raises(ConfigurationError, match="prompt is empty"):
        runtime.start(prompt)

    assert runtime.last is None
    assert not sim.requests


def test_a_prompt_that_is_no_string_is_a_type_error(runtime: Runtime) -> None:
    """The message names the type that was given."""
    with pytest.raises(TypeError, match="int"):
        runtime.start(17)  # type: ignore[arg-type]


def test_f1_a_bad_option_is_refused_with_what_is_accepted(runtime: Runtime, sim: Simulator) -> None:
    """The message contains option, value and accepted values."""
    with pytest.raises(ConfigurationError, match=r"effort is 'hihg' and .*'high'.* Nothing was sent"):
        runtime.start("Hello", effort="hihg")

    assert not sim.requests


def test_f1_an_option_with_a_typo_is_refused(runtime: Runtime, sim: Simulator) -> None:
    """The message suggests the setting that may have been meant."""
    for start in (
        lambda: runtime.start("Hello", modle="opus"),
        lambda: runtime.start(Question(prompt="Hello", settings={"modle": "opus"})),
    ):
        with pytest.raises(ConfigurationError, match=r"no setting 'modle'\. Did you mean model"):
            start()

    assert not sim.requests


def test_an_option_overrides_a_setting_of_the_question_and_none_does_not(
    runtime: Runtime, sim: Simulator
) -> None:
    """What neither gives is taken from the settings of the session."""
    question = Question(prompt="Hello", settings={"max_tokens": 50, "system": "Be brief.", "effort": None})

    runtime.start(question, max_tokens=60, system=None, model="claude-haiku-4-5").result(TIMEOUT)
    runtime.start(question).result(TIMEOUT)

    assert [
        (each.body["model"], each.body["max_tokens"], each.body["system"], each.body.get("output_config"))
        for each in sim.requests
    ] == [("claude-haiku-4-5", 60, "Be brief.", None), (DEFAULT_MODEL, 50, "Be brief.", None)]


def test_f1_a_missing_key_is_a_clear_error_at_first_use(make_runtime: MakeRuntime) -> None:
    """A runtime can be created without a key; asking raises an error with the three remedies."""
    runtime = make_runtime()

    with pytest.raises(ConfigurationError, match=r"ANTHROPIC_API_KEY.*login.*demo on"):
        runtime.start("Hello")


def test_a_lone_surrogate_in_the_prompt_is_mended(runtime: Runtime, sim: Simulator) -> None:
    """Lone surrogates, as in broken files, do not prevent the question."""
    assert runtime.start("broken \ud83d character").result(TIMEOUT).phase is Phase.COMPLETE

    assert sim.requests[0].body["messages"][0]["content"] == "broken \ufffd character"


def test_half_an_emoji_anywhere_leaves_a_conversation_that_is_shown_saved_and_sent_again(
    runtime: Runtime, sim: Simulator, tmp_path: Path
) -> None:
    """Promise: a lone surrogate, of the user, a system prompt, a tool or the server, is one U+FFFD from then on, everywhere."""

    def look() -> dict[str, str]:
        """Look."""
        return {"seen": "half \ud83d"}

    where = Where(thread="halves")
    call = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    begun = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        for text in ("whole \ud83d", "\ude00, half \ud83d", " and \ude00")
    ]
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
    sim.script(
        reply(content=[call], stop_reason="tool_use"),
        stream_events(
            {"type": "message_start", "message": message},
            begun,
            *deltas,
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ),
    )
    tools = WaitingExecutor(Toolbox([look]), approve=None)
    first = runtime.start(
        Question(prompt="mine \ud83d", where=where, tools=tools), system="be \ude00 brief"
    ).result(TIMEOUT)
    save_forest(runtime.conversations.forest(), tmp_path / "t.json")
    runtime.start(Question(prompt="again", where=where), system="be \ude00 brief").result(TIMEOUT)

    assert first.text == "whole 😀, half \ufffd and \ufffd"
    assert "mine \ufffd" in (tmp_path / "t.json").read_text(encoding="utf-8")
    render_history(runtime.conversations.forest()).data["text/plain"].encode()
    sent = json.dumps(sim.requests[-1].body, ensure_ascii=False)
    sent.encode()
    for part in ("mine \ufffd", "whole 😀, half \ufffd and \ufffd", "be \ufffd brief", "half \ufffd"):
        assert part in sent
