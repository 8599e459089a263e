"""Asking at the keyboard whether a call may run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from claude_magic.tools import NOBODY, REFUSED, ToolCall, TypedApproval

CALL = ToolCall(name="tide_table", arguments={"port": "Brest"})
Type = Callable[..., list[str]]


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Has a person type these answers; returns the questions that they were asked."""

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
    """The next one is asked about again."""
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


def test_what_is_no_answer_is_asked_again(typing: Type) -> None:
    """Least of all is a bare Enter a yes."""
    questions = typing("", "yolo", "n")

    assert TypedApproval().ask(CALL) == REFUSED
    assert len(questions) == 3


@pytest.mark.parametrize("error", [EOFError(), RuntimeError("no stdin"), OSError("closed")])
def test_where_nobody_can_type_nothing_may_run(typing: Type, error: Exception) -> None:
    """As in a kernel without stdin, or with it closed."""
    typing(error)

    assert TypedApproval().ask(CALL) == NOBODY


def test_ctrl_c_is_no_answer(typing: Type) -> None:
    """It ends more than the call, on a loop too."""
    typing(KeyboardInterrupt(), KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        TypedApproval().ask(CALL)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(TypedApproval().ask_on_loop(CALL))
