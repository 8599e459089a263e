"""The simulator rejects the same requests as the API, with the same messages."""

from __future__ import annotations

import httpx2
import pytest

from claude_magic.simulator import BatchScript, Simulator

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "t", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}


def in_user(block, **fields):
    return {"messages": [{"role": "user", "content": [{**block, **fields}]}]}


def schema(**fields):
    return {"format": {"type": "json_schema", "schema": {"type": "object", **fields}}}


BAD = {
    "no max_tokens": ({"max_tokens": None}, "max_tokens: Field required"),
    "no model": ({"model": None}, "model: Field required"),
    "no messages": ({"messages": None}, "messages: Field required"),
    "empty messages": ({"messages": []}, "messages: at least one message is required"),
    "unknown field": ({"colour": 1}, "colour: Extra inputs are not permitted"),
    "beta field": ({"thread": {"type": "create"}}, "thread: Extra inputs are not permitted"),
    "null system": ({"system": 3}, "system: Input should be a valid list"),
    "max_tokens of text": ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    "too many tokens": ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the maximum"),
    "strange role": ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role: Input should be"),
    "empty content": ({"messages": [{"role": "user", "content": ""}]}, "must have non-empty content"),
    "blank text": ({"messages": [{"role": "user", "content": "  "}]}, "non-whitespace"),
    "first is assistant": ({"messages": [{"role": "assistant", "content": "x"}, USER]}, "first message"),
    "prefill": ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "assistant message prefill"),
    "temperature": ({"temperature": 0.5}, "`temperature` is not supported"),
    "stop sequence of blanks": ({"stop_sequences": [" "]}, "non-whitespace"),
    "enabled thinking": (
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        "'enabled' is not supported",
    ),
    "no thinking where it must": (
        {"model": "claude-opus-5-5", "thinking": {"type": "disabled"}},
        "'disabled' is not supported by claude-opus-5-5",
    ),
    "no thinking at high effort": (
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
        "at effort 'max'",
    ),
    "budget": (
        {"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 9000}},
        "must be greater than `thinking.budget_tokens`",
    ),
    "effort": ({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}, "effort parameter"),
    "unknown effort": ({"output_config": {"effort": "huge"}}, "output_config.effort: Input should be"),
    "tool name": ({"tools": [{**TOOL, "name": "a b"}]}, "tools.0.custom.name: String should match pattern"),
    "tool twice": ({"tools": [TOOL, TOOL]}, "Tool names must be unique"),
    "unknown server tool": ({"tools": [{"type": "teleport_20300101", "name": "t"}]}, "does not match any"),
    "choice without tools": ({"tool_choice": {"type": "auto"}}, "while providing `tools`"),
    "forced tool": (
        {"model": "claude-sonnet-5-5", "tools": [TOOL], "tool_choice": {"type": "any"}},
        "forced tool use",
    ),
    "choice of nothing": ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "not found"),
    "call without result": (
        {"messages": [USER, {"role": "assistant", "content": [CALL]}, USER]},
        "without `tool_result` blocks immediately after: toolu_1",
    ),
    "result without call": (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_9"}]}]},
        "unexpected `tool_use_id`",
    ),
    "block of the wrong role": (
        {"messages": [{"role": "user", "content": [CALL]}]},
        "`tool_use` blocks are not allowed in user messages",
    ),
    "image of no kind": (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]},
        "media_type: Field required",
    ),
    "five cache marks": (
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "strange ttl": ({"cache_control": {"type": "ephemeral", "ttl": "9d"}}, "ttl: Input should be"),
    "open schema": ({"output_config": schema(properties={})}, "'additionalProperties' must be"),
    "bounded schema": (
        {
            "output_config": schema(
                additionalProperties=False, properties={"n": {"type": "integer", "minimum": 1}}
            )
        },
        "'minimum' is not supported",
    ),
    "recursive schema": (
        {"output_config": schema(additionalProperties=False, properties={"n": {"$ref": "#/properties/n"}})},
        "Recursive schemas are not supported",
    ),
    "schema with a wrong keyword": (
        {"output_config": schema(additionalProperties=False, required="n")},
        "output_config.format.schema: JSON schema is invalid",
    ),
    "tool schema with a wrong part": (
        {"tools": [{**TOOL, "input_schema": {"type": "object", "properties": {"n": {"anyOf": [1]}}}}]},
        "tools.0.custom.input_schema: JSON schema is invalid",
    ),
    "title of no text": (in_user(DOCUMENT, title=1), "document.title: Input should be a valid string"),
    "citations of no kind": (in_user(DOCUMENT, citations=True), "document.citations: Input should be"),
    "result of no text": (
        {
            "messages": [
                USER,
                {"role": "assistant", "content": [CALL]},
                *in_user(RESULT, content=[{"type": "text", "text": 1}])["messages"],
            ]
        },
        "messages.2.content.0.tool_result.content.0.text.text: Input should be a valid string",
    ),
    "bad metadata": ({"metadata": {"name": "Ada"}}, "metadata.name: Extra inputs"),
    "place": ({"model": "claude-haiku-4-5", "inference_geo": "us"}, "inference_geo: not supported"),
    "speed": ({"speed": "fast"}, "fast mode is not supported"),
}


