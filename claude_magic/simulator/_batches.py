"""Message batches: many requests in one, processed asynchronously at half the price.

A batch takes `seconds`, spread evenly over its requests in order. Requests that are not done 24 hours after creation
expire; requests that are not done when the batch is cancelled are cancelled. All times are computed from the clock, so a
test can move the clock instead of waiting. Each answer is created when it is first read, and then kept.

At most `MAX_KEPT_BYTES` are kept. Beyond that, the oldest ended batches are archived, as all batches are after 29 days.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Final, Literal, TypeAlias, cast

from ._checks import Shape, check_array, check_dictionary, check_json_headers, check_name, check_object
from ._models import page_of
from ._stream import Answer, Behaviour, Post, hang_up
from ._validation import Terms
from ._wire import (
    BATCHES_PATH,
    JSON,
    APIError,
    Chunk,
    Gate,
    HangUp,
    Head,
    Hold,
    Pause,
    Request,
    Steps,
    encode_json,
    error_envelope,
    invalid,
    json_steps,
    new_id,
    opaque,
    read_json,
)

MAX_REQUESTS: Final = 100_000
MAX_QUEUED: Final = 500_000
"""Maximum number of unfinished requests in one workspace, as published for the highest tier."""
MAX_KEPT_BYTES: Final = 512 * 1024 * 1024
"""Maximum total size of ended batches, in bytes."""
MAX_KEPT: Final = 5_000
"""Maximum number of batches."""
EXPIRES_AFTER: Final = 24 * 3600.0
ARCHIVED_AFTER: Final = 29 * 24 * 3600.0
CANCELLING: Final = 2.0
"""Seconds between the cancel request and the end of a batch."""
_BYTES_PER_ROW: Final = 200
"""Approximate memory overhead of one row in Python."""
_BODY: Final = Shape({"requests": check_array})
_NOT_IN_BATCHES: Final = ("speed", "thread", "fallbacks")
_LONGEST_PAUSE: Final = 60.0
_ROWS_BETWEEN_YIELDS: Final = 50
_COUNTS: Final = ("processing", "succeeded", "errored", "canceled", "expired")

Endpoint: TypeAlias = Literal["create", "retrieve", "list", "results", "cancel", "delete"]
Answering: TypeAlias = Callable[[JSON, Terms], JSON]
"""Returns the message for one request, or raises `APIError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchScript:
    """The outcome of one batch. Requests are identified by their index, from 0.

    Attributes:
        seconds: Processing time of the batch; None for the simulator's default. With more than 24 hours, the
            remaining requests expire.
        expired: Requests that expire regardless of the time.
        cancelled: Requests that end cancelled, as if another client had cancelled them.
        errored: Requests that fail with a server error.
        order: Order of the results.
        cuts: Number of lines after which each successive download of the results breaks off; later downloads are
            complete.
        cut_by: How a download breaks off: a TCP reset, a closed connection, or a proper end of the body ("end").
        retry_after: Value of the `retry-after` header while the batch is in progress, in seconds.
        held_after: Number of lines after which each download waits for `gate`; None for no wait.
        gate: The gate that the test opens, or None.
    """

    seconds: float | None = None
    expired: Collection[int] = ()
    cancelled: Collection[int] = ()
    errored: Collection[int] = ()
    order: Literal["sent", "reversed", "mixed"] = "mixed"
    cuts: tuple[int, ...] = ()
    cut_by: Literal["reset", "close", "end"] = "reset"
    retry_after: float | None = None
    held_after: int | None = None
    gate: Gate | None = None


@dataclass(slots=True, kw_only=True)
class _Row:
    custom_id: str
    params: bytes
    line: bytes | None = None
    """The line of the result, once it has been read."""


@dataclass(eq=False, slots=True, kw_only=True)
class Batch:
    """A batch, as stored by the simulator.

    Attributes:
        id: The batch's id.
        workspace: The workspace that owns the batch; requests from other workspaces get a 404.
        created_at: Time of creation, by the simulator's clock.
        seconds: Processing time, if the batch is not cancelled.
        custom_ids: The `custom_id` of each request, in the order of the requests.
    """

    id: str
    workspace: str
    base_url: str
    terms: Terms
    created_at: float
    seconds: float
    script: BatchScript
    rows: list[_Row]
    custom_ids: tuple[str, ...]
    cancelled_at: float | None = None
    archived_at: float | None = None
    counts: JSON | None = None
    """Number of requests per outcome, once all have ended."""
    cuts: deque[int] = field(default_factory=deque)

    @property
    def bytes(self) -> int:
        """Approximate memory size."""
        return sum(len(row.params) + len(row.line or b"") + _BYTES_PER_ROW for row in self.rows)

    @property
    def ends_at(self) -> float:
        """Time at which all requests have ended."""
        ends = self.created_at + min(self.seconds, EXPIRES_AFTER)
        return ends if self.cancelled_at is None else min(ends, self.cancelled_at + CANCELLING)

    def outcome(self, place: int) -> str:
        """Return how the request at an index ends."""
        script, done_at = self.script, self.created_at + self.seconds * (place + 1) / len(self.custom_ids)
        for name, places in (
            ("expired", script.expired),
            ("canceled", script.cancelled),
            ("errored", script.errored),
        ):
            if place in places:
                return name
        if self.cancelled_at is not None and done_at > self.cancelled_at:
            return "canceled"
        return "expired" if done_at > self.created_at + EXPIRES_AFTER else "succeeded"

    def places(self) -> Iterator[int]:
        """Iterate over the indexes of the requests, in the order of the results."""
        places = list(range(len(self.rows)))
        if self.script.order == "mixed":
            places.sort(key=lambda place: opaque(self.custom_ids[place], 4))
        return reversed(places) if self.script.order == "reversed" else iter(places)


class BatchService:
    """The batch endpoints.

    Args:
        answer: Returns the message for one request.
        clock: Returns the time in seconds.
        seconds: Processing time of a batch without a script.
    """

    def __init__(self, answer: Answering, *, clock: Callable[[], float], seconds: float) -> None:
        self._answer = answer
        self._clock = clock
        self._epoch = time.time() - clock()
        self._seconds = seconds
        self._max_kept_bytes = MAX_KEPT_BYTES
        self._lock = threading.Lock()
        self._batches: dict[str, Batch] = {}
        self._scripts: deque[BatchScript] = deque()
        self._behaviours: dict[Endpoint, deque[Behaviour]] = {}

    # For tests...

    def script(self, script: BatchScript) -> None:
        """Set the outcome of the next batch that is created."""
        self._scripts.append(script)

    def behave(self, endpoint: Endpoint, *behaviours: Behaviour) -> None:
        """Queue behaviours for the next calls of an endpoint."""
        self._behaviours.setdefault(endpoint, deque()).extend(behaviours)

    def clear(self) -> None:
        """Delete all batches and scripts."""
        with self._lock:
            self._batches.clear()
            self._scripts.clear()
            self._behaviours.clear()

    def all(self) -> list[Batch]:
        """Return all accepted batches that have not been deleted, oldest first."""
        with self._lock:
            return list(self._batches.values())

    # The endpoints...

    def respond(
        self, request: Request, terms: Terms, key: str, request_id: str, headers: dict[str, str]
    ) -> Steps:
        """Respond to a request whose path starts with `BATCHES_PATH`.

        Args:
            request: The request, with valid headers.
            terms: API version and betas from the headers.
            key: The API key, which identifies the workspace unless a header names one.
            request_id: The request's id.
            headers: Headers that the API sends with every response.
        """
        workspace = request.headers.get("anthropic-workspace-id") or f"wrkspc_01{opaque(key)}"
        date = formatdate(self._epoch + self._clock(), usegmt=True)
        headers = {**headers, "anthropic-workspace-id": workspace, "date": date}
        endpoint, batch_id = _endpoint_of(request)
        scripted = self._behaviours.get(endpoint)
        behaviour = scripted.popleft() if scripted else None

        def answer() -> Answer:
            body = self._call(endpoint, batch_id, request, terms, workspace)
            return Answer(message=body, headers=self._retry_header(body))

        yield from self._work(workspace)
        if behaviour is not None:
            post = Post(
                request=request, request_id=request_id, chunk_delay=0.0, headers=headers, answer=answer
            )
            yield from behaviour(post)
        elif endpoint == "results":
            yield from self._results(self._find(batch_id, workspace), headers)
        else:
            made = answer()
            yield from json_steps(200, made.message, {**headers, **made.headers})

    def _work(self, workspace: str) -> Steps:
        """Answer the requests of ended batches, with pauses that let other connections proceed."""
        now = self._clock()
        for batch in self.all():
            if batch.workspace != workspace or batch.counts is not None or batch.ends_at > now:
                continue
            counts = dict.fromkeys(_COUNTS, 0)
            for place in range(len(batch.rows)):
                counts[self._kind(batch, place)] += 1
                if place % _ROWS_BETWEEN_YIELDS == 0:
                    yield Pause(0.0)
            batch.counts = counts

    def _kind(self, batch: Batch, place: int) -> str:
        """Return how a request has ended; an invalid request counts as errored."""
        kind = batch.outcome(place)
        if kind == "succeeded" and b'"result":{"type":"errored"' in self._line(batch, place)[:200]:
            return "errored"
        return kind

    def _call(
        self, endpoint: Endpoint, batch_id: str, request: Request, terms: Terms, workspace: str
    ) -> JSON:
        if endpoint == "create":
            return self._describe(self._create(request, terms, workspace))
        if endpoint == "list":
            return self._list(request, workspace)
        batch = self._find(batch_id, workspace)
        if endpoint == "cancel":
            return self._cancel(batch)
        if endpoint == "delete":
            return self._delete(batch)
        return self._describe(batch)

    def _create(self, request: Request, terms: Terms, workspace: str) -> Batch:
        check_json_headers(request)
        rows = _parse_rows(request.raw_body)
        with self._lock:
            self._check_queue(workspace, len(rows))
            script = self._scripts.popleft() if self._scripts else BatchScript()
            batch = Batch(
                id=new_id("msgbatch"),
                workspace=workspace,
                base_url=f"http://{request.headers.get('host', '')}",
                terms=terms,
                created_at=self._clock(),
                seconds=self._seconds if script.seconds is None else script.seconds,
                script=script,
                rows=rows,
                custom_ids=tuple(row.custom_id for row in rows),
                cuts=deque(script.cuts),
            )
            self._batches[batch.id] = batch
            self._enforce_limits()
        return batch

    def _check_queue(self, workspace: str, more: int) -> None:
        """Raise a 429 if the queue is full. Called with the lock held."""
        now = self._clock()
        queued = [batch for batch in self._batches.values() if batch.counts is None or batch.ends_at > now]
        mine = sum(len(batch.rows) for batch in queued if batch.workspace == workspace)
        if mine + more > MAX_QUEUED or sum(batch.bytes for batch in queued) > self._max_kept_bytes:
            raise APIError(
                429,
                f"Your batches would have more than {MAX_QUEUED:,} requests that are not done.",
                headers={"retry-after": "60"},
            )

    def _enforce_limits(self) -> None:
        """Archive the oldest ended batches, then delete the oldest of them, to meet the limits. Called with the lock held."""
        now = self._clock()
        sizes = {batch.id: batch.bytes for batch in self._batches.values()}
        total = sum(sizes.values())
        for batch in tuple(self._batches.values()):
            if total > self._max_kept_bytes and batch.counts is not None:
                total -= sizes[batch.id]
                _archive(batch, now)
        for batch in tuple(self._batches.values()):
            if len(self._batches) > MAX_KEPT and batch.counts is not None:
                del self._batches[batch.id]

    def _find(self, batch_id: str, workspace: str) -> Batch:
        batch = self._batches.get(batch_id)
        if batch is None or batch.workspace != workspace:
            raise APIError(404, f"Message batch {batch_id} not found")
        if batch.archived_at is None and self._clock() >= batch.created_at + ARCHIVED_AFTER:
            _archive(batch, batch.created_at + ARCHIVED_AFTER)
        return batch

    def _list(self, request: Request, workspace: str) -> JSON:
        newest_first = [batch for batch in reversed(self.all()) if batch.workspace == workspace]
        return page_of(
            newest_first,
            request.query,
            describe=lambda batch: self._describe(self._find(batch.id, workspace)),
            what="message batch",
        )

    def _cancel(self, batch: Batch) -> JSON:
        if batch.counts is not None:
            raise invalid(f"Message batch {batch.id} has ended and cannot be canceled.")
        if batch.cancelled_at is None:
            batch.cancelled_at = self._clock()
        return self._describe(batch)

    def _delete(self, batch: Batch) -> JSON:
        if batch.counts is None:
            raise invalid(
                f"Message batch {batch.id} is in progress and cannot be deleted. Cancel it, or wait for its end."
            )
        with self._lock:
            self._batches.pop(batch.id, None)
        return {"id": batch.id, "type": "message_batch_deleted"}

    def _describe(self, batch: Batch) -> JSON:
        counts = batch.counts
        has_ended = counts is not None
        if counts is None:
            counts = {**dict.fromkeys(_COUNTS, 0), "processing": len(batch.custom_ids)}
        is_cancelling = batch.cancelled_at is not None and not has_ended
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if has_ended else "canceling" if is_cancelling else "in_progress",
            "request_counts": counts,
            "created_at": self._timestamp(batch.created_at),
            "expires_at": self._timestamp(batch.created_at + EXPIRES_AFTER),
            "ended_at": self._timestamp(batch.ends_at) if has_ended else None,
            "cancel_initiated_at": self._timestamp(batch.cancelled_at),
            "archived_at": self._timestamp(batch.archived_at),
            "results_url": f"{batch.base_url}{BATCHES_PATH}/{batch.id}/results"
            if has_ended and batch.archived_at is None
            else None,
        }

    def _retry_header(self, body: JSON) -> dict[str, str]:
        batch = self._batches.get(str(body.get("id")))
        if batch is None or batch.script.retry_after is None or batch.counts is not None:
            return {}
        return {"retry-after": f"{batch.script.retry_after:g}"}

    def _timestamp(self, at: float | None) -> str | None:
        """Format a time of the clock as the API does."""
        if at is None:
            return None
        return datetime.fromtimestamp(self._epoch + at, UTC).isoformat().replace("+00:00", "Z")

    # Results...

    def _results(self, batch: Batch, headers: dict[str, str]) -> Steps:
        if batch.counts is None:
            raise APIError(404, f"Message batch {batch.id} has no results yet: it is in progress.")
        if batch.archived_at is not None:
            raise APIError(404, f"The results of message batch {batch.id} are no longer available.")
        return self._lines(batch, headers)

    def _lines(self, batch: Batch, headers: dict[str, str]) -> Steps:
        most = batch.cuts.popleft() if batch.cuts else None
        yield Head(
            200, (("content-type", "application/x-jsonl"), ("transfer-encoding", "chunked"), *headers.items())
        )
        for number, place in enumerate(batch.places()):
            line = self._line(batch, place)
            if number == batch.script.held_after and batch.script.gate is not None:
                yield Hold(batch.script.gate)
            if number == most:
                if batch.script.cut_by != "end":
                    yield Chunk(line[: len(line) // 2])
                    yield from hang_up(batch.script.cut_by)
                return
            yield Chunk(line)

    def _line(self, batch: Batch, place: int) -> bytes:
        row = batch.rows[place]
        if row.line is None:
            made = {"custom_id": row.custom_id, "result": self._result(batch, place)}
            row.line, row.params = encode_json(made) + b"\n", b""
        return row.line

    def _result(self, batch: Batch, place: int) -> JSON:
        kind = batch.outcome(place)
        if kind in ("expired", "canceled"):
            return {"type": kind}
        request_id = new_id("req")
        try:
            if kind == "errored":
                raise APIError(500)
            fields = check_dictionary(read_json(batch.rows[place].params), "params")
            _check_fields(fields)
            return {"type": "succeeded", "message": self._answer(fields, batch.terms)}
        except APIError as fault:
            return {"type": "errored", "error": error_envelope(fault, request_id)}


def message_of(steps: Steps) -> JSON:
    """Return the message that the steps of one response deliver.

    Raises:
        APIError: The steps send an error, no message, or hang up.
    """
    status, body = 0, b""
    for step in steps:
        if isinstance(step, Head):
            status = step.status
        elif isinstance(step, Chunk):
            body += step.data
        elif isinstance(step, HangUp | Hold) or (isinstance(step, Pause) and step.seconds > _LONGEST_PAUSE):
            raise APIError(500)
    found = read_json(body)
    if status == 200 and isinstance(found, dict):
        return found
    error = found.get("error") if isinstance(found, dict) else None
    error = error if isinstance(error, dict) else {}
    raise APIError(
        status if status >= 400 else 500,
        str(error.get("message", "Internal server error")),
        error_type=error.get("type"),
        details=error.get("details"),
    )


_ENDPOINTS: Final[dict[tuple[str, bool, str], Endpoint]] = {
    ("POST", False, ""): "create",
    ("GET", False, ""): "list",
    ("GET", True, ""): "retrieve",
    ("DELETE", True, ""): "delete",
    ("POST", True, "cancel"): "cancel",
    ("GET", True, "results"): "results",
}


def _endpoint_of(request: Request) -> tuple[Endpoint, str]:
    batch_id, _, action = request.path.removeprefix(BATCHES_PATH).removeprefix("/").partition("/")
    method = "GET" if request.method == "HEAD" else request.method
    endpoint = _ENDPOINTS.get((method, bool(batch_id), action))
    if endpoint is not None:
        return endpoint, batch_id
    methods = [known for known, has_id, other in _ENDPOINTS if (has_id, other) == (bool(batch_id), action)]
    if methods:
        raise APIError(405, f"{method} is not allowed here; use {' or '.join(methods)}")
    raise APIError(404, f"Not Found: {method} {request.path}")


def _parse_rows(raw: bytes) -> list[_Row]:
    """Return the requests of a batch.

    Each is encoded again as soon as it has been parsed: all together would take ten times their bytes as Python objects.
    """
    try:
        body = json.loads(raw, object_hook=_pack)
    except (ValueError, RecursionError):
        raise invalid("The request body is not valid JSON") from None
    check_object(body)
    entries = _BODY(body, "")["requests"]
    if not entries:
        raise invalid("requests: List should have at least 1 item")
    if len(entries) > MAX_REQUESTS:
        raise invalid(f"requests: List should have at most {MAX_REQUESTS:,} items")
    rows = [_check_row(entry, f"requests.{index}") for index, entry in enumerate(entries)]
    [(custom_id, count)] = Counter(row.custom_id for row in rows).most_common(1)
    if count > 1:
        raise invalid(f"requests: custom_id must be unique within a batch, and {custom_id} is not")
    return rows


def _pack(value: JSON) -> JSON | _Row:
    """Return an object that looks like a request as a row, and any other as it is."""
    if len(value) != 2 or "custom_id" not in value or not isinstance(value.get("params"), dict | _Row):
        return value
    return _Row(custom_id=value["custom_id"], params=encode_json(value["params"], default=_unpack))


def _unpack(row: _Row) -> JSON:
    """Return what `_pack` was given: something within the parameters of a request only looked like a request."""
    return {"custom_id": row.custom_id, "params": read_json(row.params)}


def _check_custom_id(value: Any, path: str) -> None:
    check_name(value if isinstance(value, str) else "", path)


_REQUEST: Final = Shape({"custom_id": _check_custom_id, "params": check_dictionary})


def _check_row(entry: Any, path: str) -> _Row:
    is_packed = isinstance(entry, _Row)
    _REQUEST({"custom_id": entry.custom_id, "params": {}} if is_packed else entry, path)
    return cast(_Row, entry)  # anything else failed a check


def _check_fields(fields: JSON) -> None:
    """Reject fields that are allowed in a single request but not in a batch."""
    if fields.get("stream"):
        raise invalid("stream: streaming is not supported in message batches")
    for name in _NOT_IN_BATCHES:
        if name in fields:
            raise invalid(f"{name}: not supported in message batches")
    if fields.get("max_tokens") == 0:
        raise invalid("max_tokens: Input should be greater than or equal to 1 in message batches")


def _archive(batch: Batch, at: float) -> None:
    batch.archived_at, batch.rows = at, []
