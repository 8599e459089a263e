"""The Methods paragraph and its manifest: the actual requests with failures, and replays distinguished from live answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude_magic.bulk import MapRequest, make_plan
from claude_magic.client import ConfigurationError, InvalidRequestError
from claude_magic.render import Methods, describe_methods, render_reply
from claude_magic.runtime import Asked, Phase, Question, Reply, Runtime
from claude_magic.simulator import Simulator

from .conftest import MakeRuntime

TIMEOUT = 120.0


def ask(runtime: Runtime, prompt: str, **options: Any) -> Reply:
    return runtime.start(prompt, **options).result(TIMEOUT)


def described(runtime: Runtime, **options: Any) -> Methods:
    return describe_methods(
        runtime, **{"of_cassette": False, "has_appendix": False, "manifest": None, **options}
    )


def test_what_was_asked_is_described(runtime: Runtime) -> None:
    """Models as named by the responses, dates, parameters, tokens, hashes; prompts only on request."""
    first = ask(runtime, "Name a tree.", system="Be brief.", effort="low")
    ask(runtime, "Name a bird.", model="claude-opus-5-5")
    ask(runtime, "Name a bird.", model="claude-opus-5-5")

    text = str(described(runtime))

    day = first.snapshot().asked_at[:10]
    assert text.startswith(
        "3 requests to language models of Anthropic (Messages API, version 2023-06-01) were made on "
    )
    assert f"claude-sonnet-5-5 (1 answer, on {day}); claude-opus-5-5 (2 answers, on {day})" in text
    assert "at most 16,000 tokens of output, adaptive thinking (display summarized), effort low" in text
    assert "a system prompt (SHA-256 `" in text
    assert "answered 2 times" in text
    assert "Note: 3 of these are from a simulator, not from a model." in text
    assert "Name a tree." not in text
    assert "Be brief." not in text
    assert "Name a tree." in str(described(runtime, has_appendix=True))


def test_one_request_is_described_in_the_singular(runtime: Runtime) -> None:
    """It is a paragraph of somebody's paper."""
    ask(runtime, "Name a tree.")

    text = str(described(runtime))

    assert text.startswith(
        "1 request to language models of Anthropic (Messages API, version 2023-06-01) was made on "
    )
    assert "1 was answered." in text
    assert "Note: 1 of these is from a simulator, not from a model." in text


def test_each_answer_says_what_was_asked_for_it(runtime: Runtime) -> None:
    """The metadata of its output contain the parameters, model, request id, usage, price and date."""
    reply = ask(runtime, "Name a tree.", effort="low")

    facts = render_reply(reply.snapshot()).metadata["claude_magic"]

    (record,) = runtime.log.asked()
    assert facts["request_hash"] == record.key
    assert facts["parameters"]["max_tokens"] == 16_000
    assert facts["parameters"]["output_config"] == {"effort": "low"}
    assert {"model", "request_id", "usage", "cost_usd", "asked_at"} <= facts.keys()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "none"),
        (
            {"max_tokens": 200, "temperature": 0.5, "top_p": 0.9},
            "at most 200 tokens of output, temperature 0.5, top-p 0.9",
        ),
        ({"thinking": {"type": "disabled"}}, "no thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "thinking (budget tokens 4000)"),
        (
            {"thinking": {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}},
            "adaptive thinking (block binding (prefix mismatch behavior drop_block))",
        ),
        (
            {"output_config": {"effort": "low", "task_budget": {"type": "tokens", "total": 9}}},
            "effort low, task budget tokens (total 9)",
        ),
        ({"output_config": {"verbose": True}}, "output config (verbose on)"),
        ({"stop_sequences": ["11", "<b>", "a\n`b`"]}, "stop sequences `11`, `<b>` and `` a\\n`b` ``"),
        ({"tool_choice": {"type": "tool", "name": "tide"}}, "tool choice tool (name tide)"),
        (
            {"betas": ["a-2026-01-01"], "inference_geo": None},
            "beta features a-2026-01-01, inference geo none",
        ),
        ({"tools_sha256": "7da7a94eae688b9569a5"}, "tools (SHA-256 `7da7a94eae688b95…`)"),
        ({"x_y": ["$1", "*b*"], "_z": {}, "more": [{"a": []}]}, "x y `$1` and `*b*`, z none, more (a none)"),
    ],
)
def test_parameters_are_written_in_words_that_a_paper_could_print(
    parameters: dict[str, Any], words: str
) -> None:
    """No JSON for any parameter; text that the user typed is formatted as code if it contains Markdown."""
    asked = Asked(
        key="0" * 32,
        at="2026-11-27T10:00:00Z",
        outcome="answered",
        is_replay=False,
        asked_model="m",
        model="m",
        parameters=parameters,
        prompt="",
        request_id=None,
        tokens_in=1,
        tokens_out=1,
        cost=None,
        attempts=1,
        error=None,
        is_simulated=False,
    )

    assert f"Parameters: {words}. Parameters that are not listed" in str(Methods(asked=[asked]))


