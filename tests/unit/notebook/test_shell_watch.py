"""Which replies an interrupted cell takes with it."""

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
def test_what_the_interrupted_cell_had_started_is_cancelled(runtime, cell, field, error):
    """Wherever in the cell Ctrl-C came, also between two statements; what ran before goes on."""
    earlier, started = FakeReply(), FakeReply()
    runtime.replies.append(earlier)
    cell.start()
    runtime.replies.append(started)

    cell.end(**{field: error})

    assert (earlier.cancelled, started.cancelled) == (0, 1)


def test_what_was_asked_in_a_panel_meanwhile_goes_on(runtime, cell):
    """It belongs to no cell."""
    asked = FakeReply(outlives_cell=True)
    cell.start()
    runtime.replies.append(asked)

    cell.end(error_in_exec=KeyboardInterrupt())

    assert asked.cancelled == 0


@pytest.mark.parametrize("error", [None, ValueError()])
def test_a_cell_that_ends_in_another_way_leaves_its_replies_alone(runtime, cell, error):
    """`claude.submit` is for replies that outlive their cell."""
    started = runtime.last = FakeReply()
    cell.start()
    runtime.replies.append(started)

    cell.end(error_in_exec=error)

    assert started.cancelled == 0
    assert started.is_on_screen is False
