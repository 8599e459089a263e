"""The exceptions of the client.

```
ClaudeError                     base of all exceptions that the client raises
├── ConfigurationError          wrong or missing settings; nothing was sent
├── NetworkError                no usable response
│   ├── RequestTimeoutError     a phase, or the whole request, took too long
│   └── StreamInterruptedError  the response ended before the reply was complete
└── APIError                    the server responded with an error
    ├── InvalidRequestError     400
    ├── InvalidApiKeyError      401
    ├── BillingError            402
    ├── ForbiddenError          403
    ├── NotFoundError           404
    ├── RateLimitError          429
    ├── ServerError             500, 502, 503, 504
    │   └── OverloadedError     529
    ├── InvalidLinesError       200, but lines of a batch's results are no results
    └── UnknownStatusError      any other status
```

Callers should use the attributes (`status`, `error_type`, `request_id`, `retry_after`, `partial`), not the text. No error
contains an API key, and none is chained to an exception of the HTTP library, because that refers to the request and its
key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError

    from ._messages import Message

SPEND_CAP_CODES = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
"""Values of `error_code` for a spend limit, where a wait of minutes does not help."""


class ClaudeError(Exception):
    """The base class of all errors that the client raises.

    Attributes:
        message: What happened, why, and what to do; `str()` adds `give_up_reason` and the request id.
        is_transient: Whether the same request may succeed later.
        partial: The part of the reply that arrived, or None.
        request_id: The server's request id (`req_...`), or None.
        retry_after: Seconds that the server asked to wait, or None.
        attempts: Number of attempts made so far; 0 if unknown.
        give_up_reason: Why no further attempt was made, as a sentence, or None.
    """

    transient_by_default: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        is_transient: bool | None = None,
        partial: Message | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.is_transient = self.transient_by_default if is_transient is None else is_transient
        self.partial = partial
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts = attempts
        self.give_up_reason: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by `args` and attributes, because the arguments of the constructor are not all kept."""
        kept = {name: value for name, value in self.__dict__.items() if name != "_render_traceback_"}
        return _make_again, (type(self), self.args), kept

    def replace_message(self, message: str) -> None:
        """Replace the message."""
        self.message = message
        self.args = (message,)

    def __str__(self) -> str:
        parts = [self.message]
        if self.give_up_reason:
            parts.append(self.give_up_reason)
        if self.request_id:
            parts.append(f"Request {self.request_id}.")
        return " ".join(parts)


def as_sentence(text: str) -> str:
    """Return quoted text with a full stop at its end, unless it already ends with punctuation, inside quotes or not."""
    return text if text.rstrip("”’\"'`").endswith((".", "!", "?", "…")) else f"{text}."


def counted(count: int, thing: str) -> str:
    """Return a count with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def short(text: str, most: int) -> str:
    """Return the first `most` characters of `text`; if it is cut, the last of them is an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def excerpt(text: str, most: int) -> str:
    """Return `text` on one line, shortened as `short` does."""
    return short(" ".join(text.split()), most)


def first_problem(invalid: ValidationError) -> tuple[str, str]:
    """Return the first invalid field of a model, and what is wrong, as a sentence. The value is left out, because it may be secret."""
    problem = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(part) for part in problem["loc"]), as_sentence(problem["msg"])


def _make_again(kind: type[ClaudeError], args: tuple[object, ...]) -> ClaudeError:
    return kind.__new__(kind, *args)


class ConfigurationError(ClaudeError):
    """A setting is missing or wrong. Nothing was sent."""


class NetworkError(ClaudeError):
    """No usable response arrived.

    Attributes:
        was_sent: False only if it is certain that nothing reached the server. If True, the request may have been executed
            and billed.
    """

    transient_by_default = True

    def __init__(
        self,
        message: str,
        *,
        was_sent: bool = True,
        is_transient: bool | None = None,
        partial: Message | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, is_transient=is_transient, partial=partial, request_id=request_id)
        self.was_sent = was_sent


class RequestTimeoutError(NetworkError):
    """A phase of the request, or the whole request, took longer than its timeout."""


class StreamInterruptedError(NetworkError):
    """The response ended before the reply was complete. `partial` is the message so far."""


class APIError(ClaudeError):
    """The server responded with an error.

    Attributes:
        status: HTTP status; None for an `error` event inside a stream, whose own status is 200.
        error_type: The API's name for the error (`rate_limit_error`), or None.
        error_code: A stable code for a special case (`ramp_limit_exceeded`), or None.
        should_retry: Value of the server's `x-should-retry` header, or None.
    """

    title: ClassVar[str] = "Unexpected answer"
    """Name of the error for people; the beginning of the message."""
    hint: ClassVar[str] = ""
    """What the user can do, as a sentence; the end of the message."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error_type: str | None = None,
        error_code: str | None = None,
        should_retry: bool | None = None,
        is_transient: bool | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, is_transient=is_transient, request_id=request_id, retry_after=retry_after)
        self.status = status
        self.error_type = error_type
        self.error_code = error_code
        self.should_retry = should_retry
        if should_retry is False:
            self.is_transient = False


class InvalidRequestError(APIError):
    """400: the request breaks a rule of the API. The same request fails again."""

    title = "Invalid request"
    hint = "Change the request as described; the same one would fail again."


class InvalidApiKeyError(APIError):
    """401: the API key is missing, wrong, revoked or expired."""

    title = "API key not accepted"
    hint = "Check ANTHROPIC_API_KEY, or enter another one with `%claude login`."


class BillingError(APIError):
    """402: the key's account cannot pay. The same request fails until the account's owner resolves that."""

    title = "Payment required"
    hint = "Update plan, credit or payment method of the account behind this key, or use another key."


class ForbiddenError(APIError):
    """403: the key is valid, but has no permission for the request."""

    title = "Not allowed"
    hint = "Use a key that may do this, or ask the owner of this one."


class NotFoundError(APIError):
    """404: no such model, or no such path at this base_url."""

    title = "Not found"
    hint = "Check the model name and base_url."


class RateLimitError(APIError):
    """429: a limit of requests or tokens per time was exceeded, or a spend limit.

    Attributes:
        is_spend_cap: A spend limit was reached, so waiting a few minutes does not help.
    """

    transient_by_default = True
    title = "Rate limited"
    hint = "Try again later. A lower rate_limit_rps stays below the limit."

    @property
    def is_spend_cap(self) -> bool:
        return self.error_code in SPEND_CAP_CODES


class ServerError(APIError):
    """500, 502, 503, 504: the server, or a proxy in front of it, failed. The request may have been executed."""

    transient_by_default = True
    title = "Server error"
    hint = "Try again later."


class OverloadedError(ServerError):
    """529: the API is overloaded for everyone, independent of your own limits."""

    title = "Overloaded"
    hint = "This affects all users: your quota is not the reason. Try again later."


class InvalidLinesError(APIError):
    """200: some lines of the results of a batch are no results, so the rows that they belong to are unknown."""


class UnknownStatusError(APIError):
    """Any other status, or a response of any status that is not from the Messages API."""