@pytest.mark.parametrize(("fields", "message"), BAD.values(), ids=BAD.keys())
def test_a_request_that_breaks_a_rule_is_refused_with_400(api, fields, message):
    """Each rule has its own message, and there is no answer."""
    status, text = api.error(**fields)

    assert status == 400
    assert message in text


def in_answer(**fields):
    """A document in an assistant message, which the old version accepts."""
    document = {"type": "document", **fields}
    return {"messages": [USER, {"role": "assistant", "content": [document]}, USER]}


MALFORMED = {
    "document without a source": (in_answer(), "content.0.document.source: Field required"),
    "document with a text for its source": (
        in_answer(source="x"),
        "messages.1.content.0.document.source: Input should be a valid dictionary",
    ),
    "document with a null source": (
        in_answer(source=None),
        "messages.1.content.0.document.source: Input should be a valid dictionary",
    ),
    "server tool whose name is a list": (
        {"tools": [{"type": "web_search_20250305", "name": ["x"]}]},
        "tools.0.web_search_20250305.name: Input should be a valid string",
    ),
    "server tool whose name is an object, next to a choice": (
        {"tools": [TOOL, {"type": "bash_20250124", "name": {}}], "tool_choice": {"type": "auto"}},
        "tools.1.bash_20250124.name: Input should be a valid string",
    ),
    "block binding of text": (
        {"thinking": {"type": "adaptive", "block_binding": "x"}},
        "thinking.adaptive.block_binding: Input should be a valid dictionary",
    ),
    "block binding of a list": (
        {"thinking": {"type": "adaptive", "block_binding": [1]}},
        "thinking.adaptive.block_binding: Input should be a valid dictionary",
    ),
    "no list of excluded tools": (
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919", "exclude_tools": ""}]}},
        "clear_tool_uses_20250919.exclude_tools: Input should be a valid list",
    ),
    "tool inputs to clear, as a number": (
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919", "clear_tool_inputs": 1}]}},
        "clear_tool_uses_20250919.clear_tool_inputs: Input should be a valid list",
    ),
    "tool inputs to clear, one of them a number": (
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919", "clear_tool_inputs": [1]}]}},
        "clear_tool_uses_20250919.clear_tool_inputs.0: Input should be a valid string",
    ),
    "null content": (
        {"messages": [{"role": "user", "content": None}]},
        "messages.0.content: Input should be a valid list",
    ),
    "document without a media type": (
        in_user({**DOCUMENT, "source": {"type": "text", "data": "x"}}),
        "source.text.media_type: Field required",
    ),
}
BETAS = {"anthropic-beta": "thinking-binding-controls-2026-08-01,context-management-2025-06-27"}


