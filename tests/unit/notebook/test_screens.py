"""What is drawn, frame by frame, from snapshots made by hand."""

import dataclasses
import io

import pytest
from beginnings import BEGINNING
from hypothesis import given
from hypothesis import strategies as st

from claude_magic.notebook._screens import (
    FRAME_INTERVAL,
    LONGEST_FRAME_INTERVAL,
    AreaScreen,
    FinalScreen,
    HandleScreen,
)
from claude_magic.notebook._terminal import TerminalScreen
from claude_magic.runtime import BlockSnapshot, Phase


def streaming(text, *, thinking="", phase=Phase.STREAMING):
    blocks = [BlockSnapshot(kind="thinking", text=thinking, is_complete=True)] if thinking else []
    blocks.append(BlockSnapshot(kind="text", text=text, is_complete=phase.is_final))
    return dataclasses.replace(BEGINNING, phase=phase, blocks=tuple(blocks))


class Publisher:
    """Keeps what is published, as an output area would."""

    def __init__(self):
        self.messages = []
        self.area = {}

    def publish(self, data, metadata=None, *, transient=None, update=False):
        display_id = (transient or {}).get("display_id", f"plain-{len(self.messages)}")
        assert update == (display_id in self.area)
        self.messages.append((display_id, data))
        self.area[display_id] = data

    def clear_output(self, wait=False):
        assert wait
        self.area.clear()


@pytest.fixture
def publisher():
    return Publisher()


def test_the_first_frame_says_what_is_being_waited_for(publisher):
    """A cell is never silent."""
    AreaScreen(publisher).draw(BEGINNING)

    ((_, data),) = publisher.messages
    assert set(data) == {"text/html"}
    assert "waiting" in data["text/html"]


def test_the_status_lines_place_becomes_the_answers(publisher):
    """No empty display is left above the first words."""
    screen = AreaScreen(publisher)

    screen.draw(BEGINNING)
    screen.draw(streaming("Hello"))

    (data,) = publisher.area.values()
    assert "Hello" in data["text/html"]
    assert "waiting" not in data["text/html"]


def test_an_unchanged_frame_is_not_sent(publisher):
    """Drawing the same again costs nothing."""
    screen = AreaScreen(publisher)

    for _ in range(3):
        screen.draw(streaming("Hello"))

    assert len(publisher.messages) == 1


def test_a_long_tail_is_drawn_less_often(publisher):
    """15 frames a second, and fewer where each carries much; never fewer than two."""
    screen = AreaScreen(publisher)

    assert screen.draw(streaming("short")) == FRAME_INTERVAL
    assert screen.draw(streaming("short " + "long " * 2_000)) == pytest.approx(0.4, rel=0.1)
    assert screen.draw(streaming("short " + "long " * 9_000)) == LONGEST_FRAME_INTERVAL


def test_a_guest_keeps_to_one_display_and_clears_nothing(publisher):
    """What the cell printed before stays where it is; the traffic stays bounded."""
    screen = HandleScreen(publisher)

    intervals = [screen.draw(streaming("word " * n)) for n in (1, 2_000, 40_000)]
    screen.finish(streaming("word " * 40_000, phase=Phase.COMPLETE))

    (data,) = publisher.area.values()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}
    assert intervals == sorted(intervals)
    assert intervals[-1] >= 1.0


def test_the_end_is_one_output_with_all_types(publisher):
    """Whatever was drawn before is replaced."""
    screen = AreaScreen(publisher)
    screen.draw(streaming("One.\n\n" * 1000, thinking="Hm."))

    screen.finish(streaming("One.\n\n" * 1000, thinking="Hm.", phase=Phase.COMPLETE))

    (data,) = publisher.area.values()
    assert set(data) == {"text/html", "text/markdown", "text/plain"}


@pytest.mark.parametrize("make", [AreaScreen, FinalScreen])
def test_an_answer_that_failed_without_a_word_leaves_nothing_but_its_error(publisher, make):
    """The status line goes, and no empty picture comes."""
    screen = make(publisher)
    screen.draw(BEGINNING)

    screen.finish(dataclasses.replace(BEGINNING, phase=Phase.FAILED))

    assert publisher.area == {}


@given(
    st.lists(
        st.sampled_from(["# H\n", "word ", "\n", "\n\n", "- item\n", "```\n", "$x$", "| a |\n"]), max_size=60
    )
)
def test_slots_only_ever_become_more(pieces):
    """However the answer is cut, each display keeps its place, and the sum of them is drawn in order."""
    publisher = Publisher()
    screen = AreaScreen(publisher)
    text = ""

    shown = 0
    for piece in pieces:
        text += piece
        screen.draw(streaming(text))
        assert len(publisher.area) >= shown
        shown = len(publisher.area)

    assert shown <= 37
    assert list(publisher.area) == sorted(
        publisher.area, key=lambda display_id: int(display_id.rsplit("-")[-1])
    )


def test_a_terminal_gets_each_word_once():
    """Deltas are appended; a status line never stands between them."""
    stream = io.StringIO()
    screen = TerminalScreen(stream)

    for text in ("", "One", "One two", "One two three"):
        screen.draw(streaming(text) if text else BEGINNING)
    screen.finish(streaming("One two three.", phase=Phase.COMPLETE))

    assert stream.getvalue().startswith("One two three.\n\n")
    assert "claude-sonnet-5-5" in stream.getvalue()


@given(st.text())
def test_no_control_character_of_a_model_reaches_a_terminal(text):
    """Escape sequences are shown, not obeyed."""
    stream = io.StringIO()

    TerminalScreen(stream).finish(streaming(text, phase=Phase.COMPLETE))

    assert not [
        char
        for char in stream.getvalue()
        if (ord(char) < 32 or 127 <= ord(char) < 160) and char not in "\t\n"
    ]
