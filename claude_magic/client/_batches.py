"""Message batches: many requests in one call, answered within a day, at half the price.

Creating one is never retried after a failure that may have left it created: it would be paid twice. The caller keeps a
note of its own first, and finds the batch again in the list; the API has no key that would make a second call harmless.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from pydantic import Field

from ._attempts import Observer
from ._calls import Calls
from ._error_reading import error_from_event
from ._errors import (
    APIError,
    ClaudeError,
    ConfigurationError,
    NetworkError,
    OverloadedError,
    StreamInterruptedError,
)
from ._messages import Message, Received
from ._requests import MAX_BODY_BYTES, MessageRequest
from ._retry import GiveUp, Retry, RetryPolicy
from ._stream import object_in, parse_reply, request_id_of
from ._transport import WireResponse

BATCHES_PATH: Final = "/v1/messages/batches"
MAX_BATCH_REQUESTS: Final = 100_000
MAX_BATCH_BYTES: Final = 256_000_000
"""The API says 256 MB; this is so under either meaning."""
_BODY: Final = (b'{"requests":[', b",", b"]}")
_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_BATCHES: Final = ("speed", "thread", "fallbacks", "fallback_credit_token")
"""Fields of a request that no batch takes."""
_MAX_LINE_BYTES: Final = 2 * MAX_BODY_BYTES
_PER_PAGE: Final = 100
_SHOWN_BYTES: Final = 500
_CREATED_PERHAPS: Final = "Not sent again: the batch may have been created all the same."
_CUT: Final = "What came before is kept; the results can be read again."


class RequestCounts(Received):
    """How many requests of a batch are where. All but `processing` stay 0 until the whole batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """All requests of the batch."""
        return self.processing + self.succeeded + self.failed

    @property
    def failed(self) -> int:
        """Those that have ended without an answer, none of which is billed."""
        return self.errored + self.canceled + self.expired


class MessageBatch(Received):
    """A batch as the server describes it.

    Attributes:
        id: Its id.
        processing_status: "in_progress", "canceling" or "ended".
        request_counts: How many of its requests are where.
        created_at: When it was created, in RFC 3339; likewise the others.
        expires_at: When what is not done by then expires: 24 hours later.
        ended_at: When its last request had ended, or None.
        cancel_initiated_at: When somebody asked to cancel it, or None.
        archived_at: When its results were deleted, or None.
        results_url: Where its results are, None as long as there are none.
    """

    id: str = Field(min_length=1)
    processing_status: str
    request_counts: RequestCounts = RequestCounts()
    created_at: str | None = None
    expires_at: str | None = None
    ended_at: str | None = None
    cancel_initiated_at: str | None = None
    archived_at: str | None = None
    results_url: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to be done."""
        return self.processing_status == "ended"

    @property
    def created(self) -> float | None:
        """When it was created, in seconds since the epoch by the server's clock; None if unknown."""
        return _seconds(self.created_at)

    @property
    def expires(self) -> float | None:
        """When it expires, likewise."""
        return _seconds(self.expires_at)


