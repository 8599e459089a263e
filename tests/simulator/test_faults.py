"""All faults, selected by name, script, header or prompt."""

from __future__ import annotations

import json
import socket

import httpx2
import pytest

from claude_magic.simulator import (
    Gate,
    Simulator,
    drop_before_headers,
    error_event,
    hold,
    reply,
    scenario,
    scenarios,
    status,
    stream_bytes,
    stream_events,
)

ENDLESS = {"hang", "stall"}
SLOW = {"slow_headers", "slow_body"}
UNREADABLE = ENDLESS | {name for name in scenarios if name.startswith(("reset_", "close_"))}


def run(api, name, *, stream=True, prompt="Tell me about tides"):
    return api.post(api.body(prompt, stream=stream), {"x-simulator-scenario": name})


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", sorted(set(scenarios) - UNREADABLE - SLOW))
def test_every_scenario_that_ends_can_be_run(api, name, stream):
    """Every name works, and none fails inside the simulator."""
    response = run(api, name, stream=stream, prompt="What is 2 + 2?")

    assert response.status_code >= 200
    assert api.sim.requests[-1].failure is None


@pytest.mark.parametrize("name", sorted(UNREADABLE - ENDLESS))
def test_scenarios_of_broken_connections_break_them(api, name):
    """The client gets a transport error instead of an answer."""
    with pytest.raises(httpx2.TransportError):
        run(api, name)


@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_endless_scenarios_let_the_client_time_out(api, name, until):
    """The client times out, and the simulator records that."""
    with pytest.raises(httpx2.ReadTimeout):
        api.http.post(
            "/v1/messages", json=api.body(stream=True), headers={"x-simulator-scenario": name}, timeout=0.2
        )

    until(lambda: api.sim.requests[-1].client_gone)


@pytest.mark.parametrize(
    "name",
    [
        "crlf",
        "cr",
        "bom",
        "comments",
        "one_byte_chunks",
        "two_events_per_chunk",
        "gzip",
        "brotli",
        "one_write",
    ],
)
def test_what_only_changes_the_bytes_keeps_the_meaning(api, name):
    """By the rules of server-sent events, the stream contains the normal answer."""
    plain = run(api, "plain").text

    changed = run(api, name).content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")

    def data(text):
        found = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
        return [json.loads(line) | {"message": None} for line in found]

    assert data(changed) == data(plain)


def test_split_utf8_cuts_within_characters(api):
    """At least one write ends within a character."""
    with api.http.stream(
        "POST",
        "/v1/messages",
        json=api.body(stream=True),
        headers={"x-simulator-scenario": "split_utf8", "accept-encoding": "identity"},
    ) as response:
        pieces = list(response.iter_raw())

    whole = b"".join(pieces)
    assert "東京" in whole.decode()
    assert any(piece and piece[-1] >= 0xC0 for piece in pieces)


def test_eof_without_stop_ends_properly_but_too_early(api):
    """The HTTP body is complete; only `message_stop` is missing."""
    text = run(api, "eof_without_stop").text

    assert "content_block_delta" in text
    assert "message_stop" not in text


def test_c1_an_idle_connection_is_closed_after_the_complete_answer(api):
    """The client reads the whole body, and then the end of the connection without a `connection: close` header."""
    body = json.dumps(api.body(stream=True)).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: k\r\nanthropic-version: 2023-06-01\r\n"
        "content-type: application/json\r\nx-simulator-scenario: idle_half_close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    received = b""
    with socket.create_connection(("127.0.0.1", api.sim.port), timeout=10) as raw:
        raw.sendall(head.encode() + body)
        while piece := raw.recv(65536):
            received += piece

    assert received.endswith(b"0\r\n\r\n")
    assert b"connection: close" not in received.lower()
    assert api.sim.requests[-1].is_finished


def test_overlapping_blocks_hold_the_same_text(api):
    """Two blocks are open at the same time; joined in order, they are the answer."""
    whole = "".join(
        block["text"]
        for block in run(api, "plain", stream=False).json()["content"]
        if block["type"] == "text"
    )
    texts, open_blocks, most_open = {}, set(), 0
    for line in run(api, "overlapping_blocks").text.splitlines():
        event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
        if event.get("type") == "content_block_start":
            open_blocks.add(event["index"])
            most_open = max(most_open, len(open_blocks))
        if event.get("type") == "content_block_stop":
            open_blocks.discard(event["index"])
        if event.get("delta", {}).get("type") == "text_delta":
            texts[event["index"]] = texts.get(event["index"], "") + event["delta"]["text"]

    assert most_open == 2
    assert "".join(texts[index] for index in sorted(texts)) == whole


def test_r1_a_scenario_that_recovers_fails_then_succeeds_then_starts_over(api):
    """The same request again counts as the next attempt; after a success, the scenario starts over."""
    statuses = [run(api, "overloaded_twice", stream=False).status_code for _ in range(4)]

    assert statuses == [529, 529, 200, 529]


