"""A streamed message equals the complete message, with events in the documented order."""

from __future__ import annotations

import itertools
import time

import pytest

from claude_magic.simulator import Simulator, reply


def folded(events):
    """Return the content that results from the events."""
    blocks = {}
    for event in events:
        if event["type"] == "content_block_start":
            blocks[event["index"]] = dict(event["content_block"])
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta":
            blocks[event["index"]]["text"] += event["delta"]["text"]
    return [blocks[index] for index in sorted(blocks)]


def test_a_stream_has_the_same_text_as_the_whole_message(api):
    """Streaming does not change the answer."""
    thinking = {"type": "disabled"}
    whole = api.message("Explain p-values", thinking=thinking)

    streamed = folded(api.events("Explain p-values", thinking=thinking))

    assert streamed == whole["content"]


def test_events_come_in_the_documented_order(api):
    """The order is `message_start`, then start, deltas and stop of each block, then `message_delta` and `message_stop`."""
    events = [event for event in api.events() if event["type"] != "ping"]

    order = [kind for kind, _ in itertools.groupby(event["type"] for event in events)]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert order == ["message_start", *block, *block, "message_delta", "message_stop"]
    assert events[0]["message"]["content"] == []
    assert events[0]["message"]["stop_reason"] is None


def test_usage_at_the_end_is_cumulative_and_agrees_with_the_whole_message(api):
    """A client that replaces the fields of usage gets the usage of the complete message."""
    whole = api.message()["usage"]

    events = api.events()
    merged = {**events[0]["message"]["usage"], **events[-2]["usage"]}

    assert merged == whole


def test_deltas_are_small_and_a_ping_is_among_the_events(api):
    """As from the API, a long answer consists of many deltas with a few tokens each."""
    events = api.events("Explain pandas groupby")

    texts = [event["delta"]["text"] for event in events if event.get("delta", {}).get("type") == "text_delta"]
    assert len(texts) > 50
    assert max(map(len, texts)) < 40
    assert {"type": "ping"} in events


def test_a_chunk_delay_spreads_the_deltas_over_time():
    """The pace of the stream follows the setting."""
    with Simulator(chunk_delay=0.01) as sim:
        import httpx2

        sim.script(reply(chunks=["piece "] * 20))
        started = time.monotonic()
        httpx2.post(f"{sim.url}/v1/messages", json={"stream": True}, trust_env=False, verify=False)

        assert time.monotonic() - started >= 0.2


def test_max_tokens_is_obeyed_and_says_so(api):
    """The answer has exactly the maximum number of tokens."""
    message = api.message("Explain p-values", max_tokens=20, thinking={"type": "disabled"})

    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 20
    assert 10 < len(message["content"][0]["text"]) < 200


def test_thinking_takes_nothing_from_a_small_limit(api):
    """The text uses the whole limit. The scenario `thinking_only` shows the other case."""
    message = api.message("Explain p-values", model="claude-opus-5-5", max_tokens=5)

    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 5


def test_zero_max_tokens_only_warms_the_cache(api):
    """There is no content, and the stop reason is that of a cut answer."""
    message = api.message(max_tokens=0)

    assert message["content"] == []
    assert message["stop_reason"] == "max_tokens"


def test_a_stop_sequence_ends_the_text_before_it(api):
    """The sequence is not part of the text, but is a field of the message."""
    message = api.message("count from 1 to 10", stop_sequences=["zzz", " 5"], thinking={"type": "disabled"})

    assert message["content"][0]["text"] == "1, 2, 3, 4,"
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", " 5")


@pytest.mark.parametrize("stream", [False, True])
def test_request_id_and_mark_are_on_every_response(api, stream):
    """A footer can identify the simulator by its header, independent of the URL."""
    response = api.post(api.body(stream=stream))
    refused = api.post({})

    assert response.headers["request-id"].startswith("req_")
    assert response.headers["claude-magic-simulator"]
    assert refused.headers["claude-magic-simulator"]
    assert refused.headers["request-id"] == refused.json()["request_id"]
