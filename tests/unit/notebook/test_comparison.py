"""Answers that are compared: how they are addressed, and where they are drawn."""

import dataclasses
import io

import pytest
from beginnings import BEGINNING
from IPython.core.error import UsageError

from claude_magic.notebook._comparison import Comparison, ComparisonSnapshot
from claude_magic.notebook._comparison_screens import (
    WHOLE_CHARS_PER_SECOND,
    ColumnsScreen,
    FinalColumnsScreen,
    OneAfterAnotherScreen,
)
from claude_magic.notebook._option_line import parse_option_line
from claude_magic.render import Column
from claude_magic.runtime import BlockSnapshot, Phase


def answer(text, phase=Phase.STREAMING):
    blocks = (BlockSnapshot(kind="text", text=text, is_complete=phase.is_final),)
    return dataclasses.replace(BEGINNING, phase=phase, blocks=blocks if text else ())


def side_by_side(**answers):
    return ComparisonSnapshot(
        tuple(Column(name=name, kept_in=f'_["{name}"]', answer=each) for name, each in answers.items())
    )


class StubReply:
    """As much of a reply as a comparison looks at."""

    def __init__(self, model, phase=Phase.STREAMING):
        self.model, self.phase, self.is_cancelled = model, phase, False
        self._callbacks = []

    def snapshot(self):
        return dataclasses.replace(BEGINNING, model=self.model, phase=self.phase)

    def done(self):
        return self.phase.is_final

    def cancel(self):
        self.is_cancelled = True

    def when_done(self, callback):
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def end(self):
        self.phase = Phase.COMPLETE
        for callback in self._callbacks:
            callback()


class Publisher:
    """Keeps what is published, as an output area would."""

    def __init__(self):
        self.messages = []
        self.area = {}

    def publish(self, data, metadata=None, *, transient=None, update=False):
        display_id = (transient or {}).get("display_id", f"plain-{len(self.messages)}")
        assert update == (display_id in self.area)
        self.messages.append(data)
        self.area[display_id] = data


@pytest.fixture
def replies():
    return {"sonnet": StubReply("claude-sonnet-5-5"), "opus": StubReply("claude-opus-5-5-20260922")}


@pytest.fixture
def comparison(replies):
    return Comparison("?", replies, variable="out", present=lambda snapshot: ({}, {}))


# The value


def test_an_answer_is_found_by_the_name_of_its_model(comparison, replies):
    """As typed, as the server calls it, without its date, and by number."""
    for key in ("opus", "claude-opus-5-5-20260922", "claude-opus-5-5", 1, -1):
        assert comparison[key] is replies["opus"]
    assert dict(comparison) == replies


def test_a_model_that_was_not_asked_is_told_from_those_that_were(comparison):
    """The error names them."""
    with pytest.raises(KeyError, match="haiku: there are the answers of sonnet, opus"):
        comparison["haiku"]
    with pytest.raises(IndexError):
        comparison[2]


def test_it_has_ended_when_all_have(comparison, replies):
    """Whoever waits is called once."""
    calls = []
    comparison.when_done(lambda: calls.append(comparison.phase))

    replies["opus"].end()
    assert (calls, comparison.done(), comparison.phase) == ([], False, Phase.STREAMING)
    replies["sonnet"].end()

    assert (calls, comparison.done()) == ([Phase.COMPLETE], True)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Phase.COMPLETE, Phase.COMPLETE, Phase.COMPLETE),
        (Phase.COMPLETE, Phase.FAILED, Phase.FAILED),
        (Phase.CANCELLED, Phase.FAILED, Phase.CANCELLED),
        (Phase.FAILED, Phase.QUEUED, Phase.STREAMING),
    ],
)
def test_the_phase_is_the_worst_once_all_have_ended(one, other, both):
    """And not final before."""
    assert side_by_side(a=answer("", one), b=answer("", other)).phase is both


def test_cancelling_stops_all(comparison, replies):
    """Also those that have not begun."""
    comparison.cancel()

    assert all(reply.is_cancelled for reply in replies.values())


# The screens


def test_columns_are_one_display_that_is_sent_when_something_has_changed():
    """The last picture takes its place."""
    publisher = Publisher()
    screen = ColumnsScreen(publisher)
    growing = side_by_side(sonnet=answer("One."), opus=answer("Two."))

    screen.draw(growing)
    screen.draw(growing)
    screen.finish(side_by_side(sonnet=answer("One.", Phase.COMPLETE), opus=answer("Two.", Phase.COMPLETE)))

    assert len(publisher.messages) == 2
    (data,) = publisher.area.values()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}


def test_long_columns_are_sent_rarely():
    """What goes over the wire in a second is bounded."""
    publisher = Publisher()
    screen = ColumnsScreen(publisher)

    interval = screen.draw(side_by_side(a=answer("words " * 10_000), b=answer("words " * 10_000)))

    assert len(publisher.messages[0]["text/html"]) <= round(interval * WHOLE_CHARS_PER_SECOND)


def test_a_final_screen_publishes_once():
    """For tools that compare outputs."""
    publisher = Publisher()
    screen = FinalColumnsScreen(publisher)

    screen.draw(side_by_side(a=answer("One.")))
    screen.finish(side_by_side(a=answer("One.", Phase.COMPLETE)))

    assert len(publisher.messages) == 1


def test_a_terminal_writes_one_after_the_other():
    """The second one is there at once when the first one has ended; each is written once."""
    stream = io.StringIO()
    screen = OneAfterAnotherScreen(stream)

    screen.draw(side_by_side(sonnet=answer("One"), opus=answer("Two and more.", Phase.COMPLETE)))
    assert "Two" not in stream.getvalue()
    done = side_by_side(
        sonnet=answer("One and all.", Phase.COMPLETE), opus=answer("Two and more.", Phase.COMPLETE)
    )
    screen.draw(done)
    screen.finish(done)

    written = stream.getvalue()
    parts = ["sonnet\n──────\n", "One and all.", "claude-sonnet-5-5", "opus\n────\n", "Two and more."]
    assert [written.count(part) for part in parts[:2] + parts[3:]] == [1, 1, 1, 1]
    positions = [written.index(part) for part in parts]
    assert positions == sorted(positions)


def test_a_terminal_tells_why_an_answer_without_a_word_failed():
    """In its place among the others."""
    stream = io.StringIO()
    screen = OneAfterAnotherScreen(stream)

    screen.finish(side_by_side(sonnet=answer("", Phase.CANCELLED), opus=answer("Two.", Phase.COMPLETE)))

    assert stream.getvalue().index("Interrupted.") < stream.getvalue().index("opus\n")


# The option


def test_models_are_listed_with_commas():
    """Quoted, spaces do not matter."""
    assert parse_option_line("--compare sonnet,opus hi").options.compare == ("sonnet", "opus")
    assert parse_option_line('--compare "a, b" hi').options.compare == ("a", "b")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("sonnet", "two models or more"),
        ("a,b,c,d,e,f,g", "6 models at most"),
        ("sonnet,sonnet", "the same model twice"),
        ("sonnet,", "empty"),
    ],
)
def test_a_list_that_cannot_be_is_refused(given, problem):
    """Before anything is sent."""
    with pytest.raises(UsageError, match=f"{problem}.*Nothing was sent"):
        parse_option_line(f"--compare {given} hi")
