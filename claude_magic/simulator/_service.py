"""The API endpoints: validation, rate limits, prompt cache, answers and usage."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from urllib.parse import unquote

from ._batches import BatchService, message_of
from ._checks import api_version, authenticate, betas, check_json
from ._composer import check_returned_thinking, compose
from ._conversation import Item, edit_context, items_of, take_directive, total_tokens
from ._models import Model, describe_model, list_models
from ._scenarios import answer_normally, find_scenario
from ._stream import Answer, Post
from ._validation import Terms, check_count_request, check_message_request
from ._wire import BATCHES_PATH, JSON, APIError, Request, Steps, encode_json, invalid, new_id

REQUESTS_PER_MINUTE = 10_000
INPUT_TOKENS_PER_MINUTE = 10_000_000
OUTPUT_TOKENS_PER_MINUTE = 2_000_000
"""Limits that the headers report if none is set: those published for the highest tier."""


class Bucket:
    """A token bucket, refilled continuously.

    Args:
        limit: Amount added per minute; None if there is no limit: then the bucket rejects nothing, and only counts.
        advertised: The limit in the headers, if there is none.
        clock: Returns the time in seconds.
        capacity: Maximum level, which is a limit, too; None for the limit per minute.
    """

    def __init__(
        self,
        limit: int | None,
        advertised: int,
        clock: Callable[[], float],
        *,
        capacity: int | None = None,
    ) -> None:
        self.per_minute = advertised if limit is None else limit
        self._capacity = self.per_minute if capacity is None else capacity
        self._is_enforced = limit is not None or capacity is not None
        self._clock = clock
        self._level = float(self._capacity)
        self._filled_at = clock()

    @property
    def level(self) -> float:
        """The current level."""
        now = self._clock()
        self._level = min(self._capacity, self._level + (now - self._filled_at) * self.per_minute / 60)
        self._filled_at = now
        return self._level

    def take(self, amount: float) -> None:
        """Remove an amount. Under a limit, the level can become negative."""
        self._level = self.level - amount
        if not self._is_enforced:
            self._level = max(0.0, self._level)

    def wait_for(self, amount: float) -> float:
        """Return the seconds until the limit allows this amount; 0 if there is no limit."""
        return self.seconds_until(amount) if self._is_enforced else 0.0

    def seconds_until(self, amount: float) -> float:
        """Return the seconds until the bucket holds this amount; 0 if it does now."""
        return max(0.0, (min(amount, self._capacity) - self.level) * 60 / self.per_minute)

    def headers(self, name: str, *, is_rounded: bool = True) -> dict[str, str]:
        """Return the headers for limit, remaining (rounded to thousands for tokens) and reset (when the bucket is full)."""
        unit = 1000 if is_rounded and self.per_minute >= 1000 else 1
        full_at = datetime.now(UTC) + timedelta(seconds=self.seconds_until(self.per_minute))
        remaining = max(0, math.floor(self.level))
        return {
            f"anthropic-ratelimit-{name}-limit": str(self.per_minute),
            f"anthropic-ratelimit-{name}-remaining": str(remaining // unit * unit),
            f"anthropic-ratelimit-{name}-reset": full_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of each model class; None means no limit.

    `burst` is the maximum number of requests at once: the API may enforce a limit per minute over shorter intervals.
    """

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    burst: int | None = None


