"""Answers that are copied, stored and sent to other processes: the copies contain plain data."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shelve
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import pandas
import pytest
from IPython.core.interactiveshell import InteractiveShell
from pydantic import BaseModel

import claude_magic
from claude_magic import claude
from claude_magic.client import (
    ClaudeError,
    Completion,
    InvalidRequestError,
    Message,
    StreamInterruptedError,
    Usage,
)
from claude_magic.notebook._compare import Comparison
from claude_magic.runtime import BudgetExceededError, Phase, Question, Reply, Runtime, Where, close_runtime
from claude_magic.schema import AnswerError, OutputSchema, make_output_schema
from claude_magic.simulator import Gate, Simulator, close_mid_stream, hold, reply, status

TIMEOUT = 120.0
KEY = "sk-ant-test-0123456789abcdef"
When = Callable[[Reply, Callable[[Reply], object]], None]


class Tower(BaseModel):
    """The schema of an answer."""

    name: str
    height: int


def through_file(
    path: Path, dump: Callable[[Any, Path], object], load: Callable[[Path], Any]
) -> Callable[[Any], Any]:
    def carry(value: Any) -> Any:
        dump(value, path)
        return load(path)

    return carry


def through_shelf(path: Path) -> Callable[[Any], Any]:
    def carry(value: Any) -> Any:
        with shelve.open(str(path)) as shelf:
            shelf["answer"] = value
        with shelve.open(str(path)) as shelf:
            return shelf["answer"]

    return carry


def through_frame(path: Path) -> Callable[[Any], Any]:
    def carry(value: Any) -> Any:
        pandas.DataFrame({"answer": [value]}).to_pickle(path)
        return pandas.read_pickle(path)["answer"][0]

    return carry


WAYS: dict[str, Callable[[Path], Callable[[Any], Any]]] = {
    "copy": lambda _path: copy.copy,
    "deepcopy": lambda _path: copy.deepcopy,
    **{
        f"pickle {protocol}": lambda _path, protocol=protocol: (
            lambda value: pickle.loads(pickle.dumps(value, protocol))
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "cloudpickle": lambda _path: lambda value: pickle.loads(cloudpickle.dumps(value)),
    "joblib": lambda path: through_file(path, joblib.dump, joblib.load),
    "shelve": through_shelf,
    "data frame": through_frame,
    "python's own pickle": lambda _path: lambda value: pickle._loads(pickle._dumps(value)),  # type: ignore[attr-defined]
}


@pytest.fixture(params=WAYS)
def carry(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Any]:
    """Copies a value, or stores it and reads it again."""
    return WAYS[request.param](tmp_path / "stored")


def test_a_finished_reply_comes_back_whole(
    carry: Callable[[Any], Any], runtime: Runtime, sim: Simulator
) -> None:
    """Text, thinking, usage, cost, message and the rest, but no state of its kernel."""
    sim.script(reply("```json\n[1, 2]\n```", thinking="Small ones.", usage={"output_tokens": 7}))
    answer = runtime.start("Name two.").result(TIMEOUT)

    again = carry(answer)

    assert type(again) is Reply
    assert again is not answer
    assert (again.text, again.thinking, again.code) == (answer.text, answer.thinking, answer.code)
    assert (again.usage, again.cost, again.message) == (answer.usage, answer.cost, answer.message)
    assert (again.model, again.stop_reason, again.request_id) == (answer.model, "end_turn", answer.request_id)
    assert (again.prompt, again.origin, again.seconds) == (answer.prompt, answer.origin, answer.seconds)
    assert (again.phase, again.error, again.done(), again.is_simulated) == (Phase.COMPLETE, None, True, True)
    assert again.json() == [1, 2]
    assert again.result() is again
    assert again.snapshot() == answer.snapshot()
    assert f"{again}" == str(answer)
    again.cancel()
    assert again._repr_mimebundle_()


def test_a_reply_that_broke_off_comes_back_with_its_error(
    carry: Callable[[Any], Any], runtime: Runtime, sim: Simulator
) -> None:
    """The partial answer, its estimated cost, and an error that can be raised."""
    sim.script(close_mid_stream(after_events=40, text="tide " * 300))
    answer = runtime.start("Write.")
    with pytest.raises(StreamInterruptedError):
        answer.result(TIMEOUT)

    again = carry(answer)

    assert (again.text, again.usage, again.cost) == (answer.text, answer.usage, answer.cost)
    assert again.usage.is_estimate
    assert str(again.error) == str(answer.error)
    with pytest.raises(StreamInterruptedError) as raised:
        again.result()
    assert raised.value.partial is not None
    assert raised.value.partial.text == answer.text


def test_an_answer_with_a_schema_comes_back_as_its_object(
    carry: Callable[[Any], Any], runtime: Runtime, sim: Simulator
) -> None:
    """Of a class of the user's, of a description, and of a class that lives in a function alone."""

    class Local(BaseModel):
        name: str

    for schema, expected in (
        (OutputSchema(Tower, "Tower"), Tower(name="A", height=3)),
        (make_output_schema("name str, height int", {}), None),
        (OutputSchema(Local, "Local"), None),
    ):
        sim.script(reply('{"name": "A", "height": 3}'))
        answer = runtime.start(Question(prompt="Which?", output_schema=schema)).result(TIMEOUT)

        parsed = carry(answer).parsed

        assert expected is None or parsed == expected
        assert (parsed["name"] if isinstance(parsed, dict) else parsed.name) == "A"


