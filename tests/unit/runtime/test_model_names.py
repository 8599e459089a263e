"""Short names of models: the server's list first, then the built-in table; other names are unchanged."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from claude_magic.client import (
    ClaudeClient,
    ClaudeError,
    InvalidRequestError,
    ModelInfo,
    NotFoundError,
    ServerError,
)
from claude_magic.conversation import Conversations
from claude_magic.runtime import BudgetExceededError, NotRecordedError
from claude_magic.runtime._models import (
    SHORT_NAMES,
    ModelNames,
    facts_of,
    nearest_model,
    newest_of,
    table_id,
)
from claude_magic.runtime._turn import TurnPlanner


class ListingClient:
    """A client that lists models, fails, or never answers."""

    def __init__(
        self, *models: dict[str, Any], failure: Exception | None = None, hangs: bool = False
    ) -> None:
        self.models = [ModelInfo.model_validate(model) for model in models]
        self.failure = failure
        self.hangs = hangs
        self.listed = 0

    async def list_models(self) -> list[ModelInfo]:
        self.listed += 1
        await asyncio.sleep(3600 if self.hangs else 0)
        if self.failure is not None:
            raise self.failure
        return self.models


def model(
    id: str, line: str | None = "opus", created_at: Any = "2027-01-01T00:00:00Z", **more: Any
) -> dict[str, Any]:
    return {"id": id, "line": line, "created_at": created_at, **more}


def resolve(names: ModelNames, client: ListingClient, name: str) -> str:
    return asyncio.run(names.resolve(cast(ClaudeClient, client), name))


def test_the_table_knows_the_newest_of_each_line() -> None:
    """Without a server, for planning."""
    assert {name: table_id(name) for name in SHORT_NAMES} == {
        "fable": "claude-fable-5-2",
        "opus": "claude-opus-5-5",
        "sonnet": "claude-sonnet-5-5",
        "haiku": "claude-haiku-5-5",
    }
    for name in SHORT_NAMES:
        facts = facts_of(table_id(name) or "")
        assert facts is not None
        assert facts.line == name


@pytest.mark.parametrize("name", ["claude-opus-5", "llama4", "Opus", "opus ", "mythos", ""])
def test_other_names_are_their_own_meaning(name: str) -> None:
    """Full ids and other servers' names are passed on without a request."""
    client = ListingClient()

    assert table_id(name) is None
    assert resolve(ModelNames(), client, name) == name
    assert client.listed == 0


def test_the_newest_active_model_of_the_line_is_meant() -> None:
    """Not one of another line, a deprecated one, or one without a date."""
    client = ListingClient(
        model("claude-opus-7", created_at="2027-05-01T00:00:00Z", lifecycle="deprecated"),
        model("claude-opus-6", created_at="2027-03-01T00:00:00Z", lifecycle="active"),
        model("claude-opus-5-5", created_at="2026-09-22T00:00:00Z"),
        model("claude-sonnet-9", line="sonnet", created_at="2028-01-01T00:00:00Z"),
        model("claude-opus-undated", created_at=1_900_000_000),
    )

    assert resolve(ModelNames(), client, "opus") == "claude-opus-6"


def test_times_of_different_zones_are_compared_as_times() -> None:
    """Not as text."""
    models = [
        ModelInfo.model_validate(model("later", created_at="2027-01-01T00:00:00-10:00")),
        ModelInfo.model_validate(model("earlier", created_at="2027-01-01T05:00:00Z")),
    ]

    assert newest_of("opus", models) == "later"


def test_a_server_without_lines_leaves_it_to_the_table() -> None:
    """Lists in OpenAI's format contain neither line nor date."""
    client = ListingClient(model("claude-opus-6", line=None), {"id": "gpt", "created": 5})

    assert resolve(ModelNames(), client, "opus") == "claude-opus-5-5"


def test_a_server_is_asked_once() -> None:
    """Later questions need no request."""
    names, client = ModelNames(), ListingClient(model("claude-opus-6"))

    assert [resolve(names, client, "opus") for _ in range(3)] == ["claude-opus-6"] * 3
    assert resolve(names, client, "haiku") == "claude-haiku-5-5"
    assert client.listed == 1