@pytest.mark.parametrize("where", ["", "/count_tokens", "/batches"])
@pytest.mark.parametrize(("fields", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_part_of_the_wrong_form_is_a_400_and_no_failure_of_the_simulator(api, fields, message, where):
    """Wherever requests are checked. The error names the part."""
    body = api.body(**fields)
    if where == "/count_tokens":
        del body["max_tokens"]
    if where == "/batches":
        api.sim.script_batch(BatchScript(seconds=0))
        requests = [{"custom_id": "a", "params": body}]
        made = api.http.post("/v1/messages/batches", json={"requests": requests}, headers=BETAS).json()
        error = api.http.get(f"/v1/messages/batches/{made['id']}/results").json()["result"]["error"]
    else:
        response = api.http.post(f"/v1/messages{where}", json=body, headers=BETAS)
        assert response.status_code == 400
        error = response.json()

    assert error["error"]["type"] == "invalid_request_error"
    assert message in error["error"]["message"]


def test_a_part_of_a_tool_result_needs_no_text(api):
    """Also if it has a field of that name, which is no text."""
    part = {"type": "tool_reference", "tool_name": "t", "text": None}
    results = in_user(RESULT, content=[part])["messages"]

    assert api.message(messages=[USER, {"role": "assistant", "content": [CALL]}, *results])["content"]


@pytest.mark.parametrize("model", ["claude-nonsense", "claude-opus-4-1-20250805", "gpt-4"])
def test_an_unknown_or_retired_model_is_a_404(api, model):
    """The error contains the requested model."""
    assert api.error(model=model) == (404, f"model: {model}")


@pytest.mark.parametrize("fields", [{"temperature": 1}, {"top_k": 5}])
def test_the_new_version_refuses_sampling_for_every_model(api, fields):
    """Parameters that the old version accepts for old models are extra inputs in the new one."""
    body = api.body(model="claude-opus-4-6", **fields)

    old = api.post(body)
    new = api.post(body, {"anthropic-version": "2026-10-21"})

    assert old.status_code == 200
    assert new.status_code == 400
    assert "Extra inputs are not permitted" in new.json()["error"]["message"]


def test_the_new_version_refuses_citations_on_user_text(api):
    """The old version accepts them."""
    text = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}
    body = api.body(messages=[{"role": "user", "content": [text]}])

    assert api.post(body).status_code == 200
    assert api.post(body, {"anthropic-version": "2026-10-21"}).status_code == 400


def test_a_schema_may_have_booleans_for_parts(api):
    """They are JSON schemas: any value, and none."""
    parts = {"value": True, "values": {"type": "array", "items": True}}
    tool = {"name": "t", "input_schema": {"type": "object", "properties": parts, "required": [*parts]}}

    assert api.message("Use t.", tools=[tool])["content"][-1]["input"].keys() == parts.keys()


@pytest.mark.parametrize(
    "part",
    [
        {"$ref": "#/properties/n"},
        {"type": "object", "properties": {"n": {"$ref": "#/properties/n"}}, "required": ["n"]},
        {"allOf": [{"$ref": "#/properties/n"}]},
        {"anyOf": [{"$ref": "#/properties/n"}]},
    ],
)
def test_a_tool_that_no_value_can_call_is_a_400(api, part):
    """Its schema contains itself without end."""
    tool = {"name": "t", "input_schema": {"type": "object", "properties": {"n": part}, "required": ["n"]}}

    status, text = api.error(prompt="Use t.", tools=[tool])

    assert (status, text) == (400, "The simulator cannot fill a schema that no finite value satisfies.")


def test_prefill_works_up_to_4_5(api):
    """Requests to old models may contain the start of the answer."""
    messages = [USER, {"role": "assistant", "content": "Well,"}]

    assert api.message(model="claude-opus-4-5", messages=messages)["content"]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"x-api-key": "an-invalid-key"}, 401, "invalid x-api-key"),
        ({"anthropic-version": "2020-01-01"}, 400, "anthropic-version"),
        ({"content-type": "text/plain"}, 400, "content-type"),
        ({"anthropic-beta": "time-travel-2031-01-01"}, 400, "`anthropic-beta` header"),
    ],
)
def test_c3_wrong_headers_are_refused(api, changes, status, message):
    """A wrong key gets a 401; a wrong version, type or beta gets a 400 that names the header."""
    response = api.post(api.body(), changes)

    assert response.status_code == status
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("dropped", "status"), [("x-api-key", 401), ("anthropic-version", 400), ("content-type", 400)]
)
def test_c3_missing_headers_are_refused(sim, dropped, status):
    """Key, version and content type are all required."""
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"}
    del headers[dropped]

    response = httpx2.post(
        f"{sim.url}/v1/messages", content=b"{}", headers=headers, trust_env=False, verify=False
    )

    assert response.status_code == status