def test_a_scripted_scenario_takes_as_many_requests_as_it_has_attempts(api):
    """After a queue of two failures there is an answer, independent of the requests."""
    api.sim.script(scenario("overloaded_twice"), status(429, retry_after=3))

    responses = [api.post(api.body(str(number))) for number in range(4)]

    assert [response.status_code for response in responses] == [529, 529, 429, 200]
    assert responses[2].headers["retry-after"] == "3"


def test_the_first_line_of_a_prompt_can_name_a_scenario(api):
    """Notebooks cannot set headers. The line is not part of the prompt."""
    failed = api.post(api.body("!simulate internal_error_once\nWhat is 2 + 2?"))
    answered = api.text("!simulate internal_error_once\nWhat is 2 + 2?")

    assert failed.status_code == 500
    assert answered == "`2 + 2` = **4**"


def test_an_unknown_scenario_is_refused_with_the_names_that_there_are(api):
    """A typo does not get a normal answer."""
    response = run(api, "overloded_once")

    assert response.status_code == 400
    assert "overloaded_once" in response.json()["error"]["message"]


def test_a_simulator_can_be_given_one_scenario_for_all_requests():
    """`--scenario` does the same. A scenario named by the request has precedence."""
    with Simulator(scenario="overloaded") as sim:
        assert (
            httpx2.post(f"{sim.url}/v1/messages", json={}, trust_env=False, verify=False).status_code == 529
        )
        headers = {"x-simulator-scenario": "forbidden"}
        response = httpx2.post(
            f"{sim.url}/v1/messages", json={}, headers=headers, trust_env=False, verify=False
        )
        assert response.status_code == 403


def test_an_unknown_scenario_for_all_requests_is_an_error_at_once():
    """The error does not wait for the first request."""
    with pytest.raises(ValueError, match="There is no scenario 'nonsense'"):
        Simulator(scenario="nonsense")


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504, 529])
def test_e1_every_status_comes_with_the_apis_envelope(api, code):
    """It contains type, message and the request id of the header."""
    api.sim.script(status(code))

    response = api.post({})

    body = response.json()
    assert response.status_code == code
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert body["request_id"] == response.headers["request-id"]


def test_scripted_replies_need_no_valid_request(api):
    """A test can set the exact reply to any request."""
    api.sim.script(reply("Exactly this.", thinking="Hm.", usage={"output_tokens": 77}))

    message = api.post({"model": "some-gateway-model"}).json()

    assert [block["type"] for block in message["content"]] == ["thinking", "text"]
    assert message["content"][1]["text"] == "Exactly this."
    assert message["model"] == "some-gateway-model"
    assert message["usage"]["output_tokens"] == 77


def test_scripted_chunks_are_the_deltas(api):
    """The deltas arrive unchanged, including empty ones."""
    api.sim.script(reply(chunks=["a", "", "bc"]))

    text = api.post({"stream": True}).text

    deltas = [json.loads(line[6:])["delta"]["text"] for line in text.splitlines() if '"text_delta"' in line]
    assert deltas == ["a", "", "bc"]


def test_scripted_bytes_and_events_go_out_as_they_are(api):
    """This allows streams that no correct server sends."""
    api.sim.script(stream_bytes(b"data: odd\n\n", chunk_bytes=3, end="eof"), stream_events({"type": "ping"}))

    assert api.post({}).content == b"data: odd\n\n"
    assert api.post({}).text == 'event: ping\ndata: {"type":"ping"}\n\n'


def test_s2_a_gate_holds_a_stream_until_it_is_opened(api):
    """A test can inspect half an answer for any time."""
    gate = Gate()
    api.sim.script(hold(gate, after_deltas=2, text="one two three four five six seven eight nine"))

    with api.http.stream("POST", "/v1/messages", json={"stream": True}) as response:
        chunks = response.iter_text()
        early = next(chunks)
        while early.count("text_delta") < 2:
            early += next(chunks)
        assert not api.sim.requests[-1].is_finished
        gate.open()
        late = "".join(chunks)

    assert early.count("text_delta") == 2
    assert "message_stop" in late


def test_an_error_event_without_a_stream_is_the_status_of_its_type(api):
    """A request without `stream` cannot get an event."""
    api.sim.script(error_event("rate_limit_error"))

    assert api.post(api.body()).status_code == 429


def test_a_drop_before_headers_leaves_no_status(api):
    """The record shows that nothing was sent, and that the client did not close the connection."""
    api.sim.script(drop_before_headers())

    with pytest.raises(httpx2.TransportError):
        api.post({})

    assert api.sim.requests[-1].status is None
    assert not api.sim.requests[-1].client_gone


def test_pause_turn_goes_on_when_the_turn_is_sent_back(api):
    """The client sends the assistant's content unchanged, without further text."""
    first = run(api, "pause_turn", stream=False).json()
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": first["content"]}]

    second = api.post(api.body(messages=messages), {"x-simulator-scenario": "pause_turn"}).json()

    assert (first["stop_reason"], second["stop_reason"]) == ("pause_turn", "end_turn")