class RateLimiter:
    """The buckets of one model class."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._requests = Bucket(limits.requests_per_minute, REQUESTS_PER_MINUTE, clock)
        self._burst = Bucket(limits.requests_per_minute, REQUESTS_PER_MINUTE, clock, capacity=limits.burst)
        self._input = Bucket(limits.input_tokens_per_minute, INPUT_TOKENS_PER_MINUTE, clock)
        self._output = Bucket(limits.output_tokens_per_minute, OUTPUT_TOKENS_PER_MINUTE, clock)

    def admit(self, input_tokens: int) -> None:
        """Admit a request.

        Raises:
            APIError: 429 with `retry-after`, a limit is exceeded.
        """
        needs = (
            (self._requests, "requests", 1),
            (self._burst, "requests", 1),
            (self._input, "input tokens", input_tokens),
            (self._output, "output tokens", 1),
        )
        for bucket, name, amount in needs:
            wait = bucket.wait_for(amount)
            if wait > 0:
                raise APIError(
                    429,
                    f"This request would exceed your organization's rate limit of {bucket.per_minute:,}"
                    f" {name} per minute.",
                    headers={**self.headers(), "retry-after": str(math.ceil(wait))},
                )
        self._requests.take(1)
        self._burst.take(1)

    def charge(self, input_tokens: int, output_tokens: int) -> None:
        """Remove the tokens that a request used, without cache reads."""
        self._input.take(input_tokens)
        self._output.take(output_tokens)

    def headers(self) -> Mapping[str, str]:
        """Return the rate limit headers."""
        tightest = min((self._input, self._output), key=lambda bucket: bucket.level / bucket.per_minute)
        return {
            **self._requests.headers("requests", is_rounded=False),
            **tightest.headers("tokens"),
            **self._input.headers("input-tokens"),
            **self._output.headers("output-tokens"),
        }


SECONDS_OF_TTL = {"5m": 300.0, "1h": 3600.0}
MAX_ENTRIES = 20_000
LOOK_BACK = 20
"""Number of items before a breakpoint that are searched for an entry."""


class PromptCache:
    """The prompt cache: expiry times by model and prefix.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, bytes], float] = {}

    def clear(self) -> None:
        """Delete all entries."""
        self._entries.clear()

    def use(self, items: list[Item], model: Model, automatic: JSON | None) -> JSON:
        """Read the longest cached prefix, write the marked prefixes, and return the input fields of `usage`.

        Args:
            items: The prompt.
            model: The model; each model has its own entries.
            automatic: The request's top-level `cache_control`, which marks the last item.
        """
        now = self._clock()
        self._forget_expired(now)
        sums = list(accumulate(item.tokens for item in items))
        marks = [
            (position, ttl)
            for position, ttl in _breakpoints(items, automatic)
            if sums[position] >= model.cache_minimum_tokens
        ]
        found = self._longest_hit(items, model, marks, now)
        read = sums[found] if found is not None else 0
        written = {"5m": 0, "1h": 0}
        done = read
        for position, ttl in marks:
            if sums[position] > done:
                written[ttl] += sums[position] - done
                done = sums[position]
            self._entries[model.id, items[position].digest] = now + SECONDS_OF_TTL[ttl]
        return {
            "input_tokens": total_tokens(items) - done,
            "cache_creation_input_tokens": done - read,
            "cache_read_input_tokens": read,
            "cache_creation": {f"ephemeral_{ttl}_input_tokens": tokens for ttl, tokens in written.items()},
        }

    def _forget_expired(self, now: float) -> None:
        if len(self._entries) >= MAX_ENTRIES:
            alive = sorted((until, key) for key, until in self._entries.items() if until > now)
            self._entries = {key: until for until, key in alive[-MAX_ENTRIES // 2 :]}

    def _longest_hit(
        self, items: list[Item], model: Model, marks: list[tuple[int, str]], now: float
    ) -> int | None:
        for position, ttl in reversed(marks):
            for candidate in range(position, max(-1, position - LOOK_BACK), -1):
                key = (model.id, items[candidate].digest)
                if self._entries.get(key, 0.0) > now:
                    self._entries[key] = now + SECONDS_OF_TTL[ttl]
                    return candidate
        return None


def _breakpoints(items: list[Item], automatic: JSON | None) -> Iterator[tuple[int, str]]:
    """Yield the position and the lifetime of each breakpoint."""
    for position, item in enumerate(items):
        control = item.cache_control
        if control is None and position == len(items) - 1:
            control = automatic
        if control is not None:
            yield position, control.get("ttl", "5m")


_METHODS_OF_PATH = {
    "/v1/messages": "POST",
    "/v1/messages/count_tokens": "POST",
    BATCHES_PATH: "POST",
    "/v1/models": "GET",
}


class MessageService:
    """The implementation of the endpoints.

    Args:
        api_key: The only valid key; by default any key is valid that does not contain "invalid".
        limits: The rate limits of each model class.
        clock: Returns the time in seconds.
        batch_seconds: Processing time of a batch.
    """

    def __init__(
        self,
        *,
        api_key: str | None,
        limits: Limits,
        clock: Callable[[], float],
        batch_seconds: float,
    ) -> None:
        self._api_key = api_key
        self._limits = limits
        self._clock = clock
        self._cache = PromptCache(clock)
        self._limiters: dict[tuple[str, str], RateLimiter] = {}
        self._lock = threading.Lock()
        self.batches = BatchService(self._answer_in_batch, clock=clock, seconds=batch_seconds)

    def clear(self) -> None:
        """Delete cached prompts and batches, and reset the rate limits."""
        self.batches.clear()
        with self._lock:
            self._cache.clear()
            self._limiters.clear()

    def create(self, request: Request) -> Answer:
        """Answer POST `/v1/messages`."""
        return self._answer(request.fields, self._terms(request))

    def _answer(self, fields: JSON, terms: Terms, tier: str = "standard") -> Answer:
        model = check_message_request(fields, terms)
        items = items_of(fields)
        transformations = check_returned_thinking(items, model, fields, terms.betas)
        edited = edit_context(fields)
        seen = items if edited is None else items_of(edited.fields)
        _check_context(seen, model)
        with self._lock:
            # Batches have separate limits.
            limits = Limits() if tier == "batch" else self._limits
            limiter = self._limiters.setdefault((model.bucket, tier), RateLimiter(limits, self._clock))
            limiter.admit(total_tokens(seen))
            cached = self._cache.use(seen, model, fields.get("cache_control"))
            message = compose(fields, model, items)
            message["usage"] = usage = {**cached, **message["usage"], "service_tier": tier}
            limiter.charge(
                usage["input_tokens"] + usage["cache_creation_input_tokens"], usage["output_tokens"]
            )
            headers = limiter.headers()
        if edited is not None:
            message["context_management"] = {"applied_edits": edited.applied}
        if transformations:
            message["input_transformations"] = transformations
        return Answer(message=message, headers=headers)

    def answer_batches(self, request: Request, request_id: str, headers: dict[str, str]) -> Steps:
        """Respond to a request of the batch endpoints."""
        key = authenticate(request, self._api_key)
        return self.batches.respond(request, _terms_of(request), key, request_id, headers)

    def _answer_in_batch(self, fields: JSON, terms: Terms) -> JSON:
        """Answer one request of a batch. A scenario that the request names applies, unless it recovers after retries."""
        request = Request(method="POST", target="/v1/messages", headers={}, raw_body=encode_json(fields))
        name, undirected = take_directive(request)
        chosen = None if name is None else find_scenario(name)
        behaviour = answer_normally if chosen is None or chosen.recovers else chosen.behaviours[-1]
        post = Post(
            request=undirected,
            request_id=new_id("req"),
            chunk_delay=0.0,
            headers={},
            answer=lambda: self._answer(undirected.fields, terms, "batch"),
        )
        return message_of(behaviour(post))

    def other(self, request: Request) -> JSON:
        """Answer all other endpoints."""
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

    def _authorize(self, request: Request) -> Terms:
        authenticate(request, self._api_key)
        return _terms_of(request)

    def _terms(self, request: Request) -> Terms:
        terms = self._authorize(request)
        check_json(request)
        return terms


def _terms_of(request: Request) -> Terms:
    return Terms(version=api_version(request), betas=betas(request))


def _check_context(items: list[Item], model: Model) -> None:
    tokens = total_tokens(items)
    if tokens > model.context_tokens:
        raise invalid(f"prompt is too long: {tokens} tokens > {model.context_tokens} maximum")
