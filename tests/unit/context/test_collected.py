"""What was collected, and how several collections become one."""

from __future__ import annotations

from claude_magic.context import Collected, join

BLOCK = {"type": "image"}


def test_text_that_meets_text_becomes_one_part() -> None:
    """Blocks keep their place, and nothing empty is left."""
    pieces = [Collected(parts=("a", "b", BLOCK)), Collected(parts=("", BLOCK, "c")), Collected(parts=("d",))]

    assert join(pieces).parts == ("ab", BLOCK, BLOCK, "cd")


def test_a_note_and_a_label_stand_once() -> None:
    """In the order in which they came."""
    pieces = [Collected(notes=("x", "y"), redacted=("key",)), Collected(notes=("y", "z"), redacted=("key",))]

    assert join(pieces) == Collected(notes=("x", "y", "z"), redacted=("key",))


def test_the_text_is_that_of_the_parts() -> None:
    """Without the blocks."""
    assert Collected(parts=("a", BLOCK, "b")).text == "ab"
    assert Collected().text == ""