class BatchPage(Received):
    """One page of the list, newest first."""

    data: list[MessageBatch]
    has_more: bool = False
    last_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of one request of a batch.

    Attributes:
        custom_id: Its name.
        type: "succeeded", "errored", "canceled" or "expired"; only the first is billed. What cannot be read is "unreadable", and
            perhaps billed.
        message: The reply, or None.
        error: Why there is none, where the server says so.
    """

    custom_id: str
    type: str
    message: Message | None = None
    error: APIError | None = None


class MessageBatches:
    """The batch endpoints of a client. All methods belong to its event loop, and raise `ClaudeError`s.

    Args:
        calls: Those of the client.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self, body: bytes, *, betas: Sequence[str] = (), observer: Observer | None = None
    ) -> MessageBatch:
        """Create a batch.

        It is tried again where it is certain that nothing was created (no connection, 429, 529), and not otherwise:
        `may_be_created` tells which it was.

        Args:
            body: What `batch_body` makes.
            betas: Beta features that its requests need.
            observer: Called with a record of each step.
        """
        policy = self._calls.rules.policy
        certain = _CreatePolicy(**{name: getattr(policy, name) for name in RetryPolicy.__dataclass_fields__})
        rules = replace(self._calls.rules, policy=certain)
        return await self._calls.call(
            "POST", BATCHES_PATH, MessageBatch.model_validate, body, observer, betas=betas, rules=rules
        )

    async def retrieve(
        self, batch_id: str, *, is_poll: bool = False, observer: Observer | None = None
    ) -> MessageBatch:
        """Return a batch as it is now.

        Args:
            batch_id: Its id.
            is_poll: One look of many: one that fails is not repeated here.
            observer: Called with a record of each step.

        Raises:
            NotFoundError: There is none in the workspace of this key.
        """
        rules = self._calls.rules.without_retries() if is_poll else None
        return await self._calls.call(
            "GET", _path(batch_id), MessageBatch.model_validate, None, observer, rules=rules
        )

    async def list(
        self, *, most: int | None = None, is_poll: bool = False, observer: Observer | None = None
    ) -> AsyncGenerator[MessageBatch, None]:
        """Yield the batches of the workspace, newest first; page by page, as far as they are wanted.

        Args:
            most: How many at most.
            is_poll: As for `retrieve`.
            observer: Called with a record of each step.
        """
        rules = self._calls.rules.without_retries() if is_poll else None
        seen: set[str] = set()
        after = ""
        while most is None or len(seen) < most:
            limit = _PER_PAGE if most is None else min(_PER_PAGE, most - len(seen))
            path = f"{BATCHES_PATH}?limit={limit}{after}"
            page = await self._calls.call("GET", path, BatchPage.model_validate, None, observer, rules=rules)
            fresh = [batch for batch in page.data if batch.id not in seen]
            for batch in fresh:
                seen.add(batch.id)
                yield batch
            if not (page.has_more and fresh):
                return
            after = f"&after_id={quote(page.last_id or fresh[-1].id, safe='')}"

    async def cancel(self, batch_id: str) -> MessageBatch:
        """Begin to cancel a batch. What is done by then has results, and is billed.

        Raises:
            InvalidRequestError: It has ended already.
            NotFoundError: There is none in the workspace of this key.
        """
        return await self._calls.call("POST", _path(batch_id, "/cancel"), MessageBatch.model_validate, b"{}")

    async def delete(self, batch_id: str) -> None:
        """Delete a batch that has ended, with its results.

        Raises:
            InvalidRequestError: It has not ended.
            NotFoundError: There is none in the workspace of this key.
        """
        await self._calls.call("DELETE", _path(batch_id), _nothing)

    async def results(
        self, batch_id: str, *, observer: Observer | None = None
    ) -> AsyncGenerator[BatchResult, None]:
        """Yield the results of a batch as they arrive, in an order of the server's.

        `results_url` is not followed: the key would go wherever a server says.

        Args:
            batch_id: Its id.
            observer: Called with a record of each step.

        Raises:
            NotFoundError: There are none: it has not ended, or they were deleted.
            StreamInterruptedError: They broke off; those that came are right, and reading again begins with the first.
            UnknownStatusError: After all others were read: lines among them are no results, so perhaps something else has answered.
        """
        path = _path(batch_id, "/results")
        response, attempts = await self._calls.open(path, observer)
        strange: dict[str, Any] | None = None
        try:
            async for line, is_whole in _lines(response):
                value = _object_of(line, is_whole=is_whole)
                if (result := _read_result(value)) is not None:
                    yield result
                elif strange is None:
                    strange = value
            if strange is not None:
                parse_reply(response, strange, _refused)
        except ClaudeError as error:
            failure = error.with_traceback(None)
        except BaseException:  # no more of them are wanted
            attempts.cancel()
            raise
        else:
            attempts.succeed()
            return
        finally:
            await response.aclose()
        failure.request_id = failure.request_id or request_id_of(response.headers)
        attempts.fail(failure, _CUT)


