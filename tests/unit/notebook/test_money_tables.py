"""The tables of `%claude usage`, `budget`, `limits` and `models`, and of a dry run."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

from claude_magic.client import (
    BucketState,
    ClaudeClient,
    ClientConfig,
    Credential,
    MessageRequest,
    ModelInfo,
    Usage,
    preview_request,
)
from claude_magic.notebook._dry_run import DryRun, render_dry_run
from claude_magic.notebook._money_commands import render_budget, render_models, render_usage
from claude_magic.notebook._session_commands import render_status
from claude_magic.render import Bundle
from claude_magic.runtime import (
    Ledger,
    RuntimeStatus,
    worst_case,
)
from claude_magic.runtime._models import lines_of
from claude_magic.simulator._models import ALL_MODELS

KEY = "sk-ant-test-0123456789abcdef"
LIMITER = BucketState(level=9.5, capacity=10, refill_rate=10, waiters=0, next_grant=None, paused_for=0)
OFFERED = [ModelInfo.model_validate(model.describe()) for model in ALL_MODELS if model.lifecycle != "retired"]


class Client:
    """A client that is never used: no budget is set while requests are booked."""


def book(ledger: Ledger, model: str, usage: Usage, **fields: Any) -> None:
    """Book one request."""
    request = MessageRequest(model=model, max_tokens=1000, messages=[{"role": "user", "content": "Hello"}])
    is_simulated = fields.pop("is_simulated", False)
    reservation = asyncio.run(
        ledger.admit(cast(ClaudeClient, Client()), request, attempts=1, is_simulated=is_simulated)
    )
    ledger.finish(reservation, bill=lines_of(model, usage), **{"thread": "main", **fields})


def lines(bundle: Bundle) -> list[list[str]]:
    """Return the words of each line of the plain text."""
    return [line.split() for line in bundle.data["text/plain"].splitlines()]


def test_usage_lists_models_and_threads_with_their_sum() -> None:
    """Input, cached and output tokens, and the price by a dated price list."""
    ledger = Ledger()
    book(
        ledger, "claude-sonnet-5-5", Usage(input_tokens=1000, cache_read_input_tokens=500, output_tokens=100)
    )
    book(ledger, "claude-opus-5-5", Usage(input_tokens=2000, output_tokens=200), thread=None)

    table = lines(render_usage(ledger))

    assert ["claude-sonnet-5-5", "main", "1", "1,500", "500", "100", "$0.00305"] in table
    assert ["claude-opus-5-5", "none", "1", "2,000", "0", "200", "$0.012"] in table
    assert ["all", "2", "3,500", "500", "300", "$0.0151"] in table
    assert "Prices in USD as of 2026-11-27." in render_usage(ledger).data["text/plain"]


def test_a_model_without_a_price_shows_its_tokens_only() -> None:
    """A note says that the sum does not include it."""
    ledger = Ledger()
    book(ledger, "llama4", Usage(input_tokens=1000, output_tokens=100))

    text = render_usage(ledger).data["text/plain"]

    assert "not known" in text
    assert "$" not in text.split("Prices")[0]
    assert "not in the sum" in text


def test_the_simulator_is_a_separate_group() -> None:
    """Its answers cost nothing, and a note on their price says so."""
    ledger = Ledger()
    book(ledger, "claude-sonnet-5-5", Usage(output_tokens=100))
    book(ledger, "claude-sonnet-5-5", Usage(output_tokens=100), is_simulated=True)

    text = render_usage(ledger).data["text/plain"]

    assert text.index("Claude\n") < text.index("Simulator\n")
    assert "The simulator's answers cost nothing" in text


def test_unconfirmed_amounts_are_listed() -> None:
    """An answer that broke off may cost more than is known."""
    ledger = Ledger()
    book(ledger, "claude-sonnet-5-5", Usage(output_tokens=100), unconfirmed_attempts=1, is_partial=True)

    text = render_usage(ledger).data["text/plain"]

    assert "1 (1 partial)" in text
    assert "more may be billed for attempts that broke off." in text


def test_an_empty_ledger_is_a_sentence() -> None:
    """Instead of an empty table."""
    assert "No request of this kernel has been answered yet." in render_usage(Ledger()).data["text/plain"]


def test_the_budget_shows_what_is_left() -> None:
    """First for Claude, then for the simulator."""
    ledger = Ledger()
    assert "There is no budget." in render_budget(ledger, is_shared=False).data["text/plain"]
    book(ledger, "claude-sonnet-5-5", Usage(output_tokens=50_000))
    book(ledger, "claude-sonnet-5-5", Usage(output_tokens=250_000), is_simulated=True)
    ledger.set_budget(2.0)

    shared = render_budget(ledger, is_shared=True).data["text/plain"]
    assert "budget        $2.00  of all that share the limiter" in shared
    claude, simulator, notes = render_budget(ledger, is_shared=False).data["text/plain"].split("\n\n")

    assert claude.splitlines() == [
        "Claude",
        "item         amount  note",
        "budget        $2.00  for the life of this kernel",
        "spent         $0.50",
        "reserved      $0.00  at most, for requests in flight",
        "unconfirmed   $0.00  at most, for attempts that broke off",
        "left          $1.50",
    ]
    assert simulator.splitlines()[-1] == "left          $0.00  the budget is exceeded"
    assert "refused before it is sent" in notes
    assert "Budget: $2.00; $1.50 left, $0.50 spent." in render_usage(ledger).data["text/plain"]


def test_notes_are_below_the_status_table() -> None:
    """As with every table, including the longest notes."""
    status = RuntimeStatus(
        base_url="http://gateway.example",
        is_running=False,
        credential=None,
        limiter=LIMITER,
        in_flight=0,
        last_error=None,
        settings=(),
        notes=("The API key crosses the network unencrypted.",),
    )

    assert (
        render_status(status).data["text/plain"].endswith("\n\nThe API key crosses the network unencrypted.")
    )


def test_models_are_those_of_the_server() -> None:
    """With sizes, prices, types of thinking, short names, and the default model."""
    table = {line[0]: line for line in lines(render_models(OFFERED, default="claude-sonnet-5-5")) if line}

    assert " ".join(table["claude-sonnet-5-5"][1:]) == (
        "sonnet · default 1M 128k 2 / 10 adaptive, between_tools"
    )
    assert table["claude-opus-5-5"][1] == "opus"
    assert "default" not in table["claude-opus-5-5"]
    assert table["claude-sonnet-4-5-20250929"][-2:] == ["retires", "2026-11-30"]


def test_a_default_may_be_a_short_name_or_lack_its_date() -> None:
    """The model that it means is marked."""
    for default, model in (("haiku", "claude-haiku-5-5"), ("claude-haiku-4-5", "claude-haiku-4-5-20251001")):
        marked = [line[0] for line in lines(render_models(OFFERED, default=default)) if "default" in line]
        assert marked == [model]


def test_models_of_other_servers_are_listed_with_what_they_report() -> None:
    """Names alone suffice, and a note says if the default is missing."""
    offered = [ModelInfo(id="llama4"), ModelInfo(id="qwen")]

    text = render_models(offered, default="claude-sonnet-5-5").data["text/plain"]

    assert "llama4" in text
    assert "The default, claude-sonnet-5-5, is not among them." in text


def test_without_a_server_the_built_in_table_is_shown() -> None:
    """With its date and the reason."""
    text = render_models(None, default="claude-sonnet-5-5", problem="It is down.").data["text/plain"]

    assert "It is down. These are the models known on 2026-11-27." in text
    assert "claude-fable-5-2" in text


def dry_run(content: Any = "Costs $5 or $6", **changes: Any) -> Bundle:
    """Render a dry run of a message."""
    messages = [{"role": "user", "content": content}]
    request = MessageRequest(
        model=changes.pop("model", "claude-sonnet-5-5"), max_tokens=1000, messages=messages
    )
    counted = changes.pop("counted", 1000)
    return render_dry_run(
        DryRun(
            preview=preview_request(ClientConfig(), Credential(api_key=KEY), request),
            is_simulated=changes.pop("is_simulated", False),
            counted_tokens=counted,
            worst=worst_case(request, counted, attempts=4),
            **changes,
        )
    )


def test_a_dry_run_shows_everything_that_would_be_sent() -> None:
    """URL, headers, payload as JSON, and price, but never the credential."""
    bundle = dry_run(redacted=("an API key",), notes=("A note.",), budget="$2.00 of $2.00 are left")
    text = bundle.data["text/plain"]

    assert "POST https://api.anthropic.com/v1/messages" in text
    assert "1,000 tokens, as the server counts them" in text
    assert "$0.048, for 1,000 tokens out and 4 attempts" in text
    assert "price of the input  $0.002" in text
    assert "redacted            an API key" in text
    assert "A note." in text
    assert "x-api-key: [REDACTED]" in text
    payload = json.loads(text[text.index("\n{") :])
    assert payload["messages"][0]["content"] == "Costs $5 or $6"
    assert bundle.data["text/html"].count("<details") == 2
    assert KEY not in str(bundle.data)


def test_a_dry_run_of_the_embedded_simulator_names_no_port() -> None:
    """The port would differ each time the notebook is run and saved."""
    text = dry_run(is_simulated=True).data["text/plain"]

    assert "request             POST /v1/messages (the embedded simulator)" in text


def test_base64_data_is_shortened_in_the_shown_payload() -> None:
    """A megabyte of base64 is not readable."""
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 1000}

    text = dry_run([{"type": "image", "source": source}]).data["text/plain"]

    assert "11,000 characters of base64, 8,250 bytes" in text
    assert "Base64 data is shortened here, but sent in full." in text
    assert len(text) < 3000


def test_a_dry_run_without_a_count_shows_a_bound() -> None:
    """Some servers do not count tokens."""
    assert "the server did not count it; at most 2,0" in dry_run(counted=None).data["text/plain"]


def test_a_dry_run_of_an_unlisted_model_names_no_price() -> None:
    """It shows tokens only."""
    text = dry_run(model="llama4").data["text/plain"]

    assert "not known: llama4 is not on the list of 2026-11-27" in text
    assert "price at most" not in text


def test_a_key_in_the_prompt_is_not_shown_either() -> None:
    """A key pasted by mistake is not saved in the output."""
    request = MessageRequest(model="m", max_tokens=1, messages=[{"role": "user", "content": KEY}])
    shown = render_dry_run(
        DryRun(
            preview=preview_request(ClientConfig(), None, request),
            is_simulated=True,
            counted_tokens=1,
            worst=None,
        ),
        redact=Credential(api_key=KEY).redact,
    )

    assert KEY not in str(shown.data)
    assert "[REDACTED]" in shown.data["text/html"]
