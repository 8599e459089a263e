"""`HTTPClaudeClient`, the Messages API over HTTP, and `ClaudeClient`, the protocol that it implements."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self
from urllib.parse import quote

from pydantic import BaseModel

from ._attempts import AttemptRules, Attempts, Calls, Observer
from ._batches import MessageBatches
from ._config import REDACTED, ClientConfig, Credential
from ._errors import APIError, ClaudeError, ForbiddenError, InvalidApiKeyError
from ._json import decode_json, encode_json
from ._messages import Completion, Message, ModelInfo, is_count
from ._pace import ServerPace
from ._rate_limit import TokenBucket
from ._redis_bucket import RedisBucket
from ._requests import MessageRequest
from ._server_limits import Need
from ._stream import MessageStream, ReplyStream, StreamRecorder, read_message
from ._transport import HTTPTransport, auth_scheme, request_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The result of a health check.

    Attributes:
        is_reachable: The server responded.
        is_authenticated: The server accepted the key; None if that cannot be checked free of charge.
        latency: Duration of the check in seconds.
        detail: The result, as a sentence.
    """

    is_reachable: bool
    is_authenticated: bool | None
    latency: float
    detail: str


class ClaudeClient(Protocol):
    """A client for the Messages API. All methods must run on the event loop on which the client is used.

    They raise only `ClaudeError`s and `asyncio.CancelledError`.
    """

    async def send_message(self, request: MessageRequest, *, observer: Observer | None = None) -> Message:
        """Send a request and return the complete reply."""
        ...

    def stream_message(self, request: MessageRequest, *, observer: Observer | None = None) -> ReplyStream:
        """Return a stream of the reply's events. Nothing is sent until it is iterated."""
        ...

    async def execute(
        self, prompt: str, *, model: str, max_tokens: int = 16_000, system: str | None = None
    ) -> Completion:
        """Send one prompt and return the text and usage of the reply.

        Args:
            prompt: User prompt.
            model: Model name.
            max_tokens: Maximum length of the reply in model tokens, including thinking.
            system: System prompt, or None.

        Raises:
            ClaudeError: The call failed, after as many attempts as the policy allows.
        """
        messages = [{"role": "user", "content": prompt}]
        request = MessageRequest(model=model, max_tokens=max_tokens, system=system, messages=messages)
        message = await self.send_message(request)
        return Completion(text=message.text, usage=message.usage, message=message)

    async def count_tokens(self, request: MessageRequest) -> int:
        """Return the server's estimate of a request's input in model tokens. Never billed."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Return all models that the server offers, in the server's order."""
        ...

    @property
    def batches(self) -> MessageBatches:
        """The batch endpoints."""
        ...

    async def health_check(self) -> Health:
        """Check the server. Never billed, and never raises if the server is down or rejects the request."""
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
    """Check a server: request its list of models or, if it has none, send an empty body to `count_tokens`.

    Neither is billed. The empty body distinguishes a rejected key (401) from an invalid request (400).
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
        # Any JSON object is accepted: servers list their models in different forms.
        await calls.call(method, path, dict, body, rules=calls.rules.without_retries())
    except ClaudeError as error:
        return error.with_traceback(None)
    return None


def _status_of(error: ClaudeError | None) -> int | None:
    return error.status if isinstance(error, APIError) else None


def _describe(error: ClaudeError | None, latency: float) -> Health:
    if error is None:
        detail = "The server answers and accepts the key."
        return Health(is_reachable=True, is_authenticated=True, latency=latency, detail=detail)
    is_refused = isinstance(error, InvalidApiKeyError | ForbiddenError)
    return Health(
        is_reachable=_status_of(error) not in (None, 200),  # a 200 here is a web page or an error envelope
        is_authenticated=False if is_refused else None,
        latency=latency,
        detail=str(error),
    )


_STREAM_ABOVE_TOKENS = 8000
"""Longest reply, in model tokens, that is requested without streaming: the output of 300 s at the slowest speed."""

_MODELS_PER_PAGE = 1000
_MAX_MODEL_PAGES = 100
"""Limit for servers whose pagination loops."""


class ModelPage(BaseModel):
    """One page of a model list. OpenAI-style lists have only `data`."""

    data: list[ModelInfo]
    has_more: bool = False
    last_id: str | None = None


class HTTPClaudeClient(ClaudeClient):
    """A client for the Messages API over HTTP, with a rate limit and a retry policy.

    Create one client and reuse it: it holds the connection pool and the limiter. It is bound to the event loop on which
    it is first used. Errors are `ClaudeError`s. Cancelling a call leaves pool and limiter in a consistent state.

    Args:
        config: Settings.
        credential: API key or token; None for servers that need none.
        bucket: Limiter to share or reuse; None creates one from `config`.
        pace: Known rate limits of the server, to share or reuse; None starts without any.
        random: Random source for the back-off, uniform in [0, 1).
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
        return f"<HTTPClaudeClient {self._config.shown_base_url}>"

    @property
    def config(self) -> ClientConfig:
        """The client's settings."""
        return self._config

    async def send_message(self, request: MessageRequest, *, observer: Observer | None = None) -> Message:
        """Send a request and return the complete reply.

        Long replies are streamed internally. Silence then means a dead connection, and a long reply is not paid for
        twice because one read timed out.

        Args:
            request: The request; its `max_tokens` decides whether the reply is streamed.
            observer: Called with a record of each step, on the client's loop.

        Raises:
            ClaudeError: The call failed, after as many attempts as the policy allows.
        """
        if request.max_tokens > _STREAM_ABOVE_TOKENS:
            async with self.stream_message(request, observer=observer) as stream:
                async for _ in stream:
                    pass
            return stream.message
        body = request.to_json(stream=False)
        return await self._calls.exchange(
            "POST",
            self._config.messages_path,
            partial(read_message, self._config),
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
        """Return a stream of the reply's events. Nothing is sent until it is iterated.

        Args:
            request: The request.
            observer: Called with a record of each step, on the client's loop.
            recorder: Receives the same events as the caller, and the outcome of the reply.
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
        """Return all models that the server offers, in the server's order.

        OpenAI-style lists, which several local servers send, are accepted.
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
        """Return the server's description of one model.

        Raises:
            NotFoundError: The server has no such model.
        """
        return await self._calls.call(
            "GET", f"{MODELS_PATH}/{quote(model, safe='')}", ModelInfo.model_validate
        )

    async def health_check(self) -> Health:
        """Check the server once. Never billed, and never raises if the server is down."""
        return await check_health(self._calls)

    async def aclose(self) -> None:
        """Close all connections. The client cannot be used afterwards."""
        await self._transport.aclose()
        if self._own_bucket is not None:
            await self._own_bucket.aclose()


def _counted_tokens(reply: dict[str, Any]) -> int:
    """Return the count in a `count_tokens` response. It is validated because budgets rely on it."""
    tokens = reply["input_tokens"]
    if not is_count(tokens):
        raise ValueError("the number of tokens is missing")
    return int(tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreview:
    """A request for a streamed reply, for display.

    Attributes:
        method: HTTP method.
        url: URL of the request; apparent secrets in the path of `base_url` are `[REDACTED]`.
        headers: Names and values, in the order in which they are sent; credentials are `[REDACTED]`. Without `host`,
            `content-length`, and the placeholder that is sent without a credential.
        body: The JSON object, as a server would parse it.
        body_bytes: Length of the encoded body in bytes.
        is_redacted: Part of `body` was redacted for display.
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
    """Return the request that `stream_message` would send.

    Args:
        config: The client's settings. The values of user-defined headers are redacted, because gateways put secrets into
            them.
        credential: The key, which is redacted, or None.
        request: The request.

    Raises:
        ConfigurationError: The request cannot be encoded as JSON.
    """
    own = {name.lower() for name in config.headers}
    headers = [
        (name, REDACTED if name in own else value)
        for name, value in request_headers(config, request.betas).items()
    ]
    if credential is not None:
        name, prefix = auth_scheme(credential, config.auth_header)
        headers.append((name, prefix + REDACTED))
    body = request.to_json(stream=True)
    return RequestPreview(
        method="POST",
        url=config.shown_base_url + config.messages_path,
        headers=tuple(headers),
        body=decode_json(body),
        body_bytes=len(body),
    )
