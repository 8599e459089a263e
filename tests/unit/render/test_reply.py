"""The parts around an answer: footer, thinking, status line, errors, and tables."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from typing import Any

import pytest
from snapshots import snapshot, turn

from claude_magic.client import APIError, AttemptFinished, ClaudeError, NetworkError, OverloadedError, Usage
from claude_magic.render import (
    Column,
    describe_status,
    describe_total_cost,
    render_approval,
    render_comparison,
    render_error,
    render_footer,
    render_footer_text,
    render_line,
    render_notice,
    render_reply,
    render_rows,
    short_traceback,
    wrap_error,
)
from claude_magic.render._answer import render_thinking
from claude_magic.render._frame import render_status_line
from claude_magic.render._markdown import render_folded_code
from claude_magic.render._tex import Allowance
from claude_magic.runtime import FROM_PANEL, FROM_PYTHON, BillLine, Phase, Wait
from claude_magic.runtime._progress import Round


def visible(html: str) -> str:
    """Return the text of HTML, as it is read."""
    return re.sub(r"<[^>]*>", "", html).replace("&nbsp;", " ")


def test_a_reply_has_all_its_types() -> None:
    """HTML, Markdown for other front ends, and the answer as plain text."""
    bundle = render_reply(snapshot(("text", "**Hi** <b>")))

    assert set(bundle.data) == {"text/html", "text/markdown", "text/plain"}
    assert "<strong>Hi</strong> &lt;b&gt;" in bundle.data["text/html"]
    assert bundle.data["text/markdown"] == "**Hi** &lt;b>"
    assert bundle.data["text/plain"] == "**Hi** <b>"


def test_text_blocks_that_citations_split_are_one_text() -> None:
    """A sentence may be split into several blocks, even inside an emphasised word."""
    bundle = render_reply(snapshot(("text", "one **bo"), ("text", "ld** two")))

    assert "<p>one <strong>bold</strong> two</p>" in bundle.data["text/html"]


def test_blocks_stand_in_the_order_of_the_message() -> None:
    """Thinking between two texts stays between them; tool data is collapsed in its place."""
    html = render_reply(
        snapshot(
            ("text", "first"), ("thinking", "hmm"), ("text", "second"), ("tool_use", '{"city": "Paris"}')
        )
    ).data["text/html"]

    positions = [html.index(part) for part in ("first", "hmm", "second", "tool use", '{"city": "Paris"}')]
    assert positions == sorted(positions)
    assert html.count("<details") == 2


def test_metadata_show_the_facts_and_nothing_private() -> None:
    """Model, request id, usage and time as JSON; empty values are left out."""
    metadata = render_reply(snapshot(("text", "hi"), is_simulated=True)).metadata

    assert json.loads(json.dumps(metadata)) == {
        "claude_magic": {
            "model": "claude-sonnet-5-5",
            "request_id": "req_1",
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1234, "output_tokens": 567},
            "seconds": 3.21,
            "simulated": True,
        }
    }


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"format": "md"}, {}),
        ({"format": "code"}, {"text": "```python\nx = 1\n```"}),
    ],
)
def test_metadata_hold_what_brings_the_turn_back(reply: dict[str, Any], expected: dict[str, str]) -> None:
    """Its place and its prompt; the answer only if the output shows something else."""
    text = "```python\nx = 1\n```"
    said = turn("Is sk-ant-api03-" + "x" * 80 + " a key?", text, parent="0")

    saved = render_reply(snapshot(("text", text), turn=said, **reply)).metadata["claude_magic"]["turn"]

    assert len(saved.pop("shown_sha256")) == 64
    assert saved == {
        "id": "1",
        "parent": "0",
        "thread": "main",
        "cell": "c",
        "prompt": "Is [REDACTED] a key?",
        **expected,
    }


def test_metadata_show_what_a_notebook_does_not_hold() -> None:
    """Whether attachments were sent, and whether a conversation began there."""
    said = turn("Go on", "a", "b", follows="0")

    saved = render_reply(snapshot(("text", "a"), ("text", "b"), turn=said)).metadata["claude_magic"]["turn"]

    assert (saved["more"], saved["begins"]) == (True, True)
    assert "text" not in saved, "the texts of all rounds are shown"


def test_the_metadata_of_a_failure_name_it() -> None:
    """A saved notebook shows that the answer is incomplete, and why."""
    metadata = render_reply(
        snapshot(("text", "half"), phase=Phase.FAILED, stop_reason=None, error=ClaudeError("x"))
    ).metadata

    assert metadata["claude_magic"]["status"] == "failed"
    assert metadata["claude_magic"]["error"] == "ClaudeError"


def test_thinking_is_folded_and_rendered() -> None:
    """Collapsed to one line, with Markdown and formulas inside."""
    html = render_thinking("I **think** $x$", allowance=Allowance())

    assert html.startswith("<details")
    assert " open" not in html.partition(">")[0]
    assert "<strong>think</strong>" in html
    assert "mathjax_process" in html


def test_thinking_that_was_left_out_leaves_nothing_behind() -> None:
    """Current models send thinking blocks without text."""
    assert render_thinking("", allowance=Allowance()) == ""
    assert "<details" not in render_reply(snapshot(("thinking", ""), ("text", "hi"))).data["text/html"]


# The footer


def test_the_footer_is_one_quiet_line() -> None:
    """Model, input and output tokens with separators, seconds."""
    assert (
        visible(render_footer(snapshot(), kept_in="claude.last"))
        == "claude-sonnet-5-5 · 1,234 tokens in · 567 out · 3.2 s"
    )
    assert render_footer_text(snapshot()) == "claude-sonnet-5-5 · 1,234 tokens in · 567 out · 3.2 s"


def test_a_footer_is_broken_between_two_facts() -> None:
    """On a narrow page or in a narrow column, no line begins with "s" or a dot."""
    facts = re.sub(r"<[^>]*>", "", render_footer(snapshot(), kept_in="claude.last"))

    assert facts.split(" ") == [
        part.replace("_", "&nbsp;")
        for part in ("claude-sonnet-5-5_·", "1,234_tokens_in_·", "567_out_·", "3.2_s")
    ]


def test_the_footer_shows_the_cache_and_the_simulator() -> None:
    """Cached input counts as input, and simulated answers are marked."""
    usage = Usage(
        input_tokens=10, cache_read_input_tokens=2_000, cache_creation_input_tokens=300, output_tokens=5
    )

    text = render_footer_text(snapshot(usage=usage, is_simulated=True))

    assert text == "claude-sonnet-5-5 · 2,310 tokens in (2,000 cached) · 5 out · 3.2 s · simulator"


@pytest.mark.parametrize(
    ("is_simulated", "cost", "shown"),
    [
        (False, 0.0123, " · $0.0123 · "),
        (False, 0.00000451, " · $0.00000451 · "),
        (True, 0.0012, " · $0.0012 (simulated) · "),
    ],
)
def test_the_footer_shows_the_price(is_simulated: bool, cost: float, shown: str) -> None:
    """Between tokens and seconds; for the simulator, the price of the same answer from Claude."""
    assert shown in render_footer_text(snapshot(cost=cost, is_simulated=is_simulated))


@pytest.mark.parametrize(
    ("phase", "ending"), [(Phase.CANCELLED, ", stopped"), (Phase.FAILED, ", broke off"), (Phase.COMPLETE, "")]
)
def test_an_estimate_is_marked_as_one(phase: Phase, ending: str) -> None:
    """Tokens and price, and the saved metadata."""
    usage = Usage(input_tokens=1234, output_tokens=1).estimated(16_000)
    reply = snapshot(("text", "half"), phase=phase, stop_reason=None, usage=usage, cost=0.16)

    facts = f"1,234 tokens in · ≈ 16,000 tokens out · ≈ $0.16{ending} · 3.2 s"

    assert facts in render_footer_text(reply)
    assert facts in visible(render_footer(reply, kept_in="claude.last"))
    (saved,) = render_reply(reply).metadata.values()
    assert saved["estimated"] is True
    assert saved["usage"]["is_estimate"] is True
    assert "estimated" not in render_reply(snapshot()).metadata["claude_magic"]


def test_a_sum_with_an_estimate_in_it_is_one() -> None:
    """Several answers with known, estimated and missing prices."""
    estimate = snapshot(cost=0.2, usage=Usage(input_tokens=3).estimated(9), phase=Phase.CANCELLED)

    assert describe_total_cost([snapshot(cost=0.1), snapshot(cost=0.1)]) == "$0.20"
    assert describe_total_cost([snapshot(cost=0.1), estimate, snapshot(cost=None)]) == "≈ $0.30"
    assert describe_total_cost([snapshot(cost=None)]) == ""


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_final])
def test_an_answer_in_flight_does_not_look_complete(phase: Phase) -> None:
    """As the value of a cell, where it is drawn once."""
    data = render_reply(snapshot(("text", "Once upon a"), phase=phase)).data

    assert "Still in flight" in visible(data["text/html"])
    assert "Still in flight" not in render_reply(snapshot(("text", "Once upon a time."))).data["text/html"]


def test_the_footer_names_all_models_that_are_billed() -> None:
    """Advisor models are billed, too."""
    line = BillLine(model="claude-opus-5-5", usage=Usage(), cost=0.1)
    rounds = (Round(model="claude-sonnet-5-5", usage=Usage(), request_id=None, bill=(line,)),)

    assert render_footer_text(snapshot(rounds=rounds)).startswith("claude-sonnet-5-5 with claude-opus-5-5 · ")


def test_amounts_in_dollars_are_no_formula() -> None:
    """A notebook would typeset text between two dollar signs."""
    for html in (
        render_footer(snapshot(cost=1.5, notes=("It costs $2.",)), kept_in="claude.last"),
        render_rows([("Budget", [("left", "$1 of $2")])]).data["text/html"],
        render_folded_code("Payload", '{"a": "$1 and $2"}', "json"),
    ):
        assert html.startswith('<div class="mathjax_ignore tex2jax_ignore">')
        assert html.endswith("</div>")


def test_the_footer_shows_no_price_that_is_not_known() -> None:
    """Neither a guess nor zero."""
    assert "$" not in render_footer_text(snapshot(cost=None))


@pytest.mark.parametrize(
    ("stop_reason", "words"),
    [
        ("max_tokens", "Cut at max_tokens after 567 tokens."),
        ("pause_turn", "Paused by the server"),
        ("model_context_window_exceeded", "the context window of the model is full"),
        ("refusal", "Claude declined to answer"),
        ("tool_use", "Waiting for the result of a tool"),
        ("compaction", "compact the conversation"),
        ("eaten_by_bears", "a reason unknown to this version: eaten_by_bears"),
    ],
)
def test_a_stop_other_than_the_normal_one_is_said_in_plain_words(stop_reason: str, words: str) -> None:
    """The text says that the answer is incomplete, why, and what to do."""
    reply = snapshot(("text", "half an"), stop_reason=stop_reason)

    assert words in visible(render_footer(reply, kept_in="claude.last"))
    assert words in render_footer_text(reply)


@pytest.mark.parametrize(
    ("origin", "remedy"),
    [
        ("In[4]", "Raise --max-tokens, or run `%claude continue`."),
        (FROM_PANEL, "Raise Max tokens in the settings and press Retry, or ask Claude to continue."),
        (FROM_PYTHON, "Raise `max_tokens`, or run `%claude continue` in a cell."),
    ],
)
def test_an_answer_that_was_cut_says_what_to_do_where_it_was_asked(origin: str, remedy: str) -> None:
    """A panel has fields and buttons, not the options of cells."""
    reply = snapshot(("text", "half an"), stop_reason="max_tokens", origin=origin)

    assert f"Cut at max_tokens after 567 tokens. {remedy}\n" in render_footer_text(reply)


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", None])
def test_a_normal_stop_needs_no_words(stop_reason: str | None) -> None:
    """Nothing is said about a normal end."""
    assert len(render_footer_text(snapshot(("text", "whole"), stop_reason=stop_reason)).splitlines()) == 1


def test_a_refusal_says_of_what_kind_it_is() -> None:
    """Category and explanation come from the server."""
    details = {"type": "refusal", "category": "general_harms", "explanation": "It could hurt someone."}

    text = render_footer_text(snapshot(stop_reason="refusal", stop_details=details))

    assert text.startswith("Claude declined to answer (general harms). It could hurt someone.")


def test_an_interrupted_answer_says_where_the_rest_is() -> None:
    """The footer names the expression for the partial answer, and does not guess the number of tokens."""
    text = render_footer_text(snapshot(("text", "half"), phase=Phase.CANCELLED, stop_reason=None))

    assert text == (
        "Interrupted: the partial answer is kept in claude.last.\nclaude-sonnet-5-5 · 1,234 tokens in · 3.2 s"
    )


def attempt(error: ClaudeError, *, will_retry: bool) -> AttemptFinished:
    return AttemptFinished(
        attempt=2,
        max_attempts=6,
        method="POST",
        path="/v1/messages",
        status=None,
        error=error,
        will_retry=will_retry,
        delay=1.0 if will_retry else None,
        duration=0.1,
        elapsed=0.1,
        request_id=None,
        give_up_reason=None,
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OverloadedError("Overloaded.", status=529), "overloaded"),
        (APIError("Bad gateway.", status=502), "server error 502"),
        (NetworkError("No route."), "connection failed"),
    ],
)
def test_an_interrupted_retry_says_why_it_was_one(error: ClaudeError, reason: str) -> None:
    """The reason is not lost with the countdown. It is left out if the answer began after all, or nothing failed."""
    stopped = {"phase": Phase.CANCELLED, "stop_reason": None, "usage": None}
    retried = (attempt(error, will_retry=True),)

    text = render_footer_text(snapshot(attempts=retried, **stopped))
    began = render_footer_text(snapshot(("text", "half"), attempts=retried, **stopped))
    first = render_footer_text(snapshot(**stopped))

    assert text.startswith(f"Interrupted while retrying: attempt 2 of 6 failed ({reason}).\n")
    assert began.startswith("Interrupted: the partial answer is kept in claude.last.\n")
    assert first.startswith("Interrupted.\n")


def test_a_failure_in_mid_answer_is_one_line_under_what_had_come() -> None:
    """The partial text stays readable."""
    error = OverloadedError("Claude is overloaded.", status=529)
    html = render_reply(snapshot(("text", "half"), phase=Phase.FAILED, stop_reason=None, error=error)).data[
        "text/html"
    ]

    assert "<p>half</p>" in html
    assert "OverloadedError: Claude is overloaded. The partial answer is kept in claude.last." in visible(
        html
    )


def test_what_was_done_differently_is_noted() -> None:
    """Notes of the runtime are above the facts."""
    assert render_footer_text(snapshot(notes=("This model always thinks.",))).startswith(
        "This model always thinks.\n"
    )


BACKTICKS = "Nothing is lost: run `%claude load 'a<b>.json'`, or ``as it is``, or ` alone."
AS_CODE = "run <code>%claude load 'a&lt;b&gt;.json'</code>, or ``as it is``, or ` alone."


@pytest.mark.parametrize(
    "html",
    [
        render_footer(snapshot(notes=(BACKTICKS,)), kept_in="claude.last"),
        render_footer(snapshot(phase=Phase.FAILED, error=ClaudeError(BACKTICKS)), kept_in="claude.last"),
        render_notice(BACKTICKS).data["text/html"],
        render_error(BACKTICKS),
        render_line(BACKTICKS),
        render_rows([], notes=[BACKTICKS]).data["text/html"],
        render_rows([("", [("a", "b")])], notes=[BACKTICKS]).data["text/html"],
    ],
    ids=["note", "failure", "notice", "complaint", "line", "below nothing", "below a table"],
)
def test_what_stands_between_backticks_in_a_sentence_of_ours_is_code(html: str) -> None:
    """In HTML, in all messages; unpaired backticks are unchanged."""
    assert AS_CODE in html


def test_backticks_stay_in_plain_text_and_are_code_in_markdown() -> None:
    """A terminal, a text file and a Markdown view show them as usual."""
    note = snapshot(notes=(BACKTICKS,))

    assert BACKTICKS in render_footer_text(note)
    assert render_notice(BACKTICKS).data["text/plain"] == BACKTICKS
    assert render_rows([], notes=[BACKTICKS]).data["text/plain"] == BACKTICKS
    column = Column(name="opus", kept_in="x", answer=note)
    assert "`%claude load 'a<b>.json'`" in render_comparison([column]).data["text/markdown"]


def test_the_arguments_of_a_call_are_shown_to_the_letter() -> None:
    """An approval question is not a message of the package, so backticks are unchanged."""
    assert "run(x='`rm`')" in render_approval("run(x='`rm`')")


# What is waited for


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"phase": Phase.SENT}, "waiting for the first words…"),
        ({"phase": Phase.STREAMING}, "thinking…"),
        (
            {
                "phase": Phase.QUEUED,
                "wait": Wait(kind="rate", reason="", until=103.2, attempt=1, max_attempts=4),
            },
            "waiting for the rate limiter, 4 s…",
        ),
        (
            {
                "phase": Phase.QUEUED,
                "wait": Wait(kind="rate", reason="", until=math.inf, attempt=1, max_attempts=4),
            },
            "waiting for the rate limiter…",
        ),
        (
            {
                "phase": Phase.QUEUED,
                "wait": Wait(kind="paused", reason="rate limited", until=120.0, attempt=1, max_attempts=4),
            },
            "the server asked to wait (rate limited); sending in 20 s. Nothing is sent yet, interrupting is safe…",
        ),
        (
            {
                "phase": Phase.QUEUED,
                "wait": Wait(kind="limit", reason="input tokens", until=111.5, attempt=1, max_attempts=4),
            },
            "waiting for the server's limit of input tokens, 12 s…",
        ),
        (
            {
                "phase": Phase.RETRYING,
                "wait": Wait(
                    kind="backoff",
                    reason="Claude is overloaded (529)",
                    until=107.5,
                    attempt=2,
                    max_attempts=4,
                ),
            },
            "Claude is overloaded (529); retrying in 8 s · attempt 2 of 4",
        ),
    ],
)
def test_the_status_line_says_what_is_waited_for_and_how_long(changes: dict[str, object], line: str) -> None:
    """Every wait is shown."""
    reply = snapshot(stop_reason=None, **changes)

    assert describe_status(reply, now=100.0) == line
    assert visible(render_status_line(reply, now=100.0)) == line


@pytest.mark.parametrize("phase", [Phase.COMPLETE, Phase.FAILED, Phase.CANCELLED])
def test_there_is_no_status_line_at_the_end(phase: Phase) -> None:
    """A final reply waits for nothing."""
    assert render_status_line(snapshot(phase=phase), now=0.0) == ""


def test_there_is_no_status_line_once_there_are_words() -> None:
    """The growing text shows the progress."""
    assert (
        render_status_line(snapshot(("text", "Hi"), phase=Phase.STREAMING, stop_reason=None), now=0.0) == ""
    )


# Errors and tables


def test_an_error_is_a_few_lines_coloured_like_ipythons() -> None:
    """A red name, then the message; no internal frames."""
    error = OverloadedError(
        "Claude is overloaded. " + "Try again later, when others have gone home. " * 3, status=529
    )

    lines = short_traceback(error, colors=True)

    assert lines[0].startswith("\x1b[0;31mOverloadedError\x1b[0m: Claude is overloaded.")
    assert len(lines) <= 4
    assert "\x1b" not in "".join(short_traceback(error, colors=False))


@pytest.mark.parametrize("code", ["{{ opened }}", "`claude.errors(my result)`"])
def test_the_lines_of_an_error_do_not_break_within_code(code: str) -> None:
    """Words of prose are moved to the next line, and so is the code as a whole."""
    for words in range(20):
        lines = wrap_error(f"{'word ' * words}{code}: no such name. Nothing was sent.")
        assert max(map(len, lines)) <= 88
        assert sum(code in line for line in lines) == 1


def test_an_interrupt_is_one_line() -> None:
    """The user interrupted, and needs no explanation."""
    assert short_traceback(KeyboardInterrupt(), colors=False) == ["KeyboardInterrupt: interrupted"]


def test_rows_are_aligned_in_both_forms() -> None:
    """One table for all groups; in plain text the columns are aligned across groups, too."""
    groups = [("Client", [("url", "https://e.org", "default")]), ("Limiter", [("queue", "<0>")])]

    bundle = render_rows(groups)

    assert bundle.data["text/plain"] == "Client\nurl    https://e.org  default\n\nLimiter\nqueue  <0>"
    assert bundle.data["text/html"].count("<table") == 1
    assert "&lt;0&gt;" in bundle.data["text/html"]


def test_numbers_stand_at_the_right_under_their_names() -> None:
    """Amounts are easy to compare; notes are below the table."""
    groups = [("Claude", [("opus", "9"), ("sonnet", "1,234")])]

    bundle = render_rows(groups, columns=("model", "tokens"), numbers=(1,), notes=["In USD."])

    assert bundle.data["text/plain"] == ("Claude\nmodel   tokens\nopus         9\nsonnet   1,234\n\nIn USD.")
    assert bundle.data["text/html"].count("text-align:right") == 3
    assert "<th" in bundle.data["text/html"]


def test_only_columns_of_prose_wrap_on_a_narrow_page() -> None:
    """Dates, names and numbers are not wrapped, and columns after a long question stay visible."""
    rows = [
        (
            "2026-11-27 10:00",
            "claude-haiku-4-5-20251001",
            "A question of more than a few words?",
            "≈ $0.0021, stopped (simulated)",
        )
    ]

    html = render_rows([("", rows)], columns=("asked", "model", "question", "price"), numbers=(3,)).data[
        "text/html"
    ]

    spaces = {
        text: re.findall(r"white-space:(\w+)", style)
        for style, text in re.findall(r'<t[dh] style="([^"]*)">([^<]*)<', html)
    }
    assert [spaces[text] for text in rows[0]] == [["nowrap"], ["nowrap"], ["normal"], ["nowrap"]]
    assert [spaces[name] for name in ("asked", "model", "question", "price")] == [[]] * 4


def test_pygments_is_imported_only_for_an_answer_with_code_in_it() -> None:
    """The first answer imports only what it needs."""
    script = (
        "import sys; from claude_magic.render._markdown import render_markdown; render_markdown('plain *text*');"
        "assert 'pygments' not in sys.modules; render_markdown('```python\\nx\\n```'); assert 'pygments' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
