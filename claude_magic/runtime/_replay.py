"""Replay: a `ClaudeClient` that answers from a cassette, or tells why it has no answer.

Callers need not know whether an answer is live. A request is looked up by its key (`RequestKeys`), also with apparent
secrets redacted. A recorded answer streams through the same interface. Other requests are sent, and their events are
recorded. Times are taken once per read, and the file is written on a thread after the reply has ended, so recording does
not delay the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ..client import (
    AnswerRecorded,
    APIError,
    CassetteRemark,
    ClaudeClient,
    ClaudeError,
    ClientEvent,
    ConfigurationError,
    Health,
    HTTPClaudeClient,
    Message,
    MessageAccumulator,
    MessageBatches,
    MessageRequest,
    ModelInfo,
    NetworkError,
    Observer,
    ReplyStream,
    ResponseStarted,
    StreamEvent,
    request_key,
    short,
)
from ._cassette import Cassette, CassetteError
from ._connection import SIMULATOR_HEADER
from ._recording import (
    EventCollector,
    Recording,
    Redact,
    clean_request,
    cleaned,
    describe_request,
    error_fields,
    error_of,
    has_user_secret,
    text_of,
    unfold,
    without_secrets,
)
from ._settings import Settings

logger = logging.getLogger("claude_magic.runtime")

NO_BATCHES: Final = (
    "A batch is not recorded in a cassette: its answers are in the journal, and running the line again sends nothing. "
    "Turn replay off (--replay off), or leave via='batch' (--via batch) out. Nothing was sent."
)

_YIELD_AFTER: Final = 64
"""Events that a replay returns before it yields to other tasks on the loop."""
_MODEL_FIELDS: Final = {"id", "created_at", "line", "lifecycle"}
"""Fields of a model list that short names need."""


class NotRecordedError(ConfigurationError):
    """Raised when the cassette has no answer to a request and replay is "only". Nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The result of looking up a request.

    Attributes:
        request: The request. This reference keeps it alive, so that its `id()` is not reused.
        key: Its key, in hexadecimal digits.
        recording: The recording that answers it, or None.
    """

    request: MessageRequest
    key: str
    recording: Recording | None


class ReplayClient(ClaudeClient):
    """A `ClaudeClient` that answers from a cassette, and records. It borrows an HTTP client for its first request.

    Args:
        cassette: The cassette.
        settings: The settings of replay in force.
        lend: Lends the client that sends. Not called if the cassette answers all requests.
        redact: Removes the API key from text.
    """

    def __init__(
        self,
        cassette: Cassette,
        settings: Settings,
        lend: Callable[[], AbstractAsyncContextManager[HTTPClaudeClient]],
        redact: Redact,
    ) -> None:
        self.cassette = cassette
        self.settings = settings
        self._lend = lend
        self._stack = AsyncExitStack()
        self._client: HTTPClaudeClient | None = None
        self._opening = asyncio.Lock()
        self.redact_key = redact
        self._looked_up: dict[int, Lookup] = {}

    async def client(self) -> HTTPClaudeClient:
        """Return the client that sends requests, borrowed on first use.

        Raises:
            NotRecordedError: Replay is "only", so nothing may be sent.
            ClaudeError: The client cannot be created, for example without a key.
        """
        if self.settings.replay == "only":
            raise NotRecordedError(
                f"The cassette {self.cassette.name} has no answer to this request, and replay is 'only': nothing was sent."
            )
        async with self._opening:
            if self._client is None:
                self._client = await self._stack.enter_async_context(self._lend())
        return self._client

    def redact(self, text: str) -> str:
        """Return text with the API key and apparent secrets redacted."""
        return without_secrets(self.redact_key(text))

    # Requests...

    async def find(self, request: MessageRequest) -> bool:
        """Return whether the cassette answers this request. If so, `stream_message` with the same object returns that answer.

        Raises:
            CassetteError: The cassette cannot be read.
        """
        known = self._looked_up.get(id(request))
        if known is None or known.recording is None:
            if self.settings.replay == "record" or not (
                self.cassette.is_changed() or self.cassette.has_redacted
            ):
                known = self._look_up(request)
            else:  # on a thread, because it reads a file or searches for secrets
                known = await asyncio.get_running_loop().run_in_executor(None, self._look_up, request)
            self._looked_up[id(request)] = known
        return known.recording is not None

    async def take(self, request: MessageRequest) -> Lookup:
        """Return the lookup result of a request, and remove it from the cache.

        Raises:
            CassetteError: The cassette cannot be read.
        """
        await self.find(request)
        return self._looked_up.pop(id(request))

    def _look_up(self, request: MessageRequest) -> Lookup:
        """Look up a request. Reads the cassette if it has changed."""
        cassette, recording = self.cassette, None
        is_new = request.asks_again and self.settings.replay == "auto"
        key = request_key(request, request.draw).hex()
        if self.settings.replay != "record":
            cassette.refresh()
            recording = cassette.peek(key, takes=True, is_new=is_new)
            # Searched last: the search for secrets takes longer than all other steps, and rarely finds any.
            if recording is None and cassette.has_redacted:
                clean = clean_request(request, self.redact)
                key_of_clean = request_key(clean, request.draw).hex()
                recording = cassette.peek(key_of_clean, takes=True, is_new=is_new)
        return Lookup(request=request, key=key, recording=recording)

    def stream_message(
        self,
        request: MessageRequest,
        *,
        observer: Observer | None = None,
    ) -> ReplyStream:
        """Return a stream of the reply's events, from the cassette or live."""
        return _LazyStream(self, request, _guarded(observer))

    async def send_message(self, request: MessageRequest, *, observer: Observer | None = None) -> Message:
        """Return the complete reply, from the cassette or live."""
        async with self.stream_message(request, observer=observer) as stream:
            async for _ in stream:
                pass
            return stream.message

    # Other endpoints...

    @property
    def batches(self) -> MessageBatches:
        """The batch endpoints, which cassettes do not support.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(NO_BATCHES)

    async def count_tokens(self, request: MessageRequest) -> int:
        """Return the server's token count of a request's input. It is not recorded."""
        return await (await self.client()).count_tokens(request)

    async def list_models(self) -> list[ModelInfo]:
        """Return the recorded list of models, else the server's, so that short names mean the same in a replay."""
        await asyncio.get_running_loop().run_in_executor(None, self.cassette.refresh)
        if self.settings.replay != "record" and self.cassette.models is not None:
            return [ModelInfo.model_validate(each) for each in self.cassette.models]
        models = await (await self.client()).list_models()
        dumped = [
            each.model_dump(mode="json", include=_MODEL_FIELDS, exclude_none=True)
            for each in models
            if each.lifecycle in (None, "active")
        ]
        # The next answer cannot be recorded either, and reports the error.
        with contextlib.suppress(CassetteError):
            await asyncio.get_running_loop().run_in_executor(None, self.cassette.put_models, dumped)
        return models

    async def health_check(self) -> Health:
        """Check the server. If replay is "only", send nothing and return a result that says so."""
        if self.settings.replay != "only":
            return await (await self.client()).health_check()
        detail = "Nothing was sent: replay is 'only', so all answers come from the cassette."
        return Health(is_reachable=False, is_authenticated=None, latency=0.0, detail=detail)

    async def aclose(self) -> None:
        """Return the borrowed client."""
        await self._stack.aclose()


