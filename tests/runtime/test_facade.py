"""`claude`, as used by plain Python in a cell."""

from __future__ import annotations

import asyncio
import errno
import inspect
import io
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter

import claude_magic
from claude_magic import Claude, ClaudeError, Reply, claude
from claude_magic.client import ConfigurationError, RateLimitError
from claude_magic.runtime import Phase, close_runtime
from claude_magic.simulator import Gate, Simulator, hold, reply, status

TIMEOUT = 120.0


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Iterator[None]:
    """This process as a kernel whose environment points at `sim`."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    monkeypatch.setenv("CLAUDE_MAGIC_RATE_LIMIT_RPS", "1000")
    yield
    close_runtime()


def rich_output(answer: Reply) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what IPython would display as the value of a cell."""
    data, metadata = DisplayFormatter().format(answer)  # type: ignore[no-untyped-call]
    return data, metadata


def test_asking_waits_for_the_answer_and_keeps_it_as_the_last_one(sim: Simulator) -> None:
    """Options become part of the request."""
    sim.script(reply("Seven."))

    answer = claude.ask(
        "A prime?", model="claude-opus-5-5", effort="low", max_tokens=2000, system="Be brief."
    )

    assert answer == "Seven."
    assert claude.last is answer
    body = sim.requests[0].body
    assert (body["model"], body["max_tokens"], body["system"]) == ("claude-opus-5-5", 2000, "Be brief.")
    assert body["output_config"] == {"effort": "low"}
    assert body["stream"] is True


def test_asking_works_inside_a_running_loop(sim: Simulator) -> None:
    """It blocks that loop, as documented, but returns the answer."""

    async def main() -> Reply:
        return claude.ask("Hello")

    assert asyncio.run(main()).phase is Phase.COMPLETE


def test_asking_async_lets_other_tasks_run(sim: Simulator) -> None:
    """The event loop is not blocked while the answer streams."""
    gate = Gate()
    sim.script(hold(gate, text="freely"))

    async def main() -> Reply:
        async def open_gate() -> None:
            gate.open()

        answer, _ = await asyncio.gather(claude.ask_async("Hello"), open_gate())
        return answer

    assert asyncio.run(main()) == "freely"


def test_cancelling_the_task_that_asked_cancels_the_answer(sim: Simulator) -> None:
    """`asyncio.timeout` and cancelled cells stop the stream that they started."""
    sim.script(hold(Gate(), text="one two three"))

    async def main() -> None:
        async with asyncio.timeout(0.05):
            await claude.ask_async("Hello")

    with pytest.raises(TimeoutError):
        asyncio.run(main())

    assert claude.last is not None
    with pytest.raises(BaseException, match="cancelled"):
        claude.last.result(TIMEOUT)
    assert claude.last.phase is Phase.CANCELLED


def test_submitting_returns_at_once(sim: Simulator) -> None:
    """The reply is listed as in flight until it ends."""
    gate = Gate()
    sim.script(hold(gate))

    answer = claude.submit("Hello")
    in_flight = claude.in_flight
    gate.open()
    answer.result(TIMEOUT)

    assert in_flight == (answer,)
    assert claude.in_flight == ()


@pytest.mark.parametrize(
    "prompt", [["a", "b"], {"a": 1}, {("a", 1): "b"}, pd.DataFrame({"text": ["a"]}), pd.Series(["a"])]
)
def test_rows_as_a_prompt_lead_to_map(sim: Simulator, prompt: Any) -> None:
    """For a question about each row, or about the whole table."""
    with pytest.raises(
        TypeError, match=r"must be a string, not \w+\. claude\.map\(prompt, rows\).*Nothing was sent"
    ):
        claude.ask(prompt)

    assert not sim.requests


def test_calling_claude_says_which_method_asks() -> None:
    with pytest.raises(TypeError, match=r"Use claude\.ask\(") as caught:
        claude("hi", model="opus")

    assert len(traceback.extract_tb(caught.tb)) == 2
    with pytest.raises(ConfigurationError, match="cannot be"):
        claude.ask("hi", tools=[claude])


def test_a_failure_is_raised_as_a_claude_error(sim: Simulator) -> None:
    """The failed reply is `claude.last`."""
    sim.script(status(400, message="no such thing"))

    with pytest.raises(ClaudeError, match="no such thing"):
        claude.ask("Hello")

    assert claude.last is not None
    assert claude.last.phase is Phase.FAILED


