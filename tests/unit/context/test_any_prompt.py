"""Prompts of any shape: text without the user's names is sent byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_magic.context import interpolate

NAMES = {"own_value": "{{ own_value }} \\ {x}"}

PIECES = st.sampled_from(
    ["{{", "}}", "{", "}", "{{ ", " }}", "{% raw %}", "{{{", "}}}", "name", "a.b | c", "'", '"', "\\", "\n", "#", "(", ")",
     "[", "]", "lambda: 0", "f'{x}'", ":", ",", "=", "\x00", "\u2028", "é", "x for x in y", "1", "not ", "await ", "*"]
)  # fmt: skip
PROMPTS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))


@given(PROMPTS)
def test_a_prompt_without_names_of_the_user_is_untouched(prompt: str) -> None:
    """In a notebook that defines nothing, every prompt is sent as typed."""
    collected = interpolate(prompt, {})

    assert collected.text == prompt
    assert len(collected.notes) <= 1


@given(PROMPTS)
def test_names_outside_braces_change_nothing(prompt: str) -> None:
    """The user has variables, but the prompt uses none of them."""
    assert interpolate(prompt, NAMES).text == prompt


@given(PROMPTS.filter(lambda text: "{" not in text), PROMPTS.filter(lambda text: "{" not in text))
def test_text_around_a_value_is_untouched(before: str, after: str) -> None:
    """Only the expression is replaced, whatever surrounds it."""
    sent = interpolate(before + "{{ own_value }}" + after, NAMES).text

    assert sent == before + NAMES["own_value"] + after