async def is_replayed(client: ClaudeClient, request: MessageRequest) -> bool:
    """Return whether a cassette answers a request, so that it costs nothing and uses no rate limit."""
    return isinstance(client, ReplayClient) and await client.find(request)


def _guarded(observer: Observer | None) -> Observer:
    """Return an observer that calls another one, if there is one, and logs its errors, as the client does."""

    def observe(event: ClientEvent) -> None:
        try:
            if observer is not None:
                observer(event)
        except Exception:
            logger.exception("an observer failed on %s", type(event).__name__)

    return observe


class _LazyStream(ReplyStream):
    """A stream that decides at its first use whether it is a replay or a recorded live stream."""

    def __init__(self, client: ReplayClient, request: MessageRequest, observer: Observer) -> None:
        self._client = client
        self._request = request
        self._observer = observer
        self._chosen: ReplyStream | None = None

    @property
    def accumulator(self) -> MessageAccumulator:
        return MessageAccumulator() if self._chosen is None else self._chosen.accumulator

    async def __anext__(self) -> StreamEvent:
        return await (await self._choose()).__anext__()

    async def __aenter__(self) -> ReplyStream:
        return await (await self._choose()).__aenter__()

    async def aclose(self) -> None:
        if self._chosen is not None:
            await self._chosen.aclose()

    async def _choose(self) -> ReplyStream:
        if self._chosen is None:
            self._chosen = await self._begin()
        return self._chosen

    async def _begin(self) -> ReplyStream:
        client, request = self._client, self._request
        known = await client.take(request)
        for remark in client.cassette.remarks():
            self._observer(CassetteRemark(text=remark))
        if known.recording is not None:
            return ReplayedStream(known.recording, self._observer, client.settings.replay_speed)
        if client.settings.replay == "only":
            cassette, described = client.cassette, describe_request(clean_request(request, client.redact))
            raise NotRecordedError(
                explain_miss(described, cassette.recordings(), cassette.name, problems=cassette.problems)
            )
        sender = await client.client()
        recorder = _Recorder(client, known, self._observer)
        return sender.stream_message(request, observer=recorder.on_event, recorder=recorder)


