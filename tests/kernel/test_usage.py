"""Prices, usage, budget, limits, models and dry runs, in a real kernel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from claude_magic.simulator import Gate, Simulator, hold, reply, status

pytestmark = pytest.mark.kernel

API_KEY = "sk-ant-test-kernel-4f1d0c7b9e"


@pytest.fixture(autouse=True)
def _no_budget_after_a_test(kernel: Any) -> Iterator[None]:
    """Remove the budget, because all tests of this file share the kernel."""
    yield
    kernel.run("%claude budget off")


def plain(run: Any) -> str:
    """Return the plain text output of a cell."""
    return "\n".join(output["data"]["text/plain"] for output in run.outputs if "data" in output)


def visible(run: Any) -> str:
    """Return the visible text of a cell's HTML output."""
    return "\n".join(re.sub(r"<[^>]*>", "", html) for html in run.frames).replace("&nbsp;", " ")


def paths(sim: Simulator) -> list[str]:
    return [seen.path.partition("?")[0] for seen in sim.requests]


def test_a_footer_shows_tokens_and_price(kernel: Any, sim: Simulator) -> None:
    """For the simulator, the price of the same answer from Claude."""
    sim.script(reply("There."))

    run = kernel.run("%%claude --no-history\nHello")

    assert re.search(r"tokens in · [\d,]+ out · \$0\.\d+ \(simulated\) · ", visible(run))


def test_usage_lists_models_and_threads(kernel: Any) -> None:
    """With one row for each, and their sum."""
    kernel.run("%%claude --thread lighthouse\nHello")
    kernel.run("%%claude --thread lighthouse -m claude-haiku-5-5\nHello again")

    run = kernel.run("%claude usage")

    assert run.status == "ok"
    text = plain(run)
    assert re.search(r"claude-sonnet-5-5 +lighthouse +1 +[\d,]+ +[\d,]+ +[\d,]+ +\$0\.\d+", text)
    assert re.search(r"claude-haiku-5-5 +lighthouse +1 ", text)
    assert "Prices in USD as of" in text


def test_a_request_that_could_pass_the_budget_is_not_sent(kernel: Any, sim: Simulator) -> None:
    """Its tokens are counted, which is free; the error has a few lines with the amounts and advice."""
    assert re.search(r"budget +\$0\.001 ", plain(kernel.run("%claude budget 0.001")))
    sim.clear()

    run = kernel.run("%%claude --no-history\nHello")

    assert run.status == "error"
    assert run.error["ename"] == "BudgetExceededError"
    assert re.search(
        r"could cost up to \$0\.\d+ \([\d,]+ tokens in, 16,000 out, 4 attempts\)", run.error["evalue"]
    )
    assert "%claude budget" in run.error["evalue"]
    assert len("\n".join(run.error["traceback"]).splitlines()) <= 4
    assert paths(sim) == ["/v1/messages/count_tokens"]


def test_a_budget_lets_pass_what_fits(kernel: Any, sim: Simulator) -> None:
    """It shows the amount spent."""
    kernel.run("%claude budget $20")
    sim.clear()

    assert kernel.run("%%claude --no-history\nHello").status == "ok"

    assert paths(sim) == ["/v1/messages/count_tokens", "/v1/messages"]
    assert re.search(r"budget +\$20\.00 ", plain(kernel.run("%claude budget")))
    assert "There is no budget." in plain(kernel.run("%claude budget off"))


def test_a_model_without_a_price_is_refused_under_a_budget(kernel: Any, sim: Simulator) -> None:
    """Nothing is sent."""
    kernel.run("%claude budget 20")
    sim.clear()

    run = kernel.run("%%claude --no-history -m llama4\nHello")

    assert "price of llama4 is not known" in run.error["evalue"]
    assert paths(sim) == []


def test_failed_attempts_that_may_be_billed_show_in_usage(
    start_kernel: Callable[..., Any], sim: Simulator
) -> None:
    """A request with a 500 may have been executed."""
    kernel = start_kernel(CLAUDE_MAGIC_INITIAL_BACKOFF="0")
    sim.script(status(500), reply("There."))

    kernel.run("%%claude\nHello")

    assert "more may be billed for attempts that broke off" in plain(kernel.run("%claude usage"))


def test_a_reload_forgets_neither_budget_nor_usage(start_kernel: Callable[..., Any]) -> None:
    """They belong to the kernel."""
    kernel = start_kernel()
    kernel.run("%claude budget 3")
    kernel.run("%%claude\nHello")

    kernel.run("%reload_ext claude_magic")

    assert re.search(r"budget +\$3\.00 ", plain(kernel.run("%claude budget")))
    assert "claude-sonnet-5-5" in plain(kernel.run("%claude usage"))


