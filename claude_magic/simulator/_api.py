"""The API's front: which endpoint a request meets, and which behaviour."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

from claude_magic._version import __version__

from ._conversation import take_directive
from ._delivery import Behaviour, Exchange, deliver, refuse
from ._errors import APIError
from ._exchange import Request, Steps, body_steps, json_steps
from ._ids import new_id, opaque
from ._scenarios import Scenario, scenario
from ._service import MessageService

MARK_HEADER = "claude-magic-simulator"
SCENARIO_HEADER = "x-simulator-scenario"
MAX_ATTEMPTS = 10_000
ORGANIZATION_ID = opaque("organization")


class API:
    """Answers requests with steps; knows nothing of sockets."""

    def __init__(self, service: MessageService, *, chunk_delay: float, scenario_name: str | None) -> None:
        self._service = service
        self._chunk_delay = chunk_delay
        self._standing = None if scenario_name is None else scenario(scenario_name)
        self._scripted: deque[Behaviour] = deque()
        self._attempts: dict[tuple[str, bytes], int] = {}
        """How often each request met a scenario; the oldest are forgotten."""

    def script(self, behaviours: Sequence[Behaviour | Scenario]) -> None:
        """Queue behaviours; a scenario of several attempts is several behaviours."""
        for behaviour in behaviours:
            self._scripted.extend(behaviour.behaviours if isinstance(behaviour, Scenario) else (behaviour,))

    def clear(self) -> None:
        """Forget what was scripted and what was seen."""
        self._scripted.clear()
        self._attempts.clear()
        self._service.clear()

    def respond(self, request: Request) -> Steps:
        """The steps that answer a request."""
        request_id = new_id("req")
        headers = {
            "request-id": request_id,
            "anthropic-organization-id": ORGANIZATION_ID,
            MARK_HEADER: __version__,
        }
        try:
            if request.fault is not None:
                raise request.fault
            yield from self._route(request, request_id, headers)
        except APIError as fault:
            yield from refuse(fault, request_id, headers)

    def _route(self, request: Request, request_id: str, headers: dict[str, str]) -> Steps:
        if (request.method, request.path) == ("POST", "/v1/messages"):
            return self._create_message(request, request_id, headers)
        if request.method == "OPTIONS":
            return body_steps(200, b"", {**headers, "allow": "GET, HEAD, OPTIONS, POST"})
        return json_steps(200, self._service.other(request), headers)

    def _create_message(self, request: Request, request_id: str, headers: dict[str, str]) -> Steps:
        behaviour, request = self._behaviour(request)
        return behaviour(
            Exchange(
                request=request,
                request_id=request_id,
                chunk_delay=self._chunk_delay,
                headers=headers,
                answer=lambda: self._service.create(request),
            )
        )

    def _behaviour(self, request: Request) -> tuple[Behaviour, Request]:
        """What was scripted, else what the request asks for itself, else what always holds."""
        name, undirected = take_directive(request)
        if self._scripted:
            return self._scripted.popleft(), undirected
        wished = request.headers.get(SCENARIO_HEADER) or name
        if wished is not None:
            return self._next_attempt(_known_scenario(wished), request), undirected
        if self._standing is not None:
            return self._next_attempt(self._standing, request), undirected
        return _as_usual, undirected

    def _next_attempt(self, chosen: Scenario, request: Request) -> Behaviour:
        """The scenario's behaviour for this repetition of the request."""
        key = (chosen.name, hashlib.sha256(request.raw_body).digest())
        attempt = self._attempts.get(key, 0)
        if attempt < len(chosen.behaviours):
            self._attempts[key] = attempt + 1
            if len(self._attempts) > MAX_ATTEMPTS:
                del self._attempts[next(iter(self._attempts))]
            return chosen.behaviours[attempt]
        if chosen.recovers:
            del self._attempts[key]  # the next run of the same cell meets the trouble again
            return _as_usual
        return chosen.behaviours[-1]


def _as_usual(exchange: Exchange) -> Steps:
    return deliver(exchange, exchange.answer())


def _known_scenario(name: str) -> Scenario:
    try:
        return scenario(name)
    except ValueError as error:
        raise APIError(400, str(error)) from None
