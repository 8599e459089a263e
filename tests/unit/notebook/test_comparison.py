"""`Comparison`: access to the answers, and their common state."""

import dataclasses
from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError

from claude_magic.client import ConfigurationError
from claude_magic.notebook import _compare
from claude_magic.notebook._compare import Comparison, ComparisonSnapshot
from claude_magic.notebook._line import parse_option_line
from claude_magic.render import Column
from claude_magic.runtime import BlockSnapshot, Phase

from ..beginnings import BEGINNING


def answer(text, phase=Phase.STREAMING):
    blocks = (BlockSnapshot(kind="text", text=text, is_complete=phase.is_final),)
    return dataclasses.replace(BEGINNING, phase=phase, blocks=blocks if text else ())


def side_by_side(**answers):
    return ComparisonSnapshot(
        tuple(Column(name=name, kept_in=f'_["{name}"]', answer=each) for name, each in answers.items())
    )


class StubReply:
    """The part of a reply that a comparison uses."""

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


@pytest.fixture
def replies():
    return {"sonnet": StubReply("claude-sonnet-5-5"), "opus": StubReply("claude-opus-5-5-20260922")}


@pytest.fixture
def comparison(replies):
    return Comparison("?", replies, variable="out")


# The value


def test_an_answer_is_found_by_the_name_of_its_model(comparison, replies):
    """As typed, as the server names it, without its date, and by position."""
    for key in ("opus", "claude-opus-5-5-20260922", "claude-opus-5-5", 1, -1):
        assert comparison[key] is replies["opus"]
    assert dict(comparison) == replies


def test_an_unknown_model_is_a_key_error_that_lists_the_models(comparison):
    """The error names the models that were asked."""
    with pytest.raises(KeyError, match="haiku: there are the answers of sonnet, opus"):
        comparison["haiku"]


@pytest.mark.parametrize("key", ["haiku", "", 2, 7, -3, None, 1.5, ("sonnet",)])
def test_what_names_no_answer_is_missing_as_in_a_dict(comparison, key):
    """Also a position beyond the last answer."""
    with pytest.raises(KeyError, match=r"there are the answers of sonnet, opus"):
        comparison[key]
    assert comparison.get(key) is None
    assert comparison.get(key, "none") == "none"
    assert key not in comparison


@pytest.mark.parametrize("key", [0, -2, "sonnet"])
def test_what_names_an_answer_is_in_the_comparison(comparison, replies, key):
    assert key in comparison
    assert comparison.get(key) is replies["sonnet"]


def test_an_invalid_settings_file_hides_no_answers(comparison, monkeypatch):
    """Images of other hosts are not loaded then; the next question reports the file."""

    def settings():
        raise ConfigurationError("The file is not valid.")

    monkeypatch.setattr(_compare, "get_runtime", lambda: SimpleNamespace(settings=settings))

    data, _metadata = comparison._repr_mimebundle_()

    assert "sonnet" in data["text/html"]


def test_a_comparison_ends_when_all_replies_have_ended(comparison, replies):
    """Its callback is called once."""
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
    """Until then, the phase is not final."""
    assert side_by_side(a=answer("", one), b=answer("", other)).phase is both


def test_cancelling_stops_all_replies(comparison, replies):
    """Including those that have not begun."""
    comparison.cancel()

    assert all(reply.is_cancelled for reply in replies.values())


# The option


def test_models_are_listed_with_commas():
    """In quotes, spaces are allowed."""
    assert parse_option_line("--compare sonnet,opus hi").options.compare == ("sonnet", "opus")
    assert parse_option_line('--compare "a, b" hi').options.compare == ("a", "b")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("sonnet", "two models or more"),
        ("a,b,c,d,e,f,g", "at most 6 models"),
        ("sonnet,sonnet", "the same model twice"),
        ("sonnet,", "empty"),
    ],
)
def test_an_invalid_list_of_models_is_refused(given, problem):
    """Before anything is sent."""
    with pytest.raises(UsageError, match=f"{problem}.*Nothing was sent"):
        parse_option_line(f"--compare {given} hi")
