"""Named scenarios, selected by `!simulate NAME` in a prompt, by a request header or on the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from . import _behaviours as messages
from . import _faults as distort
from ._behaviours import MULTILINGUAL, drop_before_headers, status
from ._faults import (
    change_bytes,
    change_events,
    change_message,
    change_steps,
    close_mid_stream,
    drip,
    end_without_stop,
    error_event,
    reset_mid_event,
    reset_mid_stream,
    slow_body,
    slow_headers,
)
from ._stream import Behaviour, Post, deliver
from ._wire import APIError, Steps

A_LONG_TIME = 3600.0
RETRY_AFTER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A named sequence of behaviours for a request and its retries."""

    name: str
    description: str
    behaviours: tuple[Behaviour, ...]
    """One behaviour per attempt."""
    recovers: bool = False
    """Whether the attempt after the last behaviour succeeds; otherwise the last behaviour repeats."""


def answer_normally(post: Post) -> Steps:
    """Answer the request normally."""
    return deliver(post, post.answer())


def _rate_limited_until_date(post: Post) -> Steps:
    date = formatdate(time.time() + RETRY_AFTER, usegmt=True)
    return status(429, retry_after=date)(post)


def _without_api_headers(behaviour: Behaviour) -> Behaviour:
    return lambda post: distort.without_api_headers(behaviour(post))


def _html(code: int, title: str) -> Behaviour:
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"
    return _without_api_headers(status(code, body=page.encode(), content_type="text/html"))


_OPENAI_ERROR = (
    b'{"error":{"message":"Rate limit reached for model","type":"rate_limit_exceeded","code":"rate_limit"}}'
)
_UNAVAILABLE_IN_TEXT = status(503, body=b"try again\n", content_type="text/plain")
_OVERLOADED = status(529)
_LIMITED = status(429, retry_after=RETRY_AFTER)

_ONCE: Mapping[str, tuple[str, tuple[Behaviour, ...]]] = {
    "overloaded_once": ("529, then the answer", (_OVERLOADED,)),
    "overloaded_twice": ("529 twice, then the answer", (_OVERLOADED, _OVERLOADED)),
    "rate_limited": ("429 with retry-after in seconds, then the answer", (_LIMITED,)),
    "rate_limited_date": ("429 with retry-after as a date, then the answer", (_rate_limited_until_date,)),
    "rate_limited_zero": ("429 with retry-after 0, then the answer", (status(429, retry_after=0),)),
    "rate_limited_garbage": (
        "429 with an invalid retry-after, then the answer",
        (status(429, retry_after="in a while"),),
    ),
    "rate_limited_bare": ("429 without retry-after, then the answer", (status(429),)),
    "ramp_limit": (
        "429 because usage grew too fast, then the answer",
        (status(429, error_code="ramp_limit_exceeded", retry_after=RETRY_AFTER),),
    ),
    "internal_error_once": ("500, then the answer", (status(500),)),
    "html_502_once": ("502 with an HTML body, then the answer", (_html(502, "502 Bad Gateway"),)),
    "unavailable_once": (
        "503 in plain text, then the answer",
        (_UNAVAILABLE_IN_TEXT,),
    ),
    "timeout_504_once": ("504, then the answer", (status(504),)),
    "reset_once": ("the connection is reset before headers, then the answer", (drop_before_headers(),)),
    "error_first_once": ("an error event comes first, then the answer", (error_event(),)),
}

