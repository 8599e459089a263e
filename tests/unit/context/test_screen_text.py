"""What programs write to a terminal is read as a person would have seen it."""

from __future__ import annotations

import pytest

from claude_magic.context._history import as_on_screen


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[1;31mred\x1b[0m and \x1b[38;5;12mblue", "red and blue"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x07", "link"),
        ("\x1b[2K\x1b[1A10%", "10%"),
        (" 10%\r 50%\r100%\ndone", "100%\ndone"),
        ("100%\r\ndone\r\n", "100%\ndone\n"),
    ],
)
def test_colors_go_and_of_a_progress_bar_the_last_state_stays(written: str, seen: str) -> None:
    """Line ends of Windows are no progress."""
    assert as_on_screen(written) == seen


def test_a_megabyte_without_an_end_is_read_in_a_moment() -> None:
    """Also of what begins like an escape and never ends. Reading on from each beginning would end in the timeout."""
    for piece in ("\x1b]", "\x1b[", "\x1b[1", "x\r"):
        assert len(as_on_screen(piece * (1_000_000 // len(piece)))) <= 1_000_000
