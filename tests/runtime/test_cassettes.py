"""Answers from a cassette: recorded while they stream, replayed without a server, through the common client interface."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from claude_magic.bulk import MapRequest, make_plan, origin_of
from claude_magic.bulk._display import describe_end
from claude_magic.client import ConfigurationError, InvalidRequestError, MessageRequest
from claude_magic.notebook._line import Line
from claude_magic.notebook._options import Options
from claude_magic.notebook._question import continue_answer
from claude_magic.runtime import CassetteError, NotRecordedError, Phase, Question, Reply, Runtime, Where
from claude_magic.simulator import Simulator, scenario
from claude_magic.tools import Toolbox, WaitingExecutor

from .conftest import KEY, MakeRuntime

TIMEOUT = 120.0
FILE = Path("claude.cassette.jsonl")


def sent(sim: Simulator) -> int:
    """Return the number of questions that have reached the server."""
    return len([seen for seen in sim.requests if seen.path == "/v1/messages"])


def lines() -> list[dict[str, Any]]:
    """The recordings in the file."""
    found = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    return [each for each in found if "key" in each]


def ask(runtime: Runtime, prompt: str, **options: Any) -> Reply:
    return runtime.start(prompt, **{"replay": "auto", **options}).result(TIMEOUT)


def stub_cell(runtime: Runtime) -> Any:
    """The parts of a cell that `%claude continue` uses."""
    return SimpleNamespace(
        runtime=runtime,
        key="c",
        next_key="c",
        name="In[2]",
        names=dict,
        record_asking_in=lambda _thread: False,
    )


@pytest.fixture
def offline(make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Runtime]:
    """Creates the runtime of another kernel without a key, on a machine where no socket can be opened."""

    def make(**variables: str) -> Runtime:
        runtime = make_runtime(**{"CLAUDE_MAGIC_REPLAY": "only", **variables})

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise AssertionError("a socket was opened")

        for name in ("connect", "connect_ex", "bind"):
            monkeypatch.setattr(socket.socket, name, refuse)
        return runtime

    return make


def test_what_was_recorded_is_replayed_without_a_key_or_a_socket(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """The same text, usage, price and request id; it cost once, and the account of the second kernel is empty."""
    first = ask(runtime, "Name three primes.")
    asked = sent(sim)

    other = offline()
    second = other.start("Name three primes.").result(TIMEOUT)

    assert asked == sent(sim) == 1
    assert (second.text, second.thinking, second.usage) == (first.text, first.thinking, first.usage)
    assert second.message == first.message
    assert (second.cost, second.request_id) == (first.cost, first.request_id)
    assert (first.snapshot().is_replay, second.snapshot().is_replay) == (False, True)
    assert first.is_simulated
    assert second.is_simulated
    assert other.ledger.rows() == ()
    assert other.limiter_state().level == other.limiter_state().capacity


def test_auto_asks_only_what_is_missing(runtime: Runtime, sim: Simulator) -> None:
    """In one kernel as well: recorded answers cost nothing, with any budget."""
    ask(runtime, "Name a tree.")
    runtime.ledger.set_budget(0.0)

    assert ask(runtime, "Name a tree.").snapshot().is_replay
    with pytest.raises(ConfigurationError, match="budget"):
        ask(runtime, "Name a bird.")
    assert (sent(sim), len(lines())) == (1, 1)


def test_record_asks_again_and_replaces(runtime: Runtime, sim: Simulator, make_runtime: MakeRuntime) -> None:
    """The new answer takes the place of the old one."""
    ask(runtime, "Name a tree.")
    ask(runtime, "Name a bird.")
    before = lines()
    again = make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim.url)

    ask(again, "Name a tree.", replay="record")

    after = lines()
    assert sent(sim) == 3
    assert [each["key"] for each in after] == [each["key"] for each in before]
    assert after[0]["request_id"] != before[0]["request_id"]
    assert after[1] == before[1]


def test_what_is_asked_several_times_is_replayed_in_order(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """The last answer is used for the rest."""
    first = [ask(runtime, "Roll a die.", replay="record").request_id for _ in range(3)]
    assert len(set(first)) == 3

    other = offline()
    assert [other.start("Roll a die.").result(TIMEOUT).request_id for _ in range(4)] == [*first, first[-1]]


def test_off_neither_reads_nor_writes(runtime: Runtime, sim: Simulator) -> None:
    """It is the default."""
    FILE.write_text("no cassette")
    for replay in (None, "off"):
        ask(runtime, "Name a tree.", replay=replay)

    assert sent(sim) == 2
    assert FILE.read_text() == "no cassette"


def test_a_missing_answer_says_what_differs(runtime: Runtime, offline: Callable[..., Runtime]) -> None:
    """A specific error, and nothing is sent."""
    ask(runtime, "Write about three lighthouses.")
    other = offline()

    with pytest.raises(NotRecordedError) as raised:
        other.start("Write about four lighthouses.", model="claude-opus-5-5").result(TIMEOUT)

    assert "- Write about three lighthouses." in str(raised.value)
    assert "+ Write about four lighthouses." in str(raised.value)
    assert "model: - claude-sonnet-5-5  + claude-opus-5-5" in str(raised.value)
    assert isinstance(raised.value, ConfigurationError)


def test_auto_without_a_key_answers_what_it_can(runtime: Runtime, make_runtime: MakeRuntime) -> None:
    """A key is required only for missing answers."""
    ask(runtime, "Name a tree.")
    other = make_runtime()

    assert ask(other, "Name a tree.").snapshot().is_replay
    with pytest.raises(ConfigurationError, match="There is no API key"):
        ask(other, "Name a bird.")


def test_a_conversation_is_replayed_as_a_whole(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """Its turns have the same ids, because the ids are stored in the notebook."""

    def talk(runtime: Runtime, **options: Any) -> list[tuple[str, str, str | None]]:
        found = []
        for prompt in ("My name is Ada.", "What is my name?"):
            question = Question(prompt=prompt, where=Where(thread="t"))
            reply = runtime.start(question, **options).result(TIMEOUT)
            turn = reply.snapshot().turn
            assert turn is not None
            found.append((reply.text, turn.id, turn.parent))
        return found

    first = talk(runtime, replay="auto")
    asked = sent(sim)

    assert talk(offline()) == first
    assert (asked, sent(sim)) == (2, 2)
    assert lines()[1]["request"]["earlier"]["messages"] == 2
    assert first[1][2] == first[0][1]


def test_the_rest_of_a_cut_answer_is_recorded_and_replayed_as_its_beginning_was(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """By the option of the original cell, with any model; in a thread and standalone."""

    def run(runtime: Runtime, where: Where | None, replay: str, **options: Any) -> str:
        question = Question(prompt="!simulate max_tokens\nTell of tides.", where=where)
        first = runtime.start(question, replay=replay).result(TIMEOUT)
        _line, rest = continue_answer(Line(options=Options(**options)), stub_cell(runtime))
        return first.text + "|" + runtime.start(rest).result(TIMEOUT).text

    cases = [(Where(thread="t"), {}), (None, {}), (Where(thread="u"), {"model": "claude-haiku-4-5"})]
    first = [run(runtime, where, "auto", **options) for where, options in cases]
    assert sent(sim) == len(lines()) == 1 + len(cases)  # the beginning is the same question each time

    other = offline(CLAUDE_MAGIC_REPLAY="off")
    assert [run(other, where, "only", **options) for where, options in cases] == first
    assert sent(sim) == 1 + len(cases)


def test_a_continuation_follows_its_own_option_and_the_setting_of_its_time(
    make_runtime: MakeRuntime, sim: Simulator
) -> None:
    """Only options of the question itself are reused."""
    runtime = make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_REPLAY="auto")
    for replay in (None, "record"):
        question = Question(
            prompt="!simulate max_tokens\nTell of tides.", where=Where(thread="t", is_new=True)
        )
        runtime.start(question, replay=replay).result(TIMEOUT)
        _, rest = continue_answer(Line(), stub_cell(runtime))
        assert rest.settings.get("replay") == replay
        _, rest = continue_answer(Line(options=Options(replay="off")), stub_cell(runtime))
        assert rest.settings["replay"] == "off"


def test_the_same_turn_twice_has_two_ids(runtime: Runtime) -> None:
    """One answers the other cell's question at the same position."""
    ids = set()
    for _ in range(3):
        question = Question(prompt="Hello.", where=Where(thread="t", is_new=True))
        turn = runtime.start(question, replay="auto").result(TIMEOUT).snapshot().turn
        assert turn is not None
        ids.add(turn.id)

    assert len(ids) == 3