_STATUSES: Mapping[str, tuple[str, Behaviour]] = {
    "bad_request": ("400", status(400)),
    "invalid_key": ("401", status(401)),
    "no_credit": ("402", status(402)),
    "forbidden": ("403", status(403)),
    "not_found": ("404", status(404)),
    "request_timeout": ("408", status(408)),
    "conflict": ("409", status(409)),
    "too_large_html": ("413 with an HTML body, as from a proxy", _html(413, "413 Payload Too Large")),
    "unprocessable": ("422, as from compatible servers", status(422)),
    "rate_limited_always": ("429 with retry-after, every time", _LIMITED),
    "rate_limited_day": ("429 with retry-after 86400", status(429, retry_after=86_400)),
    "spend_cap": (
        "429 because the spend limit is reached, without retry-after",
        status(429, error_code="enforced_spend_limit_reached", message="You have reached your spend limit."),
    ),
    "internal_error": ("500", status(500)),
    "html_502": ("502 with an HTML body", _html(502, "502 Bad Gateway")),
    "unavailable": ("503", status(503)),
    "timeout_504": ("504", status(504)),
    "overloaded": ("529, every time", _OVERLOADED),
    "empty_529": ("529 with an empty body", status(529, body=b"")),
    "truncated_json_error": ("500 with truncated JSON", status(500, body=b'{"type":"error","error":{"ty')),
    "openai_error": ("429 with an error in OpenAI's format", status(429, body=_OPENAI_ERROR)),
    "plain_text_error": ("500 in plain text", status(500, body=b"boom\n", content_type="text/plain")),
    "binary_error": ("500 whose body is not UTF-8", status(500, body=b"\xff\xfe\x00{", content_type="")),
    "must_not_retry": ("500 with x-should-retry: false", status(500, headers={"x-should-retry": "false"})),
    "should_retry": ("400 with x-should-retry: true", status(400, headers={"x-should-retry": "true"})),
    "redirect": ("307 to another host", status(307, headers={"location": "https://elsewhere.invalid/"})),
    "html_200": ("200 with an HTML page, as from the wrong port", _html(200, "It works!")),
}

_CONNECTIONS: Mapping[str, tuple[str, Behaviour]] = {
    "slow_headers": ("the answer begins after 3 seconds", slow_headers(3)),
    "slow_body": ("silence for 3 seconds in the middle", slow_body(3, after_deltas=2)),
    "drip_feed": ("a few bytes at a time", drip()),
    "hang": ("no answer for an hour", slow_headers(A_LONG_TIME)),
    "stall": ("silence for an hour in the middle", slow_body(A_LONG_TIME, after_deltas=2)),
    "reset_before_headers": ("a TCP reset instead of an answer", drop_before_headers()),
    "close_before_headers": ("the connection is closed without an answer", drop_before_headers(how="close")),
    "reset_mid_stream": ("a TCP reset between two events", reset_mid_stream(after_events=8)),
    "reset_mid_event": ("a TCP reset within an event", reset_mid_event(after_events=8)),
    "close_mid_stream": ("the connection is closed between two events", close_mid_stream(after_events=8)),
    "eof_without_stop": ("a proper end in the middle of the text", end_without_stop(after_deltas=4)),
    "eof_after_stop_reason": ("only message_stop is missing", end_without_stop(has_stop_reason=True)),
    "eof_close_delimited": (
        "half a body, delimited by the end of the connection",
        change_steps(distort.cut_close_delimited),
    ),
    "idle_half_close": (
        "the idle connection is closed after the answer",
        change_steps(distort.close_when_idle),
    ),
    "gzip": ("a body compressed with gzip", change_steps(distort.compress_gzip)),
    "brotli": ("a body compressed with Brotli", change_steps(distort.compress_brotli)),
}

_EVENTS: Mapping[str, tuple[str, Behaviour]] = {
    "error_first": ("an error event instead of the message", error_event()),
    "error_after_text": ("an error event after some text", error_event(after_deltas=4)),
    "unknown_event": ("unknown event types", change_events(distort.insert_unknown_event)),
    "unknown_delta": ("unknown delta types", change_events(distort.insert_unknown_delta)),
    "unknown_block": ("an unknown block type", change_events(distort.insert_unknown_block)),
    "unknown_fields": ("unknown fields in every event", change_events(distort.insert_unknown_fields)),
    "ping_storm": ("hundreds of pings", change_events(distort.storm_of_pings)),
    "two_message_deltas": ("usage first, then the stop reason", change_events(distort.two_message_deltas)),
    "no_usage_in_delta": ("message_delta without usage", change_events(distort.no_usage_in_delta)),
    "overlapping_blocks": ("two text blocks open at the same time", change_events(distort.overlap_blocks)),
    "tool_use_without_input": (
        "tool_use starts without its input",
        messages.tool_call(distort.without_tool_input),
    ),
    "invalid_tool_json": (
        "tool arguments that are not valid JSON",
        messages.tool_call(distort.with_cut_tool_input),
    ),
    "huge_event": ("one delta of 8 MiB", change_events(distort.with_huge_event)),
}

