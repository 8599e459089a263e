"""Message batches: validation, progress, and the results of their requests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest

from claude_magic.simulator import (
    BatchScript,
    Simulator,
    _batches,
    _server,
    accept_unheard,
    drop_before_headers,
    status,
)

PATH = "/v1/messages/batches"
HOUR = 3600.0


class Clock:
    """A clock that tests can move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sim(clock: Clock) -> Iterator[Simulator]:
    """A simulator whose batches take an hour of `clock`."""
    with Simulator(clock=clock, batch_seconds=HOUR) as simulator:
        yield simulator
        assert [request.failure for request in simulator.requests if request.failure] == []


def entries(api, *prompts, **fields):
    return [
        {"custom_id": f"row-{number}", "params": api.body(prompt, **fields)}
        for number, prompt in enumerate(prompts)
    ]


def create(api, *prompts, **fields):
    response = api.http.post(PATH, json={"requests": entries(api, *prompts, **fields)})
    assert response.status_code == 200, response.text
    return response.json()


def get(api, batch):
    return api.http.get(f"{PATH}/{batch['id']}").json()


def results(api, batch):
    response = api.http.get(f"{PATH}/{batch['id']}/results")
    assert response.status_code == 200, response.text
    return {line["custom_id"]: line["result"] for line in map(json.loads, response.text.splitlines())}


def refusal(api, requests):
    response = api.http.post(PATH, json={"requests": requests})
    return response.status_code, response.json()["error"]["message"]


def test_a_batch_is_in_progress_then_has_ended_then_has_results(api, clock):
    """While it is in progress, it reports only the number of its requests."""
    made = create(api, "Say exactly: one", "Say exactly: two")

    assert made["id"].startswith("msgbatch_")
    assert (made["type"], made["processing_status"]) == ("message_batch", "in_progress")
    assert made["request_counts"] == {
        "processing": 2,
        "succeeded": 0,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    assert made["results_url"] is made["ended_at"] is made["archived_at"] is None
    assert api.http.get(f"{PATH}/{made['id']}/results").status_code == 404

    clock.now += HOUR
    ended = get(api, made)

    assert ended["processing_status"] == "ended"
    assert ended["request_counts"]["succeeded"] == 2
    assert ended["results_url"] == f"{api.sim.url}{PATH}/{made['id']}/results"
    found = results(api, made)
    assert [found[f"row-{n}"]["message"]["content"][-1]["text"] for n in range(2)] == ["one", "two"]
    assert found["row-0"]["message"]["usage"]["service_tier"] == "batch"
    assert results(api, made) == found


def test_results_come_in_another_order_than_the_requests(api, clock):
    made = create(api, *map(str, range(20)))
    clock.now += HOUR

    assert sorted(results(api, made)) == sorted(api.sim.batches[0].custom_ids)
    assert list(results(api, made)) != list(api.sim.batches[0].custom_ids)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"custom_id": "a b"}, "requests.1.custom_id: String should match pattern"),
        ({"custom_id": "a\n"}, "requests.1.custom_id: String should match pattern"),
        ({"custom_id": "x" * 65}, "requests.1.custom_id: String should match pattern"),
        ({"custom_id": 7}, "requests.1.custom_id: String should match pattern"),
        ({"custom_id": "row-0"}, "custom_id must be unique within a batch, and row-0 is not"),
        ({"params": []}, "requests.1.params: Input should be a valid dictionary"),
        ({"more": 1}, "requests.1.more: Extra inputs are not permitted"),
    ],
)
def test_a_batch_whose_names_make_no_sense_is_refused_as_a_whole(api, change, complaint):
    first, second = entries(api, "one", "two")

    code, message = refusal(api, [first, {**second, **change}])

    assert code == 400
    assert complaint in message
    assert api.sim.batches == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"requests": []}',
        b'{"requests": {}}',
        b'{"requests": [1',
        b'{"requests": [] , "a": 1}',
        b'{"requests": [{}]} x',
        b'{"requests"',
        b"\xff",
    ],
)
def test_a_body_that_is_no_batch_is_refused(api, body):
    response = api.http.post(PATH, content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_parameters_may_look_like_a_request_of_a_batch(api, clock):
    """They reach the answer unchanged, at any depth."""
    looks = {"custom_id": {"type": "string"}, "params": {"type": "object", "properties": {}}}
    tool = {"name": "t", "input_schema": {"type": "object", "properties": {"custom_id": {}, "params": looks}}}
    params = api.body("Say exactly: one", tools=[tool])
    nested = {"custom_id": "b", "params": {"custom_id": "c", "params": {"custom_id": 1, "params": {}}}}
    api.http.post(PATH, json={"requests": [{"custom_id": "a", "params": params}, nested]})
    clock.now += HOUR

    (batch,) = api.sim.batches
    assert [json.loads(row.params) for row in batch.rows] == [params, nested["params"]]
    found = results(api, {"id": batch.id})
    assert {name: result["type"] for name, result in found.items()} == {"a": "succeeded", "b": "errored"}


def test_there_is_a_bound_of_requests_and_of_bytes(api, monkeypatch):
    monkeypatch.setattr(_batches, "MAX_REQUESTS", 2)
    assert refusal(api, entries(api, "1", "2", "3"))[1].startswith("requests: List should have at most 2")

    monkeypatch.setattr(_server, "MAX_BATCH_BYTES", 1000)
    response = api.http.post(PATH, json={"requests": entries(api, "x" * 2000)})
    assert response.status_code == 413
    # Other requests have their own bound.
    assert api.message("x" * 2000)


def test_more_may_be_sent_in_a_batch_than_in_one_request(api):
    """The batch has 33 MB; a single request may have 32 MiB."""
    made = create(api, *["x" * 1_100_000] * 31)

    assert made["request_counts"]["processing"] == 31


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"stream": True}, "stream: streaming is not supported in message batches"),
        ({"speed": "fast"}, "speed: not supported in message batches"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1 in message batches"),
        ({"temperature": 0.3}, "temperature"),
        ({"model": "claude-none"}, "model: claude-none"),
        ({"messages": "hello"}, "messages: Input should be a valid list"),
    ],
)
def test_a_request_that_is_not_in_order_is_an_error_of_its_own(api, clock, fields, complaint):
    """It is validated during processing; the batch itself is accepted."""
    wrong, right = entries(api, "one", "Say exactly: two")
    wrong["params"] |= fields
    made = api.http.post(PATH, json={"requests": [wrong, right]}).json()
    clock.now += HOUR

    assert get(api, made)["request_counts"]["errored"] == 1
    found = results(api, made)
    assert found["row-0"]["type"] == "errored"
    assert found["row-0"]["error"]["type"] == "error"
    assert complaint in found["row-0"]["error"]["error"]["message"]
    assert found["row-1"]["type"] == "succeeded"


