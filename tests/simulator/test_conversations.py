"""Thinking, tools, structured output, search, caching, limits and models."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from claude_magic.simulator import Simulator

from .conftest import Api, text_of

SHOWN = {"type": "adaptive", "display": "summarized"}
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
}
CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}


def user(content):
    return {"role": "user", "content": content}


def assistant(message):
    return {"role": "assistant", "content": message["content"]}


# Thinking.


@pytest.mark.parametrize(
    ("model", "thinking", "kinds", "is_shown"),
    [
        ("claude-sonnet-5-5", None, ["thinking", "text"], False),
        ("claude-sonnet-5-5", SHOWN, ["thinking", "text"], True),
        ("claude-sonnet-5-5", {"type": "between_tools"}, ["text"], None),
        ("claude-opus-4-8", None, ["text"], None),
        ("claude-opus-4-8", {"type": "adaptive"}, ["thinking", "text"], False),
        ("claude-opus-4-6", {"type": "adaptive"}, ["thinking", "text"], True),
        ("claude-haiku-4-5", {"type": "enabled", "budget_tokens": 1024}, ["thinking", "text"], True),
        ("claude-haiku-5-5", {"type": "disabled"}, ["text"], None),
    ],
)
def test_each_model_thinks_and_shows_it_by_its_own_defaults(api, model, thinking, kinds, is_shown):
    """Newer models think by default and omit the text; older ones think on request and show it."""
    message = api.message(model=model, thinking=thinking)

    assert [block["type"] for block in message["content"]] == kinds
    if is_shown is not None:
        assert bool(message["content"][0]["thinking"]) is is_shown
        assert message["usage"]["output_tokens_details"]["thinking_tokens"] > 0


def test_thinking_that_is_left_out_streams_as_a_signature_only(api):
    """There is one signature delta and no thinking delta."""
    kinds = [event["delta"]["type"] for event in api.events() if event["type"] == "content_block_delta"]

    assert kinds.count("signature_delta") == 1
    assert "thinking_delta" not in kinds


def test_thinking_sent_back_unchanged_is_accepted(api):
    """An append-only conversation can have any number of turns."""
    messages = [user("Tell me about tides")]
    for prompt in ("as a table", "in one sentence"):
        messages += [assistant(api.message(messages=messages)), user(prompt)]

    assert text_of(api.message(messages=messages)).startswith("Tides come from the moon's gravity")


def test_a_directive_in_an_earlier_turn_is_no_change(api):
    """The line `!simulate ...` is not part of the prompt in any turn."""
    messages = [user("!simulate plain\nTell me about tides")]
    messages += [assistant(api.message(messages=messages)), user("as a table")]

    assert api.message(messages=messages)


@pytest.mark.parametrize("change", ["system", "earlier text", "thinking text", "signature", "tools"])
def test_thinking_in_a_changed_conversation_is_refused(api, change):
    """The error contains the path of the block."""
    first = api.message(messages=[user("Tell me about tides")], thinking=SHOWN)
    block = dict(first["content"][0])
    fields = {"thinking": SHOWN}
    question = "Tell me about tides"
    if change == "system":
        fields["system"] = "Be kind."
    elif change == "tools":
        fields["tools"] = [CLOCK]
    elif change == "earlier text":
        question = "Tell me about the tides"
    elif change == "thinking text":
        block["thinking"] += " And more."
    else:
        block["signature"] = block["signature"][:-8] + "AAAAAAA="
    content = [block, *first["content"][1:]]

    status, message = api.error(
        messages=[user(question), {"role": "assistant", "content": content}, user("go on")], **fields
    )

    assert status == 400
    assert message.startswith("messages.1.content.0: Invalid `signature` in `thinking` block")


def test_mismatching_thinking_can_be_dropped_on_request(api):
    """With the beta and the setting, the response lists the dropped blocks."""
    first = api.message(messages=[user("Tell me about tides")])
    thinking = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    body = api.body(messages=[user("Something else"), assistant(first), user("go on")], thinking=thinking)

    response = api.post(body, {"anthropic-beta": "thinking-binding-controls-2026-08-01"})

    assert response.status_code == 200
    assert response.json()["input_transformations"][0]["path"] == "messages.1.content.0"


def test_thinking_of_another_model_is_left_unread(api):
    """Changing the model within a conversation is not an error."""
    first = api.message(messages=[user("x")], model="claude-sonnet-5-5")

    assert api.message(messages=[user("y"), assistant(first), user("z")], model="claude-haiku-5-5")


# Tools.


def test_a_tool_that_fits_the_prompt_is_called_with_arguments_from_it(api):
    """City, number and unit come from the prompt."""
    message = api.message(
        "What is the weather in Brest for the next 3 days, in celsius?", tools=[CLOCK, WEATHER]
    )

    call = message["content"][-1]
    assert message["stop_reason"] == "tool_use"
    assert call["id"].startswith("toolu_")
    assert (call["name"], call["input"]) == ("get_weather", {"city": "Brest", "days": 3, "unit": "celsius"})


def test_a_tool_call_streams_its_arguments_in_fragments(api):
    """They join to the JSON of all arguments; the start event contains an empty object."""
    events = api.events("What is the weather in Brest?", tools=[WEATHER])

    start = next(
        e for e in events if e["type"] == "content_block_start" and e["content_block"]["type"] == "tool_use"
    )
    fragments = [
        e["delta"]["partial_json"] for e in events if e.get("delta", {}).get("type") == "input_json_delta"
    ]
    assert start["content_block"]["input"] == {}
    assert fragments[0] == ""
    assert json.loads("".join(fragments))["city"] == "Brest"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("14 degrees and rain", "According to `get_weather`: 14 degrees and rain"),
        ('{"temperature": 14}', "**temperature**: 14"),
        ('[{"day": 1, "t": 14}, {"day": 2, "t": 15}]', "| 2 | 15 |"),
        ([{"type": "text", "text": "3.5"}], "**3.5**"),
    ],
)
def test_a_tools_result_is_used_in_the_answer(api, result, expected):
    """Text, numbers, objects and tables each have their own form."""
    messages = [user("What is the weather in Brest?")]
    first = api.message(messages=messages, tools=[WEATHER])
    block = {"type": "tool_result", "tool_use_id": first["content"][-1]["id"], "content": result}

    second = api.message(messages=[*messages, assistant(first), user([block])], tools=[WEATHER])

    assert expected in text_of(second)
    assert second["stop_reason"] == "end_turn"


def test_a_tools_error_is_described(api):
    """A result with `is_error` is described as a failure."""
    messages = [user("What is the weather in Brest?")]
    first = api.message(messages=messages, tools=[WEATHER])
    block = {
        "type": "tool_result",
        "tool_use_id": first["content"][-1]["id"],
        "content": "no network",
        "is_error": True,
    }

    second = api.message(messages=[*messages, assistant(first), user([block])], tools=[WEATHER])

    assert "`get_weather` failed: no network" in text_of(second)


NOT_RUN = [
    ("The user interrupted this before there was a result.", "did not run to its end"),
    ("The user refused this call.", "did not run"),
    ("Nobody could be asked whether this call may run, so it did not.", "did not run"),
    ("This call was not made: the reply that asked for it was cut short.", "did not run"),
]


def refused_call(api, question, reason):
    """Return a conversation up to a call that did not run."""
    tool = {"name": "clock", "description": "The time now", "input_schema": CLOCK["input_schema"]}
    first = api.message(messages=[user(question)], tools=[tool])
    call = first["content"][-1]
    assert call["type"] == "tool_use"
    block = {"type": "tool_result", "tool_use_id": call["id"], "content": reason, "is_error": True}
    return tool, [user(question), assistant(first)], block


@pytest.mark.parametrize(("reason", "described"), NOT_RUN)
def test_a_call_that_did_not_run_is_named_and_the_question_answered_without_it(api, reason, described):
    """The answer does not use the missing result."""
    tool, messages, block = refused_call(api, "Use clock. Why is the sky blue? In one sentence.", reason)

    text = text_of(api.message(messages=[*messages, user([block])], tools=[tool]))

    assert text.startswith(f"`clock` {described}: {reason}")
    assert text.endswith("blue light reaches us from all directions.")


@pytest.mark.parametrize(("reason", "described"), NOT_RUN)
@pytest.mark.parametrize("is_joined", [True, False])
def test_a_question_after_a_call_that_did_not_run_is_answered(api, reason, described, is_joined):
    """The new question is answered, with a remark about the earlier call."""
    tool, messages, block = refused_call(api, "Use clock.", reason)
    question = {"type": "text", "text": "Why is the sky blue? In one sentence."}
    after = [user([block, question])] if is_joined else [user([block]), user([question])]

    message = api.message(messages=[*messages, *after], tools=[tool])

    assert text_of(message).startswith(f"(`clock`, which the question before asked for, {described}.)")
    assert text_of(message).endswith("blue light reaches us from all directions.")


def test_the_next_question_may_call_the_tool_again(api):
    """An example is a question after an interrupt."""
    tool, messages, block = refused_call(api, "Use clock.", NOT_RUN[0][0])

    again = api.message(
        messages=[*messages, user([block, {"type": "text", "text": "Use clock again."}])], tools=[tool]
    )

    assert again["stop_reason"] == "tool_use"


def test_an_answer_that_was_interrupted_in_its_tool_goes_on_with_the_question(api):
    """The failure does not count as the answer."""
    question = "Use clock."
    tool, messages, block = refused_call(api, question, NOT_RUN[0][0])
    go_on = {"type": "text", "text": "You were interrupted before the first word of your answer. Go on."}

    text = text_of(api.message(messages=[*messages, user([block, go_on])], tools=[tool]))

    assert "did not run to its end" in text
    assert "I don't know that" in text


def test_tool_choice_forces_and_forbids(api):
    """`tool` and `any` call a tool without text; `none` never calls one."""
    forced = api.message("hello", tools=[CLOCK], tool_choice={"type": "tool", "name": "clock"})
    forbidden = api.message("What is the weather in Brest?", tools=[WEATHER], tool_choice={"type": "none"})

    assert [block["type"] for block in forced["content"] if block["type"] != "thinking"] == ["tool_use"]
    assert forbidden["stop_reason"] == "end_turn"


def test_a_prompt_that_fits_no_tool_is_answered(api):
    """Tools of the request do not have to be used."""
    assert api.message("Why is the sky blue?", tools=[WEATHER])["stop_reason"] == "end_turn"


# Structured output, search, attachments.

PERSON = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "age", "email", "tags", "role"],
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "role": {"enum": ["pilot", "engineer"]},
        "home": {"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]},
    },
    "$defs": {
        "place": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"born": {"type": "string", "format": "date"}},
            "required": ["born"],
        }
    },
}


def test_a_requested_schema_is_satisfied_with_what_the_prompt_offers(api):
    """The text is JSON for the schema, with names, numbers, addresses and choices from the prompt."""
    prompt = "Extract: Ada Lovelace, 36, ada@example.org, engineer, born 1815-12-10"
    text = api.text(prompt, output_config={"format": {"type": "json_schema", "schema": PERSON}})

    value = json.loads(text)
    assert value["name"] == "Ada Lovelace"
    assert (value["age"], value["email"], value["role"]) == (36, "ada@example.org", "engineer")
    assert len(value["tags"]) >= 1
    assert value["home"] == {"born": "1815-12-10"}


def test_web_search_shows_its_query_results_and_citations(api):
    """The blocks are those of the API, and the results state that they were invented."""
    message = api.message(
        "Search the web for lighthouse keepers", tools=[{"type": "web_search_20250305", "name": "web_search"}]
    )

    kinds = [block["type"] for block in message["content"] if block["type"] != "thinking"]
    assert kinds[:3] == ["server_tool_use", "web_search_tool_result", "text"]
    cited = next(block for block in message["content"] if block.get("citations"))
    assert cited["citations"][0]["type"] == "web_search_result_location"
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1


def test_pictures_and_documents_are_acknowledged(api):
    """The size of an image is read from its data."""
    png = io.BytesIO()
    Image.new("RGB", (640, 480)).save(png, "png")
    picture = {
        "type": "image",
        "source": {
            "type": "base64",
            "media_type": "image/png",
            "data": base64.b64encode(png.getvalue()).decode(),
        },
    }
    text = {
        "type": "document",
        "title": "Log",
        "source": {"type": "text", "media_type": "text/plain", "data": "a b c"},
    }

    message = api.message(messages=[user([picture, text, {"type": "text", "text": "What is this?"}])])

    assert "a PNG image, 640 by 480 pixels" in text_of(message)
    assert "Log: 1 line, 3 words" in text_of(message)
    assert message["usage"]["input_tokens"] > 23 * 18


# Counting, caching, limits.


def test_count_tokens_agrees_with_input_tokens(api):
    """The estimate equals the usage of the request."""
    fields = {"system": "Be kind.", "tools": [WEATHER], "messages": [user("Tell me about tides")]}
    body = {"model": "claude-haiku-5-5", **fields}

    counted = api.http.post("/v1/messages/count_tokens", json=body).json()

    assert counted == {"input_tokens": api.message(**fields)["usage"]["input_tokens"]}


def test_count_tokens_refuses_max_tokens(api):
    """That endpoint has other fields."""
    response = api.http.post("/v1/messages/count_tokens", json=api.body())

    assert response.json()["error"]["message"] == "max_tokens: Extra inputs are not permitted"


def long_system(**cache_control):
    return [{"type": "text", "text": "Tides come and go. " * 300, "cache_control": cache_control}]


def test_a_marked_prefix_is_written_once_and_then_read(api):
    """The three input counts have the same sum."""
    fields = {"system": long_system(type="ephemeral"), "messages": [user("Tell me about tides")]}

    first, second = api.message(**fields)["usage"], api.message(**fields)["usage"]

    assert first["cache_creation_input_tokens"] == second["cache_read_input_tokens"] > 512
    assert first["cache_read_input_tokens"] == second["cache_creation_input_tokens"] == 0
    assert first["input_tokens"] == second["input_tokens"]
    assert first["cache_creation"]["ephemeral_5m_input_tokens"] == first["cache_creation_input_tokens"]


def test_an_hours_lifetime_is_accounted_for_separately(api):
    """`cache_creation` contains the tokens per lifetime."""
    usage = api.message(system=long_system(type="ephemeral", ttl="1h"))["usage"]

    assert usage["cache_creation"]["ephemeral_1h_input_tokens"] > 0
    assert usage["cache_creation"]["ephemeral_5m_input_tokens"] == 0


def test_a_short_prefix_is_silently_not_cached(api):
    """Prefixes below the model's minimum are not written."""
    usage = api.message(cache_control={"type": "ephemeral"})["usage"]

    assert usage["cache_creation_input_tokens"] == 0


