"""Collected content, and how several pieces are joined."""

from __future__ import annotations

from claude_magic.context import Collected, join

BLOCK = {"type": "image"}


def test_adjacent_texts_become_one_part() -> None:
    """Blocks keep their places, and empty text is left out."""
    pieces = [Collected(parts=("a", "b", BLOCK)), Collected(parts=("", BLOCK, "c")), Collected(parts=("d",))]

    assert join(pieces).parts == ("ab", BLOCK, BLOCK, "cd")


def test_notes_and_labels_are_not_repeated() -> None:
    """In order of their first occurrence."""
    pieces = [Collected(notes=("x", "y"), redacted=("key",)), Collected(notes=("y", "z"), redacted=("key",))]

    assert join(pieces) == Collected(notes=("x", "y", "z"), redacted=("key",))


def test_the_text_is_that_of_the_text_parts() -> None:
    """Without the blocks."""
    assert Collected(parts=("a", BLOCK, "b")).text == "ab"
    assert Collected().text == ""
