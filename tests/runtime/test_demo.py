"""Demo mode: the embedded simulator answers only on request, and never instead of a real credential."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_magic.client import ConfigurationError
from claude_magic.runtime import Phase, Runtime
from claude_magic.simulator import Simulator

KEY = "sk-ant-test-0123456789abcdef"
TIMEOUT = 120.0
MakeRuntime = Callable[..., Runtime]


def simulator_threads() -> int:
    return sum(thread.name == "claude-magic-simulator" for thread in threading.enumerate())


def test_demo_auto_answers_by_the_simulator_where_there_is_no_key(make_runtime: MakeRuntime) -> None:
    """The reply shows it; closing ends the simulator, and the next question starts it again."""
    runtime = make_runtime(CLAUDE_MAGIC_DEMO="auto")

    first = runtime.start("Hello").result(TIMEOUT)
    is_running = simulator_threads()
    runtime.close()
    is_running_after = simulator_threads()
    second = runtime.start("Hello").result(TIMEOUT)

    assert first.is_simulated
    assert second.is_simulated
    assert (is_running, is_running_after) == (1, 0)
    assert runtime.is_demo
    assert runtime.status().base_url == "embedded simulator"


def test_demo_auto_uses_a_credential_or_a_server_where_there_is_one(
    make_runtime: MakeRuntime, sim: Simulator
) -> None:
    """A key, a login or a base_url requests a real server."""
    with_key = make_runtime(CLAUDE_MAGIC_DEMO="auto", ANTHROPIC_API_KEY=KEY)
    with_server = make_runtime(CLAUDE_MAGIC_DEMO="auto", ANTHROPIC_BASE_URL=sim.url)
    with_login = make_runtime(CLAUDE_MAGIC_DEMO="auto")
    with_login.login(KEY)

    assert [each.is_demo for each in (with_key, with_server, with_login)] == [False, False, False]
    with_login.logout()
    assert with_login.is_demo


def test_without_demo_the_simulator_is_never_chosen(make_runtime: MakeRuntime) -> None:
    """No key is an error then, and no simulator starts."""
    runtime = make_runtime()

    with pytest.raises(ConfigurationError):
        runtime.start("Hello")

    assert simulator_threads() == 0
    assert not runtime.is_demo


def test_demo_can_be_switched_on_and_off_where_there_is_no_credential(make_runtime: MakeRuntime) -> None:
    """By a person, in this kernel."""
    runtime = make_runtime()

    runtime.demo_on()
    rows = {row.name: (row.value, row.source) for row in runtime.status().settings}
    assert rows["demo"] == ("on", "%claude demo")
    answer = runtime.start("Hello").result(TIMEOUT)
    runtime.demo_off()

    assert answer.is_simulated
    with pytest.raises(ConfigurationError, match="no API key"):
        runtime.start("Hello")


def test_a_notebook_cannot_put_the_simulator_in_place_of_a_credential(make_runtime: MakeRuntime) -> None:
    """The error names the credential's source, and the remedy that only the user has."""
    runtime = make_runtime(ANTHROPIC_API_KEY=KEY)

    with pytest.raises(
        ConfigurationError, match=r"environment \(ANTHROPIC_API_KEY\).*CLAUDE_MAGIC_DEMO=on"
    ) as raised:
        runtime.demo_on()

    assert not runtime.is_demo
    assert KEY not in str(raised.value)


def test_logging_in_ends_demo_mode(make_runtime: MakeRuntime) -> None:
    """A key that is given is used."""
    runtime = make_runtime()
    runtime.demo_on()

    runtime.login(KEY)

    assert not runtime.is_demo


