"""The state of a reply, with events supplied by the test."""

from __future__ import annotations

from typing import Any

import pytest

from claude_magic.client import (
    AttemptFinished,
    AttemptStarted,
    ClaudeError,
    ClientEvent,
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    LimiterWaiting,
    Message,
    MessageAccumulator,
    MessageDelta,
    MessageStart,
    NetworkError,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamEvent,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    UnknownEvent,
    Usage,
)
from claude_magic.runtime import Phase, Question
from claude_magic.runtime._progress import GrowingContent, Progress, describe_reason
from claude_magic.tools import CallState


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Fed(Progress):
    """Feeds events like a turn: the client's accumulator gets each event first, and restarts with each attempt."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._accumulator = MessageAccumulator()

    def on_event(self, event: ClientEvent) -> None:
        if isinstance(event, AttemptFinished):
            self._accumulator = MessageAccumulator()
        super().on_event(event)

    def take(self, event: StreamEvent) -> None:
        self._accumulator.add(event)
        self.feed(event, self._accumulator)


@pytest.fixture
def progress(clock: Clock) -> Fed:
    return Fed(question=Question(prompt="Hello"), model="asked-for", max_attempts=4, clock=clock)


def started_with(block: ContentBlock, index: int = 0) -> ContentBlockStart:
    return ContentBlockStart(index, block.to_param())


def text_block(index: int = 0) -> ContentBlockStart:
    return started_with(TextBlock(type="text", text=""), index)


def delta(text: str, index: int = 0, kind: str = "text_delta") -> ContentBlockDelta:
    return ContentBlockDelta(index, kind, text, {})


def finished(error: ClaudeError | None, delay: float | None) -> AttemptFinished:
    return AttemptFinished(
        attempt=1,
        max_attempts=4,
        method="POST",
        path="/v1/messages",
        status=None,
        error=error,
        will_retry=delay is not None,
        delay=delay,
        duration=1.0,
        elapsed=1.0,
        request_id="req_1",
        give_up_reason=None,
    )


def test_the_phases_follow_what_the_client_reports(progress: Fed, clock: Clock) -> None:
    """Limiter, sending, backoff, streaming, end: each with its wait and countdown."""
    phases = [progress.phase]

    progress.on_event(LimiterWaiting(attempt=1, expected_wait=2.5, reason="rate"))
    limited = progress.snapshot().wait
    progress.on_event(AttemptStarted(attempt=1, max_attempts=4))
    phases.append(progress.phase)
    progress.on_event(finished(OverloadedError("busy"), 10.0))
    phases.append(progress.phase)
    backing_off = progress.snapshot().wait
    progress.on_event(LimiterWaiting(attempt=2, expected_wait=None, reason="paused"))
    paused = progress.snapshot().wait
    phases.append(progress.phase)
    progress.on_event(AttemptStarted(attempt=2, max_attempts=4))
    progress.take(text_block())
    phases.append(progress.phase)
    progress.take(delta("Hi"))
    phases.append(progress.phase)
    progress.end_round(Message(content=[]))
    progress.complete()
    phases.append(progress.phase)

    assert phases == [
        Phase.QUEUED,
        Phase.SENT,
        Phase.RETRYING,
        Phase.QUEUED,
        Phase.SENT,
        Phase.STREAMING,
        Phase.COMPLETE,
    ]
    assert limited is not None
    assert (limited.kind, limited.remaining(clock.now)) == ("rate", 2.5)
    assert backing_off is not None
    assert (backing_off.kind, backing_off.reason, backing_off.attempt) == ("backoff", "overloaded", 2)
    assert backing_off.remaining(104.0) == 6.0
    assert backing_off.remaining(200.0) == 0.0
    assert paused is not None
    assert (paused.kind, paused.until) == ("paused", float("inf"))
    assert progress.snapshot().wait is None


def test_a_limit_of_the_servers_is_named(progress: Fed, clock: Clock) -> None:
    """The limit that delays the reply, and the expected wait."""
    progress.on_event(LimiterWaiting(attempt=1, expected_wait=12.0, reason="input tokens"))

    wait = progress.snapshot().wait

    assert wait is not None
    assert (wait.kind, wait.reason, wait.remaining(clock.now)) == ("limit", "input tokens", 12.0)


def test_blocks_grow_by_index_also_where_they_overlap_or_have_no_start(progress: Fed) -> None:
    """Servers that interleave blocks, or leave out their start, do no harm."""
    progress.take(started_with(ThinkingBlock(type="thinking", thinking="hm", signature="")))
    progress.take(text_block(1))
    progress.take(delta("A", 1))
    progress.take(delta(", well", 0, "thinking_delta"))
    progress.take(delta("sig", 0, "signature_delta"))
    progress.take(ContentBlockStop(0))
    progress.take(delta("B", 1))
    progress.take(delta("?", 7))
    progress.take(ContentBlockStop(9))

    snapshot = progress.snapshot()

    assert [(block.kind, block.text, block.is_complete) for block in snapshot.blocks] == [
        ("thinking", "hm, well", True),
        ("text", "AB", False),
        ("text", "?", False),
    ]
    assert (snapshot.text, snapshot.thinking) == ("AB?", "hm, well")


def test_a_snapshot_does_not_change_when_the_reply_does(progress: Fed) -> None:
    """It is frozen, so that a frame can store it."""
    progress.take(text_block())
    progress.take(delta("one"))
    before = progress.snapshot()

    progress.take(delta(" two"))

    assert before.text == "one"
    assert progress.snapshot().text == "one two"
    assert progress.snapshot().version > before.version


def test_equal_versions_are_equal_pictures(progress: Fed) -> None:
    """Events without a visible change cause no frame."""
    calls: list[int] = []
    progress.observe(lambda: calls.append(1))
    version = progress.snapshot().version

    progress.take(UnknownEvent("surprise", {}))

    assert progress.snapshot().version == version
    assert calls == []


def test_model_and_usage_come_from_the_server_and_usage_is_replaced(progress: Fed) -> None:
    """Counts are cumulative: they replace each other, and absent ones are kept."""
    assert progress.snapshot().model == "asked-for"

    start = Message(model="answers", content=[], usage=Usage(input_tokens=12, output_tokens=1))
    progress.take(MessageStart(start.model_dump()))
    progress.take(MessageDelta("end_turn", Usage(output_tokens=40), {}))

    snapshot = progress.snapshot()
    assert snapshot.model == "answers"
    assert snapshot.usage is not None
    assert (snapshot.usage.input_tokens, snapshot.usage.output_tokens) == (12, 40)


def test_the_end_shows_what_the_message_holds(progress: Fed) -> None:
    """The message may be some events ahead of those fed; the message counts."""
    progress.take(text_block())
    progress.take(delta("Hel"))

    progress.cancel(Message(content=[TextBlock(type="text", text="Hello")]))

    assert progress.snapshot().text == "Hello"
    assert progress.snapshot().blocks[0].is_complete


def test_a_final_reply_does_not_change_any_more(progress: Fed, clock: Clock) -> None:
    """Late events, a second end and the clock do not change it."""
    progress.end_round(Message(content=[TextBlock(type="text", text="done")]))
    progress.complete()
    final = progress.snapshot()

    clock.now += 50
    progress.take(delta("more"))
    progress.on_event(AttemptStarted(attempt=2, max_attempts=4))
    progress.cancel(None)
    progress.fail(ClaudeError("late"), None)

    assert progress.snapshot() == final
    assert final.elapsed == 0.0


def test_a_reply_has_ended_only_once_its_last_message_and_error_are_known(
    progress: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other threads read the phase without the lock."""
    phases, adopt = list[Phase](), progress._content.adopt
    monkeypatch.setattr(
        progress._content, "adopt", lambda message: phases.append(progress.phase) or adopt(message)
    )

    progress.fail(ClaudeError("no"), Message(content=[]))

    assert phases == [Phase.QUEUED]
    assert progress.phase is Phase.FAILED


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OverloadedError("x"), "overloaded"),
        (RateLimitError("x"), "rate limited"),
        (ServerError("x", status=502), "server error 502"),
        (ServerError("x"), "server error"),
        (RequestTimeoutError("x"), "timeout"),
        (NetworkError("x"), "connection failed"),
        (None, "connection failed"),
    ],
)
def test_the_reason_of_a_retry_is_given_in_a_word_or_two(error: ClaudeError | None, words: str) -> None:
    """It is displayed next to a countdown."""
    assert describe_reason(error) == words


