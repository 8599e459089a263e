"""Requests of the Claude Code command-line client, version 2.1, and the context editing that it uses."""

from __future__ import annotations

import json

import pytest

from .conftest import parse_events, text_of

BETAS = (
    "claude-code-20250219,context-1m-2025-08-07,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05,mid-conversation-system-2026-04-07,effort-2025-11-24"
)
HEADERS = {
    "anthropic-beta": BETAS,
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.197 (external, sdk-cli)",
    "x-app": "cli",
}
EDITING = {"anthropic-beta": "context-management-2025-06-27"}
TOOLS = [
    {
        "name": name,
        "description": f"{name} a file, a command, or the web.",
        "input_schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "command": {"type": "string"},
                "run_in_background": {"type": "boolean"},
                "timeout": {"type": "number"},
            },
            "required": ["command"],
            "additionalProperties": False,
        },
    }
    for name in ("Bash", "Read", "WebSearch")
]


def asked(prompt, *earlier, model="claude-opus-4-8", **fields):
    """Return the body of a question, with everything that the client adds."""
    reminder = {"type": "text", "text": "<system-reminder>\nToday is a day of tides.\n</system-reminder>\n"}
    return {
        "model": model,
        "max_tokens": 64_000,
        "messages": [
            *earlier,
            {"role": "user", "content": [reminder, {"type": "text", "text": prompt}]},
            {"role": "system", "content": "Available agent types for the Agent tool:\n- Explore: reads."},
        ],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197"},
            {
                "type": "text",
                "text": "You are Claude Code.",
                "cache_control": {"type": "ephemeral", "scope": "global"},
            },
            {"type": "text", "text": "Be useful. " * 600, "cache_control": {"type": "ephemeral"}},
        ],
        "tools": TOOLS,
        "metadata": {
            "user_id": json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "s" * 36})
        },
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
        **fields,
    }


def ask(api, body):
    """Send a request as the client does. Return the events."""
    response = api.http.post("/v1/messages?beta=true", json=body, headers=HEADERS)
    assert response.status_code == 200, response.text
    return parse_events(response.text)


def text_in(events):
    return "".join(
        event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta"
    )


def test_a_question_of_the_client_is_answered(api):
    """Text that the client adds is not part of the question. The edits are reported at the end."""
    events = ask(api, asked("What is 17 * 23?"))

    assert "391" in text_in(events)
    (closing,) = [event for event in events if event["type"] == "message_delta"]
    assert closing["context_management"] == {"applied_edits": []}
    assert "context_management" not in events[0]["message"]


def test_a_tool_of_the_client_is_called_and_its_result_used(api):
    """Like the client, the test sends thinking and all blocks back."""
    body = asked('Use Bash with the command "echo 42"', stream=False)
    first = api.http.post("/v1/messages?beta=true", json=body, headers=HEADERS).json()
    (call,) = [block for block in first["content"] if block["type"] == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "42"}
    messages = [
        *body["messages"],
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [result]},
    ]

    second = api.http.post(
        "/v1/messages?beta=true", json={**body, "messages": messages}, headers=HEADERS
    ).json()

    assert (call["name"], call["input"]) == ("Bash", {"command": "echo 42"})
    assert "42" in text_of(second)
    assert second["context_management"] == {"applied_edits": []}


def test_the_client_may_use_features_of_its_own_and_others_may_not(api):
    """The client's betas change with each version. Values that are no beta names are always rejected."""
    hers = {"anthropic-beta": "claude-code-20250219,something-new-2026-12-24"}
    broken = {"anthropic-beta": "claude-code-20250219,nonsense"}
    others = {"anthropic-beta": "something-new-2026-12-24"}

    statuses = [api.post(api.body("2 + 2"), headers).status_code for headers in (hers, broken, others)]

    assert statuses == [200, 400, 400]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", "/", 200), ("GET", "/", 200), ("OPTIONS", "/v1/messages", 200), ("HEAD", "/v1/models", 200)],
)
def test_probes_get_an_orderly_answer(api, method, path, status):
    """The client checks the connection before its first request. A HEAD response has no body."""
    response = api.http.request(method, path)

    assert response.status_code == status
    assert (response.content == b"") is (method != "GET")
    assert api.message("2 + 2")["content"]


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-haiku-4-5", "claude-sonnet-5-5"])
def test_tokens_are_counted_as_the_client_asks(api, model):
    """The request contains all fields except those for the answer."""
    body = asked("What is 17 * 23?", model=model)
    for name in ("max_tokens", "stream", "metadata", "thinking", "output_config"):
        body.pop(name)
    body["messages"].pop()

    response = api.http.post("/v1/messages/count_tokens?beta=true", json=body, headers=HEADERS)

    counted = response.json()
    assert counted["input_tokens"] == counted["context_management"]["original_input_tokens"] > 600


# Context editing.


def history(rounds, thinking=False):
    """Return a conversation with one tool call per round."""
    messages = []
    for number in range(rounds):
        call = {
            "type": "tool_use",
            "id": f"toolu_{number}",
            "name": "Bash" if number % 2 else "Read",
            "input": {"command": "x" * 40},
        }
        thought = {"type": "thinking", "thinking": "I look. " * 20, "signature": "c2ltdWxhdGVk"}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": "result " * 100}
        messages += [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": [*([thought] if thinking else []), call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": f"answer {number}"},
        ]
    return [*messages, {"role": "user", "content": "What is 2 + 2?"}]


