"""`HTTPClaudeClient`: the Messages API over HTTP, one client for all requests of a process; and the port it fills."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self
from urllib.parse import quote

from pydantic import BaseModel

from ._attempts import AttemptRules, Attempts, Observer
from ._batches import MessageBatches
from ._calls import Calls
from ._config import REDACTED, ClientConfig, Credential
from ._errors import APIError, ClaudeError, ForbiddenError, InvalidApiKeyError
from ._json import decode_json, encode_json
from ._messages import Completion, Message, ModelInfo, is_count
from ._pace import ServerPace
from ._rate_limit import TokenBucket
from ._redis_bucket import RedisBucket
from ._requests import MessageRequest
from ._server_limits import Need
from ._stream import MessageStream, ReplyStream, StreamRecorder
from ._transport import HTTPTransport, request_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a server can be used.

    Attributes:
        is_reachable: It answered.
        is_authenticated: It accepted the key; None if that could not be found out without cost.
        latency: Seconds the probe took.
        detail: The finding, as a sentence.
    """

    is_reachable: bool
    is_authenticated: bool | None
    latency: float
    detail: str


class ClaudeClient(Protocol):
    """Talks to the Messages API. All methods belong to the event loop on which the client is used.

    Everything they raise is a `ClaudeError`, but for `asyncio.CancelledError`.
    """

    async def send_message(self, request: MessageRequest, *, observer: Observer | None = None) -> Message:
        """Send a request and return the complete reply."""
        ...

    def stream_message(self, request: MessageRequest, *, observer: Observer | None = None) -> ReplyStream:
        """Return a stream of the reply's events; nothing is sent before it is entered or iterated."""
        ...

    async def execute(
        self, prompt: str, *, model: str, max_tokens: int = 16_000, system: str | None = None
    ) -> Completion:
        """Send one prompt and return text and usage.

        Args:
            prompt: What the user asks.
            model: Model to ask.
            max_tokens: Bound of the reply in model tokens, thinking included.
            system: System prompt, or None.
        """
        messages = [{"role": "user", "content": prompt}]
        request = MessageRequest(model=model, max_tokens=max_tokens, system=system, messages=messages)
        message = await self.send_message(request)
        return Completion(text=message.text, usage=message.usage, message=message)

    async def count_tokens(self, request: MessageRequest) -> int:
        """Return the server's estimate of a request's input in model tokens. Never billed."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Return all models the server offers, in its order."""
        ...

    @property
    def batches(self) -> MessageBatches:
        """The batch endpoints."""
        ...

    async def health_check(self) -> Health:
        """Probe the server. Never billed, and never raises for a server that is down or refuses."""
        ...

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()


MODELS_PATH = "/v1/models"
COUNT_TOKENS_PATH = "/v1/messages/count_tokens"

_NOT_OFFERED = (404, 405, 501)
_REFUSED_AS_INVALID = (400, 422)


async def check_health(calls: Calls) -> Health:
    """Probe a server: its list of models first, and where it has none, a token count of nothing.

    Neither can be billed. Sending an empty body to `count_tokens` tells a refused key (401) from an invalid
    request (400).
    """
    clock = calls.rules.clock
    started_at = clock()
    error = await _try(calls, "GET", f"{MODELS_PATH}?limit=1", None)
    if _status_of(error) in _NOT_OFFERED:
        error = await _try(calls, "POST", COUNT_TOKENS_PATH, b"{}")
        if _status_of(error) in (*_NOT_OFFERED, *_REFUSED_AS_INVALID):
            return Health(
                is_reachable=True,
                is_authenticated=None,
                latency=clock() - started_at,
                detail="The server answers. It has no list of models, so the key could not be checked.",
            )
    return _describe(error, clock() - started_at)


async def _try(calls: Calls, method: str, path: str, body: bytes | None) -> ClaudeError | None:
    try:
        await calls.call(method, path, _ignore, body, rules=calls.rules.without_retries())
    except ClaudeError as error:
        return error.with_traceback(None)
    return None