_BYTES: Mapping[str, tuple[str, Behaviour]] = {
    "crlf": ("lines end with CR LF", change_bytes(distort.with_line_ends(b"\r\n"))),
    "cr": ("lines end with CR", change_bytes(distort.with_line_ends(b"\r"))),
    "bom": ("a byte order mark first", change_bytes(distort.with_bom)),
    "comments": ("comments and unknown fields", change_bytes(distort.with_comments)),
    "multi_data_lines": ("JSON over several data lines", change_bytes(distort.in_many_data_lines)),
    "one_byte_chunks": ("every byte in its own write", change_bytes(distort.in_single_bytes)),
    "two_events_per_chunk": ("two events in one write", change_bytes(distort.in_pairs_of_events)),
    "one_write": ("the whole stream in one write", change_bytes(distort.in_one_write)),
    "split_utf8": (
        "many languages, with characters split between writes",
        change_bytes(distort.cut_in_characters, text=MULTILINGUAL),
    ),
    "missing_final_blank_line": (
        "the last event lacks its blank line",
        change_bytes(distort.without_last_blank_line),
    ),
}

_MESSAGES: Mapping[str, tuple[str, Behaviour]] = {
    "refusal": ("a refusal before any text", change_message(messages.refuse)),
    "refusal_mid_stream": (
        "a refusal after some text",
        change_message(messages.stop_halfway("refusal", stop_details=messages.REFUSAL)),
    ),
    "max_tokens": ("cut by max_tokens", change_message(messages.stop_halfway("max_tokens"))),
    "pause_turn": ("a long server-side turn that pauses once", messages.pause_turn),
    "context_window_exceeded": (
        "the context window is full",
        change_message(messages.stop_halfway("model_context_window_exceeded")),
    ),
    "unknown_stop_reason": ("an unknown stop reason", change_message(messages.unknown_stop_reason)),
    "empty_answer": ("an answer without content", change_message(messages.empty_content)),
    "thinking_only": ("thinking used all of max_tokens", change_message(messages.thinking_only)),
    "hostile_markdown": ("Markdown that tries to run scripts", change_message(messages.hostile_markdown)),
    "long_answer": ("100 kB of Markdown with mathematics in 2,000 deltas", messages.long_message),
}


def _all_scenarios() -> list[Scenario]:
    found = [Scenario(name="plain", description="nothing goes wrong", behaviours=(answer_normally,))]
    for name, (description, attempts) in _ONCE.items():
        found.append(Scenario(name=name, description=description, behaviours=attempts, recovers=True))
    for group in (_STATUSES, _CONNECTIONS, _EVENTS, _BYTES, _MESSAGES):
        for name, (description, behaviour) in group.items():
            found.append(Scenario(name=name, description=description, behaviours=(behaviour,)))
    return found


_BY_NAME = {scenario.name: scenario for scenario in _all_scenarios()}

scenarios: Mapping[str, str] = {name: scenario.description for name, scenario in _BY_NAME.items()}
"""The name of every scenario, with a one-line description."""


def scenario(name: str) -> Scenario:
    """Return the scenario with this name.

    Raises:
        ValueError: There is no such scenario.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(_BY_NAME)
        raise ValueError(f"There is no scenario {name!r}. Scenarios: {known}.") from None


def find_scenario(name: str) -> Scenario:
    """Return the scenario that a request names.

    Raises:
        APIError: 400, there is no such scenario.
    """
    try:
        return scenario(name)
    except ValueError as error:
        raise APIError(400, str(error)) from None
