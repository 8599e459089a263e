"""Output of programs is read as a terminal shows it."""

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
def test_colors_are_removed_and_a_progress_bar_keeps_its_last_state(written: str, seen: str) -> None:
    """Windows line ends are not progress bars."""
    assert as_on_screen(written) == seen


def test_an_unfinished_escape_is_read_in_linear_time() -> None:
    """Quadratic time would end in the timeout."""
    for piece in ("\x1b]", "\x1b[", "\x1b[1", "x\r"):
        assert len(as_on_screen(piece * (1_000_000 // len(piece)))) <= 1_000_000