def _status_of(error: ClaudeError | None) -> int | None:
    return error.status if isinstance(error, APIError) else None


def _ignore(reply: dict[str, Any]) -> None:
    """Any JSON object will do: servers differ in how they list their models."""


def _describe(error: ClaudeError | None, latency: float) -> Health:
    if error is None:
        detail = "The server answers and accepts the key."
        return Health(is_reachable=True, is_authenticated=True, latency=latency, detail=detail)
    is_refused = isinstance(error, InvalidApiKeyError | ForbiddenError)
    return Health(
        is_reachable=_status_of(error) not in (None, 200),  # a 200 here is a web page, or an error inside one
        is_authenticated=False if is_refused else None,
        latency=latency,
        detail=str(error),
    )


_STREAM_ABOVE_TOKENS = 8000
"""Longest reply, in model tokens, that is waited for in one piece: what 300 s yield at the slowest pace."""

_MODELS_PER_PAGE = 1000
_MAX_MODEL_PAGES = 100
"""Bound for servers whose pages lead back to the first."""


class ModelPage(BaseModel):
    """One page of a model list. OpenAI-shaped lists have `data` only."""

    data: list[ModelInfo]
    has_more: bool = False
    last_id: str | None = None


class HTTPClaudeClient(ClaudeClient):
    """Talks to the Messages API, within a rate limit and under a retry policy.

    Build one and keep it: it holds the connection pool and the limiter. It belongs to the event loop on which
    it is first used. Errors are those of `ClaudeError`; cancelling a call leaves pool and limiter in order.

    Args:
        config: Settings.
        credential: API key or token; None for servers that need none.
        bucket: Limiter to share or to continue with; None makes one from `config`.
        pace: What is known of the server's own limits, to share or to continue with; None begins to learn.
        random: Source of chance for the back-off, uniform in [0, 1).
        clock: Monotonic clock in seconds, for durations.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        config: ClientConfig,
        credential: Credential | None = None,
        *,
        bucket: TokenBucket | None = None,
        pace: ServerPace | None = None,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._transport = HTTPTransport(config, credential or Credential.placeholder())
        self._own_bucket = RedisBucket.of(config, credential) if bucket is None and config.limiter else None
        self.bucket = (
            bucket or self._own_bucket or TokenBucket(config.rate_limit_rps, config.rate_limit_capacity)
        )
        self.pace = pace or ServerPace(clock=clock)
        if isinstance(self.bucket, RedisBucket):
            self.bucket.share(self.pace)
        self._rules = AttemptRules(
            bucket=self.bucket,
            pace=self.pace,
            policy=config.retry_policy,
            clock=clock,
            random=random,
            sleep=sleep,
        )
        is_lacking_key = credential is None and config.is_official_host
        self._calls = Calls(config, self._transport, self._rules, is_lacking_key=is_lacking_key)

    def __repr__(self) -> str:
        return f"<HTTPClaudeClient {self._config.base_url}>"

    @property
    def config(self) -> ClientConfig:
        """The settings the client was built with."""
        return self._config

    async def send_message(self, request: MessageRequest, *, observer: Observer | None = None) -> Message:
        """Send a request and return the complete reply.

        Long replies are streamed underneath: then silence means a dead connection, and no long reply is paid
        twice because one read took too long.

        Args:
            request: What to send; its `max_tokens` decides on streaming.
            observer: Called with a record of each step, on the client's loop.

        Raises:
            ClaudeError: It failed, after as many attempts as the policy allows.
        """
        if request.max_tokens > _STREAM_ABOVE_TOKENS:
            async with self.stream_message(request, observer=observer) as stream:
                async for _ in stream:
                    pass
            return stream.message
        body = request.to_json(stream=False)
        return await self._calls.call(
            "POST",
            self._config.messages_path,
            Message.model_validate,
            body,
            observer,
            betas=request.betas,
            need=Need(request),
        )

    def stream_message(
        self,
        request: MessageRequest,
        *,
        observer: Observer | None = None,
        recorder: StreamRecorder | None = None,
    ) -> MessageStream:
        """Return a stream of the reply's events. Nothing is sent before it is iterated.

        Args:
            request: What to send.
            observer: Called with a record of each step, on the client's loop.
            recorder: Given the events beside the caller, and how the reply ended.
        """
        self._calls.require_key()
        attempts = Attempts(self._rules, "POST", self._config.messages_path, observer, Need(request))
        body = request.to_json(stream=True)
        return MessageStream(self._transport, self._config, attempts, body, request.betas, recorder)

    @property
    def batches(self) -> MessageBatches:
        """The batch endpoints."""
        return MessageBatches(self._calls)

    async def count_tokens(self, request: MessageRequest) -> int:
        """Return the server's estimate of a request's input in model tokens. Never billed."""
        body = encode_json(request.count_tokens_body())
        return await self._calls.call(
            "POST",
            COUNT_TOKENS_PATH,
            _counted_tokens,
            body,
            betas=request.betas,
        )

    async def list_models(self) -> list[ModelInfo]:
        """Return all models the server offers, in its order.

        OpenAI-shaped lists, which several local servers send, are understood.
        """
        models: dict[str, ModelInfo] = {}
        after = ""
        for _ in range(_MAX_MODEL_PAGES):
            page = await self._calls.call(
                "GET", f"{MODELS_PATH}?limit={_MODELS_PER_PAGE}{after}", ModelPage.model_validate
            )
            known = len(models)
            models |= {model.id: model for model in page.data}
            if not page.has_more or not page.last_id or len(models) == known:
                break
            after = f"&after_id={quote(page.last_id, safe='')}"
        return list(models.values())

    async def retrieve_model(self, model: str) -> ModelInfo:
        """Return what the server says about one model.

        Raises:
            NotFoundError: It has no such model.
        """
        return await self._calls.call(
            "GET", f"{MODELS_PATH}/{quote(model, safe='')}", ModelInfo.model_validate
        )

    async def health_check(self) -> Health:
        """Probe the server once. Never billed; a server that is down is a finding, not an error."""
        return await check_health(self._calls)

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        await self._transport.aclose()
        if self._own_bucket is not None:
            await self._own_bucket.aclose()


def _counted_tokens(reply: dict[str, Any]) -> int:
    """Read the answer of `count_tokens`, on which a budget relies."""
    tokens = reply["input_tokens"]
    if not is_count(tokens):
        raise ValueError("the number of tokens is missing")
    return int(tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreview:
    """A request for a streamed reply, for people to look at.

    Attributes:
        method: HTTP method.
        url: Where it would go.
        headers: Names and values, in the order in which they are sent; credentials are `[REDACTED]`.
        body: The JSON object, as a server would read it.
        body_bytes: Its length on the wire.
        is_redacted: Something that would be sent was taken out of `body`.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: dict[str, Any]
    body_bytes: int
    is_redacted: bool = False


def preview_request(
    config: ClientConfig, credential: Credential | None, request: MessageRequest
) -> RequestPreview:
    """Return what `stream_message` would send.

    Args:
        config: The client's settings. Values of headers of the user's own are not shown, because gateways put secrets
            into them.
        credential: The key, which is not shown, or None.
        request: The request.

    Raises:
        ConfigurationError: The request cannot be written as JSON.
    """
    own = {name.lower() for name in config.headers}
    headers = [
        (name, REDACTED if name in own else value)
        for name, value in (
            (raw_name.decode("ascii"), raw_value.decode("ascii"))
            for raw_name, raw_value in request_headers(config, request.betas)
        )
    ]
    if credential is not None:
        is_bearer = credential.is_token or config.auth_header == "authorization"
        headers.append(("authorization", f"Bearer {REDACTED}") if is_bearer else ("x-api-key", REDACTED))
    body = request.to_json(stream=True)
    return RequestPreview(
        method="POST",
        url=config.base_url + config.messages_path,
        headers=tuple(headers),
        body=decode_json(body),
        body_bytes=len(body),
    )
