"""The batch endpoints over real sockets: one POST creates one batch, and results are read as they arrive."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from claude_magic.client import (
    MAX_BATCH_BYTES,
    BatchResult,
    ClaudeError,
    ConfigurationError,
    HTTPClaudeClient,
    InvalidLinesError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    UnknownStatusError,
    batch_body,
    batch_entry,
    batch_params,
    may_be_created,
)
from claude_magic.simulator import (
    BatchScript,
    Simulator,
    accept_unheard,
    drop_before_headers,
    status,
)
from claude_magic.simulator._stream import Post
from claude_magic.simulator._wire import Chunk, Head

KEY = "sk-ant-test-0123456789abcdef"


def body_of(ask: Any, *prompts: str, **fields: Any) -> bytes:
    entries = [
        batch_entry(f"row-{n}", batch_params(ask(prompt, **fields))) for n, prompt in enumerate(prompts)
    ]
    return batch_body(entries)


async def read(client: HTTPClaudeClient, batch_id: str) -> list[BatchResult]:
    return [result async for result in client.batches.results(batch_id)]


@pytest.fixture
def sim() -> Any:
    """A simulator whose batches end at once."""
    with Simulator(batch_seconds=0) as simulator:
        yield simulator


def test_a_batch_from_its_creation_to_its_deletion(
    sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    async def main() -> Any:
        async with make_client(sim.url) as client:
            made = await client.batches.create(body_of(ask, "Say exactly: one", "!simulate bad_request"))
            ended = await client.batches.retrieve(made.id)
            results = await read(client, made.id)
            listed = [batch.id async for batch in client.batches.list()]
            with pytest.raises(InvalidRequestError):
                await client.batches.cancel(made.id)
            await client.batches.delete(made.id)
            with pytest.raises(NotFoundError):
                await client.batches.retrieve(made.id)
            return made, ended, results, listed

    made, ended, results, listed = play(main)

    assert (made.processing_status, made.request_counts.total) == ("in_progress", 2)
    assert made.expires - made.created == 24 * 3600
    assert ended.has_ended
    assert (ended.request_counts.succeeded, ended.request_counts.failed) == (1, 1)
    by_id = {result.custom_id: result for result in results}
    assert by_id["row-0"].message is not None
    assert by_id["row-0"].message.text == "one"
    assert by_id["row-0"].message.usage.service_tier == "batch"
    assert isinstance(by_id["row-1"].error, InvalidRequestError)
    assert listed == [made.id]
    assert {request.headers["x-api-key"] for request in sim.requests} == {KEY}


@pytest.mark.parametrize(
    "behaviour",
    [
        accept_unheard(),
        accept_unheard(how="close"),
        drop_before_headers(),
        status(500),
        status(504),
        status(200, body=b"<html>"),
    ],
)
def test_a_batch_that_may_have_been_created_is_not_created_again(
    behaviour: Any, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """Only one POST is sent, whatever the policy allows for other requests; the error says so."""
    sim.script_batch_calls("create", behaviour)

    async def main() -> Any:
        async with make_client(sim.url) as client:
            await client.batches.create(body_of(ask, "x"))

    with pytest.raises(ClaudeError) as caught:
        play(main)

    assert may_be_created(caught.value)
    assert len(sim.requests) == 1


@pytest.mark.parametrize("code", [429, 529])
def test_a_transient_error_before_creation_is_retried(
    code: int, sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    sim.script_batch_calls("create", status(code))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            return await client.batches.create(body_of(ask, "x"))

    assert play(main).id == sim.batches[0].id
    assert sleeps == [10.0]


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ConfigurationError(""), False),
        (InvalidRequestError("", status=400), False),
        (RateLimitError("", status=429), False),
        (OverloadedError("", status=529), False),
        (ServerError("", status=503), True),
        (NetworkError("", was_sent=False), False),
        (NetworkError(""), True),
    ],
)
def test_failures_that_may_have_created_a_batch(error: Any, answer: bool) -> None:
    assert may_be_created(error) is answer


def test_a_list_is_paginated_as_far_as_needed(
    sim: Simulator, make_client: Any, play: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_magic.client._batches._PER_PAGE", 2)

    async def main() -> Any:
        async with make_client(sim.url) as client:
            made = [(await client.batches.create(body_of(ask, "x"))).id for _ in range(5)]
            everything = [batch.id async for batch in client.batches.list()]
            sim_requests = len(sim.requests)
            newest = [batch.id async for batch in client.batches.list(most=1)]
            return made[::-1], everything, newest, len(sim.requests) - sim_requests

    made, everything, newest, calls = play(main)

    assert everything == made
    assert (newest, calls) == (made[:1], 1)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_truncated_results_are_detected(
    how: Any, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """The results so far are yielded; reading again starts from the first."""
    sim.script_batch(BatchScript(cuts=(2,), cut_by=how))
    came: list[str] = []

    async def main() -> Any:
        async with make_client(sim.url) as client:
            made = await client.batches.create(body_of(ask, *"abcd"))
            await client.batches.retrieve(made.id)

            async def note_what_comes() -> None:
                async for result in client.batches.results(made.id):
                    came.append(result.custom_id)

            with pytest.raises(StreamInterruptedError):
                await note_what_comes()
            return await read(client, made.id)

    again = play(main)

    assert [result.custom_id for result in again][:2] == came
    assert len(again) == 4


@pytest.mark.parametrize("content_type", ["application/x-jsonl", "application/octet-stream"])
def test_lines_that_are_no_results_are_an_error_after_all_others(
    content_type: str, sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    """It says nothing about base_url: the server is the right one, as the other lines show."""
    sim.script_batch_calls(
        "results", answer_lines(content_type, b"{oops", result("row-0"), b'{"type": "ping"}', result("row-1"))
    )
    came, error = play(lambda: read_to_error(sim, make_client, ask))

    assert came == ["row-0", "row-1"]
    assert isinstance(error, InvalidLinesError)
    assert '({oops {"type": "ping"})' in str(error)
    assert "base_url" not in str(error)


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("application/x-jsonl", InvalidLinesError), ("application/json", UnknownStatusError)],
)
def test_a_response_without_a_result_is_of_another_server_unless_its_type_is_that_of_results(
    content_type: str, kind: type[Exception], sim: Simulator, make_client: Any, play: Any, ask: Any
) -> None:
    sim.script_batch_calls("results", answer_lines(content_type, b'{"jobs": []}'))

    came, error = play(lambda: read_to_error(sim, make_client, ask))

    assert came == []
    assert type(error) is kind


def result(custom_id: str) -> bytes:
    return b'{"custom_id": "%s", "result": {"type": "expired"}}' % custom_id.encode()


def answer_lines(content_type: str, *lines: bytes) -> Any:
    """Respond with these lines."""

    def behave(_post: Post) -> Any:
        yield Head(200, (("content-type", content_type), ("connection", "close")))
        for line in lines:
            yield Chunk(line + b"\n")

    return behave


async def read_to_error(sim: Simulator, make_client: Any, ask: Any) -> tuple[list[str], Exception]:
    """Return the names of the results of a batch, and the error that ends them."""
    came: list[str] = []
    async with make_client(sim.url) as client:
        made = await client.batches.create(body_of(ask, *"ab"))
        await client.batches.retrieve(made.id)
        try:
            async for each in client.batches.results(made.id):
                came.append(each.custom_id)
        except ClaudeError as error:
            return came, error
    raise AssertionError("there was no error")


def test_a_failed_poll_is_not_retried(
    sim: Simulator, make_client: Any, play: Any, ask: Any, sleeps: list[float]
) -> None:
    async def main() -> Any:
        async with make_client(sim.url) as client:
            made = await client.batches.create(body_of(ask, "x"))
            sim.script_batch_calls("retrieve", status(529), status(529))
            with pytest.raises(OverloadedError):
                await client.batches.retrieve(made.id, is_poll=True)
            waits = list(sleeps)
            return waits, (await client.batches.retrieve(made.id)).id == made.id

    waits, is_found = play(main)
    assert (waits, is_found, len(sleeps)) == ([], True, 1)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", "a\n"])
def test_an_invalid_custom_id_raises_before_anything_is_sent(name: str) -> None:
    with pytest.raises(ConfigurationError, match="custom_id is 1 to 64"):
        batch_entry(name, b"{}")


@pytest.mark.parametrize("fields", [{"speed": "fast"}, {"fallbacks": []}, {"max_tokens": 0}])
def test_a_field_that_batches_do_not_accept_is_named(fields: dict[str, Any], ask: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"no request with {next(iter(fields))}"):
        batch_params(ask("x", **fields))


def test_a_key_that_the_server_quotes_is_redacted(
    sim: Simulator, make_client: Any, play: Any, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """In results, in errors and in the log."""
    sim.script_batch_calls("results", status(400, message=f"bad {KEY}"))

    async def main() -> Any:
        async with make_client(sim.url) as client:
            made = await client.batches.create(body_of(ask, f"Say exactly: {KEY}"))
            await client.batches.retrieve(made.id)
            with pytest.raises(InvalidRequestError) as caught:
                await read(client, made.id)
            return str(caught.value), await read(client, made.id)

    with caplog.at_level(logging.DEBUG):
        error, results = play(main)

    assert KEY not in error
    assert results[0].message.text == "[REDACTED]"
    assert KEY not in caplog.text


def test_the_maximum_size_fits_either_meaning_of_a_megabyte() -> None:
    assert MAX_BATCH_BYTES <= 256 * 10**6