def edited(api, *edits, rounds=6, thinking=False, headers=EDITING):
    body = api.body(
        None, messages=history(rounds, thinking), tools=TOOLS, context_management={"edits": list(edits)}
    )
    response = api.post(body, headers)
    return response.status_code, response.json()


def tool_uses(**fields):
    return {"type": "clear_tool_uses_20250919", "trigger": {"type": "tool_uses", "value": 2}, **fields}


def keep(count):
    return {"type": "tool_uses", "value": count}


@pytest.mark.parametrize(
    ("edit", "cleared"),
    [
        (tool_uses(), 3),
        (tool_uses(keep=keep(1)), 5),
        (tool_uses(keep=keep(0), exclude_tools=["Read"]), 3),
        (tool_uses(trigger={"type": "input_tokens", "value": 100}), 3),
        (tool_uses(trigger={"type": "input_tokens", "value": 100_000}), 0),
        (tool_uses(trigger={"type": "tool_uses", "value": 6}), 0),
        (tool_uses(clear_at_least={"type": "input_tokens", "value": 10**6}), 0),
        ({"type": "clear_tool_uses_20250919"}, 0),
    ],
)
def test_old_results_are_cleared_and_reported(api, edit, cleared):
    """The oldest results are cleared once the trigger is reached. Saved tokens do not count as input."""
    before = api.message(None, messages=history(6), tools=TOOLS)["usage"]["input_tokens"]

    _, message = edited(api, edit)

    applied = message["context_management"]["applied_edits"]
    saved = sum(each["cleared_input_tokens"] for each in applied)
    assert [each["cleared_tool_uses"] for each in applied] == ([cleared] if cleared else [])
    assert message["usage"]["input_tokens"] == before - saved
    assert bool(saved) is bool(cleared)
    assert "4" in text_of(message)


def test_arguments_of_cleared_calls_can_go_too(api):
    """Arguments of all tools or of named tools can be cleared."""
    saved = [
        edited(api, tool_uses(clear_tool_inputs=which))[1]["context_management"]["applied_edits"][0][
            "cleared_input_tokens"
        ]
        for which in (False, ["Read"], True)
    ]

    assert saved == sorted(set(saved))


@pytest.mark.parametrize(
    ("kept", "cleared"),
    [("all", 0), ({"type": "all"}, 0), (None, 5), ({"type": "thinking_turns", "value": 4}, 2)],
)
def test_old_thinking_is_cleared_and_reported(api, kept, cleared):
    """By default, the thinking of the latest turn is kept."""
    edit = {"type": "clear_thinking_20251015", **({} if kept is None else {"keep": kept})}

    _, message = edited(api, edit, thinking=True)

    applied = message["context_management"]["applied_edits"]
    assert [each["cleared_thinking_turns"] for each in applied] == ([cleared] if cleared else [])


def test_both_edits_are_applied_in_their_order_and_counted(api):
    """`count_tokens` reports the tokens before and after."""
    edits = [{"type": "clear_thinking_20251015"}, tool_uses()]
    body = {"model": "claude-haiku-5-5", "messages": history(6, True), "tools": TOOLS}

    plain = api.http.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    body["context_management"] = {"edits": edits}
    counted = api.http.post("/v1/messages/count_tokens", json=body, headers=EDITING).json()
    _, message = edited(api, *edits, thinking=True)

    applied = message["context_management"]["applied_edits"]
    assert [each["type"] for each in applied] == [edit["type"] for edit in edits]
    assert counted["context_management"]["original_input_tokens"] == plain
    assert counted["input_tokens"] == plain - sum(each["cleared_input_tokens"] for each in applied)


@pytest.mark.parametrize(
    ("edits", "headers", "message"),
    [
        ([tool_uses()], {}, "context_management: Extra inputs are not permitted"),
        ([{"type": "clear_jokes_20300101"}], EDITING, "context_management.edits.0.type: Input should be"),
        ([tool_uses(), {"type": "clear_thinking_20251015"}], EDITING, "must be the first edit"),
        ([tool_uses(), tool_uses()], EDITING, "may be given once"),
        ([tool_uses(kept=1)], EDITING, "kept: Extra inputs are not permitted"),
        ([tool_uses(keep=3)], EDITING, "keep: Input should be a valid dictionary"),
        (
            [{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 0}}],
            EDITING,
            "greater than",
        ),
        ([{"type": "compact_20260112"}], EDITING, "requires the beta `compact-2026-01-12`"),
    ],
)
def test_edits_that_are_none_are_refused(api, edits, headers, message):
    """The error contains the path of the field."""
    status, body = edited(api, *edits, headers=headers)

    assert status == 400
    assert message in body["error"]["message"]


def test_a_compaction_that_has_no_cause_yet_is_accepted(api):
    """Beyond the trigger, the error is that the simulator cannot write summaries."""
    headers = {"anthropic-beta": "context-management-2025-06-27,compact-2026-01-12"}
    low = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}}

    assert edited(api, {"type": "compact_20260112"}, headers=headers)[0] == 200
    assert edited(api, low, rounds=4, headers=headers)[0] == 200
    status, body = edited(api, low, rounds=400, headers=headers)
    assert (status, "cannot write the summary" in body["error"]["message"]) == (400, True)