def test_the_shared_client_can_be_used_directly() -> None:
    """For calls that have no method of their own."""
    models = claude.run(lambda client: client.list_models()).result(TIMEOUT)

    assert "claude-sonnet-5-5" in [model.id for model in models]
    assert claude.limiter.capacity == 1000


def test_a_reply_renders_as_rich_output_where_the_magics_are_not_loaded(sim: Simulator) -> None:
    """As the value of a cell, or displayed: safe HTML, Markdown and plain text."""
    sim.script(reply("**bold** <script>alert(1)</script>"))
    answer = claude.ask("Hello")

    data, metadata = rich_output(answer)

    assert set(data) == {"text/html", "text/markdown", "text/plain"}
    assert "<strong>bold</strong>" in data["text/html"]
    assert "<script>" not in data["text/html"]
    assert metadata["claude_magic"]["request_id"] == answer.request_id


def test_a_reply_on_the_screen_is_not_drawn_twice() -> None:
    """As the value of the cell that drew it, it is not drawn again; displayed later, it is."""
    answer = claude.ask("Hello")
    answer.is_on_screen = True

    as_value = rich_output(answer)
    later = rich_output(answer)

    assert as_value == ({}, {})
    assert "text/html" in later[0]


def test_the_package_imports_its_names_lazily_and_rejects_others() -> None:
    """`dir` lists them, and an unknown name is an AttributeError."""
    assert isinstance(claude, Claude)
    assert set(claude_magic.__all__) <= set(dir(claude_magic))
    for name in claude_magic.__all__:
        assert getattr(claude_magic, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'clod'"):
        claude_magic.clod  # noqa: B018


def tide_table(port: str) -> str:
    """Give the time of high water."""
    return f"{port}: 04:12"


def result_sent(sim: Simulator) -> dict[str, Any]:
    """Return the tool result in the last request."""
    (result,) = sim.requests[-1].body["messages"][-1]["content"]
    return dict(result)


def test_claude_calls_functions_while_a_thread_waits(sim: Simulator) -> None:
    """`tools=` takes plain functions."""
    answer = claude.ask('Use tide_table for port "Brest"', tools=[tide_table], approve="never")

    assert result_sent(sim)["content"] == "Brest: 04:12"
    assert "04:12" in answer


def test_claude_calls_functions_on_the_loop_that_awaits(sim: Simulator) -> None:
    """An async function can use the clients of that loop."""
    ran: list[asyncio.AbstractEventLoop] = []

    async def wind_at(port: str) -> str:
        await asyncio.sleep(0)
        ran.append(asyncio.get_running_loop())
        return "5 Beaufort"

    async def main() -> bool:
        await claude.ask_async('Use wind_at for port "Brest"', tools=[wind_at], approve="never")
        return ran == [asyncio.get_running_loop()]

    assert asyncio.run(main())
    assert result_sent(sim)["content"] == "5 Beaufort"


@pytest.mark.parametrize("is_awaited", [False, True])
@pytest.mark.parametrize(("typed", "is_run"), [("y", True), ("n", False)])
def test_a_person_is_asked_before_each_call(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, *, is_awaited: bool, typed: str, is_run: bool
) -> None:
    """Unless `approve` is "never"; the question shows the arguments."""
    questions: list[str] = []

    def answer(question: str) -> str:
        questions.append(question)
        return typed

    monkeypatch.setattr("builtins.input", answer)
    prompt = 'Use tide_table for port "Brest"'
    if is_awaited:
        asyncio.run(_ask_async(prompt, tools=[tide_table]))
    else:
        claude.ask(prompt, tools=[tide_table])

    assert len(questions) == 1
    assert "tide_table(port='Brest')" in questions[0]
    assert result_sent(sim).get("is_error", False) is not is_run


async def _ask_async(prompt: str, **options: Any) -> Reply:
    return await claude.ask_async(prompt, **options)


def test_tools_need_a_caller_that_waits(sim: Simulator) -> None:
    """Otherwise the answer would wait for the call forever."""
    with pytest.raises(ConfigurationError, match="ask_async"):
        claude.submit("Hello", tools=[tide_table])

    assert sim.requests == []


@pytest.mark.parametrize("tools", [{}, {"tools": [tide_table]}], ids=["no tools", "tools"])
def test_a_typo_in_approve_is_an_error(sim: Simulator, tools: Any) -> None:
    """It must not let calls run. It is one also where there are no calls."""
    for ask in (claude.ask, claude.submit, lambda *args, **kwargs: asyncio.run(_ask_async(*args, **kwargs))):
        with pytest.raises(ConfigurationError, match=r"not 'nevr'\. Nothing was sent\.|ask_async"):
            ask("Hello", approve="nevr", **tools)

    assert sim.requests == []


@pytest.mark.parametrize("name", ["my thread", "", "-x"])
def test_a_thread_has_a_name_that_cells_can_use(sim: Simulator, name: str) -> None:
    """Otherwise `--thread` and panels could not continue it."""
    for ask in (claude.ask, claude.submit, lambda *args, **kwargs: asyncio.run(_ask_async(*args, **kwargs))):
        with pytest.raises(
            ConfigurationError, match=r"cannot be the name of a thread: .* Nothing was sent\."
        ):
            ask("Hello", thread=name)

    assert sim.requests == []
    assert name not in [each.name for each in claude.runtime.conversations.threads()]


def test_a_typo_in_an_option_is_an_error(sim: Simulator) -> None:
    """Ignoring it would change the question."""
    with pytest.raises(TypeError, match="'tool'"):
        claude.ask("Hello", tool=[tide_table])  # type: ignore[call-arg]

    assert sim.requests == []


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def pause_server(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the server ask every client to wait for 100 s."""
    monkeypatch.setenv("CLAUDE_MAGIC_MAX_RETRIES", "0")
    sim.script(status(429, retry_after=100))
    with pytest.raises(RateLimitError):
        claude.ask("Hello")


@pytest.fixture
def use_up_limit(sim: Simulator) -> None:
    """Make the server report that none of its requests per minute are left for 100 s."""
    reset = (datetime.now(UTC) + timedelta(seconds=100)).isoformat()
    left = {"requests-limit": "4", "requests-remaining": "0", "requests-reset": reset}
    sim.script(reply("Hi", headers={f"anthropic-ratelimit-{name}": value for name, value in left.items()}))
    claude.ask("Hello")


@pytest.fixture
def overload_server(sim: Simulator) -> None:
    """Make the server refuse the next request for 100 s."""
    sim.script(status(529, retry_after=100))


@pytest.mark.parametrize("is_async", [False, True], ids=["ask", "ask_async"])
@pytest.mark.parametrize(
    ("server", "reason"),
    [
        ("pause_server", "the server asked to wait"),
        ("use_up_limit", "limit of requests"),
        ("overload_server", "overloaded"),
    ],
)
def test_asking_reports_on_stderr_why_it_waits(
    is_async: bool,
    server: str,
    reason: str,
    request: pytest.FixtureRequest,
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise: no silent minutes in a script: one line says why the server makes it wait."""
    request.getfixturevalue(server)
    failures: list[BaseException] = []
    # Reading what pytest captured would lose what is written meanwhile.
    monkeypatch.setattr(sys, "stderr", stderr := io.StringIO())

    def ask() -> None:
        try:
            asyncio.run(claude.ask_async("Again")) if is_async else claude.ask("Again")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: "\n" in stderr.getvalue())
    assert claude.last is not None
    claude.last.cancel()
    thread.join(TIMEOUT)

    (line,) = stderr.getvalue().splitlines()
    assert reason in line.lower()
    assert "interrupting is safe" in line or server != "pause_server"
    assert len(failures) == len(sim.requests) == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["ask", "ask_async"])
