"""The exception classes, and the parsing of error responses."""

from __future__ import annotations

import http
import json
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.client import (
    APIError,
    BillingError,
    ClaudeError,
    ConfigurationError,
    ForbiddenError,
    InvalidApiKeyError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
    UnknownStatusError,
    error_from_event,
    error_from_response,
)

BY_STATUS: dict[int, tuple[type[APIError], bool]] = {
    400: (InvalidRequestError, False),
    401: (InvalidApiKeyError, False),
    402: (BillingError, False),
    403: (ForbiddenError, False),
    404: (NotFoundError, False),
    408: (UnknownStatusError, True),
    409: (UnknownStatusError, True),
    429: (RateLimitError, True),
    500: (ServerError, True),
    502: (ServerError, True),
    503: (ServerError, True),
    504: (ServerError, True),
    529: (OverloadedError, True),
}

BY_TYPE = {
    "invalid_request_error": InvalidRequestError,
    "authentication_error": InvalidApiKeyError,
    "permission_error": ForbiddenError,
    "not_found_error": NotFoundError,
    "rate_limit_error": RateLimitError,
    "api_error": ServerError,
    "timeout_error": ServerError,
    "overloaded_error": OverloadedError,
    "billing_error": BillingError,
    "conflict_error": UnknownStatusError,
    "something_new": UnknownStatusError,
}


def envelope(kind: str, message: str, **details: str) -> bytes:
    error: dict[str, Any] = {"type": kind, "message": message}
    if details:
        error["details"] = details
    return json.dumps({"type": "error", "error": error, "request_id": "req_in_body"}).encode()


@pytest.mark.parametrize("status", sorted({*range(400, 600), 300, 302, 304, 600, 999}))
def test_e2_every_status_has_its_class_and_transience(status: int) -> None:
    """Promise: exactly the statuses of R1 are transient; a status that is not in the table is UnknownStatusError."""
    expected_class, is_transient = BY_STATUS.get(status, (UnknownStatusError, False))

    error = error_from_response(status, {}, b"")

    assert type(error) is expected_class
    assert error.is_transient is is_transient
    assert error.status == status
    assert str(status) in str(error)


def test_e1_the_class_hierarchy_is_as_documented() -> None:
    """Promise: callers can catch whole branches."""
    assert issubclass(RequestTimeoutError, NetworkError)
    assert issubclass(StreamInterruptedError, NetworkError)
    assert issubclass(OverloadedError, ServerError)
    for error_class in (ConfigurationError, NetworkError, APIError):
        assert error_class.__bases__ == (ClaudeError,)
    for error_class in (InvalidRequestError, RateLimitError, ServerError, UnknownStatusError):
        assert error_class.__bases__ == (APIError,)


def test_e1_an_error_has_the_servers_details() -> None:
    """Promise: status, type, code, request id and retry-after are attributes and part of the message."""
    body = envelope("rate_limit_error", "Too many tokens", error_code="ramp_limit_exceeded")

    error = error_from_response(429, {"request-id": "req_1", "retry-after": "20"}, body)

    assert isinstance(error, RateLimitError)
    assert (error.error_type, error.error_code, error.request_id, error.retry_after) == (
        "rate_limit_error",
        "ramp_limit_exceeded",
        "req_1",
        20.0,
    )
    for part in ("429", "rate_limit_error", "Too many tokens", "20 s", "req_1", "rate_limit_rps"):
        assert part in str(error)


def test_e1_the_request_id_is_found_in_header_or_body() -> None:
    """Promise: the header takes precedence; otherwise a gateway's header or the body is used."""
    body = envelope("api_error", "boom")

    assert error_from_response(500, {}, body).request_id == "req_in_body"
    assert error_from_response(500, {"x-request-id": "gw_1"}, body).request_id == "gw_1"


@pytest.mark.parametrize("code", ["enforced_spend_limit_reached", "contract_spend_limit_reached"])
def test_r1_a_spend_cap_429_is_not_transient(code: str) -> None:
    """Promise: waiting does not help with a spend limit, and the message says so."""
    error = error_from_response(429, {}, envelope("rate_limit_error", "Spend limit", error_code=code))

    assert isinstance(error, RateLimitError)
    assert error.is_spend_cap
    assert not error.is_transient
    assert "Raise the limit" in str(error)