def test_the_class_of_an_answer_need_not_exist_where_it_is_read(
    runtime: Runtime,
    sim: Simulator,
    run_script: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Classes of a notebook do not exist elsewhere. There is no kernel, no key and no server either."""
    monkeypatch.setattr("__main__.Tower", Tower, raising=False)
    monkeypatch.setattr(Tower, "__module__", "__main__")
    sim.script(reply('{"name": "A", "height": 3}'))
    question = Question(prompt="Which?", output_schema=OutputSchema(Tower, "Tower"))
    (tmp_path / "stored").write_bytes(pickle.dumps(runtime.start(question).result(TIMEOUT)))
    script = """
    import pickle
    from pathlib import Path
    answer = pickle.loads(Path("stored").read_bytes())
    print(answer.parsed, answer.cost > 0, answer.usage.output_tokens > 0, repr(answer)[:16])
    """

    assert run_script(script).strip() == "{'name': 'A', 'height': 3} True True <Reply complete,"


def test_a_reply_on_its_way_refuses_in_one_sentence(
    carry: Callable[[Any], Any], runtime: Runtime, sim: Simulator, when: When
) -> None:
    """The sentence contains the remedy; the reply continues."""
    gate = Gate()
    sim.script(hold(gate, text="one two three"))
    answer = runtime.start("Count.")
    when(answer, lambda each: each.text)

    with pytest.raises(TypeError, match=r"still in flight.*reply\.result\(\)"):
        carry(answer)

    gate.open()
    assert answer.result(TIMEOUT).text == "one two three"
    assert carry(answer).text == "one two three"


def test_no_secret_and_no_function_is_stored(make_runtime: Any, sim: Simulator) -> None:
    """Neither the key, nor a URL with a password, nor the tools."""
    runtime = make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim.url)
    runtime.login(KEY + "-login")
    stored = cloudpickle.dumps(runtime.start("Hello").result(TIMEOUT))

    assert KEY.encode() not in stored
    with pytest.raises(TypeError, match="belongs to its process"):
        copy.deepcopy(runtime)
    with pytest.raises(TypeError, match="the key would be written out"):
        pickle.dumps(runtime.find_credential())


def test_nothing_that_was_attached_is_stored(make_runtime: Any, sim: Simulator) -> None:
    """A reply references its turn, which contains all content that was sent."""
    runtime = make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sim.url)
    sim.script(reply("A lantern."))
    question = Question(prompt="What is it?", content="privately held", where=Where())
    asked = runtime.start(question).result(TIMEOUT)

    assert asked.snapshot().turn is not None
    stored = pickle.dumps(asked)
    assert b"privately held" not in stored
    assert pickle.loads(stored).snapshot().turn is None


def test_what_hangs_together_with_replies_can_be_stored_too(
    carry: Callable[[Any], Any], runtime: Runtime, sim: Simulator
) -> None:
    """Jobs, conversations and their turns, rows of usage, messages, events of a stream, states of the limiter."""
    answer = runtime.start(Question(prompt="Hello")).result(TIMEOUT)
    message = answer.message
    assert message is not None
    for value in (
        message,
        message.usage,
        answer.snapshot(),
        runtime.ledger.rows(),
        runtime.ledger.account(),
        runtime.limiter_state(),
        runtime.pace_state(),
        runtime.conversations.forest(),
        runtime.settings(),
        Completion(text="a", usage=Usage(), message=message),
    ):
        assert carry(value) == value
    assert carry(runtime.jobs.find(answer)).reply.text == answer.text
    answers = Comparison("Hello", {"sonnet": answer}, variable="_")
    assert carry(answers)["sonnet"].text == answer.text
    assert answer.text in carry(answers)._repr_mimebundle_()[0]["text/plain"]
    assert carry(runtime.conversations).forest() == runtime.conversations.forest()
    assert type(carry(claude)) is type(claude)


def errors() -> list[ClaudeError]:
    """One error of each class, with all attributes set."""
    kinds: list[Any] = [
        getattr(claude_magic, name) for name in claude_magic.__all__ if name.endswith("Error")
    ]
    made = [kind("It happened.") for kind in (*kinds, BudgetExceededError)]
    for number, error in enumerate(made):
        error.request_id, error.retry_after, error.attempts = f"req_{number}", 1.5, number
        error.partial, error.give_up_reason = Message(content=[], model="m"), "Enough."
        error.extra = number
    return [*made, AnswerError("It does not fit.", text="what came")]


def test_an_error_comes_back_with_all_it_holds(carry: Callable[[Any], Any]) -> None:
    """With any constructor arguments."""
    for error in errors():
        again = carry(error)

        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert again.args == error.args


def test_the_error_of_a_cell_comes_back_too(
    carry: Callable[[Any], Any], sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPython asks it for its traceback, which is rendered where it was raised. The reply that failed has the same error."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    sim.script(status(400))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "claude_magic")
    try:
        error = shell.run_cell("%claude -o answer Hello").error_in_exec

        for each in (error, shell.user_ns["answer"].error):
            again = carry(each)
            assert type(again) is InvalidRequestError
            assert str(again) == str(error)
    finally:
        close_runtime()


def test_an_error_comes_back_from_a_worker_process() -> None:
    """As raised there: the pool would hang on an error that cannot be unpickled."""
    with (
        multiprocessing.get_context("spawn").Pool(1) as pool,
        pytest.raises(AnswerError, match="fit") as raised,
    ):
        pool.apply_async(raise_error).get(TIMEOUT)

    assert raised.value.text == "what came"


def raise_error() -> None:
    raise AnswerError("It does not fit.", text="what came")
