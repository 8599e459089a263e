"""`Interaction`: which states are asked, remembered and cancelled, without a kernel or server."""

import dataclasses
from types import SimpleNamespace

import pytest

from claude_magic.client import ConfigurationError, MessageRequest
from claude_magic.notebook import _interact
from claude_magic.notebook._interact import Interaction
from claude_magic.notebook._line import Line
from claude_magic.runtime import Phase, Question, Where


class StubReply:
    """The part of a reply that an interaction uses."""

    def __init__(self, on_cancel):
        self.phase = Phase.STREAMING
        self.thread = "main"
        self._on_cancel = on_cancel
        self._callbacks = []

    def cancel(self):
        if not self.phase.is_final:
            self._on_cancel()
            self.end(Phase.CANCELLED)

    def end(self, phase=Phase.COMPLETE):
        self.phase = phase
        for callback in self._callbacks:
            callback()

    def when_done(self, callback):
        if self.phase.is_final:
            callback()
        else:
            self._callbacks.append(callback)
        return lambda: None


class StubView:
    """Records what it is asked to show."""

    def __init__(self):
        self.shown, self.messages, self.is_open, self.is_closed = [], [], False, False

    def open(self):
        self.is_open = True

    def close(self):
        self.is_closed = True

    def show(self, state, *, is_remembered):
        self.shown.append((state.label, is_remembered))

    def show_message(self, line):
        self.messages.append(line)


class World:
    """A cell with one control, `n`, and stubs for everything around it."""

    def __init__(self, monkeypatch):
        self.n = 3
        self.sent, self.returned_to, self.in_flight = [], [], []
        self.is_last = True
        self.current_at_cancel = []
        conversations = SimpleNamespace(
            ends_in=lambda cell, *, thread: self.is_last,
            return_to=lambda message, *, cell, thread: self.returned_to.append(message["content"]),
        )
        runtime = SimpleNamespace(
            plan=lambda question: SimpleNamespace(
                request=MessageRequest(model="m", max_tokens=1, messages=[question.user_turn()])
            ),
            conversations=conversations,
            in_flight=lambda: tuple(self.in_flight),
        )
        for name in ("start", "bind", "finish"):
            monkeypatch.setattr(_interact, name, getattr(self, f"_{name}"))
        self.view = StubView()
        self.interaction = Interaction(
            Line(),
            SimpleNamespace(runtime=runtime, keep_view=lambda view: None),
            read=lambda: {"n": self.n},
            question_for=self._question_for,
        )

    def _question_for(self, values):
        if values["n"] == 0:
            raise ConfigurationError("Division by zero. Nothing was sent.")
        return Question(prompt=f"n is {values['n']}", where=Where(cell="cell"))

    def _start(self, line, question, cell):
        self.sent.append(question)
        return StubReply(lambda: self.current_at_cancel.append(self.interaction.current.label))

    def _bind(self, value, line, cell):
        pass

    def _finish(self, reply, line, cell):
        pass

    def begin(self):
        state = self.interaction.begin(self.view)
        state.reply.end()
        return state

    def move_to(self, n):
        self.n = n
        self.interaction.refresh()
        return self.interaction.current

    @property
    def prompts(self):
        return [question.prompt for question in self.sent]


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_a_state_is_sent_once_and_remembered(world):
    """Returning to it sends nothing."""
    world.begin()
    world.move_to(7).reply.end()
    world.move_to(3)

    assert world.prompts == ["n is 3", "n is 7"]
    assert world.view.shown == [("n = 3", False), ("n = 7", False), ("n = 3", True)]
    assert world.returned_to == ["n is 3"]


def test_a_movement_that_returns_before_the_pause_changes_nothing(world):
    """The reply is not cancelled either."""
    state = world.interaction.begin(world.view)

    world.move_to(3)

    assert world.prompts == ["n is 3"]
    assert state.reply.phase is Phase.STREAMING


def test_the_previous_reply_is_cancelled_once_the_next_one_is_current(world):
    """A cell that waits for the first reply then finds the second."""
    first = world.interaction.begin(world.view)

    world.move_to(7)

    assert first.reply.phase is Phase.CANCELLED
    assert world.current_at_cancel == ["n = 7"]


def test_a_partial_answer_is_asked_again(world):
    """Cancelled and failed answers are not remembered."""
    world.begin()
    world.move_to(7)
    world.move_to(9).reply.end(Phase.FAILED)
    world.move_to(7).reply.end()
    world.move_to(9)

    assert world.prompts == ["n is 3", "n is 7", "n is 9", "n is 7", "n is 9"]


def test_the_conversation_returns_once_the_previous_reply_has_ended(world):
    """A cancelled reply becomes a turn when it ends, and would otherwise be the last one."""
    world.begin()
    left = world.move_to(7)
    left.reply._on_cancel = lambda: world.returned_to.append("cancelled")

    world.move_to(3)

    assert world.returned_to == ["cancelled", "n is 3"]


def test_asking_again_replaces_the_remembered_answer(world):
    """For the state that is shown."""
    world.begin()
    world.interaction.forget_current()
    world.interaction.refresh()

    assert world.prompts == ["n is 3", "n is 3"]


def test_later_states_outlive_the_cell_and_are_asked_at_its_place(world):
    """On a branch of their own, once the conversation has continued or is about to."""
    world.begin()
    world.move_to(7).reply.end()
    world.is_last = False
    world.move_to(8).reply.end()
    world.is_last = True
    world.in_flight = [StubReply(lambda: None)]
    world.move_to(9)

    assert [question.outlives_cell for question in world.sent] == [False, True, True, True]
    assert [question.where.is_side_branch for question in world.sent] == [False, False, True, True]
    assert {dataclasses.replace(question.where, is_side_branch=False) for question in world.sent} == {
        Where(cell="cell")
    }


def test_without_a_first_question_no_controls_are_shown(monkeypatch):
    """The cell fails with the reason."""
    world = World(monkeypatch)
    world.n = 0

    with pytest.raises(ConfigurationError):
        world.begin()

    assert (world.view.is_open, world.view.is_closed) == (False, True)


def test_an_error_before_sending_is_shown_and_changes_nothing(world):
    """The previous answer stays, and a reply in flight continues."""
    state = world.interaction.begin(world.view)

    world.move_to(0)

    assert world.view.messages == ["Division by zero. Nothing was sent."]
    assert world.interaction.current is state
    assert state.reply.phase is Phase.STREAMING