def test_o2_the_simulator_never_gets_the_users_key_or_headers(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the environment sets demo to `on`, neither its key nor the gateway's headers are sent."""
    made: list[Simulator] = []
    module = sys.modules["claude_magic.simulator"]

    def make(**options: float) -> Simulator:
        made.append(Simulator(**{**options, "max_recorded": 10}))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(module, "Simulator", make)
    runtime = make_runtime(
        CLAUDE_MAGIC_DEMO="on", ANTHROPIC_API_KEY=KEY, ANTHROPIC_CUSTOM_HEADERS="X-Gateway-Key: hunter2"
    )

    answer = runtime.start("Hello").result(TIMEOUT)

    assert answer.is_simulated
    [request] = made[0].requests
    assert KEY not in str(request.headers)
    assert "hunter2" not in str(request.headers)


def test_the_simulator_of_demo_mode_keeps_no_request(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts them: a kernel that runs for days does not grow by what was asked in it, or by what others send to its port."""
    made: list[Simulator] = []
    module = sys.modules["claude_magic.simulator"]

    def make(**options: float) -> Simulator:
        made.append(Simulator(**options))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(module, "Simulator", make)
    runtime = make_runtime(CLAUDE_MAGIC_DEMO="on")

    runtime.start("Hello").result(TIMEOUT)
    runtime.start("Why is the sky blue?").result(TIMEOUT)

    [simulator] = made
    assert simulator.requests == []
    assert "2 requests" in repr(simulator)


def test_a_file_beside_the_notebook_cannot_switch_demo_on_and_is_warned_about_once(
    make_runtime: MakeRuntime, tmp_path: Path
) -> None:
    """The warning comes with the first request and not with every one; status keeps it as a note."""
    Path("claude-magic.toml").write_text('demo = "on"\nmodel = "claude-haiku-5-5"\n')
    runtime = make_runtime(CLAUDE_MAGIC_DEMO="auto")

    with pytest.warns(UserWarning, match="may not set demo"):
        answer = runtime.start("Hello")
    again = runtime.start("Hello")

    assert answer.result(TIMEOUT).phase is again.result(TIMEOUT).phase is Phase.COMPLETE
    assert answer.model == "claude-haiku-5-5"
    assert any("may not set demo" in note for note in runtime.status().notes)


def test_the_first_answer_under_a_file_beside_the_notebook_says_so(make_runtime: MakeRuntime) -> None:
    """One line with its settings, once, and again when they change. Settings overridden by an option are not listed."""
    file = Path("claude-magic.toml")
    file.write_text(
        'model = "claude-haiku-5-5"\nmax_tokens = 5000\nsystem = "' + "Speak of ships. " * 50 + '"\n'
    )
    runtime = make_runtime(CLAUDE_MAGIC_DEMO="on")

    def notes(**options: Any) -> list[str]:
        reply = runtime.start("Hello", **options).result(TIMEOUT)
        return [note for note in reply.snapshot().notes if "beside the notebook" in note]

    (note,) = notes()
    assert note.startswith("claude-magic.toml beside the notebook sets ")
    assert "model 'claude-haiku-5-5', max_tokens 5000, system 'Speak of ships." in note
    assert len(note) < 250
    assert "\n" not in note
    assert notes() == []

    file.write_text("max_retries = 9\n")
    assert "sets max_retries 9." in notes()[0]
    file.unlink()
    assert notes() == []


@pytest.mark.parametrize(
    "proxy", ["socks5://user:hunter2@127.0.0.1:9", "http://127.0.0.1:9", "gopher://nowhere", "http://["]
)
def test_no_proxy_of_the_environment_stops_the_demo(
    proxy: str, make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: a proxy is for other hosts, usable or not: the demo is answered, and so is a server on this machine."""
    for name in ("ALL_PROXY", "HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("NO_PROXY", "localhost")

    reply = make_runtime(CLAUDE_MAGIC_DEMO="auto").start("Hello").result(TIMEOUT)

    assert reply.phase is Phase.COMPLETE


def test_a_proxy_that_cannot_be_used_is_named_by_the_reply(
    make_runtime: MakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: if the proxy would be used, the question fails with a remedy, and without the password."""
    monkeypatch.setenv("ALL_PROXY", "socks4://user:hunter2@127.0.0.1:9")
    runtime = make_runtime(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL="https://gateway.test")

    with pytest.raises(ConfigurationError, match=r"ALL_PROXY .*NO_PROXY") as caught:
        runtime.start("Hello").result(TIMEOUT)

    assert "hunter2" not in str(caught.value)