def test_what_is_not_done_after_24_hours_expires(api, clock):
    """A batch that would take 48 hours gets answers to half of its requests."""
    api.sim.script_batch(BatchScript(seconds=48 * HOUR))
    made = create(api, *"abcd")
    clock.now += 23 * HOUR
    assert get(api, made)["processing_status"] == "in_progress"
    clock.now += HOUR

    assert get(api, made)["request_counts"]["expired"] == 2
    assert [results(api, made)[f"row-{n}"]["type"] for n in range(4)] == ["succeeded"] * 2 + ["expired"] * 2


def test_cancelling_takes_a_moment_and_keeps_what_was_done(api, clock):
    made = create(api, *"abcd")
    clock.now += HOUR / 2
    cancelling = api.http.post(f"{PATH}/{made['id']}/cancel").json()
    clock.now += 60

    assert cancelling["processing_status"] == "canceling"
    assert cancelling["cancel_initiated_at"]
    counts = get(api, made)["request_counts"]
    assert (counts["succeeded"], counts["canceled"]) == (2, 2)
    assert api.http.post(f"{PATH}/{made['id']}/cancel").status_code == 400


def test_fates_of_single_requests_can_be_scripted(api, clock):
    api.sim.script_batch(BatchScript(expired=[0], cancelled=[1], errored=[2], order="reversed"))
    made = create(api, *"abcd", "!simulate refusal\nx", "!simulate bad_request\nx", "!simulate hang\nx")
    clock.now += HOUR

    found = results(api, made)

    assert next(iter(found)) == "row-6"
    kinds = [found[f"row-{n}"]["type"] for n in range(7)]
    assert kinds == ["expired", "canceled", "errored", "succeeded", "succeeded", "errored", "errored"]
    assert found["row-4"]["message"]["stop_reason"] == "refusal"


