"""Records of requests, their parameters and outcomes, kept for the Methods section of a paper."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..client import (
    MessageAccumulator,
    MessageRequest,
    encode_json,
    split_keys,
)
from ._models import bill_of, total
from ._recording import Recording, cleaned, unfold, without_secrets

_NOT_PARAMETERS: Final = frozenset(
    {"model", "messages", "message", "earlier", "draw", "cache_control", "metadata", "service_tier"}
)
KEPT_CHARS: Final = 20_000
"""Characters kept of one prompt; the hash of the request covers the rest."""
_MAX_RECORDS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The record of one request.

    Attributes:
        key: The hash of the request (`RequestKeys`), in hexadecimal digits.
        at: Time of the original request, in RFC 3339 format (UTC).
        outcome: "answered", "failed" or "interrupted".
        is_replay: The answer came from a cassette; nothing was sent.
        asked_model: The requested model.
        model: The model that answered, as named in the response; "" without an answer.
        parameters: All other parameters; the system prompt and the tools as hashes.
        prompt: The last message as text, possibly truncated.
        request_id: The server's id of the request, or None.
        tokens_in: Input tokens, cached or not.
        tokens_out: Output tokens.
        cost: USD by the published prices, or None if these are not known.
        attempts: Number of attempts.
        error: The class name of the error, or None.
        is_simulated: A simulator answered.
    """

    key: str
    at: str
    outcome: str
    is_replay: bool
    asked_model: str
    model: str
    parameters: Mapping[str, Any]
    prompt: str
    request_id: str | None
    tokens_in: int
    tokens_out: int
    cost: float | None
    attempts: int
    error: str | None
    is_simulated: bool


@dataclass(slots=True, kw_only=True)
class ModelAnswers:
    """The answers of one model: their number, and the dates of the first and the last, in RFC 3339 format."""

    count: int
    first: str
    last: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of requests.

    Attributes:
        outcomes: Number of requests by outcome.
        errors: Number of requests by class name of the error.
        models: The answers by model.
        first: The date of the first request, or None.
        last: The date of the last request, or None.
        replayed: Number of answers from a cassette.
        simulated: Number of requests to a simulator.
        tokens_in: Input tokens.
        tokens_out: Output tokens.
        cost: USD without replays, or None if a price is not known.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    models: dict[str, ModelAnswers] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    replayed: int = 0
    simulated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0

    def add(self, asked: Asked) -> None:
        """Count a request."""
        self.outcomes[asked.outcome] += 1
        if asked.error:
            self.errors[asked.error] += 1
        if asked.outcome == "answered":
            self._add_answers(asked.model or asked.asked_model, 1, asked.at, asked.at)
        self._add_dates(asked.at, asked.at)
        self.replayed += asked.is_replay
        self.simulated += asked.is_simulated
        self.tokens_in += asked.tokens_in
        self.tokens_out += asked.tokens_out
        self._add_cost(0.0 if asked.is_replay else asked.cost)

    def merge(self, other: Tally) -> None:
        """Add the counts of another tally."""
        self.outcomes += other.outcomes
        self.errors += other.errors
        for model, answers in other.models.items():
            self._add_answers(model, answers.count, answers.first, answers.last)
        if other.first is not None and other.last is not None:
            self._add_dates(other.first, other.last)
        self.replayed += other.replayed
        self.simulated += other.simulated
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self._add_cost(other.cost)

    def _add_answers(self, model: str, count: int, first: str, last: str) -> None:
        if (found := self.models.get(model)) is None:
            self.models[model] = ModelAnswers(count=count, first=first, last=last)
            return
        found.count += count
        found.first, found.last = min(found.first, first), max(found.last, last)

    def _add_dates(self, first: str, last: str) -> None:
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def _add_cost(self, cost: float | None) -> None:
        self.cost = None if self.cost is None or cost is None else self.cost + cost


@dataclass(slots=True, kw_only=True)
class AskedRows:
    """The requests of one map, which are too many for a record each.

    Attributes:
        keys: The concatenated hashes of the answered requests, 16 bytes each.
        records: The full records of the first request, and of the first one answered by each further model.
        tally: The counts of all requests.
    """

    keys: bytearray = field(default_factory=bytearray)
    records: list[Asked] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def distinct_keys(self) -> list[str]:
        """The distinct hashes, in hexadecimal digits."""
        return list(dict.fromkeys(key.hex() for key in split_keys(self.keys)))

    def add(self, asked: Asked) -> None:
        """Count a request."""
        if not self.records or (asked.model and asked.model not in self.tally.models):
            self.records.append(asked)
        self.tally.add(asked)
        if asked.outcome == "answered":
            self.keys += bytes.fromhex(asked.key)


class RequestLog:
    """The records of a kernel's requests. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._left_out = 0
        self._rows: list[AskedRows] = []

    def add(self, asked: Asked, rows: AskedRows | None = None) -> None:
        """Add a request, to the rows of its map if it belongs to one."""
        with self._lock:
            if rows is not None:
                if not any(each is rows for each in self._rows):
                    self._rows.append(rows)
                rows.add(asked)
            elif len(self._asked) < _MAX_RECORDS:
                self._asked.append(asked)
            else:
                self._left_out += 1

    def asked(self) -> tuple[Asked, ...]:
        """Return the requests, oldest first."""
        with self._lock:
            return tuple(self._asked)

    def rows(self) -> tuple[AskedRows, ...]:
        """Return the maps, oldest first."""
        with self._lock:
            return tuple(self._rows)

    @property
    def left_out(self) -> int:
        """The number of requests without a record, because the log was full."""
        return self._left_out


def parameters_of(request: MessageRequest) -> dict[str, Any]:
    """Return the parameters of a request other than model and messages; system prompt and tools as hashes."""
    body = request.to_body(stream=False)
    if request.betas:
        body["betas"] = list(request.betas)
    return _parameters(body)


def _parameters(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in fields.items() if name not in _NOT_PARAMETERS}
    for name in ("system", "tools"):
        if name in found:
            found[f"{name}_sha256"] = hashlib.sha256(encode_json(found.pop(name))).hexdigest()
    if "output_config" in found and "format" in (config := dict(found["output_config"])):
        schema = hashlib.sha256(encode_json(config.pop("format"))).hexdigest()
        found = {**found, "output_config": config, "schema_sha256": schema}
    # Secrets are removed, because notebooks and manifests are shared.
    return {
        name: cleaned(value, without_secrets, is_setting=True)
        for name, value in found.items()
        if value not in (None, {})
    }


def asked_of(recording: Recording) -> Asked:
    """Return the record of a request in a cassette."""
    accumulator = MessageAccumulator()
    for _, event in unfold(recording.answer, ()):
        accumulator.add(event)
    message, model = accumulator.message(), str(recording.request.get("model", ""))
    bill = bill_of(message, requested=model) if message.usage.model_fields_set else ()
    error = None if recording.error is None else str(recording.error.get("class", "ClaudeError"))
    return Asked(
        key=recording.key,
        at=recording.recorded_at,
        outcome="interrupted" if recording.is_interrupted else "answered" if error is None else "failed",
        is_replay=False,
        asked_model=model,
        model=message.model,
        parameters=_parameters(recording.request),
        prompt=recording.prompt[:KEPT_CHARS],
        request_id=recording.request_id,
        tokens_in=message.usage.total_input_tokens,
        tokens_out=message.usage.output_tokens,
        cost=total(line.cost for line in bill) if bill else 0.0,
        attempts=1,
        error=error,
        is_simulated=recording.is_simulated,
    )