def test_automatic_caching_reads_the_conversation_so_far(api):
    """The next turn is charged only for its new tokens."""
    automatic = {"cache_control": {"type": "ephemeral"}}
    messages = [user("Tides come and go. " * 300)]
    first = api.message(messages=messages, **automatic)
    messages += [assistant(first), user("in one sentence")]

    usage = api.message(messages=messages, **automatic)["usage"]

    assert usage["cache_read_input_tokens"] == first["usage"]["cache_creation_input_tokens"] > 0
    assert 0 < usage["cache_creation_input_tokens"] < 1000


def test_rate_limit_headers_count_down():
    """There are limit, remaining and an RFC 3339 reset for requests and tokens."""
    with Simulator(requests_per_minute=6) as sim:
        api = Api(sim)
        first, second = (api.post(api.body("2 + 2")).headers for _ in range(2))
        api.http.close()

    name = "anthropic-ratelimit-requests-remaining"
    assert int(second[name]) == int(first[name]) - 1
    assert first["anthropic-ratelimit-requests-reset"].endswith("Z")
    for kind in ("tokens", "input-tokens", "output-tokens"):
        assert int(first[f"anthropic-ratelimit-{kind}-limit"]) > 0


def test_an_empty_bucket_refuses_with_retry_after():
    """With two requests per minute, the third gets a 429 with the time to wait. Related models share a bucket."""
    with Simulator(requests_per_minute=2) as sim:
        api = Api(sim)
        responses = [
            api.post(api.body("2 + 2", model=model)) for model in ["claude-opus-4-8", "claude-opus-4-7"] * 2
        ]
        other = api.post(api.body("2 + 2", model="claude-sonnet-5-5"))
        api.http.close()

    assert [response.status_code for response in responses] == [200, 200, 429, 429]
    assert 1 <= int(responses[2].headers["retry-after"]) <= 30
    assert responses[2].headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert responses[2].json()["error"]["type"] == "rate_limit_error"
    assert other.status_code == 200