def test_until_the_server_counts_the_output_is_estimated(progress: Fed) -> None:
    """Its first count of 1 is not a price. Counts during the stream, and those of an incomplete answer, are marked as estimates."""
    start = Message(model="claude-sonnet-5-5", content=[], usage=Usage(input_tokens=1000, output_tokens=1))
    progress.take(MessageStart(start.model_dump()))
    progress.take(text_block())
    progress.take(delta("tide " * 600))

    snapshot = progress.snapshot()

    assert snapshot.usage is not None
    assert snapshot.is_estimate
    assert 500 < snapshot.usage.output_tokens < 1500
    assert snapshot.cost == pytest.approx((1000 * 2 + snapshot.usage.output_tokens * 10) / 1e6)
    progress.cancel(None)
    assert (progress.snapshot().usage, progress.snapshot().cost) == (snapshot.usage, snapshot.cost)


def test_a_server_that_has_counted_is_believed(progress: Fed) -> None:
    """Its counts replace the estimate."""
    start = Message(model="claude-sonnet-5-5", content=[], usage=Usage(input_tokens=1000, output_tokens=1))
    progress.take(MessageStart(start.model_dump()))
    progress.take(text_block())
    progress.take(delta("tide " * 600))
    progress.take(MessageDelta("end_turn", Usage(output_tokens=40), {}))

    snapshot = progress.snapshot()

    assert not snapshot.is_estimate
    assert snapshot.cost == pytest.approx((1000 * 2 + 40 * 10) / 1e6)