class _CreatePolicy(RetryPolicy):
    """Does not create a batch again that may have been created."""

    def decide(
        self, error: ClaudeError, *, attempt: int, elapsed: float, random: Callable[[], float]
    ) -> Retry | GiveUp:
        if may_be_created(error):
            return GiveUp(_CREATED_PERHAPS)
        return super().decide(error, attempt=attempt, elapsed=elapsed, random=random)


def may_be_created(error: ClaudeError) -> bool:
    """Tell whether a call that was to create a batch may have done so, though it failed this way."""
    match error:
        case ConfigurationError() | OverloadedError():
            return False
        case NetworkError():
            return error.was_sent
        case APIError(status=int(status)):
            return status < 400 or status == 408 or status >= 500
    return True


def batch_params(request: MessageRequest) -> bytes:
    """Return a request as it stands in a batch; its `betas` go with the batch.

    Raises:
        ConfigurationError: No batch takes it.
    """
    fields = request.model_extra or {}
    wrong = [name for name in _NOT_IN_BATCHES if fields.get(name) is not None]
    if wrong or request.max_tokens < 1:
        name = wrong[0] if wrong else "max_tokens=0"
        raise ConfigurationError(
            f"A batch takes no request with {name}. Leave it out, or ask without a batch. Nothing was sent."
        )
    return request.to_json(stream=False)


def batch_entry(custom_id: str, params: bytes) -> bytes:
    """Return one entry of a batch.

    Args:
        custom_id: Its name: 1 to 64 letters, digits, hyphens and underscores.
        params: What `batch_params` makes.

    Raises:
        ConfigurationError: No batch takes the name.
    """
    if _CUSTOM_ID.fullmatch(custom_id) is None:
        raise ConfigurationError(
            f"custom_id is 1 to 64 letters, digits, hyphens and underscores, not {custom_id!r:.100}. Nothing was sent."
        )
    return b'{"custom_id":"%s","params":%s}' % (custom_id.encode(), params)


def batch_body(entries: Iterable[bytes]) -> bytes:
    """Return the body that creates a batch of entries that `batch_entry` made."""
    opening, comma, closing = _BODY
    return opening + comma.join(entries) + closing


def _path(batch_id: str, action: str = "") -> str:
    return f"{BATCHES_PATH}/{quote(batch_id, safe='')}{action}"


def _seconds(moment: str | None) -> float | None:
    try:
        return None if moment is None else datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None


def _nothing(_reply: dict[str, Any]) -> None:
    """What a deletion answers is not needed."""


async def _lines(response: WireResponse) -> AsyncIterator[tuple[bytes, bool]]:
    """Yield the lines of a body, and whether each has its end; the last one may lack it."""
    pending = b""
    while chunk := await response.read_chunk():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield response.redact(line), True
        if len(pending) > _MAX_LINE_BYTES:
            raise StreamInterruptedError("The results have a line that is larger than any reply.")
    if pending.strip():
        yield response.redact(pending), False


def _object_of(line: bytes, *, is_whole: bool) -> dict[str, Any]:
    """Return the object of a line; one that is none, and whole, as an object that is no result.

    Raises:
        StreamInterruptedError: The line is cut.
    """
    value = object_in(line)
    if value is not None:
        return value
    if not is_whole:
        raise StreamInterruptedError("The results are not complete: a line of them is cut.")
    return {"line": line[:_SHOWN_BYTES].decode("utf-8", "replace")}


def _read_result(value: dict[str, Any]) -> BatchResult | None:
    """Return the result that a line holds, also one that cannot be read; None for a line without the name of a request.

    One line that is off is no reason to lose those behind it, which are paid for.
    """
    custom_id = value.get("custom_id")
    if not isinstance(custom_id, str):
        return None
    try:
        result = value["result"]
        kind = str(result["type"])
        if kind == "succeeded":
            message = Message.model_validate(result["message"])
            return BatchResult(custom_id=custom_id, type=kind, message=message)
        error = result.get("error") if kind == "errored" else None
        failure = error_from_event(error) if isinstance(error, dict) else None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return BatchResult(custom_id=custom_id, type="unreadable")
    return BatchResult(custom_id=custom_id, type=kind, error=failure)


def _refused(value: dict[str, Any]) -> None:
    raise ValueError(value)