def test_failures_and_interruptions_are_counted(runtime: Runtime, when: Any) -> None:
    """A paper reports the number of requests without an answer."""
    ask(runtime, "Name a tree.")
    with pytest.raises(InvalidRequestError):
        ask(runtime, "!simulate bad_request")
    reply = runtime.start("!simulate stall\nTell a story.")
    when(reply, lambda reply: reply.phase is Phase.STREAMING)
    reply.cancel()
    when(reply, lambda reply: reply.done())
    with pytest.raises(ConfigurationError):
        ask(runtime, "")

    text = str(described(runtime))

    assert "1 was answered, 1 failed, 1 was interrupted (InvalidRequestError: 1)." in text
    assert described(runtime).manifest["summary"]["requests"] == 3


def test_replays_are_distinguished_from_live_answers(runtime: Runtime, make_runtime: MakeRuntime) -> None:
    """With the date of the recording, and without a price; every kernel describes the cassette in the same way."""
    live = ask(runtime, "Name a tree.", replay="auto")
    other = make_runtime(CLAUDE_MAGIC_REPLAY="only")
    ask(other, "Name a tree.")

    assert "replayed" not in str(described(runtime))
    text = str(described(other))
    assert "1 of the answers was replayed from a cassette: the date is that of the recording" in text
    assert described(other).manifest["summary"]["cost_usd"] == 0.0
    assert "answered, replayed" in text

    of_cassette = described(other, of_cassette=True)
    assert str(of_cassette) == str(described(runtime, of_cassette=True))
    assert of_cassette.manifest["summary"]["cost_usd"] == round(live.cost or 0.0, 6)
    (request,) = of_cassette.manifest["requests"]
    (asked,) = runtime.log.asked()
    assert (request["key"], request["parameters"]) == (asked.key, dict(asked.parameters))


def test_a_map_is_described_by_its_hashes(runtime: Runtime) -> None:
    """For any number of rows; the hashes are those of the journal."""
    question = Question(prompt="Name {{ item }}.")
    request = MapRequest(question=question, items=["a", "b", "c", "a"], names={}, journal=False)
    plan = make_plan(request, runtime)
    list(plan.read())
    plan.start().result(TIMEOUT)

    methods = described(runtime)

    assert "3 requests to language models" in str(methods)
    assert "A map asked 3 distinct requests; the manifest lists their hashes." in str(methods)
    (found,) = methods.manifest["maps"]
    assert (found["answered"], len(found["keys"]), runtime.log.asked()) == (3, 3, ())


def test_the_requests_of_maps_count_like_all_others(runtime: Runtime, make_runtime: MakeRuntime) -> None:
    """Those to a simulator, the failed ones with their errors, the dates of each model; replays without a price."""
    items = ["a", "b", "!simulate bad_request"]

    def map_rows(runtime: Runtime, prompt: str) -> None:
        question = Question(prompt=prompt, settings={"replay": "auto"})
        request = MapRequest(question=question, items=items, names={}, journal=False)
        plan = make_plan(request, runtime)
        list(plan.read())
        plan.start().result(TIMEOUT)

    ask(runtime, "Name a tree.")
    map_rows(runtime, "{{ item }}")
    map_rows(runtime, "{{ item }}\nagain")

    text, summary = str(described(runtime)), described(runtime).manifest["summary"]
    assert "5 were answered, 2 failed (InvalidRequestError: 2)." in text
    assert "Note: 7 of these are from a simulator" in text
    assert "(5 answers, on " in text
    assert "2 maps asked 4 distinct requests" in text
    assert [summary[name] for name in ("requests", "answered", "failed", "simulated")] == [7, 5, 2, 7]
    assert summary["cost_usd"] > 0

    other = make_runtime()
    map_rows(other, "{{ item }}")
    summary = described(other).manifest["summary"]
    assert (summary["replayed"], summary["cost_usd"]) == (2, 0.0)


def test_the_manifest_is_a_file_without_secrets(runtime: Runtime, sim: Simulator) -> None:
    """It contains prompts only with the appendix, and then redacted."""
    question = Question(prompt="Say exactly: password = 'hunter2-Zeppelin'", is_raw=True)
    runtime.start(question).result(TIMEOUT)

    described(runtime, manifest="methods.json")
    plain = json.loads(Path("methods.json").read_text(encoding="utf-8"))
    described(runtime, manifest="methods.json", has_appendix=True)
    full = json.loads(Path("methods.json").read_text(encoding="utf-8"))

    assert "prompt" not in plain["requests"][0]
    assert "[REDACTED]" in full["requests"][0]["prompt"]
    assert "hunter2" not in json.dumps(full) + str(described(runtime, has_appendix=True))
    with pytest.raises(ConfigurationError, match=r"The manifest nowhere/m.json cannot be written"):
        described(runtime, manifest="nowhere/m.json")


def test_nothing_asked_is_said_so(runtime: Runtime) -> None:
    """Instead of an empty paragraph."""
    assert str(described(runtime)) == "This kernel has sent nothing, so there are no methods to describe."
    assert "The cassette claude.cassette.jsonl is empty" in str(described(runtime, of_cassette=True))