def test_a_bearer_key_is_as_good_and_only_the_right_key_opens():
    """A simulator with `api_key` accepts only this key, in either header."""
    with Simulator(api_key="right") as sim:
        url, version = f"{sim.url}/v1/models", {"anthropic-version": "2023-06-01"}

        def status(**headers):
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx2.get(url, headers=version | names, trust_env=False, verify=False).status_code

        assert status(authorization="Bearer right") == 200
        assert status(x_api_key="right") == 200
        assert status(x_api_key="wrong", authorization="Bearer right") == 401
        assert status(authorization="Basic right") == 401


def test_bodies_that_are_no_json_object_are_refused(api):
    """Broken JSON, a list and extreme nesting each get a 400."""
    headers = {"content-type": "application/json"}
    for content in (b"{", b"[]", b"\xff", b"[" * 100_000):
        response = api.http.post("/v1/messages", content=content, headers=headers)
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_over_32_mb_is_a_413(api):
    """The whole body is read, so that the client can read the response."""
    headers = {"content-type": "application/json"}
    response = api.http.post("/v1/messages", content=b" " * (32 * 1024 * 1024 + 1), headers=headers)

    assert response.status_code == 413
    assert response.json()["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("path", ["/v1/messages/stream", "/v1/complete", "/", "/v1/messages/"])
def test_s1_other_paths_are_a_json_404(api, path):
    """The public API has one generation endpoint; names that some gateways use get a 404."""
    response = api.http.post(path, json={})

    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("tool", ["web_search_20260318", "web_fetch_20260318", "code_execution_20260521"])
def test_older_models_know_the_servers_tools_by_older_names_only(api, tool):
    """Current models support the newest."""

    def status(model, kind):
        return api.post(
            api.body(model=model, tools=[{"type": kind, "name": tool.rpartition("_")[0]}])
        ).status_code

    assert [status(model, tool) for model in ("claude-haiku-5-5", "claude-opus-5", "claude-sonnet-5")] == [
        200
    ] * 3
    assert [status(model, tool) for model in ("claude-opus-4-8", "claude-haiku-4-5", "claude-opus-4-5")] == [
        400
    ] * 3
    assert status("claude-opus-4-8", "web_search_20250305") == 200


def test_a_model_that_retires_says_when(api):
    """Until then it is listed as deprecated, and answers."""
    listed = {model["id"]: model for model in api.http.get("/v1/models?limit=100").json()["data"]}

    dates = {name: listed[name]["retires_at"] for name in listed if listed[name]["lifecycle"] == "deprecated"}
    assert dates == {
        "claude-opus-4-5-20251101": "2027-01-22T00:00:00Z",
        "claude-sonnet-4-5-20250929": "2026-11-30T00:00:00Z",
    }
    assert api.message("2 + 2", model="claude-opus-4-5")["content"]