def test_r1_a_plain_429_without_advice_is_transient() -> None:
    """Promise: only the documented codes make a 429 final."""
    error = error_from_response(429, {}, envelope("rate_limit_error", "Slow down"))

    assert isinstance(error, RateLimitError)
    assert error.is_transient
    assert not error.is_spend_cap


@pytest.mark.parametrize(
    ("status", "value", "is_transient"),
    [
        (529, "false", False),
        (503, " False ", False),
        (503, "false, false", False),
        (529, "true, false", False),
        (520, "true, true", True),
        (529, "true", True),
        (400, "true", False),
        (404, "true", False),
        (409, "false", False),
        (408, "false", False),
        (501, "true", True),
        (520, "true", True),
        (520, "", False),
        (529, "?", True),
    ],
)
def test_r1_x_should_retry_can_prevent_any_retry_and_cause_one_after_a_5xx(
    status: int, value: str, is_transient: bool
) -> None:
    """Promise: `false` always applies; `true` only after a server error, because after a 4xx it would violate R1."""
    assert error_from_response(status, {"x-should-retry": value}, b"").is_transient is is_transient


@pytest.mark.parametrize("status", [400, 402, 403])
def test_e1_a_billing_error_is_recognised_by_its_type_too(status: int) -> None:
    """Promise: even if a gateway changes the status, with advice."""
    error = error_from_response(status, {}, envelope("billing_error", "No credit"))

    assert type(error) is BillingError
    assert not error.is_transient
    assert "No credit" in str(error)
    assert "payment method" in str(error)


PAGES = {
    "html": ("text/html; charset=utf-8", b"<html><head><title>Log in to FreeWiFi</title></head></html>"),
    "xhtml": (
        "application/xhtml+xml",
        b'<?xml version="1.0"?><html><title>Log in to FreeWiFi</title></html>',
    ),
    "no type": ("", b"\n<!DOCTYPE html><title>Log in to FreeWiFi</title>"),
    "wrong type": ("application/json", b"\xef\xbb\xbf<HTML><TITLE>Log in to FreeWiFi</TITLE>"),
}


@pytest.mark.parametrize(("content_type", "body"), PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 406, 410, 418, 421, 451])
def test_e1_a_web_page_with_a_4xx_is_not_a_response_of_the_api(
    status: int, content_type: str, body: bytes
) -> None:
    """Promise: the page of a proxy or captive portal blames neither the key nor the model, but is described."""
    error = error_from_response(status, {"content-type": content_type}, body)

    assert type(error) is UnknownStatusError
    assert not error.is_transient
    assert error.status == status
    for part in (str(status), "Log in to FreeWiFi", "not an answer of the Messages API", "base_url"):
        assert part in str(error)
    for wrong in ("no access", "API key", "model"):
        assert wrong not in str(error)