def test_output_tokens_are_limited_after_the_fact():
    """Produced tokens are removed from the bucket, which then has to refill."""
    with Simulator(output_tokens_per_minute=50) as sim:
        api = Api(sim)
        statuses = [api.post(api.body("Tell me about tides")).status_code for _ in range(2)]
        api.http.close()

    assert statuses == [200, 429]


# Models.


def test_models_are_listed_page_by_page(api):
    """Following `after_id` visits every model once, newest first; `before_id` goes back."""
    seen, after = [], None
    while True:
        query = {"limit": "5"} | ({"after_id": after} if after else {})
        page = api.http.get("/v1/models", params=query).json()
        seen += [model["id"] for model in page["data"]]
        if not page["has_more"]:
            break
        after = page["last_id"]
    back = api.http.get("/v1/models", params={"limit": "2", "before_id": seen[3]}).json()

    whole = [model["id"] for model in api.http.get("/v1/models", params={"limit": "1000"}).json()["data"]]
    assert seen == whole
    assert {"claude-fable-5-2", "claude-sonnet-5-5", "claude-haiku-4-5-20251001"} <= set(seen)
    assert [model["id"] for model in back["data"]] == seen[1:3]


def test_retired_models_are_listed_only_on_request(api):
    """`lifecycle[]` selects them. Retired models have descriptions, but reject messages."""
    retired = api.http.get("/v1/models", params={"lifecycle[]": "retired"}).json()["data"]

    assert "claude-3-opus-20240229" in {model["id"] for model in retired}
    assert {model["lifecycle"] for model in retired} == {"retired"}


