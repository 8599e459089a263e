"""The slots of a growing answer: finished ones do not change, new ones are added below, and their number is limited."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from snapshots import snapshot as completed

from claude_magic.render import LiveFrames
from claude_magic.render._frame import MAX_BLOCKS, OTHER_SLOTS
from claude_magic.runtime import BlockSnapshot, CallSnapshot, Phase, ReplySnapshot
from claude_magic.tools import CallState

EMPTY = completed(phase=Phase.STREAMING, usage=None, stop_reason=None)


def snapshot(*blocks: BlockSnapshot, phase: Phase = Phase.STREAMING, **changes: Any) -> ReplySnapshot:
    return dataclasses.replace(EMPTY, blocks=blocks, phase=phase, **changes)


def text(words: str, *, is_complete: bool = True) -> BlockSnapshot:
    return BlockSnapshot(kind="text", text=words, is_complete=is_complete)


def thinking(words: str) -> BlockSnapshot:
    return BlockSnapshot(kind="thinking", text=words, is_complete=True)


def call(state: CallState | None, result: str = "") -> BlockSnapshot:
    made = (
        None
        if state is None
        else CallSnapshot(name="tide", arguments={"port": "Brest"}, state=state, result=result)
    )
    data = {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}}
    return BlockSnapshot(kind="tool_use", text="", is_complete=True, data=data, call=made)


def test_a_status_line_gives_its_slot_to_the_words() -> None:
    """Nothing moves when the first text arrives."""
    picture = LiveFrames()

    (waiting,) = picture.slots(snapshot(phase=Phase.SENT), 0.0)
    (words,) = picture.slots(snapshot(text("Hello")), 0.0)

    assert "waiting" in waiting
    assert "Hello" in words


def test_what_stands_between_texts_has_a_slot_of_its_own() -> None:
    """Thinking, text, a call, text: in order; finished slots do not change."""
    picture = LiveFrames()
    before = [thinking("Hm."), text("Let me see.")]

    first = picture.slots(snapshot(*before), 0.0)
    calling = picture.slots(snapshot(*before, call(CallState.RUNNING), phase=Phase.CALLING), 0.0)
    done = picture.slots(snapshot(*before, call(CallState.DONE, "6 m"), text("It is 6 m.")), 0.0)

    assert len(first) == 2
    assert calling[:2] == first
    assert "running" in calling[2]
    assert done[:2] == first
    assert "6 m" in done[2]
    assert "It is 6 m." in done[3]


def test_a_call_that_is_being_written_is_shown_by_the_status_line() -> None:
    """Its arguments are incomplete."""
    slots = LiveFrames().slots(snapshot(text("Let me see."), call(None)), 0.0)

    assert "writing a call to tide" in slots[-1]
    assert "tide()" not in "".join(slots)


def test_slots_never_become_fewer() -> None:
    """A display cannot be removed, only emptied."""
    picture = LiveFrames()
    many = picture.slots(snapshot(text("One."), call(CallState.RUNNING), text("Two.")), 0.0)

    few = picture.slots(snapshot(text("One.")), 0.0)

    assert len(few) == len(many)
    assert few[-1] == ""


@pytest.mark.parametrize("max_blocks", [10, MAX_BLOCKS, 70])
def test_an_answer_of_many_rounds_keeps_to_as_many_slots_as_a_cell_can_show(max_blocks: int) -> None:
    """Further content shares the last slot, and is complete."""
    blocks = [each for n in range(80) for each in (text(f"Step {n}."), call(CallState.DONE, f"result {n}"))]

    slots = LiveFrames(max_blocks=max_blocks).slots(snapshot(*blocks), 0.0)

    assert len(slots) == max_blocks + OTHER_SLOTS
    assert "Step 79." in slots[-1]


def test_formats_other_than_markdown_have_one_slot() -> None:
    """It is drawn again as a whole."""
    (slot,) = LiveFrames().slots(snapshot(text("# not a heading"), format="text"), 0.0)

    assert "<h1" not in slot
    assert "# not a heading" in slot
