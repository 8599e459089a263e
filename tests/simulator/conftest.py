"""A separate simulator for each test, and a plain HTTP client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from claude_magic.simulator import Simulator

JSON = dict[str, Any]


class Api:
    """A client that sends valid requests by default."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        headers = {"x-api-key": "sk-ant-test", "anthropic-version": "2023-06-01"}
        # Nothing is encrypted. To read the certificates to trust would take longer than most tests.
        self.http = httpx2.Client(
            base_url=sim.url, headers=headers, trust_env=False, timeout=60, verify=False
        )

    def body(self, prompt: str | None = "Why is the sky blue?", **fields: Any) -> JSON:
        messages = [{"role": "user", "content": prompt}]
        body = {"model": "claude-haiku-5-5", "max_tokens": 4000, "messages": messages, **fields}
        return {name: value for name, value in body.items() if value is not None}

    def post(self, body: JSON, headers: dict[str, str] | None = None) -> httpx2.Response:
        return self.http.post("/v1/messages", json=body, headers=headers)

    def message(self, prompt: str | None = "Why is the sky blue?", **fields: Any) -> JSON:
        response = self.post(self.body(prompt, **fields))
        assert response.status_code == 200, response.text
        return response.json()

    def text(self, prompt: str, **fields: Any) -> str:
        return text_of(self.message(prompt, **fields))

    def events(self, prompt: str | None = "Why is the sky blue?", **fields: Any) -> list[JSON]:
        response = self.post(self.body(prompt, stream=True, **fields))
        assert response.status_code == 200, response.text
        return parse_events(response.text)

    def error(self, **fields: Any) -> tuple[int, str]:
        response = self.post(self.body(**fields))
        return response.status_code, response.json()["error"]["message"]


def text_of(message: JSON) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def parse_events(stream: str) -> list[JSON]:
    """Return the events of a well-formed stream, in which each name equals its type."""
    events = []
    for frame in stream.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def wait_until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.002)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    return wait_until


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
        assert [request.failure for request in simulator.requests if request.failure] == []


@pytest.fixture
def api(sim: Simulator) -> Iterator[Api]:
    caller = Api(sim)
    yield caller
    caller.http.close()