def test_a_model_is_described_by_id_or_alias(api):
    """Each capability has a `supported` field."""
    model = api.http.get("/v1/models/claude-haiku-4-5").json()

    assert model["id"] == "claude-haiku-4-5-20251001"
    assert model["capabilities"]["thinking"]["types"]["enabled"] == {"supported": True}
    assert model["capabilities"]["effort"]["supported"] is False


@pytest.mark.parametrize(
    ("query", "message"),
    [({"limit": "0"}, "limit"), ({"limit": "x"}, "limit"), ({"after_id": "zz"}, "after_id")],
)
def test_a_list_query_that_makes_no_sense_is_refused(api, query, message):
    """The error names the parameter."""
    response = api.http.get("/v1/models", params=query)

    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "model", ["claude-fable-5-2", "claude-opus-5", "claude-sonnet-4-6", "claude-sonnet-4-5"]
)
def test_every_kind_of_model_answers_under_both_versions(api, model):
    """The request has only the required fields."""
    for version in ("2023-06-01", "2026-10-21"):
        response = api.post(api.body(model=model), {"anthropic-version": version})
        assert response.status_code == 200
        assert response.json()["model"].startswith(model)


@pytest.mark.parametrize(
    "prompt",
    ["Hello", "Good morning!", "Thanks a lot.", "who are you?", "Say exactly: ahoy", 'Reply with only "yes"'],
)
@pytest.mark.parametrize("thinking", [None, {"type": "adaptive"}])
def test_where_there_is_nothing_to_think_about_it_does_not_think(api, prompt, thinking):
    """With adaptive thinking, the model decides: a greeting needs none."""
    message = api.message(prompt, thinking=thinking)

    assert [block["type"] for block in message["content"]] == ["text"]
    assert "output_tokens_details" not in message["usage"]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-sonnet-5", "claude-fable-5"])