@pytest.mark.parametrize(("content_type", "body"), PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_e1_a_web_page_with_a_transient_status_keeps_its_class(
    status: int, content_type: str, body: bytes
) -> None:
    """Promise: the page of a proxy that cannot reach its server is retried, and its origin is mentioned."""
    error = error_from_response(status, {"content-type": content_type}, body)

    assert type(error) is BY_STATUS[status][0]
    assert error.is_transient
    assert "Log in to FreeWiFi" in str(error)


@pytest.mark.parametrize("body", [b"", b"RBAC: access denied", b'{"detail": "Forbidden"}'])
def test_e1_a_403_without_a_reason_does_not_invent_one(body: bytes) -> None:
    """Promise: the rejection of a firewall is not attributed to the API."""
    error = error_from_response(403, {}, body)

    assert type(error) is ForbiddenError
    assert "no access to that model" not in str(error)
    assert "base_url" in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {"retry-after": "9" * 300}, b""),
        (429, {"retry-after": "9" * 400}, b""),
        (429, {"retry-after-ms": "9" * 300}, b""),
        (400, {}, envelope("invalid_request_error", f"max_tokens: {'9' * 300} > 8192")),
        (400, {}, b'{"error": {"message": %s, "code": %s, "type": %s}}' % ((b"9" * 300,) * 3)),
        (400, {}, b'{"error": {"message": "x", "type": "%s", "code": "%s"}}' % ((b"9" * 3000,) * 2)),
        (500, {}, b'{"error": {"message": {"n": %s}}}' % (b"9" * 5000)),
        (500, {}, b"9" * 5000),
        (500, {"request-id": "9" * 3000}, b""),
    ],
)
def test_e1_a_number_of_hundreds_of_digits_does_not_fill_an_error(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    """Promise: an error stays readable: a long number is truncated, wherever it occurs."""
    error = error_from_response(status, headers, body)

    assert "9" * 120 not in str(error)
    assert len(str(error)) < 700


def test_e1_an_error_with_half_an_emoji_is_read_as_json() -> None:
    """Promise: a lone surrogate in an error body does not hide its type, and can be encoded as UTF-8."""
    body = b'{"type":"error","error":{"type":"api_error","message":"cut \\ud83d"}}'

    error = error_from_response(500, {}, body)

    assert error.error_type == "api_error"
    assert "cut \ufffd" in str(error)
    str(error).encode()


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"error":{"message":"bad model","type":"invalid","code":"m1"}}', "bad model"),
        ("application/json", b'{"error":"model not loaded"}', "model not loaded"),
        ("application/json", b'{"detail":"Not Found"}', "Not Found"),
        ("application/json", b'{"detail":[{"msg":"field required"}]}', "field required"),
        ("application/json", b'{"message":"no route"}', "no route"),
        ("application/json", b'{"weird":1}', "weird"),
        ("application/json", b'["list"]', "list"),
        ("application/json", b"null", "None"),
        ("application/json", b'{"type":"error","error":{"type":"api_er', "api_er"),
        ("text/plain", b"upstream connect error", "upstream connect error"),
        ("text/html", b"<html><head><title>502 Bad\n Gateway</title></head>", "502 Bad Gateway"),
        ("text/html", b"<html><body><script>x()</script><h1>Sorry &amp; bye</h1>", "Sorry & bye"),
        ("", b"<!doctype html><title></title><p>Hi</p>", "Hi"),
        ("", b"", "no body"),
        ("", b" \r\n", "no body"),
        ("application/json", b"\xff\xfe\x00broken", "broken"),
    ],
)
def test_e1_every_format_of_error_body_is_read(content_type: str, body: bytes, expected: str) -> None:
    """Promise: bodies of OpenAI, FastAPI, HTML, plain text, truncated, empty and non-UTF-8 ones give a readable message."""
    error = error_from_response(502, {"content-type": content_type}, body)

    assert expected in str(error)
    assert "\n" not in str(error)


@given(status=st.integers(300, 599), content_type=st.text(), body=st.binary(max_size=400))
def test_e1_reading_an_error_never_raises_and_never_grows_long(
    status: int, content_type: str, body: bytes
) -> None:
    """Promise: parsing an error never causes a second one, and an error fits into a few lines."""
    error = error_from_response(status, {"content-type": content_type, "retry-after": content_type}, body)

    assert len(str(error)) < 1200


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["error", "type", "message", "code"]), inner)
        ),
    )
)
def test_e1_any_json_is_read_as_an_error(value: Any) -> None:
    """Promise: any JSON gives an error, not a crash."""
    body = json.dumps(value).encode()

    assert isinstance(error_from_response(500, {}, body), ServerError)
    if isinstance(value, dict):
        assert isinstance(error_from_event(value), APIError)


@pytest.mark.parametrize("status", [201, 204, 405, 999])
@pytest.mark.parametrize("body", [b"", b"wat", b'{"detail": "Method Not Allowed"}'])
def test_e1_a_status_that_the_api_does_not_send_says_what_to_check(status: int, body: bytes) -> None:
    """Promise: each error says what to do, also one that another server sent."""
    assert "Check base_url" in str(error_from_response(status, {}, body))


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[" * 600 + b"]" * 600])
def test_e1_deep_json_is_read_without_a_recursion_error(body: bytes) -> None:
    """Promise: excessive nesting is treated as text."""
    assert isinstance(error_from_response(500, {}, body), ServerError)


