"""The endpoints' work: check a request, answer it, account for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import unquote

from ._cache import PromptCache
from ._composer import Composition, compose
from ._context_editing import edit_context
from ._delivery import Answer
from ._errors import APIError, invalid
from ._exchange import JSON, Request
from ._headers import api_version, authenticate, betas, check_json
from ._ids import new_id
from ._limits import Limits, RateLimiter
from ._model_pages import describe_model, list_models
from ._models import Model
from ._prefix import Item, items_of, total_tokens
from ._thinking import check_returned_thinking
from ._validation import Terms, check_count_request, check_message_request

_METHODS_OF_PATH = {"/v1/messages": "POST", "/v1/messages/count_tokens": "POST", "/v1/models": "GET"}


class MessageService:
    """What stands behind the endpoints.

    Args:
        api_key: The only key that is accepted; by default any is that does not contain "invalid".
        limits: The rate limits of each class of models.
        clock: The time in seconds.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api_key = api_key
        self._limits = limits or Limits()
        self._clock = clock
        self._cache = PromptCache(clock)
        self._limiters: dict[str, RateLimiter] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget cached prompts and what was taken from the rate limits."""
        with self._lock:
            self._cache.clear()
            self._limiters.clear()

    def create(self, request: Request) -> Answer:
        """Answer POST `/v1/messages`."""
        terms = self._terms(request)
        fields = request.fields
        model = check_message_request(fields, terms)
        items = items_of(fields)
        transformations = check_returned_thinking(items, model, fields, terms.betas)
        edited = edit_context(fields)
        seen = items if edited is None else items_of(edited.fields)
        _check_context(seen, model)
        with self._lock:
            limiter = self._limiters.setdefault(model.bucket, RateLimiter(self._limits, self._clock))
            limiter.admit(total_tokens(seen))
            cached = self._cache.use(seen, model, fields.get("cache_control"))
            composition = compose(fields, model, items)
            limiter.charge(cached.uncached + cached.written_5m + cached.written_1h, composition.output_tokens)
            headers = limiter.headers()
        message = _message(model, composition, {**cached.usage(), **_output_usage(composition)})
        if edited is not None:
            message["context_management"] = {"applied_edits": edited.applied}
        if transformations:
            message["input_transformations"] = transformations
        return Answer(message=message, headers=headers)

    def other(self, request: Request) -> JSON:
        """Answer every other endpoint."""
        method, path = "GET" if request.method == "HEAD" else request.method, request.path
        if (method, path) == ("GET", "/"):
            return {"type": "simulator", "endpoints": [*_METHODS_OF_PATH]}
        if (method, path) == ("POST", "/v1/messages/count_tokens"):
            return self._count_tokens(request)
        if method == "GET" and path == "/v1/models":
            self._authorize(request)
            return list_models(request.query)
        if method == "GET" and path.startswith("/v1/models/"):
            self._authorize(request)
            return describe_model(unquote(path.removeprefix("/v1/models/")))
        if path in _METHODS_OF_PATH:
            raise APIError(405, f"{method} is not allowed here; use {_METHODS_OF_PATH[path]}")
        raise APIError(404, f"Not Found: {method} {request.path}")

    def _count_tokens(self, request: Request) -> JSON:
        terms = self._terms(request)
        model = check_count_request(request.fields, terms)
        items = items_of(request.fields)
        check_returned_thinking(items, model, request.fields, terms.betas)
        edited = edit_context(request.fields)
        if edited is None:
            return {"input_tokens": total_tokens(items)}
        return {
            "input_tokens": total_tokens(items_of(edited.fields)),
            "context_management": {"original_input_tokens": edited.original_tokens},
        }

    def _authorize(self, request: Request) -> None:
        authenticate(request, self._api_key)
        api_version(request)
        betas(request)

    def _terms(self, request: Request) -> Terms:
        authenticate(request, self._api_key)
        terms = Terms(version=api_version(request), betas=betas(request))
        check_json(request)
        return terms


def _check_context(items: list[Item], model: Model) -> None:
    tokens = total_tokens(items)
    if tokens > model.context_tokens:
        raise invalid(f"prompt is too long: {tokens} tokens > {model.context_tokens} maximum")


def _message(model: Model, composition: Composition, usage: JSON) -> JSON:
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model.id,
        "content": composition.content,
        "stop_reason": composition.stop_reason,
        "stop_sequence": composition.stop_sequence,
        "usage": usage,
    }


def _output_usage(composition: Composition) -> JSON:
    usage: JSON = {"output_tokens": composition.output_tokens, "service_tier": "standard"}
    if composition.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": composition.thinking_tokens}
    searches = sum(block["type"] == "server_tool_use" for block in composition.content)
    if searches:
        usage["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return usage
