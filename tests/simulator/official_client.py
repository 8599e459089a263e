"""Runs the official `anthropic` client against the simulator, in a separate environment.

Usage: python official_client.py URL. Prints one line for each check and ends with a traceback if one fails.
"""

from __future__ import annotations

import sys
import time
import warnings

import anthropic

MODEL = "claude-sonnet-5-5"
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def asking(prompt, **fields):
    return {"model": MODEL, "max_tokens": 4000, "messages": [{"role": "user", "content": prompt}], **fields}


def check_message(client):
    message = client.messages.create(**asking("What is 2 + 2?"))
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[-1].text == "`2 + 2` = **4**"
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message._request_id.startswith("req_")


def check_batches(client):
    requests = [{"custom_id": f"row-{n}", "params": asking(f"Say exactly: {n}")} for n in range(3)]
    batch = client.messages.batches.create(requests=requests)
    while client.messages.batches.retrieve(batch.id).processing_status != "ended":
        time.sleep(0.05)
    found = {entry.custom_id: entry.result for entry in client.messages.batches.results(batch.id)}
    assert [found[f"row-{n}"].message.content[-1].text for n in range(3)] == ["0", "1", "2"]
    assert [each.id for each in client.messages.batches.list()] == [batch.id]
    assert client.messages.batches.delete(batch.id).type == "message_batch_deleted"


def check_raw_stream(client):
    events = list(client.messages.create(**asking("Tell me about tides"), stream=True))
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"


def check_stream_helper(client):
    with client.messages.stream(**asking("Tell me about tides")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[-1].text
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 100


def check_thinking(client):
    shown = {"type": "adaptive", "display": "summarized"}
    first = asking("Tell me about tides", thinking=shown)
    with client.messages.stream(**first) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_message()
    assert {"thinking", "signature", "text"} <= kinds
    assert message.content[0].thinking
    history = [
        *first["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "in one sentence"},
    ]
    assert client.messages.create(**{**first, "messages": history}).content[-1].text.startswith("Tides come")


def check_tools(client):
    first = asking("What is the weather in Brest?", tools=[WEATHER])
    with client.messages.stream(**first) as stream:
        message = stream.get_final_message()
    call = message.content[-1]
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "Brest"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "14 degrees"}
    history = [
        *first["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    assert "14 degrees" in client.messages.create(**{**first, "messages": history}).content[-1].text


def check_structured_output(client):
    import pydantic

    class Person(pydantic.BaseModel):
        name: str
        age: int

    message = client.messages.parse(**asking("Extract: Ada Lovelace is 36"), output_format=Person)
    assert message.parsed_output == Person(name="Ada Lovelace", age=36)


def check_web_search(client):
    search = {"type": "web_search_20250305", "name": "web_search"}
    with client.messages.stream(**asking("Search the web for lighthouses", tools=[search])) as stream:
        message = stream.get_final_message()
    assert "web_search_tool_result" in [block.type for block in message.content]
    assert any(block.type == "text" and block.citations for block in message.content)


def check_models(client):
    ids = [model.id for model in client.models.list(limit=3)]
    assert len(ids) == len(set(ids)) > 15
    assert client.models.retrieve("claude-haiku-4-5").id == "claude-haiku-4-5-20251001"


def check_count_tokens(client):
    counted = client.messages.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": "What is 2 + 2?"}]
    )
    assert counted.input_tokens == client.messages.create(**asking("What is 2 + 2?")).usage.input_tokens


def raised_by(kind, call, **fields):
    """Return the error of this type that a call raises."""
    try:
        call(**fields)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def check_errors(client):
    expected = {
        "bad_request": anthropic.BadRequestError,
        "invalid_key": anthropic.AuthenticationError,
        "forbidden": anthropic.PermissionDeniedError,
        "not_found": anthropic.NotFoundError,
        "rate_limited_always": anthropic.RateLimitError,
        "internal_error": anthropic.InternalServerError,
        "html_502": anthropic.InternalServerError,
        "overloaded": anthropic.InternalServerError,
        "reset_before_headers": anthropic.APIConnectionError,
        "error_first": anthropic.InternalServerError,
    }
    for scenario, kind in expected.items():
        raised_by(
            kind, client.messages.create, **asking("hi", extra_headers={"x-simulator-scenario": scenario})
        )


def check_a_refused_request(client):
    fields = asking("hi", extra_body={"colour": "blue"})
    error = raised_by(anthropic.BadRequestError, client.messages.create, **fields)
    assert "colour: Extra inputs are not permitted" in str(error)
    assert error.request_id.startswith("req_")


def check_an_error_within_a_stream(client):
    def read(**fields):
        with client.messages.stream(**fields) as stream:
            stream.until_done()

    fields = asking("Tell me about tides", extra_headers={"x-simulator-scenario": "error_after_text"})
    assert raised_by(anthropic.APIStatusError, read, **fields).type == "overloaded_error"


def check_retries(client):
    retrying = client.with_options(max_retries=2)
    headers = {"x-simulator-scenario": "overloaded_twice"}
    assert retrying.messages.create(**asking("What is 2 + 2?"), extra_headers=headers).content


def check_every_model(client):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for model in client.models.list():
            message = client.messages.create(**asking("What is 2 + 2?", model=model.id))
            assert message.content[-1].text == "`2 + 2` = **4**"


def main(url):
    client = anthropic.Anthropic(base_url=url, api_key="sk-ant-test", max_retries=0)
    checks = [value for name, value in globals().items() if name.startswith("check_")]
    for check in checks:
        check(client)
        print(f"ok {check.__name__.removeprefix('check_').replace('_', ' ')}")
    print(f"anthropic {anthropic.__version__}: {len(checks)} checks")


if __name__ == "__main__":
    main(sys.argv[1])