class ReplayedStream(ReplyStream):
    """A stream of the events of a recording.

    Args:
        recording: The recording.
        observer: Receives an `AnswerRecorded` event at the end.
        speed: Speed factor relative to the recording; 0 for no delays.
        sleep: Waits between two events.
    """

    def __init__(
        self,
        recording: Recording,
        observer: Observer,
        speed: float,
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._accumulator = MessageAccumulator()
        self._recording = recording
        self._observer = observer
        self._speed = speed
        self._sleep = sleep
        self._events = unfold(recording.answer, recording.pace)
        self._returned = 0
        self._is_over = False

    @property
    def accumulator(self) -> MessageAccumulator:
        """The reply so far, built from the events returned."""
        return self._accumulator

    async def __anext__(self) -> StreamEvent:
        if self._is_over:
            raise StopAsyncIteration
        wait, event = next(self._events, (0.0, None))
        self._returned += 1
        if wait and self._speed:
            await self._sleep(wait / self._speed)
        elif self._returned % _YIELD_AFTER == 0:
            await self._sleep(0)
        if event is None:
            self._end()
            raise StopAsyncIteration
        self._accumulator.add(event)
        return event

    async def aclose(self) -> None:
        """Stop; events that were not returned yet are dropped."""
        self._is_over = True

    def _end(self) -> None:
        """End like the recorded reply.

        Raises:
            ClaudeError: The recorded reply failed.
            asyncio.CancelledError: The recorded reply was stopped.
        """
        self._is_over = True
        recording = self._recording
        self._observer(recorded(recording, is_replay=True))
        if recording.is_interrupted:
            raise asyncio.CancelledError
        if recording.error is not None:
            error = error_of(recording.error)
            if recording.answer:
                error.partial = self.message
            raise error


def recorded(recording: Recording, *, is_replay: bool) -> AnswerRecorded:
    """Return the event that reports a recording to observers."""
    return AnswerRecorded(
        key=recording.key,
        recorded_at=recording.recorded_at,
        seconds=recording.seconds,
        request_id=recording.request_id,
        is_simulated=recording.is_simulated,
        is_replay=is_replay,
        error=None if recording.error is None else str(recording.error.get("class", "ClaudeError")),
        is_interrupted=recording.is_interrupted,
    )


class _Recorder:
    """Records one live reply."""

    def __init__(self, client: ReplayClient, known: Lookup, observer: Observer) -> None:
        self._client = client
        self._request = known.request
        self._observer = observer
        self._key = known.key
        self._occurrence = client.cassette.count_sent(self._key)
        self._collected = EventCollector()
        self._began = time.monotonic()
        self._asked_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._request_id: str | None = None
        self._is_simulated = False

    def on_event(self, event: ClientEvent) -> None:
        """Process an event of the request, and pass it on."""
        if isinstance(event, ResponseStarted):
            self._request_id = event.request_id
            self._is_simulated = SIMULATOR_HEADER in event.headers
        self._observer(event)

    def begin(self) -> None:
        """Discard the events of earlier attempts."""
        self._collected.clear()
        self._began = time.monotonic()

    def take(self, events: Sequence[StreamEvent]) -> None:
        """Add the events of one read."""
        self._collected.add(time.monotonic(), events)

    async def finish(self, error: ClaudeError | None, stream: ReplyStream) -> None:
        """Write the reply, wait until it is on disk, and notify the observer of success or failure."""
        if error is not None and not (
            self._client.settings.record_errors and isinstance(error, APIError | NetworkError)
        ):
            return
        failed = None if error is None else error_fields(error)
        recording = await asyncio.get_running_loop().run_in_executor(None, self._make, failed)
        try:
            await asyncio.wrap_future(self._put(recording))
        except CassetteError as failure:
            text = f"This answer was not recorded; the next run asks Claude again. {failure.message}"
            self._observer(CassetteRemark(text=text))
            return
        self._observer(recorded(recording, is_replay=False))

    def abandon(self, stream: ReplyStream) -> None:
        """Write the partial reply of a stopped request, if `record_errors` is set."""
        if self._client.settings.record_errors and self._collected:
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, lambda: self._put(self._make(None, is_interrupted=True)))

    def _put(self, recording: Recording) -> Future[None]:
        client = self._client
        return client.cassette.put(recording, replaces=client.settings.replay == "record")

    def _make(self, error: Mapping[str, Any] | None, *, is_interrupted: bool = False) -> Recording:
        """Return the recording. Called on a thread, because it may take a while."""
        client, request = self._client, self._request
        clean = clean_request(request, client.redact)
        key, occurrence, redact = self._key, self._occurrence, client.redact_key
        if clean is not request:
            key = request_key(clean, request.draw).hex()
            occurrence = client.cassette.count_sent(key)
            # The answer may repeat a secret that the user sent. Text that the model made up is not a secret and is kept.
            redact = client.redact if has_user_secret(request, clean) else redact
        events, pace = self._collected.fold(self._began)
        return Recording(
            key=key,
            occurrence=occurrence,
            recorded_at=self._asked_at,
            seconds=round(time.monotonic() - self._began, 3),
            request=describe_request(clean),
            answer=cleaned(events, redact),
            pace=tuple(pace),
            request_id=self._request_id,
            is_simulated=self._is_simulated,
            error=cleaned(error, client.redact),
            is_interrupted=is_interrupted,
            is_redacted=clean is not request,
        )


