"""Dry runs contain no secrets from any part of the request, because their output is saved with the notebook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from claude_magic import claude
from claude_magic.runtime import SENT_AS_IT_IS, Question, close_runtime, get_runtime
from claude_magic.simulator import Simulator

GITHUB = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
SECRET = "hunter2-Zq81-lurk"


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch, sim: Simulator) -> Iterator[None]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test-0123456789abcdef")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", sim.url)
    monkeypatch.setenv("LAKE_PASSWORD", SECRET)
    yield
    close_runtime()


OPTIONS: dict[str, dict[str, Any]] = {
    "extra by name": {"extra": {"api_key": SECRET}},
    "extra by name, deep": {"extra": {"mcp_servers": [{"url": "https://x", "authorization_token": "Zq81-lurking-9"}]}},
    "a header": {"extra": {"tools_config": {"headers": {"X-Api-Key": "Zq81-lurking-9", "Authorization": "Basic Zq81-lurking-9"}}}},
    "a cookie": {"extra": {"headers": {"Cookie": "session Zq81-lurking-9"}}},
    "by its form": {"extra": {"metadata": {"user_id": GITHUB}}},
    "a stop sequence": {"stop_sequences": [f"Bearer {GITHUB}", "END"]},
    "a stop sequence as in .env": {"stop_sequences": ["DB_PASSWORD=Zq81-lurking-9"]},
    "a variable of the environment": {"extra": {"note": f"say {SECRET} twice"}},
    "the system prompt": {"system": f"The password is {SECRET}. password = 'Zq81-lurking-9'"},
    "the key itself": {"stop_sequences": ["sk-ant-test-0123456789abcdef"]},
}  # fmt: skip


def assert_clean(shown: str) -> None:
    for secret in (SECRET, GITHUB, "Zq81-lurking-9", "sk-ant-test-0123456789abcdef"):
        assert secret not in shown
    assert "[REDACTED]" in shown


@pytest.mark.parametrize("case", OPTIONS)
def test_the_dry_run_of_a_map_shows_no_secret(sim: Simulator, case: str) -> None:
    """Promise: neither the object nor its text or HTML contains one; the request itself is unchanged."""
    preview = claude.map("Say {{ item }}", ["one"], dry_run=True, raw=True, **OPTIONS[case])

    assert_clean(f"{preview}{preview._repr_mimebundle_()}{preview.samples}")
    assert SENT_AS_IT_IS in preview.notes
    assert not sim.requests


@pytest.mark.parametrize("case", OPTIONS)
def test_the_dry_run_of_a_question_shows_no_secret(case: str) -> None:
    """Promise: by the same rule."""
    options = dict(OPTIONS[case])
    settings = {"system": options.pop("system", None)}

    preview = get_runtime().preview(
        get_runtime().plan(Question(prompt="x", settings=settings, is_raw=True, **options))
    )

    assert_clean(str(preview.body))
    assert preview.is_redacted


def test_what_is_no_secret_is_shown_as_it_is(sim: Simulator) -> None:
    options: Any = {"extra": {"top_k": 5, "metadata": {"user_id": "u-1"}}, "stop_sequences": ["KEY", "token"]}

    preview = claude.map("The key of {{ item }}", ["a password"], dry_run=True, **options)

    (body,) = preview.samples
    assert body["metadata"] == {"user_id": "u-1"}
    assert body["stop_sequences"] == ["KEY", "token"]
    assert body["messages"] == [{"role": "user", "content": "The key of a password"}]
    assert SENT_AS_IT_IS not in preview.notes
