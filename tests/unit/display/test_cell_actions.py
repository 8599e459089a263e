"""Buttons under the answers of cells, without a page: the messages to the page and from it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from claude_magic.display import AnswerActions, new_cell
from claude_magic.display.widgets import CellActions, close_all
from claude_magic.runtime import Question, Reply
from claude_magic.runtime._progress import Progress


class Page:
    """A page that records the messages to it and sends messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[dict[str, Any]] = []
        self.acts: list[tuple[str, str, str]] = []
        self.gone: list[str] = []
        monkeypatch.setattr(CellActions, "send", lambda _widget, content: self._receive(content))
        self.actions = CellActions(lambda *act: self.acts.append(act), self.gone.append)

    def _receive(self, content: dict[str, Any]) -> None:
        if content["do"] != "listen":
            self.sent.append(content)

    def say(self, **content: Any) -> None:
        self.actions._on_message(self.actions, content, None)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    page = Page(monkeypatch)
    yield page
    close_all((page.actions,))


def test_what_is_offered_before_the_page_listens_reaches_it_once(page: Page) -> None:
    """A message to a widget that the page has not created yet would be lost."""
    page.actions.offer("a", has_text=True, can_retry=True)
    assert page.sent == []

    page.say(page="one")
    page.actions.offer("b", has_text=False, can_retry=True)

    assert [(each["cell"], each["has_text"], each["can_retry"]) for each in page.sent] == [
        ("a", True, True),
        ("b", False, True),
    ]


def test_a_page_that_presents_itself_twice_is_one_page(page: Page) -> None:
    """The page repeats its first message until the kernel answers."""
    page.actions.offer("a", has_text=True, can_retry=True)
    page.say(page="one")
    page.say(page="one")

    assert [each["can_retry"] for each in page.sent] == [True, True]


def test_a_page_that_is_loaded_later_gets_no_retry(page: Page) -> None:
    """It would not show the new answer, because pages do not receive outputs of cells that they did not run."""
    page.say(page="one")
    page.actions.offer("a", has_text=True, can_retry=True)
    page.actions.offer("b", has_text=True, can_retry=True)
    page.actions.withdraw("b")
    page.sent.clear()

    page.say(page="another")

    assert [(each["cell"], each["can_retry"]) for each in page.sent] == [("a", False)]


def test_a_cell_that_was_cleared_before_its_next_answer_keeps_that_ones_buttons(page: Page) -> None:
    """The message about the clearing may arrive late."""
    page.say(page="one")
    page.actions.offer("a", has_text=True, can_retry=True)
    page.actions.offer("a", has_text=True, can_retry=True)
    first, second = page.sent

    page.say(gone="a", number=first["number"])
    assert page.gone == []
    page.say(gone="a", number=second["number"])
    assert page.gone == ["a"]


def test_clicks_are_reported_with_their_cell(page: Page) -> None:
    """The typed name is included."""
    page.say(act="copy", cell="a", name="")
    page.say(act="keep", cell="b", name="mine")

    assert page.acts == [("a", "copy", ""), ("b", "keep", "mine")]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("So:\n\n```python\nx = 1\n```", ("x = 1", "code", "")),
        ("Just **words**.", ("Just **words**.", "markdown", "")),
    ],
)
def test_an_answer_becomes_a_cell_of_its_code_or_of_its_text(text: str, cell: tuple[str, str, str]) -> None:
    """Cells and panels use the same rule."""
    assert new_cell(text) == cell


def an_answer() -> Reply:
    """Return an answer of "Hello"."""
    question = Question(prompt="Hi", beginning="Hello")
    progress = Progress(question, model="claude-test", max_attempts=1)
    return Reply(question, progress, thread=None, asked_with=None)


def test_an_answer_becomes_a_variable_unless_its_name_is_taken(page: Page) -> None:
    """By something that code needs, or by data of the user. An earlier answer is replaced.

    The page shows what was done, or why nothing was.
    """
    data = {"df": [1, 2], "n": 3, "nothing": None}
    bound: dict[str, Any] = {**data, "old": an_answer()}
    answer = an_answer()
    actions = AnswerActions(SimpleNamespace(push=bound.update, user_ns=bound))
    actions.offer("a", answer, None)

    for name in ("list", "claude", "In", "_", "df", "n", "nothing", "mean", "old"):
        actions._act("a", "keep", name)
    actions.close()

    taken = (
        "{0!r} cannot be the name of a variable of yours: {0} is taken, and code that uses it would break."
    )
    held = "{0} holds {1}: choose another name, or delete it first."
    assert bound == {**data, "mean": answer, "old": answer}
    assert [each["text"] for each in page.sent] == [
        *map(taken.format, ("list", "claude", "In", "_")),
        held.format("df", "a list"),
        held.format("n", "an int"),
        held.format("nothing", "a NoneType"),
        "mean is this answer now.",
        "old is this answer now.",
    ]
