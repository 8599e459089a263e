"""Which replies are cancelled when a cell is interrupted, and how long an answer counts as shown."""

import asyncio
from types import SimpleNamespace

import pytest

from claude_magic.notebook import _shell
from claude_magic.notebook._cell import Session
from claude_magic.notebook._compare import Comparison
from claude_magic.runtime import ShownOnce


class FakeReply:
    """Counts how often it is cancelled."""

    cancelled = 0

    def __init__(self, *, outlives_cell=False):
        self.outlives_cell = outlives_cell

    def cancel(self):
        self.cancelled += 1


@pytest.fixture
def runtime(monkeypatch):
    fake = SimpleNamespace(replies=[])
    fake.in_flight = lambda: tuple(fake.replies)
    monkeypatch.setattr(_shell, "runtime_if_used", lambda: fake)
    return fake


@pytest.fixture
def session():
    """The state of a shell between cells."""
    return Session(SimpleNamespace(), dict)


@pytest.fixture
def cell(session):
    """The callbacks that a shell would call around a cell."""
    callbacks = {}
    events = SimpleNamespace(register=callbacks.__setitem__)
    _shell.ShellWatch(SimpleNamespace(events=events), session.errors, session.on_screen).start()
    return SimpleNamespace(
        start=lambda: callbacks["pre_run_cell"](None),
        end=lambda **errors: callbacks["post_run_cell"](SimpleNamespace(**errors)),
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("field", ["error_in_exec", "error_before_exec"])
def test_replies_that_the_interrupted_cell_started_are_cancelled(runtime, cell, field, error):
    """Even if Ctrl-C comes between two statements; earlier replies continue."""
    earlier, started = FakeReply(), FakeReply()
    runtime.replies.append(earlier)
    cell.start()
    runtime.replies.append(started)

    cell.end(**{field: error})

    assert (earlier.cancelled, started.cancelled) == (0, 1)


def test_a_reply_started_in_a_panel_continues(runtime, cell):
    """It belongs to no cell."""
    asked = FakeReply(outlives_cell=True)
    cell.start()
    runtime.replies.append(asked)

    cell.end(error_in_exec=KeyboardInterrupt())

    assert asked.cancelled == 0


@pytest.mark.parametrize("error", [None, ValueError()])
def test_a_cell_that_is_not_interrupted_cancels_no_replies(runtime, cell, error):
    """Replies of `claude.submit` may outlive their cell."""
    started = FakeReply()
    cell.start()
    runtime.replies.append(started)

    cell.end(error_in_exec=error)

    assert started.cancelled == 0


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("error", [None, ValueError(), KeyboardInterrupt()])
def test_what_a_cell_has_drawn_counts_as_shown_in_that_cell_only(runtime, session, cell, count, error):
    """All of it, not only the last answer; in later cells, each is displayed."""
    both = Comparison("?", {}, variable="both")
    values = [*(ShownOnce() for _ in range(count)), both]
    cell.start()
    for value in values:
        session.mark_on_screen(value)

    assert all(value.is_on_screen for value in values)
    cell.end(error_in_exec=error)

    assert not any(value.is_on_screen for value in values)


def test_what_a_callback_has_drawn_between_cells_is_displayed_by_the_next_cell(runtime, session, cell):
    """Such as a button that runs `get_ipython().run_line_magic("claude", ...)`."""
    value = ShownOnce()
    session.mark_on_screen(value)

    cell.start()

    assert not value.is_on_screen