def test_a_list_is_newest_first_and_comes_in_pages(api):
    ids = [create(api, "x")["id"] for _ in range(5)][::-1]

    first = api.http.get(PATH, params={"limit": 2}).json()
    rest = api.http.get(PATH, params={"after_id": first["last_id"]}).json()
    back = api.http.get(PATH, params={"before_id": ids[3], "limit": 2}).json()

    assert [each["id"] for each in first["data"]] == ids[:2]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[0], ids[1], True)
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (ids[2:], False)
    assert [each["id"] for each in back["data"]] == ids[1:3]
    assert api.http.get(PATH, params={"limit": 0}).status_code == 400
    assert api.http.get(PATH, params={"after_id": "msgbatch_none"}).status_code == 400


def test_only_what_has_ended_can_be_deleted(api, clock):
    made = create(api, "x")
    assert api.http.delete(f"{PATH}/{made['id']}").status_code == 400
    clock.now += HOUR
    get(api, made)

    assert api.http.delete(f"{PATH}/{made['id']}").json() == {
        "id": made["id"],
        "type": "message_batch_deleted",
    }
    assert api.http.get(f"{PATH}/{made['id']}").status_code == 404


def test_a_batch_of_another_workspace_is_not_found(api):
    made = create(api, "x")

    other = {"x-api-key": "sk-ant-other"}
    assert api.http.get(f"{PATH}/{made['id']}", headers=other).status_code == 404
    assert api.http.get(PATH, headers=other).json()["data"] == []
    own = api.http.get(PATH)
    assert own.headers["anthropic-workspace-id"].startswith("wrkspc_")
    assert api.http.get(PATH, headers={"x-api-key": "sk-ant-invalid"}).status_code == 401


def test_results_are_gone_after_29_days_and_the_batch_is_still_listed(api, clock):
    made = create(api, "x")
    clock.now += 29 * 24 * HOUR

    archived = get(api, made)

    assert archived["archived_at"]
    assert archived["results_url"] is None
    assert archived["request_counts"]["succeeded"] == 1
    assert api.http.get(f"{PATH}/{made['id']}/results").status_code == 404


def test_only_so_many_bytes_are_kept(api, clock, monkeypatch):
    """The oldest ended batch is archived; if none has ended, new batches are rejected."""
    monkeypatch.setattr(api.sim._batches, "_max_kept_bytes", 3000)
    first = create(api, "x" * 1500)
    clock.now += HOUR
    second = create(api, "x" * 2500)

    assert get(api, first)["archived_at"]
    assert get(api, second)["archived_at"] is None
    create(api, "y" * 1000)
    code, message = refusal(api, entries(api, "z"))
    assert code == 429
    assert "not done" in message


def test_a_batch_may_be_accepted_without_the_client_learning_of_it(api):
    """A batch that was not accepted looks the same to the client."""
    api.sim.script_batch_calls("create", accept_unheard(), drop_before_headers())

    for count in (1, 1):
        with pytest.raises(httpx2.TransportError):
            create(api, "x")
        assert len(api.sim.batches) == count


def test_calls_can_be_scripted_and_ask_to_wait(api):
    api.sim.script_batch(BatchScript(retry_after=120))
    api.sim.script_batch_calls("retrieve", status(529))
    made = create(api, "x")

    assert api.http.get(f"{PATH}/{made['id']}").status_code == 529
    assert api.http.get(f"{PATH}/{made['id']}").headers["retry-after"] == "120"


@pytest.mark.parametrize("how", ["reset", "close", "end"])
def test_a_download_may_break_off_and_succeeds_the_next_time(api, clock, how):
    api.sim.script_batch(BatchScript(cuts=(2,), cut_by=how))
    made = create(api, *"abcd")
    clock.now += HOUR
    get(api, made)

    if how == "end":
        assert len(results(api, made)) == 2
    else:
        with pytest.raises(httpx2.TransportError):
            results(api, made)
    assert len(results(api, made)) == 4


def test_what_batches_share_is_cached(api, clock):
    """The cache has the requested lifetime of one hour."""
    shared = [{"type": "text", "text": "word " * 3000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    made = create(api, "one", "two", system=shared)
    clock.now += HOUR

    uses = [result["message"]["usage"] for result in results(api, made).values()]

    assert sum(use["cache_creation"]["ephemeral_1h_input_tokens"] > 0 for use in uses) == 1
    assert sum(use["cache_read_input_tokens"] > 0 for use in uses) == 1


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("PUT", PATH, 405), ("POST", f"{PATH}/x/results", 405), ("GET", f"{PATH}/x/nothing", 404)],
)
def test_other_calls_are_refused(api, method, path, code):
    assert api.http.request(method, path).status_code == code