def test_asking_reports_on_stderr_that_an_answer_was_not_recorded(
    is_async: bool,
    sim: Simulator,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise: no surprise when the next run of a script asks again."""
    monkeypatch.chdir(tmp_path)
    Path(".claude-magic").write_text("in the way")

    if is_async:
        asyncio.run(claude.ask_async("Name a tree.", replay="auto"))
    else:
        claude.ask("Name a tree.", replay="auto")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("This answer was not recorded; the next run asks Claude again.")


class FullDisk(io.StringIO):
    """A stderr that cannot be written: a full disk, a closed pipe, or a terminal that has gone."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._is_terminal

    def write(self, text: str, /) -> int:
        """Fail."""
        raise OSError(errno.EIO, "Input/output error")


def closed() -> io.StringIO:
    """Return a stderr that has been closed."""
    stream = io.StringIO()
    stream.close()
    return stream


NO_STDERR: dict[str, Callable[[], io.StringIO | None]] = {
    "none": lambda: None,
    "closed": closed,
    "file": lambda: FullDisk(is_terminal=False),
    "terminal": lambda: FullDisk(is_terminal=True),
}


@pytest.mark.parametrize("make", NO_STDERR.values(), ids=NO_STDERR)
def test_no_answer_is_lost_where_nothing_can_be_printed(
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    make: Callable[[], io.StringIO | None],
) -> None:
    """A program without a console has no stderr. A note or a progress bar costs neither an answer nor a map."""
    monkeypatch.chdir(tmp_path)
    Path(".claude-magic").write_text("in the way")
    monkeypatch.setattr(sys, "stderr", make())

    answers = [
        claude.ask("Say exactly: yes", replay="auto"),
        asyncio.run(claude.ask_async("Say exactly: yes", replay="auto")),
        *claude.map("Say exactly: {{ item }}", ["yes"] * 3, journal=False),
    ]

    assert [str(answer) for answer in answers] == ["yes"] * 5
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("is_closed", [False, True], ids=["at once", "after the extension was loaded again"])
def test_a_pause_of_a_day_fails_at_once_in_plain_python_and_ends_with_another_server(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, is_closed: bool
) -> None:
    """Promise: the next question is refused as fast as the first, but only for the same server."""
    sim.script(status(429, retry_after=86_400))
    for expected in ("asks to wait 86400 s", "Not sent"):
        with pytest.raises(RateLimitError, match=expected):
            claude.ask("Hello")
    assert len(sim.requests) == 1
    if is_closed:
        close_runtime()

    with Simulator() as other:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", other.url)
        assert claude.ask("Hello").phase is Phase.COMPLETE


@pytest.mark.parametrize("name", ["ask", "ask_async", "submit"])
def test_a_signature_lists_the_options_and_the_docstring_explains_them(name: str) -> None:
    """For `claude.ask?` and completion between its parentheses."""
    method = getattr(claude, name)
    parameters = inspect.signature(method).parameters

    assert list(parameters) == ["prompt", *claude_magic.AskOptions.__annotations__]
    assert str(parameters["max_tokens"]) == "max_tokens: 'int | None' = None"
    documentation = inspect.getdoc(method) or ""
    for option in claude_magic.AskOptions.__annotations__:
        assert f"\n    {option}: " in documentation
    assert "AskOptions" not in documentation


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("panel", claude_magic.PanelOptions),
        ("map", claude_magic.MapOptions),
        ("map_async", claude_magic.MapOptions),
        ("mapper", claude_magic.MapperOptions),
    ],
)
def test_other_methods_list_their_options_too(name: str, kind: Any) -> None:
    """Their docstrings, and those of the options classes, explain all options, including shared ones."""
    method = getattr(claude, name)
    parameters = inspect.signature(method).parameters

    assert [each for each in parameters if each not in ("prompt", "items")] == [*kind.__annotations__]
    for option in kind.__annotations__:
        for documentation in (inspect.getdoc(method), kind.__doc__):
            assert str(documentation).count(f"\n    {option}: ") == 1


def test_a_signature_has_the_defaults_that_are_not_none() -> None:
    """Flags are off, and a row is asked once."""
    parameters = inspect.signature(claude.map).parameters

    assert {name: parameters[name].default for name in ("raw", "dry_run", "repeat", "prefix", "via")} == {
        "raw": False,
        "dry_run": False,
        "repeat": 1,
        "prefix": "",
        "via": "online",
    }


def test_a_typo_in_an_option_gets_the_same_error_everywhere() -> None:
    """It suggests the option that was probably meant."""
    for ask in (claude.ask, claude.submit, claude.mapper):
        with pytest.raises(
            TypeError, match=r"no option 'modle'\. Did you mean model\? The options are model, "
        ):
            ask("Hello", modle="opus")  # type: ignore[operator]