def test_the_model_is_the_one_that_answers(progress: Fed) -> None:
    """As soon as the server names a fallback model, and with a note at the end."""
    start = Message(model="claude-fable-5-2", content=[], usage=Usage(input_tokens=10, output_tokens=1))
    marker = {"type": "fallback", "from": {"model": "claude-fable-5-2"}, "to": {"model": "claude-opus-5-5"}}
    progress.take(MessageStart(start.model_dump()))
    progress.take(ContentBlockStart(0, marker))

    assert progress.snapshot().model == "claude-opus-5-5"

    steps = [
        {"type": "message", "model": "claude-fable-5-2", "input_tokens": 10, "output_tokens": 5},
        {"type": "fallback_message", "model": "claude-opus-5-5", "input_tokens": 10, "output_tokens": 20},
    ]
    usage = {"input_tokens": 10, "output_tokens": 20, "iterations": steps}
    progress.end_round(
        Message.model_validate({"model": "claude-fable-5-2", "content": [marker], "usage": usage})
    )
    progress.complete()
    snapshot = progress.snapshot()

    assert snapshot.model == "claude-opus-5-5"
    assert snapshot.notes == ("claude-opus-5-5 answered, because claude-fable-5-2 declined.",)
    assert snapshot.helpers == ("claude-fable-5-2",)
    assert snapshot.cost == pytest.approx((10 * 8 + 5 * 40 + 10 * 4 + 20 * 20) / 1e6)


def test_a_reply_of_several_rounds_has_no_price_if_one_of_them_has_none(progress: Fed) -> None:
    """A sum without a part would not be a price."""
    for model in ("claude-sonnet-5-5", "llama4"):
        progress.end_round(Message(model=model, content=[], usage=Usage(input_tokens=10, output_tokens=1)))
    progress.complete()

    assert progress.snapshot().cost is None


def test_a_call_that_is_being_written_does_not_look_like_an_earlier_one_of_its_id() -> None:
    """It has no result yet, even if it has the same id."""
    content = GrowingContent()
    call = ToolUseBlock(id="toolu_1", name="tide", input={"port": "Brest"})
    content.adopt(Message(content=[call]))
    content.set_call("toolu_1", CallState.DONE, "04:12")

    accumulator = MessageAccumulator()
    accumulator.add(started_with(call))
    content.follow(accumulator)

    first, second = content.snapshot()
    assert first.call is not None
    assert first.call.result == "04:12"
    assert second.call is None


def test_a_fork_during_the_callbacks_for_the_end_calls_none_of_them_in_the_child(progress: Fed) -> None:
    """The parent calls them. In the child, only those that are registered there are called."""
    calls: list[str] = []

    def fork() -> None:
        progress.reset_lock()  # as the child does
        progress.when_final(lambda: calls.append("child"))

    progress.when_final(fork)
    progress.when_final(lambda: calls.append("parent"))
    progress.complete()

    assert calls == ["child", "parent"]
