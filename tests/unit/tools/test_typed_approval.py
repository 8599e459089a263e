"""Approval of a call at the keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from claude_magic.tools import ToolCall, TypedApproval
from claude_magic.tools._call import NOBODY, REFUSED

CALL = ToolCall(name="tide_table", arguments={"port": "Brest"})
Type = Callable[..., list[str]]


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type these answers; return the questions that were asked."""

    def type_(*answers: str | BaseException) -> list[str]:
        questions: list[str] = []
        left: Iterator[str | BaseException] = iter(answers)

        def answer(question: str) -> str:
            questions.append(question)
            typed = next(left)
            if isinstance(typed, BaseException):
                raise typed
            return typed

        monkeypatch.setattr("builtins.input", answer)
        return questions

    return type_


@pytest.mark.parametrize(("typed", "reason"), [("y", ""), (" YES ", ""), ("n", REFUSED), ("No", REFUSED)])
def test_an_answer_decides_on_one_call(typing: Type, typed: str, reason: str) -> None:
    """The next call is asked about again."""
    questions = typing(typed, typed)
    approval = TypedApproval()

    assert [approval.ask(CALL), approval.ask(CALL)] == [reason, reason]
    assert len(questions) == 2
    assert "tide_table(port='Brest')" in questions[0]


def test_all_holds_for_the_answer_and_not_longer(typing: Type) -> None:
    """Another answer has another approval."""
    questions = typing("a", "n")
    approval = TypedApproval()

    assert [approval.ask(CALL), approval.ask(CALL)] == ["", ""]
    assert len(questions) == 1
    assert TypedApproval().ask(CALL) == REFUSED


def test_an_invalid_answer_is_asked_again(typing: Type) -> None:
    """A bare Enter never means yes."""
    questions = typing("", "yolo", "n")

    assert TypedApproval().ask(CALL) == REFUSED
    assert len(questions) == 3


@pytest.mark.parametrize("error", [EOFError(), RuntimeError("no stdin"), OSError("closed")])
def test_without_input_no_call_may_run(typing: Type, error: Exception) -> None:
    """As in a kernel without stdin, or with it closed."""
    typing(error)

    assert TypedApproval().ask(CALL) == NOBODY


def test_ctrl_c_is_not_an_answer(typing: Type) -> None:
    """It ends more than the call, on a loop too."""
    typing(KeyboardInterrupt(), KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        TypedApproval().ask(CALL)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(TypedApproval().ask_on_loop(CALL))


def long_call(length: int) -> ToolCall:
    """A call whose last argument is the important one."""
    return ToolCall(name="run", arguments={"code": "#" * length + " rm -rf ~", "port": "Brest"})


@pytest.mark.parametrize("length", [10, 1_990, 2_010, 3_990, 8_000, 200_000])
def test_a_whole_call_is_shown_before_it_may_run(typing: Type, length: int) -> None:
    """Page by page; a yes before the last page does not count."""
    call = long_call(length)
    questions = typing(*["y"] * (length // 1_000 + 1))

    assert TypedApproval().ask(call) == ""
    assert len(questions) == len(call.pages())
    assert "".join(call.pages()) == f"run(code={call.arguments['code']!r}, port='Brest')"
    assert all(page in question for page, question in zip(call.pages(), questions, strict=True))
    assert "[y]es" in questions[-1]
    assert not any("[y]es" in question for question in questions[:-1])


def test_a_long_call_can_be_refused_but_not_approved_before_its_end(typing: Type) -> None:
    """An "all" on an earlier page does not count either."""
    typing("n")
    assert TypedApproval().ask(long_call(50_000)) == REFUSED

    approval = TypedApproval()
    questions = typing("a", "a", "n", "n")
    assert approval.ask(long_call(5_000)) == ""
    assert len(questions) == 2
    assert approval.ask(long_call(50_000)) == ""


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u2066", "\u200b", "\u00ad", "\u3164", "\u2800", "\u115f", "\ufe0f"]
)
@pytest.mark.parametrize("place", ["value", "inside", "key", "argument", "tool"])
def test_invisible_characters_and_direction_marks_are_escaped(hidden: str, place: str) -> None:
    """A model must not disguise a call."""
    text = f"a{hidden}b"
    value: object = {"inside": [text], "key": {text: 1}}.get(place, text)
    arguments = {text if place == "argument" else "path": value if place in ("value", "inside", "key") else 1}
    call = ToolCall(name=text if place == "tool" else "run", arguments=arguments)

    for shown in ("".join(call.pages()), str(call)):
        assert hidden not in shown
        assert f"{ord(hidden):02x}" in shown


def test_words_of_all_languages_and_emoji_stay_readable() -> None:
    """They are visible."""
    call = ToolCall(name="run", arguments={"a": "Ünïcode 東京 שלום مرحبا ★ 🙂", "größe": 1})

    assert str(call) == "run(a='Ünïcode 東京 שלום مرحبا ★ 🙂', größe=1)"