def test_a_server_that_fails_is_left_alone_for_a_while() -> None:
    """A failure does not prevent an answer, and is not repeated for each question."""
    now = [0.0]
    names = ModelNames(clock=lambda: now[0])
    client = ListingClient(model("claude-opus-6"), failure=NotFoundError("no such path"))

    assert [resolve(names, client, "opus") for _ in range(3)] == ["claude-opus-5-5"] * 3
    assert client.listed == 1
    now[0] += 3600
    client.failure = None
    assert resolve(names, client, "opus") == "claude-opus-6"


def test_a_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is limited, and the table is used."""
    monkeypatch.setattr("claude_magic.runtime._models._LISTING_TIMEOUT", 0.01)

    assert resolve(ModelNames(), ListingClient(hangs=True), "opus") == "claude-opus-5-5"


def test_another_client_is_another_server() -> None:
    """A new URL creates a new client."""
    names = ModelNames()

    assert resolve(names, ListingClient(model("claude-opus-6")), "opus") == "claude-opus-6"
    assert resolve(names, ListingClient(model("claude-opus-7")), "opus") == "claude-opus-7"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("opsu", "opus"),
        ("Opus", "opus"),
        ("sonet", "sonnet"),
        ("sonnnet", "sonnet"),
        ("hiaku", "haiku"),
        ("fabel", "fable"),
        ("claude-opus", "opus"),
        ("claude-opus-5.5", "claude-opus-5-5"),
        ("Opus 5.5", "claude-opus-5-5"),
        ("opus-55", "claude-opus-5-5"),
        ("claude_sonnet_5_5", "claude-sonnet-5-5"),
        ("anthropic/claude-haiku-5-5", "claude-haiku-5-5"),
        ("us.anthropic.claude-haiku-5-5", "claude-haiku-5-5"),
        ("my-lama-4", "my-llama-4"),
        ("gpt-4o", None),
        ("mistral-large", None),
        ("x", None),
        ("", None),
    ],
)
def test_a_slip_in_the_name_of_a_model_is_recognised(name: str, meant: str | None) -> None:
    """Promise: slips, case, dots, blanks and prefixes of other services; nothing is guessed from afar."""
    assert nearest_model(name, ["my-llama-4"]) == meant


@pytest.mark.parametrize(
    ("error", "model", "is_explained"),
    [
        (NotFoundError("Not found: model: opsu.", status=404), "opsu", True),
        (NotFoundError("Not found."), "opsu", True),
        (InvalidRequestError("Invalid model name passed in model=opsu.", status=400), "opsu", True),
        (InvalidRequestError("max_tokens: too large.", status=400), "opsu", False),
        (ServerError("opsu is down.", status=500), "opsu", False),
        (BudgetExceededError("The price of opsu is not known."), "opsu", True),
        (NotRecordedError("model: - claude-opus-5-5  + opsu"), "opsu", False),
        (NotFoundError("Not found."), "gpt-4o", False),
        (NotFoundError("Not found."), "claude-opus-5-5", False),
    ],
)
def test_an_error_about_a_model_says_which_may_have_been_meant(
    error: ClaudeError, model: str, is_explained: bool
) -> None:
    """Promise: only after the server has refused the name, for a gateway may know models that we do not."""
    TurnPlanner(Conversations(), ModelNames()).explain(error, model)

    assert ("Did you mean opus?" in str(error)) is is_explained


def test_a_name_that_is_close_to_none_gets_the_short_names() -> None:
    """Promise: only if the server names the model: a 404 may be about the address."""
    names = ModelNames()
    about_model = NotFoundError("Not found (404): model: gpt4.", status=404)
    about_address = NotFoundError("Not found (404): no such page.", status=404)

    for error in (about_model, about_address):
        names.explain(error, "gpt4")

    assert str(about_model).endswith(
        "Short names are fable, opus, sonnet, haiku. `%claude models` lists the available models."
    )
    assert str(about_address) == "Not found (404): no such page."


def test_a_model_that_the_server_lists_is_suggested_too() -> None:
    """Promise: a local server's own names are known once it has listed them."""
    names, client = ModelNames(), ListingClient(model("qwen3-coder", line=None))
    resolve(names, client, "opus")
    error = NotFoundError("Not found.")

    names.explain(error, "qwen3-codr")

    assert "Did you mean qwen3-coder?" in str(error)