@pytest.mark.parametrize(("kind", "error_class"), BY_TYPE.items())
def test_e2_an_error_event_is_classified_by_its_type(kind: str, error_class: type[APIError]) -> None:
    """Promise: an error inside a 200 has the class of the corresponding status."""
    error = error_from_event({"type": kind, "message": "Overloaded"}, "req_9")

    assert type(error) is error_class
    assert error.is_transient is (error_class.transient_by_default or kind == "conflict_error")
    assert error.status is None
    assert error.error_type == kind
    assert error.request_id == "req_9"


def test_e2_an_error_event_of_a_gateway_is_classified_by_its_code() -> None:
    """Promise: LiteLLM's format, with the status in `code`, is supported."""
    assert type(error_from_event({"type": "None", "message": "cut", "code": "529"})) is OverloadedError


def test_a_redirect_is_a_clear_error_which_names_the_target() -> None:
    """Promise: redirects are not followed; the error says so, and contains the target."""
    error = error_from_response(307, {"location": "https://elsewhere.example/v1"}, b"")

    assert type(error) is UnknownStatusError
    assert "https://elsewhere.example/v1" in str(error)
    assert "not followed" in str(error)
    assert "login page" in str(error)


SAID: dict[str, tuple[int, str, str]] = {
    "Overloaded": (529, "overloaded_error", "Overloaded (529 overloaded_error). This affects all users"),
    "overloaded.": (529, "overloaded_error", "Overloaded (529 overloaded_error). This affects"),
    "Not Found": (404, "not_found_error", "Not found (404 not_found_error). Check"),
    "Not found: no model x": (404, "not_found_error", "Not found (404 not_found_error): no model x. Check"),
    "Internal Server Error": (500, "api_error", "Server error (500 api_error). Try again later."),
    "Rate limited. Please try again later.": (
        429,
        "rate_limit_error",
        "Rate limited (429 rate_limit_error): Please try again later. A lower",
    ),
    "Really?": (400, "invalid_request_error", "Invalid request (400 invalid_request_error): Really? Change"),
}


@pytest.mark.parametrize("words", SAID)
def test_an_error_does_not_repeat_itself(words: str) -> None:
    """The server's message often is the name of the error, or the same advice as the hint."""
    status, kind, beginning = SAID[words]
    body = json.dumps({"error": {"type": kind, "message": words}}).encode()

    message = error_from_response(status, {}, body).message

    assert message.startswith(beginning)
    assert message.casefold().count("again later") <= 1
    assert not re.search(r"[.!?]\.", message)


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 511, 529]
)
def test_the_phrase_of_a_status_is_not_repeated(status: int) -> None:
    """Proxies send "Bad Gateway" with 502."""
    phrase = {529: "Overloaded"}.get(status) or http.HTTPStatus(status).phrase

    message = error_from_response(status, {"retry-after": "7"}, phrase.encode()).message

    assert f": {phrase}" not in message
    assert "again later" not in message, "the wait that the server asks for is said"


def test_a_page_is_a_sentence_of_its_own() -> None:
    body = b"<html><title>502 Bad Gateway</title></html>"

    message = error_from_response(502, {"content-type": "text/html"}, body).message

    assert "titled “502 Bad Gateway”. That is" in message


def test_errors_survive_pickling() -> None:
    """Promise: errors can be sent between processes with their attributes (multiprocessing, joblib)."""
    error = error_from_response(429, {"request-id": "req_1", "retry-after": "20"}, b"")
    error.give_up_reason = "Gave up."

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), copy.retry_after) == (RateLimitError, str(error), 20.0)


def test_e1_str_adds_reason_and_request_id_to_the_message() -> None:
    """Promise: `message` is unchanged, and `str()` is complete."""
    error = ServerError("Server error (500): boom.", status=500, request_id="req_7")
    error.give_up_reason = "Gave up after 4 attempts."

    assert error.message == "Server error (500): boom."
    assert str(error) == "Server error (500): boom. Gave up after 4 attempts. Request req_7."


def test_r4_a_network_error_says_whether_the_request_was_sent() -> None:
    """Promise: the safe default is that it may have arrived."""
    assert NetworkError("").was_sent is True
    assert NetworkError("", was_sent=False).was_sent is False