def test_a_forced_tool_is_called_without_thinking(api, choice, model):
    """The answer starts with the call."""
    message = api.message("Why is the sky blue?", model=model, tools=[WEATHER], tool_choice=choice)

    assert [block["type"] for block in message["content"]] == ["tool_use"]


@pytest.mark.parametrize("limit", [1, 5, 30, 60])
def test_the_answer_is_the_same_as_far_as_it_goes_with_and_without_adaptive_thinking(api, limit):
    """Thinking never shortens the text."""
    off = api.message("Explain p-values", max_tokens=limit, thinking={"type": "disabled"})
    adaptive = api.message("Explain p-values", max_tokens=limit, thinking={"type": "adaptive"})

    assert text_of(adaptive) == text_of(off)


def test_arguments_that_may_be_left_out_are_left_out_unless_the_prompt_speaks_of_them(api):
    """So the defaults apply; for example, a command does not run in the background only because the schema allows it."""
    properties = {name: {"type": "string"} for name in ("port", "day", "run_in_background")}
    tool = {
        "name": "tide_table",
        "input_schema": {"type": "object", "properties": properties, "required": ["port"]},
    }

    plain = api.message('Use tide_table for port "Brest"', tools=[tool])
    spoken = api.message('Use tide_table for port "Brest" and day "Monday"', tools=[tool])

    assert set(plain["content"][-1]["input"]) == {"port"}
    assert set(spoken["content"][-1]["input"]) == {"port", "day"}