def test_limits_show_what_the_server_said(kernel: Any) -> None:
    """In addition to the kernel's limiter."""
    kernel.run("%%claude --no-history\nHello")

    text = plain(kernel.run("%claude limits"))

    assert "Limiter of this kernel" in text
    assert "Server, for claude-sonnet-5-5" in text
    assert re.search(r"requests +[\d,]+ of [\d,]+ left this minute", text)


def test_models_are_listed(kernel: Any, sim: Simulator) -> None:
    """As the server lists them, with the default and the short names marked."""
    sim.clear()

    text = plain(kernel.run("%claude models"))

    assert re.search(r"claude-sonnet-5-5 +sonnet · default +1M +128k +2 / 10", text)
    assert re.search(r"claude-fable-5-2 +fable ", text)
    assert paths(sim) == ["/v1/models"]


def test_models_without_a_server_come_from_the_dated_table(start_kernel: Callable[..., Any]) -> None:
    """With the reason."""
    kernel = start_kernel(ANTHROPIC_BASE_URL="http://127.0.0.1:9", CLAUDE_MAGIC_MAX_RETRIES="0")

    text = plain(kernel.run("%claude models"))

    assert "The server did not list its models" in text
    assert "These are the models known on" in text
    assert "claude-opus-5-5" in text


def test_a_short_name_is_resolved_and_shown(kernel: Any, sim: Simulator) -> None:
    """The footer contains the model that answered."""
    sim.clear()

    run = kernel.run("%%claude --no-history -m opus\nHello")

    assert sim.requests[-1].body["model"] == "claude-opus-5-5"
    assert "claude-opus-5-5 · " in visible(run)


def test_a_dry_run_sends_nothing_but_the_count(kernel: Any, sim: Simulator) -> None:
    """It shows everything but the key, and does not change the conversation."""
    sim.clear()

    run = kernel.run('%%claude --thread rehearsal --dry-run -s "Be brief."\nIt costs $5 {not a formula}')

    assert run.status == "ok"
    assert paths(sim) == ["/v1/messages/count_tokens"]
    text = plain(run)
    assert '"content": "It costs $5 {not a formula}"' in text
    assert '"system": "Be brief."' in text
    assert "price at most" in text
    assert "x-api-key: [REDACTED]" in text
    assert API_KEY not in str(run.messages)
    kernel.run("%%claude --thread rehearsal\nAnd now in earnest")
    assert len(sim.requests[-1].body["messages"]) == 1


def test_a_dry_run_with_controls_shows_the_request_of_their_first_state(kernel: Any, sim: Simulator) -> None:
    """A list of choices is sent as the first one. What has no controls is refused, as without a dry run."""
    sim.clear()
    kernel.run("place, nothing = ['Oslo', 'Brest'], object()")

    text = plain(kernel.run("%%claude --interact place --dry-run\nName a harbour of {{ place }}."))

    assert '"content": "Name a harbour of Oslo."' in text
    for name, prompt in (("nowhere", "{{ nowhere }}"), ("place", "none"), ("nothing", "{{ nothing }}")):
        run = kernel.run(f"%%claude --interact {name} --dry-run\n{prompt}")
        assert run.status == "error"
        assert name in run.error["evalue"]
    assert paths(sim) == ["/v1/messages/count_tokens"]


def test_a_stopped_answer_has_one_estimate_everywhere(kernel: Any, sim: Simulator) -> None:
    """Footer, jobs, usage, budget and reply show the same estimated cost, marked as an estimate."""
    sim.script(hold(Gate(), after_deltas=200, text="tide " * 3000))
    kernel.run(
        "import time\nfrom claude_magic import claude\nfrom claude_magic.runtime import format_usd\n%claude budget 5"
    )
    run = kernel.run("%%claude --thread stopped --bg\nWrite.", allow_stdin=True)
    kernel.run("while len(claude.last.text) < 500: time.sleep(0.01)")
    kernel.run("%claude stop all")
    kernel.run("while not claude.last.done(): time.sleep(0.01)")

    tokens = int(kernel.value("claude.last.usage.output_tokens"))
    price = kernel.value("format_usd(claude.last.cost)").strip("'")

    assert 100 < tokens < 1500
    assert kernel.value("claude.last.usage.is_estimate") == "True"
    run.until(lambda each: ", stopped" in visible(each))
    assert f"≈ {tokens:,} tokens out · ≈ {price}, stopped (simulated)" in visible(run)
    assert f"≈ {price}, stopped (simulated)" in plain(kernel.run("%claude jobs"))
    usage = plain(kernel.run("%claude usage"))
    assert re.search(rf"stopped +1 \(1 partial\) +[\d,]+ +\d+ +≈ {tokens:,} +≈ {re.escape(price)}", usage)
    assert "≈ is an estimate" in usage
    assert "≈ $" in plain(kernel.run("%claude budget"))
