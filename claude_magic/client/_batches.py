"""The Message Batches API: many requests in one call, processed within a day, at half the price.

Creating a batch is never retried after a failure that may have created it, because it would be paid for twice. The API
has no idempotency key. Callers therefore record the batch before they create it, and look for it in the list afterwards.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import quote

from pydantic import Field

from ._attempts import Calls, Observer
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
from ._responses import error_from_event, invalid_lines_error, object_in, request_id_of, unexpected_body_error
from ._retry import GiveUp, Retry, RetryPolicy
from ._transport import WireResponse

BATCHES_PATH: Final = "/v1/messages/batches"
MAX_BATCH_REQUESTS: Final = 100_000
MAX_BATCH_BYTES: Final = 256_000_000
"""The API documents 256 MB; this value fits whether MB means 10**6 or 2**20 bytes."""
_BODY: Final = (b'{"requests":[', b",", b"]}")
_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_BATCHES: Final = ("speed", "thread", "fallbacks", "fallback_credit_token")
"""Request fields that batches do not accept."""
_MAX_LINE_BYTES: Final = 2 * MAX_BODY_BYTES
_PER_PAGE: Final = 100
_SHOWN_BYTES: Final = 500
_MAYBE_CREATED: Final = "Not sent again: the batch may have been created all the same."
_TRUNCATED: Final = "What came before is kept; the results can be read again."


class RequestCounts(Received):
    """The number of a batch's requests in each state. All but `processing` stay 0 until the whole batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """The number of requests in the batch."""
        return self.processing + self.succeeded + self.failed

    @property
    def failed(self) -> int:
        """The number of requests that ended without a reply. They are not billed."""
        return self.errored + self.canceled + self.expired


class MessageBatch(Received):
    """A batch as described by the server. All times are RFC 3339 strings.

    Attributes:
        id: The batch's id.
        processing_status: "in_progress", "canceling" or "ended".
        request_counts: Number of requests in each state.
        created_at: Time of creation.
        expires_at: Time at which unprocessed requests expire: 24 hours after creation.
        ended_at: Time at which the last request ended, or None.
        cancel_initiated_at: Time at which cancellation was requested, or None.
        archived_at: Time at which the results were deleted, or None.
        results_url: URL of the results; None until there are any.
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
        """Whether processing has ended."""
        return self.processing_status == "ended"

    @property
    def created(self) -> float | None:
        """Time of creation in seconds since the epoch, by the server's clock; None if unknown."""
        return _seconds(self.created_at)

    @property
    def expires(self) -> float | None:
        """Time of expiry in seconds since the epoch, by the server's clock; None if unknown."""
        return _seconds(self.expires_at)