# Why an answer is missing: the differences from the most similar recorded request.
_COMPARED_CHARS: Final = 2_000
_MAX_COMPARED: Final = 1_000
_MIN_SIMILARITY: Final = 0.4
"""difflib ratio of two prompts above which one is probably an edited version of the other."""
_MAX_LINES: Final = 12
_MAX_CHARS: Final = 160
_TEXTS: Final = ("system", "message")


def explain_miss(
    asked: Mapping[str, Any], recordings: Sequence[Recording], name: str, *, problems: Sequence[str] = ()
) -> str:
    """Return a message that explains why a cassette has no answer to a request, and what to do.

    Args:
        asked: The request, as a cassette describes it.
        recordings: The recordings of the cassette.
        name: The name of the file.
        problems: Problems of the file, as sentences: the answer may be in an unreadable line.
    """
    beginning = " ".join(
        [
            f"The cassette {name} has no answer to this request, and replay is 'only': nothing was sent.",
            *problems,
        ]
    )
    remedy = "Run it with --replay auto to ask and record it."
    if not recordings:
        return f"{beginning} {'It has no other line' if problems else 'The cassette is empty or does not exist'}. {remedy}"
    nearest, similarity = _nearest(asked, recordings)
    if similarity < _MIN_SIMILARITY:
        return f"{beginning} None of its {len(recordings):,} recorded requests is similar. {remedy}"
    lines = list(_differences(nearest.request, asked)) or ["the number of repetitions: fewer are recorded"]
    day = nearest.recorded_at[:10]
    listed = "\n".join(f"  {line}" for line in lines)
    return f"{beginning}\nDifferences from the most similar request, recorded on {day} (- recorded, + this request):\n{listed}\n{remedy}"


def _nearest(asked: Mapping[str, Any], recordings: Sequence[Recording]) -> tuple[Recording, float]:
    import difflib  # late, as below: only missing answers need it

    text = text_of(asked.get("message"))[:_COMPARED_CHARS]
    matcher = difflib.SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(text)
    best, best_score = recordings[0], -1.0
    for recording in recordings[-_MAX_COMPARED:]:
        matcher.set_seq1(recording.prompt[:_COMPARED_CHARS])
        if matcher.real_quick_ratio() + 0.2 <= best_score:
            continue
        others = [name for name in _names(asked, recording.request) if name not in _TEXTS]
        same = sum(asked.get(name) == recording.request.get(name) for name in others)
        score = matcher.quick_ratio() + 0.1 * same / max(1, len(others))
        if score > best_score:
            best, best_score = recording, score
    return best, best_score


def _names(*requests: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for request in requests for name in request))


def _differences(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    for name in _names(recorded, asked):
        old, new = recorded.get(name), asked.get(name)
        if old == new:
            continue
        if name == "earlier":
            yield "the earlier turns of the conversation"
        elif name in _TEXTS:
            yield "prompt:" if name == "message" else "system:"
            yield from _diff(text_of(old or ""), text_of(new or ""))
        else:
            yield f"{name}: - {_shown(old)}  + {_shown(new)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _MAX_CHARS)


def _diff(old: str, new: str) -> Iterator[str]:
    """Yield the lines that differ, removed lines before added ones."""
    import difflib

    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0))[2:]
    changed = [line for line in lines if not line.startswith("@@")]
    if not changed:
        yield "  trailing whitespace, or blocks other than text"
    yield from (f"  {short(f'{line[0]} {line[1:]}', _MAX_CHARS)}" for line in changed[:_MAX_LINES])
    if len(changed) > _MAX_LINES:
        yield f"  and {len(changed) - _MAX_LINES} more lines"