def test_rounds_of_tools_are_replayed_and_the_tools_run(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """Tools are the user's code, so they run again."""
    calls = []

    def weather(city: str) -> str:
        """Return the weather."""
        calls.append(city)
        return "rain"

    def run(runtime: Runtime, **options: Any) -> str:
        tools = WaitingExecutor(Toolbox.of([weather]), approve=None)
        question = Question(prompt="What is the weather in Oslo?", tools=tools)
        return runtime.start(question, **options).result(TIMEOUT).text

    text = run(runtime, replay="auto")
    asked = sent(sim)
    assert asked >= 2

    assert run(offline()) == text
    assert sent(sim) == asked
    assert len(calls) == 2


ODD_STREAMS = [
    "unknown_event",
    "unknown_delta",
    "unknown_block",
    "unknown_fields",
    "ping_storm",
    "two_message_deltas",
    "no_usage_in_delta",
    "overlapping_blocks",
    "split_utf8",
    "refusal",
    "refusal_mid_stream",
    "max_tokens",
    "empty_answer",
    "thinking_only",
    "long_answer",
    "eof_after_stop_reason",
]


def test_whatever_came_is_replayed_alike(
    make_runtime: MakeRuntime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """Unknown events, interleaved blocks, split characters: the message and the display are the same."""
    recording = make_runtime(
        ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_LENIENT_STREAM_END="1"
    )
    live = {name: ask(recording, f"!simulate {name}\nTell of tides.") for name in ODD_STREAMS}

    other = offline()
    for name, first in live.items():
        second = other.start(f"!simulate {name}\nTell of tides.").result(TIMEOUT)
        assert second.message == first.message, name
        assert second.snapshot().blocks == first.snapshot().blocks, name
        assert second.usage == first.usage, name


def test_short_names_mean_the_same_in_a_replay(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """The server's list of models is recorded, too, because the built-in table may name another model."""
    sim.models = (
        [model for model in sim.models if model.id != "claude-opus-5-5"] if hasattr(sim, "models") else []
    )
    first = ask(runtime, "Name a tree.", model="opus")

    second = offline().start("Name a tree.", model="opus").result(TIMEOUT)

    assert second.model == first.model
    assert '{"models": ' in FILE.read_text()


# What never gets in


def test_no_key_gets_in(make_runtime: MakeRuntime, sim: Simulator) -> None:
    """Neither verbatim nor encoded, neither from the prompt nor from the response; no headers either."""
    secret = "sk-ant-test-qX7pLk29Vbn4Zr81"
    forms = [secret, quote(secret, safe="").replace("-", "%2D"), base64.b64encode(secret.encode()).decode()]
    runtime = make_runtime(
        ANTHROPIC_API_KEY=secret,
        ANTHROPIC_BASE_URL=sim.url,
        ANTHROPIC_CUSTOM_HEADERS="X-Gateway: gateway-secret-77",
        CLAUDE_MAGIC_RECORD_ERRORS="1",
    )
    for form in forms:
        question = Question(prompt=f"Say exactly: {form}", is_raw=True)
        runtime.start(question, replay="auto").result(TIMEOUT)
    with pytest.raises(Exception, match=r"invalid|key"):
        runtime.start("!simulate invalid_key", replay="auto").result(TIMEOUT)

    data = FILE.read_text(encoding="utf-8")
    assert len(lines()) >= 2
    assert not [form for form in forms if form in data]
    assert "gateway-secret-77" not in data
    assert "[REDACTED]" in data


def test_a_redacted_value_neither_gets_in_nor_counts(
    runtime: Runtime, offline: Callable[..., Runtime]
) -> None:
    """A conversation whose answer repeats it is still found."""

    def talk(runtime: Runtime, password: str, **options: Any) -> list[bool]:
        found = []
        for prompt in (f"Say exactly: password = '{password}'", "Again, please."):
            question = Question(prompt=prompt, where=Where(thread="t"), is_raw=True)
            found.append(runtime.start(question, **options).result(TIMEOUT).snapshot().is_replay)
        return found

    talk(runtime, "hunter2-Zeppelin", replay="auto")

    assert "hunter2" not in FILE.read_text()
    assert talk(offline(), "another-Password9") == [True, True]


# Errors and interruptions


def test_errors_are_not_recorded_unless_asked(runtime: Runtime, sim: Simulator) -> None:
    """So running it again asks again."""
    for _ in range(2):
        with pytest.raises(InvalidRequestError):
            ask(runtime, "!simulate bad_request")

    assert not FILE.exists()


def test_errors_are_recorded_on_request_and_come_back(
    make_runtime: MakeRuntime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """With the partial answer."""
    recording = make_runtime(
        ANTHROPIC_API_KEY=KEY,
        ANTHROPIC_BASE_URL=sim.url,
        CLAUDE_MAGIC_RECORD_ERRORS="1",
        CLAUDE_MAGIC_MAX_RETRIES="0",
    )
    prompt = "!simulate error_after_text\nCount to twenty."
    live = recording.start(prompt, replay="auto")
    with pytest.raises(Exception) as failed:
        live.result(TIMEOUT)

    again = offline().start(prompt)
    with pytest.raises(type(failed.value)) as raised:
        again.result(TIMEOUT)

    assert str(raised.value) == str(failed.value)
    assert again.text == live.text
    assert again.phase is Phase.FAILED


def test_an_interrupted_answer_is_recorded_on_request(
    make_runtime: MakeRuntime, sim: Simulator, when: Any, eventually: Any
) -> None:
    """It is replayed as an interrupted answer."""
    variables = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": sim.url, "CLAUDE_MAGIC_REPLAY": "auto"}
    recording = make_runtime(**variables, CLAUDE_MAGIC_RECORD_ERRORS="1")
    prompt = "!simulate stall\nTell a long story."
    reply = recording.start(prompt)
    when(reply, lambda reply: reply.phase is Phase.STREAMING)
    reply.cancel()
    with pytest.raises(CancelledError):
        reply.result(TIMEOUT)
    eventually(FILE.exists)
    eventually(lines)

    again = make_runtime(CLAUDE_MAGIC_REPLAY="only").start(prompt)
    with pytest.raises(CancelledError):
        again.result(TIMEOUT)
    assert again.phase is Phase.CANCELLED
    assert again.thinking == reply.thinking != ""


def test_a_replay_can_be_stopped(runtime: Runtime, make_runtime: MakeRuntime, when: Any) -> None:
    """During its text, like a live answer: at the pace of an hour there is time."""
    whole = ask(runtime, "Count to twenty.").text
    text = FILE.read_text(encoding="utf-8")
    stretched = [json.loads(line) for line in text.splitlines()]
    for each in stretched:
        if "pace" in each:
            each["pace"] = [0, 5, 3_600_000, 5]
    FILE.write_text("\n".join(map(json.dumps, stretched)) + "\n")

    reply = make_runtime(CLAUDE_MAGIC_REPLAY="only", CLAUDE_MAGIC_REPLAY_SPEED="1").start("Count to twenty.")
    when(reply, lambda reply: reply.phase is Phase.STREAMING)
    reply.cancel()
    with pytest.raises(CancelledError):
        reply.result(TIMEOUT)

    assert 0 < len(reply.text) + len(reply.thinking) < len(whole)


# What is wrong with the file


def test_an_answer_that_cannot_be_recorded_is_shown_with_a_note(runtime: Runtime) -> None:
    """One clear sentence; the answer is complete."""
    FILE.mkdir()
    with pytest.raises(CassetteError, match=r"claude.cassette.jsonl cannot be read"):
        ask(runtime, "Name a tree.")
    FILE.rmdir()
    Path(".claude-magic").write_text("in the way")

    reply = ask(runtime, "Name a tree.")

    assert reply.text
    (note,) = [note for note in reply.snapshot().notes if "cassette" in note]
    assert note.startswith(
        "This answer was not recorded; the next run asks Claude again. The cassette claude.cassette.jsonl cannot"
    )
    assert reply.snapshot().recorded == ()


def test_a_bad_line_is_named_by_the_first_answer(runtime: Runtime) -> None:
    """Only by the first."""
    ask(runtime, "Name a tree.")
    with FILE.open("a") as file:
        file.write('{"key": "cut')

    notes = [ask(runtime, "Name a tree.").snapshot().notes for _ in range(2)]

    assert "claude.cassette.jsonl:3 (not JSON, or truncated)" in "".join(notes[0])
    assert notes[1] == ()


# Other ways to the port


def test_requests_through_the_port_are_replayed(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """`send_message`, streams iterated without a context manager, and the list of models."""
    request = MessageRequest(
        model="claude-sonnet-5-5", max_tokens=100, messages=[{"role": "user", "content": "Say exactly: hi"}]
    )

    async def work(client: Any) -> tuple[str, str, str, list[str]]:
        message = await client.send_message(request)
        stream = client.stream_message(request)
        async for _ in stream:
            pass
        completion = await client.execute("Say exactly: ho", model="claude-sonnet-5-5")
        return (
            message.text,
            stream.message.text,
            completion.text,
            [each.id for each in await client.list_models()],
        )

    first = runtime.submit(work, {"replay": "auto"}).result(TIMEOUT)
    other = offline()

    assert other.submit(work).result(TIMEOUT)[:3] == first[:3] == ("hi", "hi", "ho")
    assert {each.id for each in other.list_models().result(TIMEOUT)} <= set(first[3])
    assert other.submit(lambda client: client.health_check()).result(TIMEOUT).is_reachable is False
    with pytest.raises(NotRecordedError):
        other.submit(lambda client: client.count_tokens(request)).result(TIMEOUT)


def test_answers_at_the_same_time_are_all_recorded(runtime: Runtime) -> None:
    """One write for many of them."""
    replies = [runtime.start(f"Say exactly: {number}", replay="auto") for number in range(20)]
    texts = [reply.result(TIMEOUT).text for reply in replies]

    assert texts == [str(number) for number in range(20)]
    assert len({each["key"] for each in lines()}) == 20


def test_a_forked_or_reloaded_runtime_goes_on(runtime: Runtime, make_runtime: MakeRuntime) -> None:
    """Recordings that were used still count as used."""
    ask(runtime, "Name a tree.")
    heir = Runtime(environment={}, inherited=runtime.hand_over())
    try:
        assert heir.cassettes.at(str(FILE)).used == {(lines()[0]["key"], 1)}
    finally:
        heir.close()


def test_nothing_waits_on_the_loop_for_the_disk(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge continues while a line is written."""
    import os
    import threading

    threads = set()
    sync = os.fsync

    def note(handle: int) -> None:
        threads.add(threading.current_thread().name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", note)
    ask(runtime, "Name a tree.")

    assert threads == {"claude-magic-cassette"}


def test_a_map_is_recorded_and_replayed(
    runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """Each draw separately; the cassette replaces the journal; the original cost is shown, and `max_cost` is not used."""

    def run(runtime: Runtime, **options: Any) -> tuple[Any, Any, Any]:
        request = MapRequest(
            question=Question(prompt="Roll a die for {{ item }}.", settings=options),
            items=["Ada", "Bob", "Ada"],
            names={},
            repeat=2,
        )
        plan = make_plan(request, runtime)
        list(plan.read())
        preview, started = plan.preview(), plan.start()
        return started.result(TIMEOUT), preview, started.snapshot()

    answers, before, first = run(runtime, replay="auto")
    assert (before.to_ask, before.recorded, sent(sim)) == (4, 0, 4)
    assert [each["request"].get("draw", 0) for each in lines()].count(1) == 2

    again, after, second = run(offline())
    assert again == answers
    assert (after.to_ask, after.recorded, after.cost) == (0, 4, 0.0)
    assert (sent(sim), Path(".claude-magic/journal.sqlite").exists()) == (4, False)
    assert describe_end(second) == describe_end(first)
    assert describe_end(first).endswith("in the cassette: running it again costs nothing")


@pytest.mark.parametrize("mode", ["auto", "only"])
def test_rows_that_are_asked_again_are_not_answered_alike(
    mode: str, runtime: Runtime, sim: Simulator, offline: Callable[..., Runtime]
) -> None:
    """The recorded answer is the invalid one. A second Restart & Run All replays both, and sends nothing."""

    def run_all(runtime: Runtime, mode: str) -> list[Any]:
        request = MapRequest(
            question=Question(prompt="Say exactly: {{ item }}", settings={"replay": mode}),
            items=["a", "b"],
            names={},
            concurrency=1,
        )
        plan = make_plan(request, runtime)
        list(plan.read())
        out = plan.start().result(TIMEOUT)
        again = make_plan(replace(origin_of(out), asks_failed_again=True), runtime)
        list(again.read())
        return [out, again.start().result(TIMEOUT)]

    sim.script(scenario("refusal"))
    assert run_all(runtime, "auto") == [[None, "b"], ["a", "b"]]
    assert sent(sim) == 3

    recorded = FILE.read_bytes()
    assert run_all(offline(), mode) == [[None, "b"], ["a", "b"]]
    assert FILE.read_bytes() == recorded


def test_a_replayed_map_spends_nothing(runtime: Runtime, make_runtime: MakeRuntime) -> None:
    """So a cost limit does not stop it, whatever the original cost."""

    def run(runtime: Runtime, **changes: Any) -> Any:
        question = Question(prompt="Name {{ item }}.", settings={"replay": "auto"})
        request = MapRequest(question=question, items=[1, 2, 3], names={}, **changes)
        plan = make_plan(request, runtime)
        list(plan.read())
        return plan.start().result(TIMEOUT)

    answers = run(runtime)

    assert run(runtime, max_cost=0.0) == answers


def test_a_row_that_is_missing_is_a_value(runtime: Runtime, offline: Callable[..., Runtime]) -> None:
    """The others are answered."""

    def run(runtime: Runtime, items: list[str], **options: Any) -> Any:
        question = Question(prompt="Name {{ item }}.", settings=options)
        plan = make_plan(MapRequest(question=question, items=items, names={}), runtime)
        list(plan.read())
        return plan.start().result(TIMEOUT)

    answers = run(runtime, ["a", "b"], replay="auto")

    result = run(offline(), ["a", "c", "b"])
    assert [result[0], result[2]] == list(answers)
    assert result[1] is None
    assert "has no answer to this request" in result.errors[1]