class BatchPage(Received):
    """One page of the list of batches, newest first."""

    data: list[MessageBatch]
    has_more: bool = False
    last_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The result of one request of a batch.

    Attributes:
        custom_id: The request's id within the batch.
        type: "succeeded", "errored", "canceled" or "expired"; only the first is billed. A result that cannot be parsed is
            "unreadable", and may be billed.
        message: The reply, or None.
        error: The error that the server reported, or None.
    """

    custom_id: str
    type: str
    message: Message | None = None
    error: APIError | None = None


class MessageBatches:
    """The batch endpoints of a client. All methods must run on the client's event loop, and raise `ClaudeError`s.

    Args:
        calls: Sends the client's requests.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self, body: bytes, *, betas: Sequence[str] = (), observer: Observer | None = None
    ) -> MessageBatch:
        """Create a batch.

        Retried only if it is certain that no batch was created (no connection, 429, 529); see `may_be_created`.

        Args:
            body: Request body from `batch_body`.
            betas: Beta features that the requests need.
            observer: Called with a record of each step.
        """
        certain = _CreatePolicy(**asdict(self._calls.rules.policy))
        rules = replace(self._calls.rules, policy=certain)
        return await self._calls.call(
            "POST", BATCHES_PATH, MessageBatch.model_validate, body, observer, betas=betas, rules=rules
        )

    async def retrieve(
        self, batch_id: str, *, is_poll: bool = False, observer: Observer | None = None
    ) -> MessageBatch:
        """Return the current state of a batch.

        Args:
            batch_id: Batch id.
            is_poll: The caller polls, so a failed request is not retried.
            observer: Called with a record of each step.

        Raises:
            NotFoundError: The key's workspace has no such batch.
        """
        rules = self._calls.rules.without_retries() if is_poll else None
        return await self._calls.call(
            "GET", _path(batch_id), MessageBatch.model_validate, None, observer, rules=rules
        )

    async def list(
        self, *, most: int | None = None, is_poll: bool = False, observer: Observer | None = None
    ) -> AsyncGenerator[MessageBatch, None]:
        """Yield the batches of the workspace, newest first. Pages are requested as needed.

        Args:
            most: Maximum number of batches; None for all.
            is_poll: The caller polls, so a failed request is not retried.
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
        """Start to cancel a batch. Requests that are already processed have results, and are billed.

        Raises:
            InvalidRequestError: The batch has already ended.
            NotFoundError: The key's workspace has no such batch.
        """
        return await self._calls.call("POST", _path(batch_id, "/cancel"), MessageBatch.model_validate, b"{}")

    async def delete(self, batch_id: str) -> None:
        """Delete a batch that has ended, and its results.

        Raises:
            InvalidRequestError: The batch has not ended.
            NotFoundError: The key's workspace has no such batch.
        """
        await self._calls.call("DELETE", _path(batch_id), dict)

    async def results(
        self, batch_id: str, *, observer: Observer | None = None
    ) -> AsyncGenerator[BatchResult, None]:
        """Yield the results of a batch as they arrive, in the server's order.

        `results_url` is not used: a server could send the key to any address that way.

        Args:
            batch_id: Batch id.
            observer: Called with a record of each step.

        Raises:
            NotFoundError: There are no results: the batch has not ended, or they were deleted.
            StreamInterruptedError: The response broke off. The results so far are valid; reading again starts from the first.
            InvalidLinesError: Some lines are no results. Raised after all results were yielded.
            UnknownStatusError: The server responded with an unknown status, or no line is a result, so another server may have
                responded.
        """
        path = _path(batch_id, "/results")
        response, attempts = await self._calls.open(path, observer)
        has_results, invalid = "jsonl" in response.headers.get("content-type", ""), b""
        try:
            async for line, is_whole in _lines(response):
                if (result := _read_result(line, is_whole=is_whole)) is not None:
                    has_results = True
                    yield result
                elif len(invalid) < _SHOWN_BYTES:
                    invalid += line[:_SHOWN_BYTES] + b"\n"
            if invalid and has_results:
                raise invalid_lines_error(response, batch_id, invalid)
            if invalid:
                raise unexpected_body_error(response, invalid)
        except ClaudeError as error:
            failure = error.with_traceback(None)
        except BaseException:  # the caller stops iterating, or is cancelled
            attempts.cancel()
            raise
        else:
            attempts.succeed()
            return
        finally:
            await response.aclose()
        failure.request_id = failure.request_id or request_id_of(response.headers)
        attempts.fail(failure, _TRUNCATED)


class _CreatePolicy(RetryPolicy):
    """A retry policy that does not retry a call that may have created its batch."""

    def decide(
        self, error: ClaudeError, *, attempt: int, elapsed: float, random: Callable[[], float]
    ) -> Retry | GiveUp:
        if may_be_created(error):
            return GiveUp(_MAYBE_CREATED)
        return super().decide(error, attempt=attempt, elapsed=elapsed, random=random)


def may_be_created(error: ClaudeError) -> bool:
    """Return whether a failed call to create a batch may nevertheless have created it."""
    match error:
        case ConfigurationError() | OverloadedError():
            return False
        case NetworkError():
            return error.was_sent
        case APIError(status=int(status)):
            return status < 400 or status == 408 or status >= 500
    return True


def batch_params(request: MessageRequest) -> bytes:
    """Return a request as an encoded `params` object of a batch. Its `betas` belong to the batch.

    Raises:
        ConfigurationError: Batches do not accept the request.
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
    """Return one encoded entry of a batch.

    Args:
        custom_id: The request's id within the batch: 1 to 64 letters, digits, hyphens and underscores.
        params: Result of `batch_params`.

    Raises:
        ConfigurationError: `custom_id` is not valid.
    """
    if _CUSTOM_ID.fullmatch(custom_id) is None:
        raise ConfigurationError(
            f"custom_id is 1 to 64 letters, digits, hyphens and underscores, not {custom_id!r:.100}. Nothing was sent."
        )
    return b'{"custom_id":"%s","params":%s}' % (custom_id.encode(), params)


def batch_body(entries: Iterable[bytes]) -> bytes:
    """Return the request body that creates a batch from results of `batch_entry`."""
    opening, comma, closing = _BODY
    return opening + comma.join(entries) + closing


def _path(batch_id: str, action: str = "") -> str:
    return f"{BATCHES_PATH}/{quote(batch_id, safe='')}{action}"


def _seconds(moment: str | None) -> float | None:
    try:
        return None if moment is None else datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None


async def _lines(response: WireResponse) -> AsyncIterator[tuple[bytes, bool]]:
    """Yield the lines of a body, each with a flag that a newline ends it; the last line may lack one."""
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


def _read_result(line: bytes, *, is_whole: bool) -> BatchResult | None:
    """Return the result in a line, "unreadable" if it is malformed; None for a line that is no object with a `custom_id`.

    A malformed line must not hide the results after it, which are paid for.

    Raises:
        StreamInterruptedError: The line is truncated.
    """
    value = object_in(line)
    if value is None and not is_whole:
        raise StreamInterruptedError("The results are not complete: a line is truncated.")
    custom_id = None if value is None else value.get("custom_id")
    if value is None or not isinstance(custom_id, str):
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
