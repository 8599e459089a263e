"""Which replies are cancelled when a cell is interrupted."""

import asyncio
from types import SimpleNamespace

import pytest

from claude_magic.notebook import _history
from claude_magic.notebook._history import Errors


class FakeReply:
    """Counts how often it is cancelled."""

    cancelled = 0
    is_on_screen = True

    def __init__(self, *, outlives_cell=False):
        self.outlives_cell = outlives_cell

    def cancel(self):
        self.cancelled += 1


@pytest.fixture
def runtime(monkeypatch):
    fake = SimpleNamespace(replies=[], last=None)
    fake.in_flight = lambda: tuple(fake.replies)
    monkeypatch.setattr(_history, "runtime_if_used", lambda: fake)
    return fake


@pytest.fixture
def cell():
    """The callbacks that a shell would call around a cell."""
    callbacks = {}
    events = SimpleNamespace(register=callbacks.__setitem__)
    _history.ShellWatch(SimpleNamespace(events=events), Errors()).start()
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
    started = runtime.last = FakeReply()
    cell.start()
    runtime.replies.append(started)

    cell.end(error_in_exec=error)

    assert started.cancelled == 0
    assert started.is_on_screen is False
